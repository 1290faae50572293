"""Errors that clients read unmasked, each with a code.

    ApiError
    ├── BadInputError          BAD_USER_INPUT    an argument breaks a rule; names the argument and the rule
    ├── UnauthenticatedError   UNAUTHENTICATED   nobody is signed in
    ├── ForbiddenError         FORBIDDEN         the viewer lacks a scope
    ├── NotFiniteError         NOT_FINITE        a stored number is an infinity
    └── FeedEndedError         a FeedError's     a subscription can't go on; the message says what to do

Everything else that a resolver raises is unexpected: clients see a masked message and an id.
"""

from enum import Enum
from typing import Any, ClassVar

import strawberry
from graphql import GraphQLError

from graphql_api.log_feed.errors import FeedError
from graphql_api.relational.enums import value


class ApiError(GraphQLError):
    """An error whose message is meant for clients; `extensions.code` is its machine-readable name."""

    code: ClassVar[str]

    def __init__(self, message: str, **extensions: Any) -> None:
        super().__init__(message, extensions={"code": self.code, **extensions})


class FeedEndedError(ApiError):
    """The feed behind a subscription ended. Its code is the feed's own: see `log_feed.errors`."""

    code = "FEED_ERROR"

    def __init__(self, error: FeedError) -> None:
        super().__init__(str(error))
        self.extensions = {"code": error.code}


class BadInputError(ApiError):
    """An argument that breaks a rule. `extensions.argument` is its path, dots between its parts."""

    code = "BAD_USER_INPUT"

    def __init__(self, argument: str, rule: str) -> None:
        super().__init__(f"{argument}: {rule}", argument=argument)


class UnauthenticatedError(ApiError):
    """Nobody is signed in."""

    code = "UNAUTHENTICATED"

    def __init__(self) -> None:
        super().__init__("sign in first: send an access token as Authorization: Bearer …")


class ForbiddenError(ApiError):
    """The viewer is known, and lacks a scope."""

    code = "FORBIDDEN"

    def __init__(self, scope: str) -> None:
        super().__init__(f"this needs the scope {scope}", scope=scope)


class NotFiniteError(ApiError):
    """A stored number that is an infinity, which no Decimal shows."""

    code = "NOT_FINITE"

    def __init__(self, text: str) -> None:
        super().__init__(f"the stored number is {text}, which is no decimal number")


@strawberry.enum(description="Why something was refused.")
class ErrorCode(Enum):
    """Codes of user errors."""

    NOT_FOUND = value("NOT_FOUND", "There is no such row, or not for this viewer.")
    FORBIDDEN = value("FORBIDDEN", "The viewer may see it, and not change it.")
    INVALID = value("INVALID", "The value breaks a rule that the message names.")
    OUT_OF_RANGE = value("OUT_OF_RANGE", "The number is too small or too large.")
    TOO_PRECISE = value("TOO_PRECISE", "The number has more fraction digits than are kept.")
    NOT_FINITE = value("NOT_FINITE", "NaN and infinities are no limits.")
    EMPTY_UPDATE = value("EMPTY_UPDATE", "Nothing to change was given.")
    CONFLICT = value(
        "CONFLICT", "The row has changed since the given version. The payload has the present row."
    )
    INVALID_CREDENTIALS = value("INVALID_CREDENTIALS", "The e-mail, password or token is wrong or ended.")
    RATE_LIMITED = value("RATE_LIMITED", "Too many attempts; the message says when to try again.")


@strawberry.type(description="A reason why the mutation was refused. If there is any, nothing was changed.")
class UserError:
    """A business failure, which clients show to people."""

    code: ErrorCode = strawberry.field(description="The reason, for programs.")
    message: str = strawberry.field(description="The reason, for people.")
    field: list[str] | None = strawberry.field(
        default=None, description="The path of the argument it is about, if it is about one."
    )
