"""Risk settings: an account's limits, the values that they may have, and the inputs that change them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final

import strawberry
from sqlalchemy import ColumnElement, Numeric, Text, func, literal_column
from sqlalchemy.dialects.postgresql import JSONB

from graphql_api.domain.policy import ACCOUNTS, RISK_SETTINGS
from graphql_api.execution.fields import FromLoader, declared
from graphql_api.postgres import tables
from graphql_api.relational.context import Context
from graphql_api.relational.entity import loader_by_id
from graphql_api.relational.errors import ErrorCode, UserError
from graphql_api.relational.node import Node
from graphql_api.relational.pagination import SortOrder
from graphql_api.relational.relation import LatestRelated, RelationReader, column, computed, one
from graphql_api.relational.scalars import UnreadableDecimal

if TYPE_CHECKING:
    from graphql_api.domain.account import Account


LIMITS_CHANGED: Final = "LIMITS_CHANGED"
"""The kind of risk events about the settings themselves."""

# The table may have several rows for an account: the one that was written last is in force.
current_risk_settings = LatestRelated(
    RelationReader(RISK_SETTINGS, ACCOUNTS, tables.risk_settings.c.account_id),
    SortOrder(tables.risk_settings.c.updated_at),
)


def version_of(id_: str, row_version: str) -> str:
    """Returns the version of a row. Every write changes it, also those of other programs."""
    return f"{id_}.{row_version}"


@strawberry.type(
    description="The limits that the bot of an account has to keep. Null means that there is no such limit."
)
class RiskSettings(Node, rows_of=RISK_SETTINGS):
    """The row of risk_settings that is in force for an account."""

    max_daily_loss: Decimal | None = column("The largest loss of a day, in the account's currency.")
    max_position_size: Decimal | None = column("The largest size of one position.")
    max_open_positions: int | None = column("How many positions may be open at once.")
    risk_per_trade: Decimal | None = column("The part of the balance that one trade may risk, from 0 to 1.")
    updated_at: datetime | None = column("When it was last changed.")
    version: str = computed(
        "Changes with every write, also by other programs. Passed as `ifVersion`, it makes a change fail"
        " if the settings have changed since they were read.",
        version_of,
        columns=("id", "row_version"),
    )
    has_duplicates: bool = column("Whether the account has more rows than this one, which is the newest.")
    account: Annotated["Account", strawberry.lazy("graphql_api.domain.account")] | None = one(
        "The account.", ACCOUNTS, key="account_id"
    )


def _account(context: Context, _: Mapping[str, Any]) -> Any:
    load = loader_by_id(context, ACCOUNTS)
    return lambda payload: None if payload.account_id is None else load(payload.account_id)


@strawberry.type(description="What became of a change of risk settings.")
class RiskSettingsPayload:
    """The settings, and the reasons why nothing was changed, if there are any."""

    risk_settings: RiskSettings | None = strawberry.field(
        default=None,
        description=(
            "The present settings, whether the mutation changed them or not. After CONFLICT, these are the"
            " newer settings."
        ),
    )
    account_id: strawberry.Private[str | None] = None
    account: Annotated["Account", strawberry.lazy("graphql_api.domain.account")] | None = declared(
        "The account, if the viewer may see it.", FromLoader(_account)
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why nothing was changed; empty after a change."
    )


@dataclass(frozen=True, slots=True)
class LimitColumn:
    """A column of risk_settings and the values that it may have: 0 to `maximum`.

    PostgreSQL would round a value with too many digits, and store NaN without an error, so each value is
    checked here first.
    """

    column: str
    name: str
    """The name of its input field."""
    maximum: Decimal
    scale: int
    """How many digits after the decimal point are stored."""

    def check(self, value: Decimal | int) -> Iterator[UserError]:
        """Yields what is wrong with a value."""
        if isinstance(value, UnreadableDecimal):
            yield self._error(ErrorCode.INVALID, value.RULE)
            return
        value = Decimal(value)
        if not value.is_finite():
            yield self._error(ErrorCode.NOT_FINITE, "must be a finite number")
            return
        if not 0 <= value <= self.maximum:
            yield self._error(ErrorCode.OUT_OF_RANGE, f"must be between 0 and {self.maximum:f}")
        if _fraction_digits(value) > self.scale:
            yield self._error(
                ErrorCode.TOO_PRECISE, f"must have at most {self.scale} digits after the decimal point"
            )

    def _error(self, code: ErrorCode, rule: str) -> UserError:
        return UserError(code=code, message=f"{self.name} {rule}", field=["input", self.name])


def _largest(column: str) -> Decimal:
    """Returns the largest number that a numeric column holds: 999999999999.99999999 for numeric(20,8)."""
    type_: Any = tables.risk_settings.c[column].type
    return Decimal(10 ** (type_.precision - type_.scale)) - Decimal(1).scaleb(-type_.scale)


def _fraction_digits(value: Decimal) -> int:
    """Returns the number of digits after the point, without zeros at the end.

    Counted in its text, since Decimal's own operations round long values.
    """
    return len(format(value, "f").partition(".")[2].rstrip("0"))


LIMIT_COLUMNS = (
    LimitColumn("max_daily_loss", "maxDailyLoss", _largest("max_daily_loss"), 8),
    LimitColumn("max_position_size", "maxPositionSize", _largest("max_position_size"), 8),
    LimitColumn("max_open_positions", "maxOpenPositions", Decimal(2**31 - 1), 0),
    LimitColumn("risk_per_trade", "riskPerTrade", Decimal(1), 4),
)


def limits_as_json(row: Any) -> ColumnElement[Any]:
    """Returns the limits of a row as a JSON object; decimals are text, so that no parser makes them floats.

    `row` are the columns of risk_settings, or of a query over it.
    """
    return json_object({limit.column: _as_json(row[limit.column]) for limit in LIMIT_COLUMNS})


def json_object(members: Mapping[str, ColumnElement[Any]]) -> ColumnElement[Any]:
    """Returns a JSON object.

    Its names are written into the statement, so they must not come from a client.
    """
    parts = (part for name, value in members.items() for part in (literal_column(f"'{name}'"), value))
    return func.jsonb_build_object(*parts, type_=JSONB)


def _as_json(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return column.cast(Text) if isinstance(column.type, Numeric) else column


def check_limits(values: Mapping[str, Any]) -> list[UserError]:
    """Returns everything that is wrong with new values, given by column. None, no limit, is never wrong."""
    return [
        error
        for limit in LIMIT_COLUMNS
        if values.get(limit.column) is not None
        for error in limit.check(values[limit.column])
    ]


@strawberry.input(
    description="All four limits. If one is null or left out, there is no such limit afterwards."
)
class SetRiskSettingsInput:
    max_daily_loss: Decimal | None = strawberry.field(
        default=None, description="The largest loss of a day, in the account's currency; 0 or more."
    )
    max_position_size: Decimal | None = strawberry.field(
        default=None, description="The largest size of one position; 0 or more."
    )
    max_open_positions: int | None = strawberry.field(
        default=None, description="How many positions may be open at once; 0 or more."
    )
    risk_per_trade: Decimal | None = strawberry.field(
        default=None, description="The part of the balance that one trade may risk, from 0 to 1."
    )


@strawberry.input(
    description="The limits to change: null removes a limit, and one that is left out stays as it is."
)
class UpdateRiskSettingsInput:
    max_daily_loss: strawberry.Maybe[Decimal | None] = strawberry.field(
        description="The largest loss of a day, in the account's currency; 0 or more."
    )
    max_position_size: strawberry.Maybe[Decimal | None] = strawberry.field(
        description="The largest size of one position; 0 or more."
    )
    max_open_positions: strawberry.Maybe[int | None] = strawberry.field(
        description="How many positions may be open at once; 0 or more."
    )
    risk_per_trade: strawberry.Maybe[Decimal | None] = strawberry.field(
        description="The part of the balance that one trade may risk, from 0 to 1."
    )


def all_limits(given: SetRiskSettingsInput) -> dict[str, Any]:
    """Returns the new value of every limit, by column."""
    return {limit.column: getattr(given, limit.column) for limit in LIMIT_COLUMNS}


def given_limits(given: UpdateRiskSettingsInput) -> dict[str, Any]:
    """Returns the new values of the limits that the input names, by column."""
    fields = {limit.column: getattr(given, limit.column) for limit in LIMIT_COLUMNS}
    return {column: maybe.value for column, maybe in fields.items() if maybe is not None}
