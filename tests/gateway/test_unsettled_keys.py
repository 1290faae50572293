"""Idempotency keys whose database goes away before they are settled."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass

import asyncpg
import pytest
from sqlalchemy import text

from graphql_api.execution.operations import GraphQLRequest, Operations, Result
from graphql_api.gateway.deadline import BackgroundTasks
from graphql_api.gateway.errors import HTTPError, mask, masked_result
from graphql_api.gateway.idempotency import Idempotency, IdempotencyKeys, KeyTakenError
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.errors import DatabaseUnavailableError
from graphql_api.postgres.statement import compile_statement
from tests.graph import trader
from tests.postgres.proxy import Proxy, proxy_to
from tests.transport.app import schema

ADD = compile_statement(text("INSERT INTO users (email, password_hash) VALUES ('changed', 'x')"))
OPERATION = Operations(schema, mask=mask).prepare(
    GraphQLRequest("mutation { write }", extensions={"idempotencyKey": "key"})
)
AWAY = "the database can't be reached at the moment: try again"
VIEWER = trader("0f0e7f9c-5d2c-4c53-9d5c-0f5f3c0c9d11")


@dataclass
class Desk:
    """Changes under a key, over a database that a test may take away."""

    proxy: Proxy
    database: Database
    connection: "asyncpg.Connection"
    background: BackgroundTasks
    idempotency: Idempotency
    made: int = 0

    async def send(self, run: Callable[[], Awaitable[None]]) -> Result:
        """Sends a change, which `run` makes."""

        async def answer() -> Result:
            try:
                await run()
            except (DatabaseUnavailableError, KeyTakenError) as error:
                return masked_result(error)
            return Result(data={"write": self.made})

        return await self.idempotency.once(OPERATION, VIEWER, answer, 15.0)

    async def change(self) -> None:
        await self.database.run(lambda transaction: transaction.fetch(ADD))
        self.made += 1

    async def change_and_lose_the_database(self) -> None:
        await self.change()
        self.proxy.cut()

    async def come_back(self) -> None:
        """Makes the database available again, and waits until all keys are settled."""
        self.proxy.away = False
        await self.background.finish(60)

    async def refusal(self) -> object:
        """The code that sending it again is refused with."""
        with pytest.raises(HTTPError) as refused:
            await self.send(self.change)
        (error,) = refused.value.result.errors
        return (error.extensions or {})["code"]

    async def changes(self) -> int:
        return int(await self.connection.fetchval("SELECT count(*) FROM users"))


@pytest.fixture
async def desk(address: Address, connection: "asyncpg.Connection") -> AsyncIterator[Desk]:
    async with proxy_to(address) as proxy:
        database = Database(Address.parse(proxy.url(address, "?sslmode=disable")))
        background = BackgroundTasks()
        keys = IdempotencyKeys(database, lifetime=3600, lease=3600)
        yield Desk(proxy, database, connection, background, Idempotency(keys, (), background.start))
        proxy.cut()
        await background.finish(0)
        await database.close()


async def test_an_answer_doesnt_wait_for_the_database_and_is_stored_when_it_is_back(desk: Desk) -> None:
    first = await desk.send(desk.change_and_lose_the_database)
    assert first.data == {"write": 1}
    await desk.come_back()
    assert (await desk.send(desk.change)).render() == first.render()
    assert await desk.changes() == 1


async def test_an_answer_that_was_not_stored_is_lost_at_once(desk: Desk) -> None:
    await desk.send(desk.change_and_lose_the_database)
    assert await desk.refusal() == "SERVICE_UNAVAILABLE"
    await desk.background.finish(0)  # as if the process ended
    desk.proxy.away = False
    assert await desk.refusal() == "IDEMPOTENCY_ANSWER_LOST"
    assert await desk.changes() == 1


async def test_a_change_that_was_made_though_it_seemed_to_fail_is_not_made_again(desk: Desk) -> None:
    async def run() -> None:
        await desk.change_and_lose_the_database()
        await desk.change()

    assert [error.message for error in (await desk.send(run)).errors] == [AWAY]
    await desk.come_back()
    assert await desk.refusal() == "IDEMPOTENCY_ANSWER_LOST"
    assert await desk.changes() == 1


async def test_while_another_makes_the_change_the_key_is_in_use(desk: Desk) -> None:
    async def run() -> None:
        async with desk.database.transaction() as transaction:
            second = asyncio.create_task(desk.refusal(), context=Context())
            assert await second == "IDEMPOTENCY_KEY_IN_USE"
            await transaction.fetch(ADD)

    await desk.send(run)
    assert await desk.changes() == 1


async def test_whoever_was_refused_gets_the_answer_if_it_is_there_by_then(desk: Desk) -> None:
    first: list[Result] = []

    async def run() -> None:
        first.append(await asyncio.create_task(desk.send(desk.change), context=Context()))
        await desk.change()

    assert (await desk.send(run)).render() == first[0].render()
    assert await desk.changes() == 1


async def test_a_change_that_was_not_made_is_made_when_it_is_sent_again(desk: Desk) -> None:
    async def run() -> None:
        desk.proxy.cut()
        await desk.change()

    assert [error.message for error in (await desk.send(run)).errors] == [AWAY]
    await desk.come_back()
    assert (await desk.send(desk.change)).data == {"write": 1}
    assert await desk.changes() == 1
