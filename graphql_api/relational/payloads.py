"""What mutations answer when the request was understood and refused."""

from enum import Enum

import strawberry

from graphql_api.relational.enums import value


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
    CONFLICT = value("CONFLICT", "The row has changed since that version; the payload has it as it is.")
    INVALID_CREDENTIALS = value("INVALID_CREDENTIALS", "The e-mail, password or token is wrong or ended.")
    RATE_LIMITED = value("RATE_LIMITED", "Too many attempts; the message says when to try again.")


@strawberry.type(description="One reason for a refusal. Where there is any, nothing was changed.")
class UserError:
    """A business failure, which clients show to people."""

    code: ErrorCode = strawberry.field(description="The reason, for programs.")
    message: str = strawberry.field(description="The reason, for people.")
    field: list[str] | None = strawberry.field(
        default=None, description="The path of the argument it is about, if it is about one."
    )
