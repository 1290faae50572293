"""What a process keeps, and whom it wakes."""

import asyncio

import asyncpg
import pytest

from graphql_api.log_feed import BufferLimits, Feed, FeedOptions, LogFilter
from tests.log_feed.conftest import MakeFeed, events, write, write_many

EVERYTHING = LogFilter()


@pytest.mark.parametrize("limits", [BufferLimits(rows=10), BufferLimits(bytes=40_000)])
async def test_the_buffer_is_bounded_whoever_stalls(
    make_feed: MakeFeed, connection: "asyncpg.Connection", limits: BufferLimits
) -> None:
    feed = make_feed(options=FeedOptions(buffer=limits))
    stalled = [await feed.subscribe(LogFilter(search=text)) for text in ("x", "xx", "xxx")]
    async with await feed.subscribe(EVERYTHING) as quick:
        for _ in range(5):
            await write(connection, *["x" * 2000] * 10)
            await events(quick, 10)
            assert feed.stats.buffered_rows <= limits.rows
            assert feed.stats.buffered_bytes <= limits.bytes
    for subscription in stalled:
        assert len(await events(subscription, 50)) == 50
        await subscription.aclose()


async def test_one_page_is_kept_however_large(make_feed: MakeFeed, connection: "asyncpg.Connection") -> None:
    feed = make_feed(options=FeedOptions(buffer=BufferLimits(rows=1)))
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write_many(connection, 20)
        await events(subscription, 20)
        assert feed.stats.catch_ups == 0


async def test_a_group_ends_with_its_last_member(feed: Feed) -> None:
    first, second = [await feed.subscribe(EVERYTHING) for _ in range(2)]
    other = await feed.subscribe(LogFilter(search="x"))
    assert feed.stats.groups == 2
    await first.aclose()
    assert feed.stats.groups == 2
    await second.aclose()
    assert feed.stats.groups == 1
    await other.aclose()
    assert feed.stats.groups == 0


async def test_what_callers_make_of_an_event_stays_with_it(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as one, await feed.subscribe(LogFilter(search="x")) as two:
        await write(connection, "x")
        (event,) = await events(one, 1)
        event.rendered["a document"] = b"{}"
        assert (await events(two, 1))[0].rendered == {"a document": b"{}"}


async def test_who_gets_the_same_events_gets_the_same_batch(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as one, await feed.subscribe(EVERYTHING) as two:
        await write_many(connection, 250)
        await events(two, 20)
        batches = [await one.batch() for _ in range(3)]
        assert [len(batch) for batch in batches] == [100, 100, 50]
        async with await feed.subscribe(EVERYTHING) as three, await feed.subscribe(EVERYTHING) as four:
            await write_many(connection, 30)
            first, second = await three.batch(), await four.batch()
            assert first is second
            first.rendered["a document"] = b"[]"
            assert second.rendered == {"a document": b"[]"}


async def test_a_subscriber_is_woken_once_for_all_rows_of_a_page(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        waiting = asyncio.create_task(subscription.batch())
        await asyncio.sleep(0)
        await write_many(connection, 50)
        assert len(await waiting) == 50


async def test_the_numbers_of_an_idle_feed_are_those_of_no_feed(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "x")
        await events(subscription, 1)
        assert (feed.stats.subscribers, feed.stats.buffered_rows, feed.stats.connected) == (1, 1, True)
        assert feed.stats.lag() > 0
    stats = feed.stats
    assert (stats.subscribers, stats.buffered_rows, stats.buffered_bytes, stats.groups) == (0, 0, 0, 0)
    assert (stats.connected, stats.lag()) == (False, 0.0)
    assert (stats.rows, stats.deliveries) == (1, 1)
