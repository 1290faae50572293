"""The tail, and what may happen to its connection, its trigger and the writers."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import pytest

from graphql_api.log_feed import Feed, FeedOptions, LogFilter, TailOptions, UnfitDatabaseError
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from tests.conftest import database_of
from tests.log_feed.conftest import KEY, MakeFeed, messages, nothing_more, write, write_many
from tests.log_feed.tcp_proxy import TcpProxy

EVERYTHING = LogFilter()
READERS = """SELECT pid FROM pg_stat_activity
             WHERE application_name = 'graphql-api feed' AND datname = current_database()"""


async def reader_pids(connection: "asyncpg.Connection") -> set[int]:
    return {row["pid"] for row in await connection.fetch(READERS)}


async def no_reader(connection: "asyncpg.Connection") -> bool:
    return not await reader_pids(connection)


async def another_reader(connection: "asyncpg.Connection", gone: int) -> bool:
    pids = await reader_pids(connection)
    return bool(pids) and gone not in pids


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Waits for what PostgreSQL shows a little later. Raises TimeoutError if it doesn't."""
    while not await check():
        await asyncio.sleep(0.01)


async def test_one_reader_serves_all_subscribers_of_a_process(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    subscriptions = [await feed.subscribe(LogFilter(search=str(number))) for number in range(5)]
    assert len(await reader_pids(connection)) == 1
    for subscription in subscriptions:
        await subscription.aclose()


async def test_the_reader_stops_after_the_last_subscriber_and_starts_again(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    assert not await reader_pids(connection)
    async with await feed.subscribe(EVERYTHING):
        assert len(await reader_pids(connection)) == 1
    await until(lambda: no_reader(connection))
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "again")
        assert await messages(subscription, 1) == ["again"]


async def test_a_notification_wakes_the_reader(make_feed: MakeFeed, connection: "asyncpg.Connection") -> None:
    feed = make_feed(options=FeedOptions(tail=TailOptions(idle_interval=600)))
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "woken")
        assert await messages(subscription, 1) == ["woken"]
    assert feed.stats.notifications > 0


async def test_a_burst_is_read_without_notifications(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    feed = make_feed(options=FeedOptions(tail=TailOptions(min_interval=0.25)))
    stats = feed.stats
    async with await feed.subscribe(EVERYTHING) as subscription:
        written = 0

        async def write_until(enough: Callable[[], bool]) -> None:
            nonlocal written
            while not enough():
                await write(connection, f"{written}")
                written += 1
                await asyncio.sleep(0.015)

        await write_until(lambda: stats.fetches > 9)
        noted, fetches = stats.notifications, stats.fetches
        await write_until(lambda: stats.fetches > fetches + 6)
        assert stats.notifications == noted
        await write_until(lambda: stats.rows > 30)
        assert await messages(subscription, written) == [f"{number}" for number in range(written)]

        while stats.notifications == noted:  # it listens again, once nothing comes
            await asyncio.sleep(0.3)
            await write(connection, "later")


async def test_rows_come_without_a_notification(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        await connection.execute("SET log_feed.notify = off")
        await write(connection, "unannounced")
        assert await messages(subscription, 1) == ["unannounced"]
        assert feed.stats.notifications == 0


async def test_rows_come_while_another_transaction_holds_the_gate(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    other = await feed.database.address.connect_plain()
    async with await feed.subscribe(EVERYTHING) as subscription:
        transaction = other.transaction()
        await transaction.start()
        await write(other, "holds the gate")
        await write(connection, "could not notify")
        assert await messages(subscription, 1) == ["could not notify"]
        assert feed.stats.notifications == 0
        await transaction.rollback()
        await nothing_more(subscription)
    await other.close()


async def test_a_two_phase_commit_arrives(feed: Feed, connection: "asyncpg.Connection") -> None:
    await connection.execute("SET log_feed.notify = off")
    async with await feed.subscribe(EVERYTHING) as subscription:
        await connection.execute("BEGIN")
        await write(connection, "prepared")
        await connection.execute("PREPARE TRANSACTION 'feed'")
        await write(connection, "meanwhile")
        assert await messages(subscription, 1) == ["meanwhile"]
        await connection.execute("COMMIT PREPARED 'feed'")
        assert await messages(subscription, 1) == ["prepared"]


async def test_a_killed_backend_costs_nothing(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        for number in range(3):
            await write(connection, f"before {number}")
            (pid,) = await reader_pids(connection)
            await connection.execute("SELECT pg_terminate_backend($1)", pid)
            await write(connection, f"after {number}")
            assert await messages(subscription, 2) == [f"before {number}", f"after {number}"]
            await until(lambda gone=pid: another_reader(connection, gone))  # type: ignore[misc]
    assert feed.stats.resets == 0


async def test_a_silent_connection_is_given_up(database: Database, connection: "asyncpg.Connection") -> None:
    parts = urlsplit(database.address.dsn)
    where = dict(parse_qsl(parts.query))
    proxy = TcpProxy(f"{where['host']}/.s.PGSQL.{where['port']}")
    async with proxy.serve() as listening:
        direct = Address.parse(f"postgresql://postgres@127.0.0.1:{listening}{parts.path}")
        feed = Feed(database, direct, KEY, FeedOptions(tail=TailOptions(timeout=0.5)))
        async with await feed.subscribe(EVERYTHING) as subscription:
            await write(connection, "before")
            assert await messages(subscription, 1) == ["before"]
            proxy.black_hole()
            await write(connection, "after")
            assert await messages(subscription, 1) == ["after"]
        assert proxy.connections > 1


async def test_an_open_writer_of_many_rows_delays_nobody(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    other = await feed.database.address.connect_plain()
    async with await feed.subscribe(EVERYTHING) as subscription:
        transaction = other.transaction()
        await transaction.start()
        await write_many(other, 20_000, "bulk ")
        await write(connection, *map(str, range(50)))
        assert await messages(subscription, 50) == list(map(str, range(50)))
        await transaction.commit()
        bulk = await messages(subscription, 20_000)
        assert len(set(bulk)) == 20_000
        await write(connection, "last")
        assert await messages(subscription, 1) == ["last"]
    await other.close()


async def test_an_address_behind_a_pooler_is_refused(database: Database) -> None:
    pooled = Address.parse("postgresql://u:p@ep-cool-1234-pooler.eu.aws.neon.tech/db")
    feed = Feed(database, pooled, KEY)
    with pytest.raises(UnfitDatabaseError, match="set DATABASE_DIRECT_URL"):
        await feed.subscribe(EVERYTHING)
    with pytest.raises(UnfitDatabaseError, match="set DATABASE_DIRECT_URL"):
        await feed.check()


async def test_a_database_that_is_not_migrated_is_refused(server: Address, make_feed: MakeFeed) -> None:
    feed = make_feed(direct=database_of(server, "template1"))
    with pytest.raises(UnfitDatabaseError, match="graphql-api migrate"):
        await feed.subscribe(EVERYTHING)
    with pytest.raises(UnfitDatabaseError, match="graphql-api migrate"):
        await feed.check()
