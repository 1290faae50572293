"""Scalars: exact in, exact out, and clear about what they refuse."""

import re
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
import orjson
import pytest
from graphql import GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType, get_named_type
from hypothesis import given
from hypothesis import strategies as st

from graphql_api.execution.inputs import ExactFloat
from graphql_api.relational.scalars import (
    UnreadableDecimal,
    parse_datetime,
    parse_decimal,
    serialize_datetime,
    serialize_decimal,
    serialize_duration,
    serialize_json,
)
from graphql_api.schema import schema
from tests import factories
from tests.graph import Graph, trader

# How the standard libraries of these languages print small and large decimals.
PRINTED_DECIMALS = {
    "Python, str of a Decimal": "1E-8",
    "Python, a large one": "1E+3",
    "JavaScript, String of a number": "1e-7",
    "JavaScript, a large one": "1e+21",
    "Java, BigDecimal.toString": "1.23E-10",
    "Java, Double.toString": "1.0E-5",
    "C#, double.ToString": "1E-05",
    "Go, FormatFloat": "1e-07",
    "Swift, description": "1e-08",
    "Ruby, BigDecimal.to_s": "0.1e-7",
    "Kotlin": "-1.5E-7",
}


@pytest.mark.parametrize("text", ["0", "-1.50", "+2", ".5", "5.", "00012.00", "9" * 60, "1e99", "1e-100"])
def test_a_decimal_is_exact(text: str) -> None:
    assert parse_decimal(text) == Decimal(text)


@pytest.mark.parametrize("text", PRINTED_DECIMALS.values(), ids=PRINTED_DECIMALS)
def test_a_decimal_is_read_as_languages_print_it(text: str) -> None:
    assert parse_decimal(text) == Decimal(text)
    assert parse_decimal(ExactFloat(text)) == Decimal(text)


def test_a_json_number_is_read_by_its_text() -> None:
    assert parse_decimal(ExactFloat("0.10000000000000000001")) == Decimal("0.10000000000000000001")
    assert parse_decimal(10**30) == Decimal(10**30)


@pytest.mark.parametrize(
    "text",
    [
        "1_000",
        "٣",
        " 1",
        "1 ",
        "",
        ".",
        "0x1",
        "nan",
        "1e",
        "1e5.0",
        "1,5",
        "1e100",
        "1e-101",
        "1e9999",
        "1" * 101,
    ],
)
def test_a_text_that_is_no_decimal_is_marked(text: str) -> None:
    value = parse_decimal(text)
    assert isinstance(value, UnreadableDecimal)
    assert not value.is_finite()


@pytest.mark.parametrize("value", [1.5, True, None, [], {}])
def test_anything_else_is_no_decimal(value: object) -> None:
    with pytest.raises(ValueError, match="Decimal must be a number, or a string"):
        parse_decimal(value)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8))
def test_a_decimal_comes_back_as_it_went(value: Decimal) -> None:
    assert parse_decimal(serialize_decimal(value)) == value


def test_a_zero_has_no_exponent() -> None:
    assert serialize_decimal(Decimal("0E-8")) == "0.00000000"


# The same moment, half a second past ten in Berlin, as the standard libraries of today print it.
PRINTED = {
    "JavaScript, toISOString": "2026-11-22T09:00:00.500Z",
    "JavaScript, Temporal.Instant": "2026-11-22T09:00:00.5Z",
    "Python, isoformat": "2026-11-22T09:00:00.500000+00:00",
    "Python, str": "2026-11-22 09:00:00.500000+00:00",
    "Go, RFC3339Nano": "2026-11-22T10:00:00.5+01:00",
    "Go, nine digits": "2026-11-22T09:00:00.500000000Z",
    ".NET, o of a DateTime": "2026-11-22T09:00:00.5000000Z",
    ".NET, o of a DateTimeOffset": "2026-11-22T10:00:00.5000000+01:00",
    "Java, Instant": "2026-11-22T09:00:00.500Z",
    "Java, OffsetDateTime with nanoseconds": "2026-11-22T10:00:00.500000000+01:00",
    "Rust, chrono to_rfc3339": "2026-11-22T09:00:00.500+00:00",
    "Rust, time Rfc3339": "2026-11-22T09:00:00.5Z",
    "Ruby, iso8601(9)": "2026-11-22T10:00:00.500000000+01:00",
    "PHP, RFC3339_EXTENDED": "2026-11-22T10:00:00.500+01:00",
    "Elixir, DateTime": "2026-11-22T09:00:00.500000Z",
    "C++, format of nanoseconds": "2026-11-22T09:00:00.500000000Z",
    "Haskell, picoseconds": "2026-11-22T09:00:00.500000000000Z",
    "GNU date, --rfc-3339=ns": "2026-11-22 10:00:00.500000000+01:00",
    "PostgreSQL, to_json": "2026-11-22T09:00:00.5+00:00",
    "small letters": "2026-11-22t09:00:00.5z",
    "an offset of half an hour": "2026-11-22T14:30:00.5+05:30",
    "an unknown offset": "2026-11-22T09:00:00.5-00:00",
}


@pytest.mark.parametrize("text", PRINTED.values(), ids=PRINTED)
def test_a_datetime_is_read_as_every_language_prints_it(text: str) -> None:
    assert parse_datetime(text) == datetime(2026, 11, 22, 9, 0, 0, 500_000, tzinfo=UTC)


def test_seconds_may_be_left_out() -> None:
    """Java's OffsetDateTime does, where they are zero."""
    assert parse_datetime("2026-11-22T09:00Z") == datetime(2026, 11, 22, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("digits", "microsecond"),
    [("1234560000", 123456), ("1234561", 123457), ("123456" + "0" * 500 + "1", 123457), ("0000000", 0)],
)
def test_what_a_microsecond_cannot_hold_rounds_up(digits: str, microsecond: int) -> None:
    assert parse_datetime(f"2026-11-22T09:00:00.{digits}Z").microsecond == microsecond


def test_rounding_up_carries() -> None:
    assert parse_datetime("2026-12-31T23:59:59.9999999Z") == datetime(2027, 1, 1, tzinfo=UTC)


def test_the_calendar_ends_with_its_last_microsecond() -> None:
    """.NET prints its greatest moment so, which many give for no end at all."""
    assert parse_datetime("9999-12-31T23:59:59.9999999Z") == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60.25Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("1990-12-31T15:59:60-08:00", datetime(1991, 1, 1, tzinfo=UTC)),
        ("1972-06-30t23:59:60z", datetime(1972, 7, 1, tzinfo=UTC)),
    ],
)
def test_a_leap_second_is_the_moment_that_it_ends_at(text: str, moment: datetime) -> None:
    assert parse_datetime(text) == moment


RFC_3339 = "must be RFC 3339 with an offset"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        *((text, RFC_3339) for text in ("2026", "2026-11-22", "2026-11-22T09:00:00", "", 5, 1.5, True)),
        ("2026-11-22T09:00:00.Z", RFC_3339),
        ("2026-11-22T09:00:00,5Z", RFC_3339),
        ("2026-11-22T09:00:00+01", RFC_3339),
        ("2026-11-22T09:00:00+24:00", RFC_3339),
        ("2026-11-22T09:00:00+01:60", RFC_3339),
        ("2026-11-22T09:00:00+01:00[Europe/Berlin]", RFC_3339),
        ("٢٠٢٦-11-22T09:00:00Z", RFC_3339),
        ("2026-13-01T00:00:00Z", "a date and a time of day that exist"),
        ("2026-02-29T00:00:00Z", "a date and a time of day that exist"),
        ("2026-11-22T24:00:00Z", "a date and a time of day that exist"),
        ("2026-11-22T09:00:61Z", "a date and a time of day that exist"),
        ("0000-01-01T00:00:00Z", "a date and a time of day that exist"),
        ("2026-11-22T23:59:60Z", "a second 60 only at the end of a month"),
        ("2026-11-30T12:00:60Z", "a second 60 only at the end of a month"),
        ("0001-01-01T00:00:00+14:00", "in the years 1 to 9999"),
        ("9999-12-31T23:59:59-01:00", "in the years 1 to 9999"),
    ],
)
def test_any_other_datetime_is_refused_with_the_rule_it_breaks(text: object, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^DateTime .*{re.escape(rule)}"):
        parse_datetime(text)


def test_every_datetime_that_clients_give_is_a_bound_that_is_its_ranges_first_or_ends_before() -> None:
    """What rounding up needs: with any other comparison it would take rows in, or leave some out."""
    type_map = schema._schema.type_map.values()
    fields = [
        (name, field.type)
        for type_ in type_map
        if isinstance(type_, GraphQLInputObjectType)
        for name, field in type_.fields.items()
    ]
    arguments = [
        (name, argument.type)
        for type_ in type_map
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)
        for field in type_.fields.values()
        for name, argument in field.args.items()
    ]
    moments = {name for name, type_ in fields + arguments if get_named_type(type_).name == "DateTime"}
    assert moments == {"gte", "lt", "from", "to"}


async def test_a_bound_finer_than_a_microsecond_divides_rows_exactly(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    stored = [datetime(2026, 11, 22, 9, 0, 0, microsecond, tzinfo=UTC) for microsecond in (3, 4, 5)]
    for moment in stored:
        await factories.trade(connection, session, entry_time=moment)
    query = """query ($bound: DateTime) {
      before: trades(filter: {entryTime: {lt: $bound}}) { totalCount }
      after: trades(filter: {entryTime: {gte: $bound}}) { totalCount }
    }"""
    for nanoseconds in (3_999, 4_000, 4_001, 4_500, 4_999, 5_000, 5_001):
        bound = f"2026-11-22T09:00:00.{nanoseconds:09}Z"
        answer = (await graph.as_(trader(user)).ask(query, {"bound": bound})).data
        before = sum(moment.microsecond * 1000 < nanoseconds for moment in stored)
        assert (answer["before"]["totalCount"], answer["after"]["totalCount"]) == (before, 3 - before), bound


async def test_postgresql_reads_a_leap_second_as_the_moment_that_it_ends_at(
    connection: "asyncpg.Connection",
) -> None:
    text = "2016-12-31 23:59:60+00"
    assert await connection.fetchval("SELECT $1::text::timestamptz", text) == parse_datetime(text + ":00")


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
