"""Exact decimal arithmetic in SQL: only quotients are rounded, and each once."""

from typing import Any

from sqlalchemy import ColumnElement, Numeric, cast, func, literal_column

SCALE = 8
"""Digits after the point of every quotient, as many as the money columns have."""

ZERO: ColumnElement[Any] = literal_column("0.00000000", Numeric)


def or_zero(sums: ColumnElement[Any]) -> ColumnElement[Any]:
    """Returns a sum, or zero where there is nothing to add and PostgreSQL's sum is null."""
    return func.coalesce(sums, ZERO)


def quotient(
    dividend: ColumnElement[Any], divisor: ColumnElement[Any], scale: int = SCALE
) -> ColumnElement[Any]:
    """Returns `dividend / divisor` with `scale` digits, halves rounded away from zero; null for divisor 0.

    PostgreSQL's `/` rounds its result before `round()` could, so this divides whole numbers by `div`, which
    truncates. The divisor must not be negative.
    """
    unit: ColumnElement[Any] = literal_column(str(10**scale))
    numerator = cast(dividend, Numeric)
    divisor = func.nullif(divisor, literal_column("0"))
    twice = func.abs(numerator) * unit * literal_column("2") + divisor
    whole = func.div(twice, divisor * literal_column("2"), type_=Numeric)
    return func.sign(numerator) * whole * literal_column(f"1e-{scale}")
