"""Databases whose own settings, by ALTER DATABASE … SET, aren't PostgreSQL's defaults."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database, Transaction
from graphql_api.postgres.documented_schema import find_differences
from graphql_api.postgres.migrate import find_damage, plan
from graphql_api.postgres.statement import compile_statement
from tests import factories
from tests.graph import opened, operator, settings_for

ISOLATION = compile_statement(text("SELECT current_setting('transaction_isolation') AS level"))
RENAME = compile_statement(text("UPDATE users SET subscription_status = :status"))


async def set_for_database(connection: "asyncpg.Connection", *settings: str) -> None:
    """Sets these for connections that are opened afterwards."""
    name = await connection.fetchval("SELECT quote_ident(current_database())")
    for setting in settings:
        await connection.execute(f"ALTER DATABASE {name} SET {setting}")


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_statements_and_transactions_are_read_committed(
    address: Address, connection: "asyncpg.Connection", level: str
) -> None:
    await set_for_database(connection, f"default_transaction_isolation = '{level}'")
    await factories.user(connection)
    database = Database(address)

    async def isolation(transaction: Transaction) -> str:
        return str((await transaction.fetch(ISOLATION))[0]["level"])

    try:
        assert (await database.fetch(ISOLATION))[0]["level"] == "read committed"
        assert await database.run(isolation) == "read committed"
        async with connection.transaction():  # which the change waits for, and then goes on
            await connection.execute("UPDATE users SET last_login = now()")
            change = asyncio.create_task(database.change(RENAME, status="trial"))
            while not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                await asyncio.sleep(0.01)
        await change
    finally:
        await database.close()
    assert await connection.fetchval("SELECT subscription_status FROM users") == "trial"


async def test_ids_are_found_where_arrays_have_no_nulls(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    await set_for_database(connection, "array_nulls = off")
    async with opened(settings_for(address, tmp_path)) as graph:
        # An operator's tenant is null.
        answer = await graph.as_(operator(user)).ask(
            "query ($id: ID!) { account(id: $id) { user { id } } }", {"id": account}
        )
    assert answer.data == {"account": {"user": {"id": user}}}


async def test_nothing_differs_where_all_names_are_quoted(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    await set_for_database(connection, "quote_all_identifiers = on")
    program = await address.connect_plain()
    await program.execute("SET quote_all_identifiers = on")  # as behind a pooler that refuses settings
    try:
        assert await find_differences(program) == []
    finally:
        await program.close()
    assert (await plan(address), await find_damage(address)) == ([], [])
