"""The four limits, and what a value must be to become one.

The columns would round what has too many digits and store NaN without a word, so every rule is checked
before the database sees the value.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import strawberry

from graphql_api.postgres import tables
from graphql_api.relational.payloads import ErrorCode, UserError


@dataclass(frozen=True, slots=True)
class Limit:
    """A column of risk_settings, with its range. `scale` is how many fraction digits are kept."""

    column: str
    name: str
    maximum: Decimal
    scale: int

    def faults(self, value: Decimal | int) -> Iterator[UserError]:
        """What is wrong with a value; nothing, if it may be stored."""
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
    """What a numeric column holds at most: numeric(20,8) twelve nines, a point, eight nines."""
    type_: Any = tables.risk_settings.c[column].type
    return Decimal(10 ** (type_.precision - type_.scale)) - Decimal(1).scaleb(-type_.scale)


def _fraction_digits(value: Decimal) -> int:
    """How many digits after the point matter. By its text, since Decimal's own ways round long values."""
    return len(format(value, "f").partition(".")[2].rstrip("0"))


LIMITS = (
    Limit("max_daily_loss", "maxDailyLoss", _largest("max_daily_loss"), 8),
    Limit("max_position_size", "maxPositionSize", _largest("max_position_size"), 8),
    Limit("max_open_positions", "maxOpenPositions", Decimal(2**31 - 1), 0),
    Limit("risk_per_trade", "riskPerTrade", Decimal(1), 4),
)


def check_limits(values: Mapping[str, Any]) -> list[UserError]:
    """Everything that is wrong with new values by column; None is no limit, and always right."""
    return [
        fault
        for limit in LIMITS
        if values.get(limit.column) is not None
        for fault in limit.faults(values[limit.column])
    ]


@strawberry.input(description="All four limits: one that is null or left out becomes no limit.")
class SetRiskSettingsInput:
    """The whole of an account's limits."""

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


@strawberry.input(description="Some of the limits: null clears one, what is left out stays as it is.")
class UpdateRiskSettingsInput:
    """Changes to an account's limits."""

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


def whole(given: SetRiskSettingsInput) -> dict[str, Any]:
    """The new value of every limit."""
    return {limit.column: getattr(given, limit.column) for limit in LIMITS}


def changes(given: UpdateRiskSettingsInput) -> dict[str, Any]:
    """The new values of the limits that were given."""
    some = {limit.column: getattr(given, limit.column) for limit in LIMITS}
    return {column: maybe.value for column, maybe in some.items() if maybe is not None}
