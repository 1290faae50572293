"""The service where `trades` and `system_logs` are partitioned by time."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from graphql_api.execution.operations import GraphQLRequest
from graphql_api.postgres.address import Address
from graphql_api.postgres.documented_schema import find_differences
from graphql_api.postgres.migrate import migrate, plan
from graphql_api.relational.context import Context
from tests import factories
from tests.activity.client import until_up_to_date
from tests.factories import NOW
from tests.graph import Graph, opened, operator, settings_for, trader
from tests.postgres.partitioned import make_partitioned

PAGES = """
query ($account: ID!, $after: String) {
  activityCursor
  account(id: $account) {
    trades(first: 3, after: $after) { totalCount nodes { id entryTime } pageInfo { hasNextPage endCursor } }
    stats { tradesCount netPnl }
  }
}
"""
FOLLOW = """
subscription ($after: String) { systemLogAdded(after: $after, backfill: 100) { cursor log { message } } }
"""
# Further apart than the bounds of partitions.
DAYS = (-40, -3, 0, 30)


@pytest.fixture
async def connection(empty: Address, empty_connection: "asyncpg.Connection") -> "asyncpg.Connection":
    """To a database with partitions, migrated."""
    await make_partitioned(empty_connection)
    await migrate(empty)
    return empty_connection


@pytest.fixture
async def graph(empty: Address, connection: "asyncpg.Connection", tmp_path: Path) -> AsyncIterator[Graph]:
    async with opened(settings_for(empty, tmp_path)) as graph:
        yield graph


async def test_migrate_leaves_nothing_to_do(empty: Address, connection: "asyncpg.Connection") -> None:
    assert await plan(empty) == []
    assert await find_differences(connection) == []
    indexes = await connection.fetch(
        "SELECT indisvalid FROM pg_index WHERE indexrelid::regclass::text LIKE 'idx_trades_page%'"
    )
    assert [row["indisvalid"] for row in indexes] == [True] * 4


async def test_pages_and_statistics_go_over_all_partitions(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    session = await factories.session(connection, account)
    trades = [
        await factories.trade(
            connection,
            session,
            entry_time=NOW + timedelta(days=day),
            exit_time=NOW + timedelta(days=day, hours=1),
            status="closed",
            pnl=1,
        )
        for day in DAYS
    ]
    graph = graph.as_(trader(user))
    first = (await graph.ask(PAGES, {"account": account})).data["account"]
    after = first["trades"]["pageInfo"]["endCursor"]
    rest = (await graph.ask(PAGES, {"account": account, "after": after})).data["account"]

    found = [row["id"] for row in first["trades"]["nodes"] + rest["trades"]["nodes"]]
    assert found == trades[::-1]
    assert first["trades"]["totalCount"] == len(DAYS)
    assert first["stats"] == {"tradesCount": len(DAYS), "netPnl": "4.00000000"}


async def test_activity_follows_trades_into_every_partition(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    session = await factories.session(connection, account)
    graph = graph.as_(trader(user))

    async def seen(after: str) -> tuple[list[tuple[str, str]], str]:
        events = await until_up_to_date(graph, after=after)
        return [(each["change"], each["rowId"]) for each in events[:-1]], events[-1]["cursor"]

    cursor = (await graph.ask(PAGES, {"account": account})).data["activityCursor"]
    trades = [
        await factories.trade(connection, session, entry_time=NOW + timedelta(days=day)) for day in DAYS
    ]
    added, cursor = await seen(cursor)
    assert added == [("ADDED", trade) for trade in trades]

    # Into another partition, which PostgreSQL does by a DELETE and an INSERT.
    await connection.execute("UPDATE trades SET entry_time = $1 WHERE id = $2", NOW, trades[0])
    moved, cursor = await seen(cursor)
    assert moved == [("CHANGED", trades[0])]

    await connection.execute("DELETE FROM trades WHERE id = ANY ($1)", trades[:2])
    removed, _ = await seen(cursor)
    assert sorted(removed) == sorted(("REMOVED", trade) for trade in trades[:2])


async def test_the_log_is_followed_over_partitions(graph: Graph, connection: "asyncpg.Connection") -> None:
    graph = graph.as_(operator())
    for day in DAYS:
        await factories.system_log(connection, timestamp=NOW + timedelta(days=day), message=f"day {day}")

    async def messages(after: str | None, count: int) -> tuple[list[str], str]:
        operation = graph.operations.prepare(GraphQLRequest(FOLLOW, None, {"after": after}))
        results = graph.subscriptions.subscribe(
            operation, lambda: Context(graph.viewer, graph.services), lambda: graph.viewer.read_access
        )
        found: list[Any] = []
        async with aclosing(results):
            async for each in results:
                found += [orjson.loads(result.render())["data"]["systemLogAdded"] for result in each]
                if len(found) >= count:
                    break
        return [event["log"]["message"] for event in found], found[-1]["cursor"]

    before, cursor = await messages(None, len(DAYS))
    assert sorted(before) == sorted(f"day {day}" for day in DAYS)

    await connection.execute("DROP TABLE system_logs_before_2026_11_20")  # as old ones are
    for day in (1, 30):
        await factories.system_log(connection, timestamp=NOW + timedelta(days=day), message=f"later {day}")
    after, _ = await messages(cursor, 2)
    assert after == ["later 1", "later 30"]


async def test_partitions_of_partitions_in_another_schema_with_long_names(empty: Address) -> None:
    connection = await empty.connect_plain()
    try:
        await make_partitioned(connection)
        await connection.execute("""
            CREATE SCHEMA parts;
            DROP TABLE trades_until_2026_12;
            CREATE TABLE parts.trades_of_the_month_that_is_the_last_one_of_2026 PARTITION OF trades
                FOR VALUES FROM ('2026-11-15') TO ('2026-12-01') PARTITION BY HASH (id);
            CREATE TABLE parts.trades_of_the_month_that_is_the_last_one_of_2026_first
                PARTITION OF parts.trades_of_the_month_that_is_the_last_one_of_2026
                FOR VALUES WITH (MODULUS 2, REMAINDER 0);
            CREATE TABLE parts.trades_of_the_month_that_is_the_last_one_of_2026_second
                PARTITION OF parts.trades_of_the_month_that_is_the_last_one_of_2026
                FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        """)
        await migrate(empty)
        assert await plan(empty) == []
    finally:
        await connection.close()


async def test_what_replication_deletes_from_a_partition_of_another_schema_has_left_its_account(
    connection: "asyncpg.Connection",
) -> None:
    account = await factories.account(connection, await factories.user(connection))
    trade = await factories.trade(connection, await factories.session(connection, account))
    await connection.execute("CREATE SCHEMA parts; ALTER TABLE trades_until_2026_12 SET SCHEMA parts")
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica; DELETE FROM trades")
    entries = await connection.fetch(
        "SELECT account_id::text FROM activity.entries WHERE id = $1 AND change = 'REMOVED'", trade
    )
    assert [row["account_id"] for row in entries] == [account]
