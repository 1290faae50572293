"""Connections through a real PgBouncer, which in transaction mode shares server processes among clients."""

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.errors import DatabaseUnavailableError
from graphql_api.postgres.pooler import is_transaction_pooled
from graphql_api.postgres.statement import Statement, compile_statement
from tests.postgres.pgbouncer import pgbouncer

pytestmark = pytest.mark.slow

_TRANSACTION_MODE = pytest.mark.parametrize(
    "settings", [{}, {"server_round_robin": 1}, {"default_pool_size": 1}], ids=str
)


def statements() -> list[Statement]:
    """Parameterised statements that differ."""
    return [compile_statement(text(f"SELECT {n} + CAST(:m AS integer) AS n")) for n in range(20)]


async def sums(address: Address, *, prepared_statements: bool | None = None) -> list[int]:
    """Runs many statements on many connections at once, a few at a time in one transaction."""
    database = Database(address, pool_size=8, prepared_statements=prepared_statements)

    async def read(statement: Statement, m: int) -> int:
        if m % 3 == 0:
            async with database.transaction() as transaction:
                await transaction.fetch(statement, m=0)
                return int((await transaction.fetch(statement, m=m))[0]["n"])
        return int((await database.fetch(statement, m=m))[0]["n"])

    try:
        found = []
        for m in range(10):
            found += await asyncio.gather(*(read(statement, m) for statement in statements()))
        return found
    finally:
        await database.close()


EXPECTED = [n + m for m in range(10) for n in range(20)]


async def test_a_server_is_no_pooler(address: Address) -> None:
    assert not await is_transaction_pooled(address)


@_TRANSACTION_MODE
async def test_transaction_mode_is_found_out(
    address: Address, scratch: Path, settings: dict[str, int]
) -> None:
    async with pgbouncer(address, scratch / "pooler", "transaction", **settings) as url:
        assert await is_transaction_pooled(Address.parse(url))


async def test_it_is_found_out_while_others_use_the_pooler(address: Address, scratch: Path) -> None:
    async with pgbouncer(address, scratch / "pooler", "transaction") as url:
        other = Database(replace(Address.parse(url), pooled=True), pool_size=8)
        reading = [asyncio.create_task(other.fetch(statements()[0], m=n)) for n in range(200)]
        assert await is_transaction_pooled(Address.parse(url))
        await asyncio.gather(*reading)
        await other.close()


async def test_session_mode_is_as_good_as_none(address: Address, scratch: Path) -> None:
    async with pgbouncer(address, scratch / "pooler", "session") as url:
        assert not await is_transaction_pooled(Address.parse(url))


async def test_statement_mode_is_refused_transactions(address: Address, scratch: Path) -> None:
    async with pgbouncer(address, scratch / "pooler", "statement") as url:
        assert await is_transaction_pooled(Address.parse(url))


@_TRANSACTION_MODE
async def test_every_statement_gets_its_own_answer_through_a_pooler(
    address: Address, scratch: Path, settings: dict[str, int]
) -> None:
    async with pgbouncer(address, scratch / "pooler", "transaction", **settings) as url:
        assert await sums(Address.parse(url)) == EXPECTED


async def test_through_session_mode_statements_are_prepared(address: Address, scratch: Path) -> None:
    async with pgbouncer(address, scratch / "pooler", "session", default_pool_size=20) as url:
        database = Database(Address.parse(url), pool_size=1)
        await database.fetch(statements()[0], m=1)
        prepared = compile_statement(text("SELECT count(*) AS n FROM pg_prepared_statements"))
        assert (await database.fetch(prepared))[0]["n"] >= 2
        await database.close()


async def test_prepared_statements_fail_through_a_pooler_that_keeps_none(
    address: Address, scratch: Path
) -> None:
    async with pgbouncer(address, scratch / "pooler", "transaction") as url:
        with pytest.raises(DatabaseUnavailableError) as error:
            await sums(Address.parse(url), prepared_statements=True)
    assert isinstance(error.value.__cause__, asyncpg.PostgresError)
    assert error.value.sqlstate in ("26000", "42P05")


async def test_where_a_pooler_takes_no_more_clients_the_pools_connections_serve(
    address: Address, scratch: Path
) -> None:
    async with pgbouncer(address, scratch / "pooler", "transaction", max_client_conn=2) as url:
        assert await sums(Address.parse(url), prepared_statements=False) == EXPECTED


async def test_connections_of_a_pool_ask_once_what_is_in_between(
    address: Address, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def counting(where: Address) -> bool:
        asked.append(where)
        return await is_transaction_pooled(where)

    monkeypatch.setattr("graphql_api.postgres.database.is_transaction_pooled", counting)
    assert await sums(address) == EXPECTED
    assert len(asked) == 1
