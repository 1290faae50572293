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


@pytest.mark.parametrize("entry", ["-infinity", "0044-03-15 12:00 BC"])
async def test_there_is_none_from_beyond_the_calendar(
    graph: Graph, connection: "asyncpg.Connection", entry: str
) -> None:
    account = await factories.account(connection, await factories.user(connection))
    session = await factories.session(connection, account, ended_at=ENTRY)
    await factories.trade(connection, session, exit_time=ENTRY)
    await connection.execute("UPDATE trades SET entry_time = $1::text::timestamptz", entry)
    await connection.execute("UPDATE trading_sessions SET started_at = $1::text::timestamptz", entry)
    data = (await graph.as_(operator()).ask(DURATIONS)).data

    assert data["trades"]["nodes"] == [{"duration": None, "durationSeconds": None}]
    assert data["sessions"]["nodes"] == data["trades"]["nodes"]


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
