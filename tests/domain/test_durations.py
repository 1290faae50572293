"""How long trades and sessions took: as ISO 8601, and in seconds."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from graphql import GraphQLObjectType, get_named_type

from graphql_api.schema import schema
from tests import factories
from tests.graph import Graph, operator

ENTRY = datetime(2026, 11, 20, 12, tzinfo=UTC)
DURATIONS = """{
  trades { nodes { duration durationSeconds } stats { averageDuration averageDurationSeconds } }
  sessions { nodes { duration durationSeconds } }
}"""


@pytest.mark.parametrize(
    ("length", "text", "seconds"),
    [
        (timedelta(hours=100), "PT100H", 360_000.0),
        (timedelta(hours=-1, minutes=-30), "-PT1H30M", -5400.0),
        (timedelta(milliseconds=500), "PT0.5S", 0.5),
        (timedelta(microseconds=-1), "-PT0.000001S", -0.000001),
        (timedelta(0), "PT0S", 0.0),
        (timedelta(days=30_000, microseconds=1), "PT720000H0.000001S", 2_592_000_000.000001),
    ],
)
async def test_a_duration_has_its_seconds_beside_it(
    graph: Graph, connection: "asyncpg.Connection", length: timedelta, text: str, seconds: float
) -> None:
    end = ENTRY + length
    account = await factories.account(connection, await factories.user(connection))
    session = await factories.session(connection, account, started_at=ENTRY, ended_at=end)
    await factories.trade(connection, session, status="closed", entry_time=ENTRY, exit_time=end, pnl=1)
    data = (await graph.as_(operator()).ask(DURATIONS)).data

    assert data["trades"]["nodes"] == [{"duration": text, "durationSeconds": seconds}]
    assert data["sessions"]["nodes"] == data["trades"]["nodes"]
    assert data["trades"]["stats"] == {"averageDuration": text, "averageDurationSeconds": seconds}


@pytest.mark.parametrize(
    ("entry", "exit_"),
    [
        ("-infinity", "2026-11-20"),
        ("0044-03-15 12:00 BC", "2026-11-20"),
        ("4714-11-24 00:00+00 BC", "294276-12-31 23:59:59.999999+00"),  # all of PostgreSQL's calendar
        ("294276-12-31 23:59:59.999999+00", "4714-11-24 00:00+00 BC"),
        ("9999-12-31 23:59:59.999999+00", "10000-01-01 00:00+00"),
        ("-infinity", "infinity"),
    ],
)
async def test_there_is_none_from_beyond_the_calendar(
    graph: Graph, connection: "asyncpg.Connection", entry: str, exit_: str
) -> None:
    account = await factories.account(connection, await factories.user(connection))
    session = await factories.session(connection, account)
    far = await factories.trade(connection, session, status="closed", pnl=1)
    hour = ENTRY + timedelta(hours=1)
    await factories.trade(connection, session, status="closed", pnl=1, entry_time=ENTRY, exit_time=hour)
    await _set_times(connection, entry, exit_, trade=far)
    data = (await graph.as_(operator()).ask(DURATIONS)).data

    none = {"duration": None, "durationSeconds": None}
    assert data["sessions"]["nodes"] == [none]
    assert [row for row in data["trades"]["nodes"] if row["duration"] != "PT1H"] == [none]
    assert data["trades"]["stats"] == {"averageDuration": "PT1H", "averageDurationSeconds": 3600.0}


async def test_the_longest_duration(graph: Graph, connection: "asyncpg.Connection") -> None:
    """From the first moment of the calendar to the last; an average of several is as long."""
    account = await factories.account(connection, await factories.user(connection))
    session = await factories.session(connection, account)
    for _ in range(3):
        trade = await factories.trade(connection, session, status="closed", pnl=1)
        await _set_times(connection, "0001-01-01 00:00+00", "9999-12-31 23:59:59.999999+00", trade=trade)
    data = (await graph.as_(operator()).ask(DURATIONS)).data

    text, seconds = "PT87649415H59M59.999999S", 315_537_897_599.999999
    assert data["sessions"]["nodes"] == [{"duration": text, "durationSeconds": seconds}]
    assert data["trades"]["nodes"] == data["sessions"]["nodes"] * 3
    assert data["trades"]["stats"] == {"averageDuration": text, "averageDurationSeconds": seconds}


def test_every_duration_of_the_schema_has_its_seconds_beside_it() -> None:
    names = [
        (type_.fields, name)
        for type_ in schema._schema.type_map.values()
        if isinstance(type_, GraphQLObjectType)
        for name, field in type_.fields.items()
        if str(get_named_type(field.type)) == "Duration"
    ]

    assert len(names) == 3
    for fields, name in names:
        assert str(fields[f"{name}Seconds"].type) == "Float"


async def _set_times(connection: "asyncpg.Connection", start: str, end: str, *, trade: str) -> None:
    """Sets the times of a trade and of all sessions. As text: asyncpg sends datetime.max as infinity."""
    times = "= $1::text::timestamptz, {} = $2::text::timestamptz"
    await connection.execute(
        f"UPDATE trades SET entry_time {times.format('exit_time')} WHERE id = $3::text::uuid",
        start,
        end,
        trade,
    )
    await connection.execute(f"UPDATE trading_sessions SET started_at {times.format('ended_at')}", start, end)
