"""Errors that clients are meant to read.

    ApiError
    ├── BadInputError          BAD_USER_INPUT    an argument breaks a rule; names the argument and the rule
    ├── UnauthenticatedError   UNAUTHENTICATED   nobody is signed in
    ├── ForbiddenError         FORBIDDEN         the viewer lacks a scope
    └── FeedEndedError         a FeedError's     a subscription can't go on; the message says what to do

Everything else that a resolver raises is unexpected: clients see a masked message and an id.
"""

from typing import Any, ClassVar

from graphql import GraphQLError

from graphql_api.log_feed.errors import FeedError


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
