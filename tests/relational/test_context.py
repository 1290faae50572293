"""How an operation loads rows, and that a cancelled one leaves no statement running."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from graphql_api.identity.viewer import ANONYMOUS
from graphql_api.postgres.address import Address
from graphql_api.relational.context import Context, ViewerDatabase
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


@pytest.mark.usefixtures("compiled")
async def test_a_chain_of_relations_is_loaded_in_the_operations_own_task(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    await factories.session(connection, await factories.account(connection, user))
    asking = graph.as_(trader(user)).ask(
        "{ viewer { user { accounts { nodes { sessions { nodes { id } } } } } } }"
    )
    loop, started = asyncio.get_running_loop(), list[asyncio.Task[Any]]()

    def make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
        task = asyncio.Task(coroutine, loop=loop, **options)
        started.append(task)
        return task

    await graph.services.database.ping()  # has a connection that is open already
    loop.set_task_factory(make_task)
    try:
        answer = await asking
    finally:
        loop.set_task_factory(None)

    assert answer.statements == 2  # the user with the accounts, and their sessions
    assert not started


async def test_a_cancelled_chain_cancels_its_statement(
    graph: Graph, connection: "asyncpg.Connection", address: Address
) -> None:
    viewer = trader(await factories.user(connection))
    locking = await address.connect_plain()
    async with locking.transaction():
        await locking.execute("LOCK TABLE ai_strategies")
        asked = asyncio.ensure_future(graph.as_(viewer).ask("{ strategies { nodes { id } } }"))
        await count_becomes(connection, 1)
        asked.cancel()
        await count_becomes(connection, 0)
    await locking.close()

    assert asked.cancelled()


async def test_a_failed_batch_fails_each_key_and_is_loaded_again(graph: Graph) -> None:
    tries = []

    async def batch(_db: ViewerDatabase, keys: Sequence[str], _page: None) -> dict[str, str]:
        tries.append(list(keys))
        if len(tries) == 1:
            raise ValueError("not now")
        return {key: key.upper() for key in keys}

    loader = Context(ANONYMOUS, graph.services).loaders.get(batch)
    failed = await asyncio.gather(*loader.load_each(["a", "b"]), loader.load("a"), return_exceptions=True)
    assert [str(error) for error in failed] == ["not now"] * 3
    assert await asyncio.gather(*loader.load_each(["b", "a"]), loader.load("c")) == ["B", "A", "C"]
    assert tries == [["a", "b"], ["b", "a", "c"]]


async def test_a_cancelled_operation_begins_no_load_that_waits(graph: Graph) -> None:
    context = Context(ANONYMOUS, graph.services)
    loaded: list[Sequence[Any]] = []

    async def load(_: ViewerDatabase, keys: Sequence[Any], __: Any) -> dict[Any, Any]:
        loaded.append(keys)
        return {}

    waiting = [context.loaders.get(load, page).load("key") for page in range(3)]
    await asyncio.sleep(0)  # the first begins
    context.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(loaded) <= 1
    assert not any(future.done() for future in waiting[1:])
