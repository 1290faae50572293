"""While the consumer waits, events are given to `on_due`. Each event comes once, delivered or returned."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from graphql_api.log_feed import BufferLimits, Feed, FeedOptions, FeedSubscription, LogFilter, TailOptions
from graphql_api.log_feed.errors import FeedResetError
from graphql_api.log_feed.feed_schema import LOGS
from graphql_api.log_feed.hub import EventBatch
from graphql_api.log_feed.subscription import FeedProgress
from tests.log_feed.conftest import MakeFeed, messages, write, write_many

EVERYTHING = LogFilter()


class Desk:
    """Keeps the events that it is offered."""

    def __init__(self) -> None:
        self.offers: asyncio.Queue[EventBatch] = asyncio.Queue()

    def offer(self, events: EventBatch, _: FeedSubscription) -> None:
        self.offers.put_nowait(events)

    async def next(self) -> EventBatch:
        """The events of the next offer."""
        async with asyncio.timeout(100):
            return await self.offers.get()


def texts(events: EventBatch) -> list[str]:
    return [event.row["message"] for event in events]


@asynccontextmanager
async def idle(
    feed: Feed, desk: Desk, wanted: LogFilter = EVERYTHING
) -> AsyncIterator[tuple[FeedSubscription, "asyncio.Task[EventBatch | FeedProgress | None]"]]:
    """A subscription that is up to date, and its consumer, which waits for what comes next."""
    async with await feed.subscribe(wanted, on_due=desk.offer) as subscription:
        progress = await subscription.advance()
        assert isinstance(progress, FeedProgress)
        assert progress.up_to_date
        waiting = asyncio.create_task(subscription.advance())
        await asyncio.sleep(0)
        try:
            yield subscription, waiting
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


async def returned(waiting: "asyncio.Task[Any]") -> Any:
    async with asyncio.timeout(100):
        return await waiting


async def test_what_a_recipient_delivers_does_not_wake_the_consumer(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    desk = Desk()
    async with idle(feed, desk) as (subscription, waiting):
        for text in ("x", "y"):
            await write(connection, text)
            events = await desk.next()
            assert texts(events) == [text]
            assert subscription.is_due(events)
            subscription.delivered()
            assert not subscription.is_due(events)
            assert subscription.cursor == events[-1].cursor
        assert not waiting.done()
        assert feed.stats.deliveries == 2


async def test_what_is_not_delivered_comes_to_the_consumer(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    desk = Desk()
    async with idle(feed, desk) as (subscription, waiting):
        await write(connection, "x")
        events = await desk.next()
        subscription.wake()
        assert await returned(waiting) is events
        assert not subscription.is_due(events)
        assert feed.stats.deliveries == 1


async def test_what_comes_before_a_delivery_is_offered_after_it(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    desk = Desk()
    async with idle(feed, desk) as (subscription, _):
        await write(connection, "x")
        first = await desk.next()
        await write(connection, "y")
        while feed.stats.rows < 2:
            await asyncio.sleep(0.01)
        assert desk.offers.empty()
        assert subscription.is_due(first)
        subscription.delivered()
        assert texts(await desk.next()) == ["y"]


async def test_nobody_is_due_anything_once_the_consumer_leaves(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    desk = Desk()
    async with idle(feed, desk) as (subscription, waiting):
        await write(connection, "x")
        events = await desk.next()
        waiting.cancel()
        assert not subscription.is_due(events)
        cursor = subscription.cursor
    async with await feed.subscribe(EVERYTHING, after=cursor) as resumed:
        assert await messages(resumed, 1) == ["x"]


async def test_a_subscription_that_is_closed_is_due_nothing(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    desk = Desk()
    async with idle(feed, desk) as (subscription, waiting):
        await write(connection, "x")
        events = await desk.next()
        await subscription.aclose()
        assert not subscription.is_due(events)
        assert await returned(waiting) is None


async def test_what_is_left_when_the_feed_fails_comes_before_the_error(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    desk = Desk()
    async with idle(feed, desk) as (subscription, waiting):
        await write(connection, "x")
        events = await desk.next()
        subscription.fail(FeedResetError("FEED_RESET_RESTORE", LOGS))
        assert not subscription.is_due(events)
        assert await returned(waiting) is events
        with pytest.raises(FeedResetError):
            await subscription.advance()


async def test_who_falls_behind_while_events_are_delivered_reads_the_rest_from_the_database(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    feed = make_feed(options=FeedOptions(buffer=BufferLimits(rows=1)))
    desk = Desk()
    async with idle(feed, desk) as (subscription, waiting):
        await write(connection, "x")
        first = await desk.next()
        for number in range(3):
            await write_many(connection, 5, f"{number}-")
            while feed.stats.rows < 1 + 5 * (number + 1):
                await asyncio.sleep(0.01)
        assert subscription.is_due(first)
        subscription.delivered()
        found = texts(await returned(waiting))
        assert feed.stats.catch_ups == 1
        while len(found) < 15:
            step = await subscription.advance()
            found += texts(step) if isinstance(step, EventBatch) else []
        assert sorted(found) == sorted(f"{page}-{row}" for page in range(3) for row in range(1, 6))


async def test_progress_comes_a_while_after_the_last_delivery(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    feed = make_feed(options=FeedOptions(tail=TailOptions(idle_interval=0.01), heartbeat=0.1))
    desk = Desk()
    async with idle(feed, desk, LogFilter(minimum_level="ERROR")) as (subscription, waiting):
        for number in range(5):
            await write(connection, f"{number}", level="error")
            await desk.next()
            subscription.delivered()
            beats = feed.hub.heartbeats
            while feed.hub.heartbeats == beats:
                await feed.hub.moved.wait()
            assert not waiting.done()
        delivered = subscription.cursor
        await write(connection, "no error")
        progress = await returned(waiting)
        assert isinstance(progress, FeedProgress)
        assert progress.cursor != delivered
        assert not progress.up_to_date
