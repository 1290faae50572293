"""Exact arithmetic in SQL: nothing is rounded but a quotient, and that once."""

from typing import Any

from sqlalchemy import ColumnElement, Numeric, cast, func, literal_column

SCALE = 8
"""Digits after the point of every quotient, as many as the money columns have."""

ZERO: ColumnElement[Any] = literal_column("0.00000000", Numeric)


def or_zero(sums: ColumnElement[Any]) -> ColumnElement[Any]:
    """An aggregate that adds up; zero instead of null where there was nothing to add."""
    return func.coalesce(sums, ZERO)


def quotient(
    dividend: ColumnElement[Any], divisor: ColumnElement[Any], scale: int = SCALE
) -> ColumnElement[Any]:
    """`dividend / divisor`, a half rounded away from zero; null where the divisor is 0.

    PostgreSQL's own `/` has rounded already when `round()` sees its result, so this divides whole numbers
    and keeps the quotient that `div` cuts. The divisor must not be negative.
    """
    unit: ColumnElement[Any] = literal_column(str(10**scale))
    numerator = cast(dividend, Numeric)
    divisor = func.nullif(divisor, literal_column("0"))
    twice = func.abs(numerator) * unit * literal_column("2") + divisor
    whole = func.div(twice, divisor * literal_column("2"), type_=Numeric)
    return func.sign(numerator) * whole * literal_column(f"1e-{scale}")
