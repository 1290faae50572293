"""Scalars: exact in, exact out, and clear about what they refuse."""

from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphql_api.relational.scalars import (
    parse_datetime,
    parse_decimal,
    serialize_datetime,
    serialize_decimal,
    serialize_duration,
    serialize_json,
)


@pytest.mark.parametrize("text", ["0", "-1.50", "+2", ".5", "5.", "00012.00", "9" * 60])
def test_a_decimal_in_plain_notation_is_exact(text: str) -> None:
    assert parse_decimal(text) == Decimal(text)


@pytest.mark.parametrize("value", ["1_000", "٣", "1e5", " 1", "1 ", "", ".", "0x1", "nan", 1.5, True, None])
def test_anything_else_is_no_decimal(value: object) -> None:
    with pytest.raises(ValueError, match="Decimal must be a string in plain notation"):
        parse_decimal(value)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8))
def test_a_decimal_comes_back_as_it_went(value: Decimal) -> None:
    assert parse_decimal(serialize_decimal(value)) == value


def test_a_zero_has_no_exponent() -> None:
    assert serialize_decimal(Decimal("0E-8")) == "0.00000000"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T09:00:00Z", datetime(2026, 11, 22, 9, tzinfo=UTC)),
        ("2026-11-22t10:00:00.5+01:00", datetime(2026, 11, 22, 9, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-22 09:00Z", datetime(2026, 11, 22, 9, tzinfo=UTC)),
    ],
)
def test_a_datetime_with_an_offset_is_read_in_utc(text: str, moment: datetime) -> None:
    assert parse_datetime(text) == moment


@pytest.mark.parametrize(
    "text",
    ["2026", "2026-11-22", "2026-11-22T09:00:00", "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+14:00", 5],
)
def test_a_datetime_without_an_offset_or_a_day_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="DateTime must be"):
        parse_datetime(text)


def test_a_datetime_always_has_microseconds() -> None:
    assert serialize_datetime(datetime(2026, 11, 22, 9, tzinfo=UTC)) == "2026-11-22T09:00:00.000000Z"


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "PT0S"),
        (1, "PT0.000001S"),
        (90_500_000, "PT1M30.5S"),
        (172_800_000_000, "PT48H"),
        (-60_000_000, "-PT1M"),
    ],
)
def test_a_duration_is_iso_8601(microseconds: int, text: str) -> None:
    assert serialize_duration(microseconds) == text


def test_json_text_passes_with_every_digit() -> None:
    text = '{"a": 0.10000000000000000000001, "b": 123456789012345678901234567890}'
    assert orjson.dumps(serialize_json(text)) == text.encode()
