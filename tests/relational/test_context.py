"""What an operation leaves behind when it is cancelled: nothing."""

import asyncio

import asyncpg

from graphql_api.postgres.address import Address
from tests import factories
from tests.graph import Graph, trader

WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


async def count_becomes(connection: "asyncpg.Connection", expected: int) -> None:
    while await connection.fetchval(WAITING) != expected:
        await asyncio.sleep(0.01)


async def test_a_cancelled_operation_cancels_its_statements(
    graph: Graph, connection: "asyncpg.Connection", address: Address
) -> None:
    viewer = trader(await factories.user(connection))
    locking = await address.connect_plain()
    async with locking.transaction():
        await locking.execute("LOCK TABLE trades, ai_strategies")
        query = "{ trades { totalCount nodes { id } } strategies { nodes { id } } }"
        asked = asyncio.ensure_future(graph.as_(viewer).ask(query))
        await count_becomes(connection, 2)
        asked.cancel()
        await count_becomes(connection, 0)
    await locking.close()

    assert asked.cancelled()
    assert (await graph.as_(viewer).ask(query)).data["trades"]["totalCount"] == 0
