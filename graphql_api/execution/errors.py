"""Errors of requests, as clients read them: each has a code, and repeats only so much of the request."""

import re
from collections.abc import Collection, Sequence
from typing import Final

from graphql import GraphQLError, Node, Source
from strawberry.exceptions import StrawberryInputCoercionError

PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
OPERATION_RESOLUTION_FAILURE: Final = "OPERATION_RESOLUTION_FAILURE"
LIMIT_EXCEEDED: Final = "LIMIT_EXCEEDED"
BAD_USER_INPUT: Final = "BAD_USER_INPUT"
PERMISSIONS_CHANGED: Final = "PERMISSIONS_CHANGED"

MAX_ECHO: Final = 100
"""Characters of a name or a value that an error repeats."""
MAX_MESSAGE: Final = 1_000
"""Characters of a message: a rule may name many fields."""

_LONG_NAME = re.compile(rf"\w{{{MAX_ECHO + 1},}}")
_LARGEST_ACTUAL = 10**9  # fragments double faster than JSON's numbers can follow
_NOT_NULL = " not to be None."
_MAYBE = "cannot be explicitly set to null"
NOT_EXPLICITLY_NULL: Final = "may be left out, but not be null"


class RequestError(Exception):
    """A request that can't be executed: it doesn't parse, doesn't validate, or names no operation.

    `errors` are for the client as they are. Those that have no code of their own get `code`.
    """

    def __init__(self, code: str, errors: Sequence[GraphQLError]) -> None:
        for error in errors:
            error.extensions = {"code": code, **(error.extensions or {})}
            error.message = cut_message(error.message)
        super().__init__(errors[0].message)
        self.errors = errors


class PermissionsChangedError(GraphQLError):
    """What the viewer of a subscription may read has changed since it began."""

    def __init__(self, node: Node) -> None:
        message = "what the viewer may read has changed: subscribe again"
        super().__init__(message, node, extensions={"code": PERMISSIONS_CHANGED})


class LimitError(GraphQLError):
    """A request beyond a limit. `extensions` have the limit, its maximum and, if known, the actual number."""

    def __init__(
        self,
        limit: str,
        maximum: int,
        actual: int | None = None,
        nodes: Sequence[Node] | None = None,
        source: Source | None = None,
        positions: Collection[int] | None = None,
    ) -> None:
        known = actual is not None and actual <= _LARGEST_ACTUAL
        super().__init__(
            f"{limit}: {f'{actual}, ' if known else ''}more than the limit of {maximum}",
            nodes,
            source,
            positions,
            extensions={
                "code": LIMIT_EXCEEDED,
                "limit": limit,
                "maximum": maximum,
                **({"actual": actual} if known else {}),
            },
        )


class ArgumentError(GraphQLError):
    """A field's argument can't be coerced, because of the value of a variable."""

    @classmethod
    def of(cls, error: GraphQLError) -> GraphQLError:
        """Returns a library's error about an argument as one of this class; any other error as it is."""
        cause = error.original_error or error
        is_theirs = type(cause) is GraphQLError and cause.message.startswith("Argument '")
        if not is_theirs and not isinstance(cause, StrawberryInputCoercionError):
            return error
        message = NOT_EXPLICITLY_NULL if _MAYBE in error.message else with_null(error.message)
        return cls(
            cut_message(message),
            error.nodes,
            path=error.path,
            extensions={"code": BAD_USER_INPUT, **(error.extensions or {})},
        )


def with_null(message: str) -> str:
    """Returns a message of graphql-core with GraphQL's word for what it calls None."""
    return f"{message.removesuffix(_NOT_NULL)} not to be null." if message.endswith(_NOT_NULL) else message


def cut(text: str, most: int = MAX_ECHO) -> str:
    """Returns a text, shortened where it is longer than an error should repeat."""
    return text if len(text) <= most else f"{text[:most]}…"


def cut_message(message: str) -> str:
    """Returns a message with long names in it shortened, and shortened as a whole if it is still too long."""
    if len(message) <= MAX_ECHO:
        return message
    return cut(_LONG_NAME.sub(lambda name: cut(name.group()), message), MAX_MESSAGE)
