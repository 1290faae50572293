"""Transactions that PostgreSQL ends in favour of others, and what each begins with."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import text

from graphql_api.postgres.database import Database, Transaction, beginning_with
from graphql_api.postgres.errors import ContentionError
from graphql_api.postgres.statement import compile_statement
from tests import factories

LOCK = compile_statement(text("UPDATE users SET last_login = now() WHERE email = :email"))
SERIALIZABLE = compile_statement(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
COUNT = compile_statement(text("SELECT count(*) AS n FROM users"))
ADD = compile_statement(text("INSERT INTO users (email, password_hash) VALUES (:email, 'x')"))
FAIL = compile_statement(text("SELECT 1 / 0"))


async def emails(connection: "asyncpg.Connection") -> set[str]:
    return {row["email"] for row in await connection.fetch("SELECT email FROM users")}


async def test_work_is_committed_and_returns_its_result(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    async def work(transaction: Transaction) -> str:
        await transaction.fetch(ADD, email="ada")
        return "done"

    assert await database.run(work) == "done"
    assert await emails(connection) == {"ada"}


async def test_work_that_raises_is_rolled_back_and_not_repeated(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    attempts = []

    async def work(transaction: Transaction) -> None:
        attempts.append(1)
        await transaction.fetch(ADD, email="ada")
        await transaction.fetch(FAIL)

    with pytest.raises(asyncpg.DivisionByZeroError):
        await database.run(work)
    assert (attempts, await emails(connection)) == ([1], set())


async def test_two_that_wait_for_each_other_are_both_done(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    for email in ("ada", "bob"):
        await factories.user(connection, email=email)
    meeting = asyncio.Barrier(2)
    attempts = []

    async def lock(first: str, second: str) -> None:
        async def work(transaction: Transaction) -> None:
            attempts.append(first)
            await transaction.fetch(LOCK, email=first)
            if len(attempts) <= 2:
                await meeting.wait()
            await transaction.fetch(LOCK, email=second)

        await database.run(work)

    await asyncio.gather(lock("ada", "bob"), lock("bob", "ada"))
    assert len(attempts) == 3


async def test_two_that_would_not_have_seen_each_other_are_both_done(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    meeting = asyncio.Barrier(2)
    seen = []

    async def add(name: str) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.fetch(SERIALIZABLE)
            (row,) = await transaction.fetch(COUNT)
            seen.append(row["n"])
            if len(seen) <= 2:
                await meeting.wait()
            await transaction.fetch(ADD, email=f"{name}{row['n']}")

        await database.run(work)

    await asyncio.gather(add("ada"), add("bob"))
    assert seen == [0, 0, 1]
    assert len(await emails(connection)) == 2


async def test_work_that_always_gives_way_ends_in_an_error_that_is_worth_another_try(
    database: Database,
) -> None:
    attempts = []

    async def work(_: Transaction) -> None:
        attempts.append(1)
        raise asyncpg.SerializationError

    with pytest.raises(ContentionError):
        await database.run(work)
    assert len(attempts) == 5


async def test_a_transaction_begins_with_what_its_block_says(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    async def first(transaction: Transaction) -> None:
        await transaction.fetch(ADD, email="first")

    async def work(transaction: Transaction) -> None:
        await transaction.fetch(ADD, email="work")

    with beginning_with(first):
        await database.run(work)
    assert await emails(connection) == {"first", "work"}
    await connection.execute("DELETE FROM users")
    await database.run(work)
    assert await emails(connection) == {"work"}


async def test_a_transaction_whose_beginning_fails_has_no_effect(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    async def refuse(_: Transaction) -> None:
        raise PermissionError

    async def work(transaction: Transaction) -> None:
        await transaction.fetch(ADD, email="ada")

    with beginning_with(refuse), pytest.raises(PermissionError):
        await database.run(work)
    assert await emails(connection) == set()
