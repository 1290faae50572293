"""A filter means the same in PostgreSQL and in memory."""

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from graphql_api.log_feed import InvalidFilterError, LogFilter
from graphql_api.postgres.address import Address
from graphql_api.postgres.statement import compile_statement
from graphql_api.postgres.tables import system_logs
from graphql_api.postgres.type_codecs import set_text_codecs

WORDS = ("debug", "INFO", "Warn", "warning", "error", "FATAL", "critical", "trace", "")
ODD = (
    "%",
    "_",
    "\\",
    "\\%",
    "a%b",
    "\u0130nfo",
    "\u0131nfo",
    "\u017f",
    "\u212a",
    "Straße",
    "STRASSE",
    "é",
    "e\u0301",
    "🙂",
    "\n",
)
INSTANTS = (
    None,
    "-infinity",
    "infinity",
    "0044-03-15 12:00:00+00 BC",
    "0001-01-01 00:00:00+00",
    "2026-11-22 08:59:59.999999+00",
    "2026-11-22 09:00:00+00",
    "2026-11-22 10:00:00+01",
    "9999-12-31 23:59:59.999999+00",
)
BOUNDS = (
    "0001-01-01T00:00:00.000000Z",
    "2026-11-22T09:00:00.000000Z",
    "2026-11-22T09:00:00.000001Z",
    "9999-12-31T23:59:59.999999Z",
)
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OTHER")

characters = st.characters(codec="utf-8", exclude_characters="\0")
odd = st.lists(st.one_of(st.sampled_from(ODD), st.text(characters, max_size=3)), max_size=3).map("".join)
spaces = st.sampled_from(("", " ", "  ", "\t", "\u00a0"))
levels = st.builds(lambda *parts: "".join(parts)[:20], spaces, st.one_of(st.sampled_from(WORDS), odd), spaces)
components = st.one_of(st.sampled_from(("api", "API", "api ", "")), odd.map(lambda text: text[:50]))
rows = st.lists(st.tuples(st.sampled_from(INSTANTS), levels, components, odd), min_size=1, max_size=30)
filters = st.builds(
    LogFilter,
    levels=st.none() | st.frozensets(st.sampled_from(LEVELS)),
    minimum_level=st.none() | st.sampled_from(LEVELS),
    components=st.none() | st.frozensets(components, max_size=3),
    search=st.none() | odd,
    since=st.none() | st.sampled_from(BOUNDS),
    until=st.none() | st.sampled_from(BOUNDS),
    dated=st.none() | st.booleans(),
)


async def both(
    address: Address, lines: list[tuple[str | None, str, str, str]], wanted: LogFilter
) -> tuple[set[str], set[str]]:
    """The ids that PostgreSQL finds, and those that memory finds."""
    connection = await address.connect_plain()
    await set_text_codecs(connection)
    try:
        insert = "INSERT INTO system_logs (timestamp, level, component, message) VALUES ($1, $2, $3, $4)"
        await connection.executemany(insert, lines)
        everything = await connection.fetch("SELECT * FROM system_logs")
        statement = compile_statement(select(system_logs.c.id).where(wanted.where(system_logs)))
        found = await connection.fetch(statement.sql, *statement.arguments(wanted.values()))
        await connection.execute("TRUNCATE system_logs")
    finally:
        await connection.close()
    return {row["id"] for row in found}, {row["id"] for row in everything if wanted.matches(row)}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=rows, wanted=filters)
@example(lines=[(None, "\u0130NFO", "x", "x")], wanted=LogFilter(levels=frozenset({"INFO"})))
@example(lines=[(None, "info", "x", "100% sure")], wanted=LogFilter(search="0% S"))
@example(lines=[(None, "info", "x", "back\\slash")], wanted=LogFilter(search="\\"))
@example(lines=[(None, "info", "x", "\u212aelvin")], wanted=LogFilter(search="k"))
@example(lines=[("-infinity", "info", "x", "x")], wanted=LogFilter(since=BOUNDS[0]))
@example(lines=[("0044-03-15 12:00:00+00 BC", "info", "x", "x")], wanted=LogFilter(until=BOUNDS[0]))
async def test_postgresql_and_memory_agree(
    address: Address, lines: list[tuple[str | None, str, str, str]], wanted: LogFilter
) -> None:
    in_sql, in_memory = await both(address, lines, wanted)
    assert in_sql == in_memory


def row(**columns: Any) -> dict[str, Any]:
    usual = {"timestamp": None, "level": "info", "component": "api", "message": "m"}
    return {**usual, **columns}


@pytest.mark.parametrize("level", ["warn", "WARNING", " Warning "])
def test_every_spelling_of_a_level_is_its_word(level: str) -> None:
    assert LogFilter(levels=frozenset({"WARNING"})).matches(row(level=level))


def test_a_minimum_level_takes_what_is_at_least_as_serious() -> None:
    wanted = LogFilter(minimum_level="WARNING")
    assert [wanted.matches(row(level=level)) for level in ("info", "warn", "fatal")] == [False, True, True]


def test_an_unknown_level_is_the_least_serious() -> None:
    assert not LogFilter(minimum_level="DEBUG").matches(row(level="chatty"))
    assert LogFilter(minimum_level="OTHER").matches(row(level="chatty"))


def test_levels_and_a_minimum_hold_together() -> None:
    wanted = LogFilter(levels=frozenset({"INFO", "ERROR"}), minimum_level="WARNING")
    assert [wanted.matches(row(level=level)) for level in ("info", "error", "fatal")] == [False, True, False]


def test_an_empty_list_matches_nothing() -> None:
    assert not LogFilter(levels=frozenset()).matches(row())
    assert not LogFilter(components=frozenset()).matches(row())


def test_a_row_without_a_timestamp_is_in_no_range() -> None:
    assert not LogFilter(since="2026-11-22T09:00:00.000000Z").matches(row())
    assert not LogFilter(until="2026-11-22T09:00:00.000000Z").matches(row())


def test_a_range_holds_its_beginning_and_not_its_end() -> None:
    nine = "2026-11-22T09:00:00.000000Z"
    assert LogFilter(since=nine).matches(row(timestamp=nine))
    assert not LogFilter(until=nine).matches(row(timestamp=nine))


@pytest.mark.parametrize(
    ("wanted", "rule"),
    [
        ({"search": "a\0b"}, "search: .* NUL"),
        ({"components": frozenset({"\0"})}, "components: .* NUL"),
        ({"search": "\ud800"}, "search: not valid Unicode"),
        ({"levels": frozenset({"LOUD"})}, "levels: 'LOUD' is none of"),
        ({"minimum_level": "LOUD"}, "minimum_level: 'LOUD' is none of"),
        ({"since": "2026-11-22"}, "since: expected an instant"),
        ({"until": "2026-13-22T09:00:00.000000Z"}, "until: expected an instant"),
    ],
)
def test_what_postgresql_could_not_compare_is_refused(wanted: dict[str, Any], rule: str) -> None:
    with pytest.raises(InvalidFilterError, match=rule):
        LogFilter(**wanted)


def test_filters_of_one_shape_share_a_statement() -> None:
    one, two = (LogFilter(search=search, minimum_level="ERROR") for search in ("a", "b"))
    assert one.shape == two.shape
    assert one.shape != LogFilter(search="a").shape
