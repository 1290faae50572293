"""Transactions whose BEGIN, COMMIT or ROLLBACK gets no answer in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest
from sqlalchemy import text

from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.errors import ConnectionLostError
from graphql_api.postgres.statement import compile_statement
from tests.postgres.proxy import Proxy, Silence, proxy_to

ADD = compile_statement(text("INSERT INTO users (email, password_hash) VALUES (:email, 'x')"))
PID = compile_statement(text("SELECT pg_backend_pid() AS pid"))


class Regret(Exception):  # noqa: N818 - nothing is wrong
    """Why a transaction is rolled back."""


@asynccontextmanager
async def behind_proxy(
    address: Address, *, statement_timeout: float = 600
) -> AsyncIterator[tuple[Database, Proxy]]:
    """A pool of one connection, so that each use gets the connection that the one before has left."""
    async with proxy_to(address) as proxy:
        database = Database(
            Address.parse(proxy.url(address, "?sslmode=disable")),
            pool_size=1,
            statement_timeout=statement_timeout,
        )
        await database.ping()  # the pool's first connection begins transactions of its own
        yield database, proxy
        await database.close()


async def add(database: Database, *emails: str, regret: bool = False) -> None:
    with suppress(Regret):
        async with database.transaction() as transaction:
            for email in emails:
                await transaction.fetch(ADD, email=email)
            if regret:
                raise Regret


@asynccontextmanager
async def unanswered(proxy: Proxy, command: str) -> AsyncIterator[asyncio.Event]:
    """For the block, `command` gets no answer; the event says that it was given."""
    proxy.silence = silence = Silence(command.encode())
    try:
        yield silence.begun
    finally:
        silence.over.set()


async def cancel(database: Database, proxy: Proxy, command: str) -> None:
    """A transaction that is cancelled while it waits for the answer to `command`."""
    async with unanswered(proxy, command) as given:
        task = asyncio.create_task(add(database, "first", regret=command == "ROLLBACK"))
        await given.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def pid_of(database: Database) -> int:
    return int((await database.fetch(PID))[0]["pid"])


async def emails(connection: "asyncpg.Connection") -> set[str]:
    return {row["email"] for row in await connection.fetch("SELECT email FROM users")}


COMMANDS = pytest.mark.parametrize("command", ["BEGIN", "COMMIT", "ROLLBACK"])


@COMMANDS
async def test_what_follows_a_cancelled_transaction_is_committed(
    address: Address, connection: "asyncpg.Connection", command: str
) -> None:
    async with behind_proxy(address) as (database, proxy):
        await cancel(database, proxy, command)
        await add(database, "second")

        assert "second" in await emails(connection)


@COMMANDS
async def test_what_follows_a_transaction_out_of_time_is_committed(
    address: Address, connection: "asyncpg.Connection", command: str
) -> None:
    async with behind_proxy(address, statement_timeout=1) as (database, proxy):
        async with unanswered(proxy, command):
            with suppress(ConnectionLostError, TimeoutError):
                await add(database, "first", regret=command == "ROLLBACK")
        await add(database, "second")

        assert "second" in await emails(connection)


@COMMANDS
async def test_no_connection_is_used_again_without_an_answer(address: Address, command: str) -> None:
    async with behind_proxy(address) as (database, proxy):
        before = await pid_of(database)
        await cancel(database, proxy, command)

        assert await pid_of(database) != before


async def test_a_begin_without_an_answer_is_repeated_elsewhere(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    async with behind_proxy(address, statement_timeout=1) as (database, proxy):
        async with unanswered(proxy, "BEGIN"):
            await add(database, "first")

        assert await emails(connection) == {"first"}


async def test_a_commit_that_is_refused_costs_no_connection(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    await connection.execute("ALTER TABLE users ADD UNIQUE (password_hash) DEFERRABLE INITIALLY DEFERRED")
    async with behind_proxy(address) as (database, _):
        before = await pid_of(database)
        with pytest.raises(asyncpg.UniqueViolationError):
            await add(database, "first", "second")

        assert await pid_of(database) == before
