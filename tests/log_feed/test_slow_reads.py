"""Reads that take long: which error a subscriber gets, and that they leave room for others' reads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from graphql_api.log_feed import (
    BackfillTimeoutError,
    CursorExpiredError,
    Feed,
    FeedOptions,
    FeedUnavailableError,
    LogFilter,
    UnfitDatabaseError,
)
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.quotas import Usage
from tests.lock_waits import until_waiting
from tests.log_feed.conftest import KEY, MakeFeed, events, messages, write

EVERYTHING = LogFilter()


@asynccontextmanager
async def locked_lines(address: Address) -> AsyncIterator[None]:
    """Every statement that reads a line in the block waits, as if it had many lines to examine."""
    connection = await address.connect_plain()
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE system_logs")
            yield
    finally:
        await connection.close()


TAIL = "graphql-api feed"
"""The application whose statements may wait, too."""


@asynccontextmanager
async def feed_of(
    address: Address, statement_timeout: float, options: FeedOptions, direct: Address | None = None
) -> AsyncIterator[Feed]:
    database = Database(address, statement_timeout=statement_timeout)
    feed = Feed(database, direct or address, KEY, options)
    try:
        yield feed
    finally:
        await feed.close()
        await database.close()


async def test_a_backfill_that_takes_too_long_is_no_outage(address: Address) -> None:
    async with feed_of(address, 3, FeedOptions(outage_timeout=2.5)) as feed, locked_lines(address):
        with pytest.raises(BackfillTimeoutError, match="narrow `filter`"):
            await feed.subscribe(LogFilter(search="no such text"), backfill=10)
        assert feed.stats.subscribers == 0


async def test_the_rest_of_a_backfill_that_takes_too_long_is_no_outage(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    await write(connection, "1", "2", "3")
    async with feed_of(address, 3, FeedOptions(outage_timeout=2.5)) as feed:
        async with await feed.subscribe(EVERYTHING, backfill=3) as subscription:
            cursor = (await events(subscription, 1))[0].cursor
        async with locked_lines(address):
            with pytest.raises(BackfillTimeoutError):
                await feed.subscribe(EVERYTHING, after=cursor)


async def test_one_owners_slow_reads_leave_room_to_others(feed: Feed) -> None:
    async def backfill() -> None:
        with Usage("ada"):
            await (await feed.subscribe(EVERYTHING, backfill=10)).aclose()

    async with locked_lines(feed.database.address):
        flood = [asyncio.create_task(backfill()) for _ in range(6)]
        await until_waiting(feed.database.address, besides=TAIL)
        with Usage("bob"):
            assert await feed.now()
        assert not any(task.done() for task in flood)
    await asyncio.gather(*flood)
    assert [feed._reads.taken(owner) for owner in ("ada", "bob")] == [0, 0]


async def test_who_waits_behind_slow_reads_waits_no_longer_than_for_an_outage(address: Address) -> None:
    options = FeedOptions(outage_timeout=2, max_concurrent_reads=1)
    async with feed_of(address, 100, options) as feed:
        async with locked_lines(address):
            first = asyncio.create_task(feed.subscribe(EVERYTHING, backfill=10))
            await until_waiting(address, besides=TAIL)
            with pytest.raises(FeedUnavailableError):
                await feed.now()
            assert not first.done()
        await (await first).aclose()
        assert await feed.now()


@pytest.mark.parametrize("written", [3, 4])
async def test_the_rest_of_a_backfill_is_read_unless_too_much_was_written_since(
    feed: Feed, connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    monkeypatch.setattr("graphql_api.log_feed.subscription._MAX_UNREAD", 3)
    await write(connection, "1", "2", "3")
    async with await feed.subscribe(EVERYTHING, backfill=3) as subscription:
        cursor = (await events(subscription, 1))[0].cursor
    await write(connection, *("later" for _ in range(written)))
    if written > 3:
        with pytest.raises(CursorExpiredError, match="too much was written"):
            await feed.subscribe(EVERYTHING, after=cursor)
        return
    async with await feed.subscribe(EVERYTHING, after=cursor) as subscription:
        assert await messages(subscription, 5) == ["2", "3", *["later"] * 3]


async def test_a_feed_whose_addresses_lead_to_two_databases_says_so(address: Address, template: str) -> None:
    name = f"{urlsplit(address.dsn).path[1:]}_other"
    admin = await address.connect_plain()
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    other = Address.parse(address.dsn.replace(urlsplit(address.dsn).path, f"/{name}"))
    async with feed_of(address, 10, FeedOptions(outage_timeout=0.3), other) as feed:
        with pytest.raises(UnfitDatabaseError, match="another database"):
            await asyncio.wait_for(feed.now(), 10)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def test_a_server_that_speaks_nonsense_is_no_answer(make_feed: MakeFeed) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"R\0\0\0\x08\0\0\0\x63")  # a way to authenticate that there isn't
        await reader.read()
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    feed = make_feed(direct=Address.parse(f"postgresql://postgres@127.0.0.1:{port}/x?sslmode=disable"))
    with pytest.raises(FeedUnavailableError):
        await asyncio.wait_for(feed.now(), 15)
    server.close()
