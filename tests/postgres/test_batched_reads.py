"""Reads of one shape that are made at the same time share a statement, and each gets the rows of its own."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text

from graphql_api.postgres.address import Address
from graphql_api.postgres.database import BatchedReads, Database
from graphql_api.postgres.statement import Statement, compile_statement

_IDS = (str(UUID(int=number)) for number in count(1))

KEYS = "unnest(CAST(:keys AS uuid[]), CAST(:tenants AS uuid[])) WITH ORDINALITY AS keys (key, tenant, number)"
READ = compile_statement(
    text(f"""
        SELECT keys.number AS _number, key, tenant, (SELECT count(*) FROM users) AS users,
               pg_sleep(CAST(:seconds AS float8))
        FROM {KEYS}
    """),
    may_batch=True,
)
LOCK = compile_statement(
    text(f"""
        SELECT keys.number AS _number, key, tenant, pg_advisory_xact_lock_shared(CAST(:seconds AS integer))
        FROM {KEYS}
    """),
    may_batch=True,
)
LOCKED = """
    SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
ADD_USER = "INSERT INTO users (email, password_hash) VALUES (gen_random_uuid()::text, 'x')"


@pytest.fixture
async def database(address: Address) -> AsyncIterator[Database]:
    database = Database(address)
    await asyncio.gather(*(database.ping() for _ in range(5)))
    yield database
    await database.close()


def reads(database: Database) -> BatchedReads:
    assert database.batched_reads is not None
    return database.batched_reads


async def read(database: Database, seconds: float = 0.1, statement: Statement = READ) -> list[asyncpg.Record]:
    """Read one new key for a new tenant, and check that the answer is about these."""
    key, tenant = next(_IDS), next(_IDS)
    ((row,),) = await database.fetch_by_key(statement, [key], [tenant], seconds=seconds)
    assert (row["key"], row["tenant"]) == (key, tenant)
    return [row]


async def test_what_comes_while_a_statement_is_out_goes_together_with_the_next(database: Database) -> None:
    first = asyncio.create_task(read(database, 0.005))
    await asyncio.sleep(0)
    await asyncio.gather(first, *(read(database, 0.005) for _ in range(9)))

    assert (reads(database).reads, reads(database).statements) == (9, 1)
    await read(database)
    assert reads(database).statements == 1, "a read that is alone goes out as it is"


async def test_reads_that_need_not_go_at_once_share_a_statement_from_the_first_on(database: Database) -> None:
    async def wait_for_others() -> None:
        key = next(_IDS)
        ((row,),) = await database.fetch_by_key(READ, [key], [next(_IDS)], at_once=False, seconds=0.0)
        assert row["key"] == key

    waiting = [asyncio.create_task(wait_for_others()) for _ in range(10)]
    waiting[3].cancel()
    await asyncio.wait(waiting)
    assert [each.cancelled() for each in waiting].count(True) == 1
    assert [each.exception() for each in waiting if not each.cancelled()] == [None] * 9
    assert (reads(database).reads, reads(database).statements) == (9, 1)

    only = asyncio.create_task(wait_for_others())
    await asyncio.sleep(0)
    only.cancel()  # it has asked, and nothing has gone out
    await asyncio.wait([only])
    await wait_for_others()
    assert reads(database).statements == 2


async def test_each_gets_the_rows_of_its_own_keys(database: Database) -> None:
    async def several(number: int) -> None:
        keys, tenant = [next(_IDS) for _ in range(number)], next(_IDS)
        found = await database.fetch_by_key(READ, keys, [tenant] * len(keys), seconds=0.0)
        assert [[(row["key"], row["tenant"]) for row in rows] for rows in found] == [
            [(key, tenant)] for key in keys
        ]

    await asyncio.gather(*map(several, (3, 1, 4, 1, 5, 9, 2, 6)))
    assert reads(database).reads == 7


async def test_reads_with_other_values_do_not_share(database: Database) -> None:
    await asyncio.gather(read(database, 0.1), read(database, 0.2), read(database, 0.3))
    assert reads(database).reads == 0


async def test_a_slow_statement_does_not_hold_others_of_its_shape_up(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(7)")
        slow = asyncio.create_task(read(database, 7, LOCK))
        await asyncio.sleep(0)
        other = asyncio.create_task(read(database, 7, LOCK))
        while await connection.fetchval(LOCKED) < 2:  # ends only if the other goes out beside the slow one
            await asyncio.sleep(0.01)
    await asyncio.gather(slow, other)


async def test_what_was_committed_before_a_read_was_made_is_seen_by_it(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    for number in range(20):
        earlier = [asyncio.create_task(read(database, 0.003)) for _ in range(3)]
        await asyncio.sleep(0.001)
        await connection.execute(ADD_USER)
        (row,) = await read(database, 0.003)
        assert row["users"] == number + 1
        await asyncio.gather(*earlier)
    assert reads(database).reads > 0


async def test_a_bad_key_fails_for_the_one_who_asks_for_it(database: Database) -> None:
    async def bad() -> None:
        await database.fetch_by_key(READ, ["no UUID"], [None], seconds=0.01)

    results = await asyncio.gather(
        *(read(database, 0.01) for _ in range(4)),
        bad(),
        *(read(database, 0.01) for _ in range(4)),
        return_exceptions=True,
    )
    assert [isinstance(result, asyncpg.DataError) for result in results] == [False] * 4 + [True] + [False] * 4
    assert reads(database).reads == 8


async def test_cancelling_one_leaves_the_others_alone(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(7)")
        first, second, third, fourth = (asyncio.create_task(read(database, 7, LOCK)) for _ in range(4))
        await asyncio.sleep(0)  # the first goes out, and the others wait for it
        third.cancel()
        while await connection.fetchval(LOCKED) == 0:
            await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.wait((first, third))
    done = await asyncio.gather(first, second, third, fourth, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in done] == [True, False, True, False]


async def test_nothing_is_kept_of_reads_that_are_over(database: Database) -> None:
    tasks = [asyncio.create_task(read(database, 0.01)) for _ in range(6)]
    await asyncio.sleep(0.002)
    for task in tasks[1:]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)
    assert reads(database)._shapes == {}
    assert reads(database)._tasks == set()


async def test_sharing_can_be_turned_off(address: Address) -> None:
    database = Database(address, batched_reads=False)
    await asyncio.gather(*(read(database, 0.01) for _ in range(8)))
    assert database.batched_reads is None
    await database.close()
