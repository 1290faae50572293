"""Entries past the retention go, and cursors that have not read them end with an error."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import asyncpg
import pytest

from graphql_api.dev.embedded import EmbeddedPostgres
from graphql_api.domain.account_changes import CHANGES
from graphql_api.log_feed import CursorExpiredError, Feed, LogFilter
from graphql_api.log_feed.feed_schema import LOGS, FeedSchema
from graphql_api.log_feed.trimming import _statements, trim_entries
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.migrate import migrate
from tests.conftest import SETTINGS, temporary_database
from tests.log_feed.conftest import events, messages, nothing_more, write
from tests.scratch import scratch_folder

EVERYTHING = LogFilter()
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def own_server() -> Iterator[Address]:
    """A server without other tests' transactions, since cursors expire with those that are in progress."""
    folder = scratch_folder()
    postgres = EmbeddedPostgres(folder, "postgres", SETTINGS)
    yield Address.parse(postgres.start())
    postgres.stop()
    shutil.rmtree(folder)


@pytest.fixture
async def address(own_server: Address) -> AsyncIterator[Address]:
    """A migrated, empty database of that server."""
    async with temporary_database(own_server) as address:
        await migrate(address)
        yield address


async def a_day_passes(database: Database, connection: "asyncpg.Connection") -> None:
    """Note a watermark above all that was written, and let it and all before be a day older."""
    await trim_entries(database, 1000 * DAY, interval=timedelta(0))
    await connection.execute("UPDATE log_feed.watermarks SET noted_at = noted_at - interval '25 hours'")


async def entries(connection: "asyncpg.Connection") -> int:
    return int(await connection.fetchval("SELECT count(*) FROM log_feed.entries"))


async def test_entries_past_the_retention_go_and_others_stay(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    await write(connection, *"12345")
    await a_day_passes(database, connection)
    await write(connection, *"678")
    assert await trim_entries(database, 2 * DAY) == 0
    assert await trim_entries(database, DAY, rows=2) == 5
    assert await entries(connection) == 3
    assert await connection.fetchval("SELECT count(*) FROM system_logs") == 8
    assert await trim_entries(database, DAY) == 0


@pytest.mark.parametrize("schema", [LOGS, CHANGES], ids=lambda schema: schema.name)
async def test_trimming_waits_for_another_process_of_the_same_feed_alone(
    database: Database, connection: "asyncpg.Connection", address: Address, schema: FeedSchema
) -> None:
    await write(connection, *"123")
    await a_day_passes(database, connection)
    other = Database(address)
    async with other.transaction() as transaction:  # holds the lock
        await transaction.fetch(_statements(schema)[1], retention=1000 * DAY.total_seconds(), rows=1)
        trimming = asyncio.create_task(trim_entries(database, DAY))
        if schema is CHANGES:
            assert await trimming == 3
        else:
            await asyncio.sleep(0.2)
            assert not trimming.done()
    await other.close()
    assert await trimming == 3


async def test_cursors_that_have_not_read_what_was_trimmed_end(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "1", "2")
        one, two = await events(subscription, 2)
    await a_day_passes(feed.database, connection)
    await write(connection, "3")
    await trim_entries(feed.database, DAY)
    with pytest.raises(CursorExpiredError):
        await feed.subscribe(EVERYTHING, after=one.cursor)
    async with await feed.subscribe(EVERYTHING, after=two.cursor) as subscription:
        assert await messages(subscription, 1) == ["3"]


async def test_a_cursor_at_the_end_of_a_quiet_log_does_not_expire(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    await write(connection, "1")
    async with await feed.subscribe(EVERYTHING) as subscription:
        cursor = subscription.cursor
    for _ in range(3):
        await a_day_passes(feed.database, connection)
        await trim_entries(feed.database, DAY)
    assert await entries(connection) == 0
    async with await feed.subscribe(EVERYTHING, after=cursor) as subscription:
        await write(connection, "2")
        assert await messages(subscription, 1) == ["2"]


async def test_live_subscribers_and_open_writers_notice_nothing(
    feed: Feed, connection: "asyncpg.Connection", address: Address
) -> None:
    writer = await address.connect_plain()
    async with await feed.subscribe(EVERYTHING) as subscription:
        transaction = writer.transaction()
        await transaction.start()
        await write(writer, "late")
        await write(connection, "early")
        await a_day_passes(feed.database, connection)
        await trim_entries(feed.database, DAY)
        assert await messages(subscription, 1) == [
            "early"
        ]  # before the other: looked at together it is later
        await transaction.commit()
        assert await messages(subscription, 1) == ["late"]
        await nothing_more(subscription)
    await writer.close()


async def test_a_new_subscriber_starts_after_what_was_trimmed(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    await write(connection, "1", "2")
    await a_day_passes(feed.database, connection)
    await trim_entries(feed.database, DAY)
    async with await feed.subscribe(EVERYTHING, backfill=5) as subscription:
        await write(connection, "3")
        assert await messages(subscription, 3) == ["1", "2", "3"]


async def test_a_watermark_is_noted_once_an_interval(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    for _ in range(3):
        await trim_entries(database, DAY)
        await connection.execute("SELECT pg_current_xact_id()")
    count = "SELECT count(*) FROM log_feed.watermarks"
    assert await connection.fetchval(count) == 1
    await trim_entries(database, DAY, interval=timedelta(0))
    assert await connection.fetchval(count) == 2


async def test_the_horizon_stays_when_a_process_trims_what_another_has_trimmed_meanwhile(
    database: Database, connection: "asyncpg.Connection", address: Address
) -> None:
    for message in "1234":
        await write(connection, message)
    await a_day_passes(database, connection)
    # In place of PostgreSQL's function, one that waits first: by then the statement has its snapshot.
    await connection.execute("""
        CREATE FUNCTION public.pg_try_advisory_xact_lock(integer, integer) RETURNS boolean LANGUAGE sql
        AS $$ SELECT pg_advisory_lock(1); SELECT pg_catalog.pg_try_advisory_xact_lock($1, $2) $$;
        SELECT pg_advisory_lock(1);
    """)
    late = await address.connect()
    await late.execute("SET search_path = public, pg_catalog")
    statement = _statements(LOGS)[1]
    arguments = statement.arguments({"retention": DAY.total_seconds(), "rows": 2})
    trimming = asyncio.create_task(late.fetch(statement.sql, *arguments))
    while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        assert not trimming.done()
        await asyncio.sleep(0.01)
    assert await trim_entries(database, DAY, rows=2) == 4
    horizon = await connection.fetchval("SELECT xid FROM log_feed.horizon")
    await connection.execute("SELECT pg_advisory_unlock(1)")
    assert [row["removed"] for row in await trimming] == [0]
    assert await connection.fetchval("SELECT xid FROM log_feed.horizon") == horizon
    await late.close()
