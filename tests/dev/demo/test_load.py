import asyncio
import json
from decimal import Decimal

import asyncpg
import pytest

from graphql_api.dev.demo.desk import OPERATOR
from graphql_api.dev.demo.load import SEED, OtherUsersError, load
from graphql_api.dev.demo.sample import make
from graphql_api.postgres.address import Address
from tests import factories
from tests.dev.demo.conftest import HASH, NOW, TRADES

TABLES = (
    "users",
    "tradelocker_accounts",
    "ai_strategies",
    "trading_sessions",
    "trades",
    "strategy_performance",
    "risk_settings",
    "system_logs",
)


async def rows_of(connection: "asyncpg.Connection") -> dict[str, list[str]]:
    """Every row of every table as text, without the id of the transaction that wrote it."""
    return {
        table: [
            row["text"]
            for row in await connection.fetch(f"SELECT to_jsonb(t)::text AS text FROM {table} t ORDER BY id")
        ]
        for table in TABLES
    }


async def test_two_loads_write_the_same_rows(
    desk: Address, witness: "asyncpg.Connection", address: Address, connection: "asyncpg.Connection"
) -> None:
    assert await load(address, password_hash=HASH, trades=TRADES, now=NOW)
    assert await rows_of(connection) == await rows_of(witness)


async def test_rows_are_stored_as_they_were_made(witness: "asyncpg.Connection") -> None:
    sample = make(seed=SEED, now=NOW, trades=TRADES, password_hash=HASH)
    for table, made in sample.tables():
        columns = ", ".join(made[0]._fields)
        stored = await witness.fetch(f"SELECT {columns} FROM {table}")
        assert sorted(map(comparable, stored)) == sorted(map(comparable, made))


def comparable(row: "tuple[object, ...] | asyncpg.Record") -> list[str]:
    """Values as text: decimals by value, and JSON in one order of keys, since jsonb keeps neither."""
    return [_text(value) for value in row]


def _text(value: object) -> str:
    match value:
        case Decimal():
            return str(value.normalize())
        case str() if value.startswith("{"):
            return json.dumps(json.loads(value), sort_keys=True)
        case _:
            return str(value)


async def test_a_second_load_changes_nothing(desk: Address, witness: "asyncpg.Connection") -> None:
    before = await rows_of(witness)
    assert not await load(desk, password_hash="another hash", trades=200)
    assert await rows_of(witness) == before


async def test_a_database_that_knows_one_of_the_users_is_left_alone(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    await connection.execute("INSERT INTO users (email, password_hash) VALUES ($1, 'own')", OPERATOR)
    assert not await load(address, password_hash=HASH, trades=200)
    assert await connection.fetchval("SELECT count(*) FROM trades") == 0


async def test_a_database_with_users_of_its_own_gets_no_known_passwords(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    await factories.user(connection)
    with pytest.raises(OtherUsersError):
        await load(address, password_hash=HASH, trades=200)
    assert await connection.fetchval("SELECT count(*) FROM users") == 1


async def test_of_two_loads_at_once_one_writes(address: Address, connection: "asyncpg.Connection") -> None:
    written = await asyncio.gather(*(load(address, password_hash=HASH, trades=200) for _ in range(2)))
    assert sorted(written) == [False, True]
    assert await connection.fetchval("SELECT count(*) FROM trades") == 200


async def test_the_operator_is_the_only_one_with_a_role(witness: "asyncpg.Connection") -> None:
    granted = await witness.fetch("SELECT email, role FROM graphql_api.user_roles JOIN users ON id = user_id")
    assert [tuple(row) for row in granted] == [(OPERATOR, "operator")]
