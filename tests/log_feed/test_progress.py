"""A subscriber behind a filter that matches nothing is sent how far the feed has come."""

import asyncio

import asyncpg

from graphql_api.log_feed import Feed, FeedOptions, FeedSubscription, LogFilter, TailOptions
from tests.log_feed.conftest import MakeFeed, events, messages, write, write_many

EVERYTHING = LogFilter()
ERRORS = LogFilter(minimum_level="ERROR")
QUICK = FeedOptions(tail=TailOptions(idle_interval=0.01, page_rows=10_000), heartbeat=0.0)
"""Every look of the reader is a heartbeat."""


async def progress(subscription: FeedSubscription, behind: str) -> str:
    """The next cursor that isn't `behind`; there must be no events."""
    while True:
        assert await subscription.batch(progress=True) == []
        if subscription.cursor != behind:
            return subscription.cursor


async def test_progress_over_rows_that_do_not_match_resumes_without_looking_at_them(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    one, two, three = make_feed(options=QUICK), make_feed(), make_feed()
    async with await one.subscribe(ERRORS) as subscription:
        await write(connection, "an error", level="error")
        (event,) = await events(subscription, 1)
        await write_many(connection, 3000)
        cursor = await progress(subscription, event.cursor)
    async with await two.subscribe(ERRORS, after=cursor) as subscription:
        assert two.stats.catch_up_rows == 0
        await write(connection, "another", level="error")
        assert await messages(subscription, 1) == ["another"]
    async with await three.subscribe(ERRORS, after=event.cursor) as subscription:
        assert await messages(subscription, 1) == ["another"]
        assert three.stats.catch_up_rows >= 3000


async def test_a_feed_without_new_rows_makes_no_progress(feed: Feed, make_feed: MakeFeed) -> None:
    async with await make_feed(options=QUICK).subscribe(ERRORS) as subscription:
        cursor = subscription.cursor
        for _ in range(5):
            assert await subscription.batch(progress=True) == []
        assert subscription.cursor == cursor


async def test_nobody_is_told_of_progress_who_did_not_ask(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    feed = make_feed(options=QUICK)
    async with await feed.subscribe(ERRORS) as subscription:
        waiting = asyncio.create_task(subscription.batch())
        beats = feed.hub.heartbeats
        while feed.hub.heartbeats < beats + 5:
            await feed.hub.moved.wait()
        assert not waiting.done()
        await write(connection, "an error", level="error")
        assert len(await waiting) == 1


async def test_a_subscriber_far_behind_learns_how_far_it_has_come(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    one = make_feed()
    async with await one.subscribe(ERRORS) as subscription:
        begin = subscription.cursor
    await write_many(connection, 3000)
    await write(connection, "an error", level="error")
    two = make_feed(
        options=FeedOptions(
            tail=TailOptions(idle_interval=0.001, min_interval=0.0), heartbeat=0.0, catch_up_rows=1
        )
    )
    async with await two.subscribe(ERRORS, after=begin) as subscription:
        cursor = await progress(subscription, begin)
        assert 0 < two.stats.catch_up_rows < 3000
    three = make_feed()
    async with await three.subscribe(ERRORS, after=cursor) as subscription:
        assert await messages(subscription, 1) == ["an error"]
        assert three.stats.catch_up_rows < 3001


async def test_whatever_progress_says_nothing_is_lost_or_repeated_behind_it(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    feed = make_feed(options=QUICK)
    wanted = [f"{number}" for number in range(0, 200, 5)]

    async def write_all() -> None:
        for number in range(200):
            await write(connection, f"{number}", level="info" if number % 5 else "error")
            await asyncio.sleep(0.005)

    places: dict[str, int] = {}
    received: list[str] = []
    async with await feed.subscribe(EVERYTHING), await feed.subscribe(ERRORS) as subscription:
        writing = asyncio.create_task(write_all())
        while len(received) < len(wanted):
            batch = await subscription.batch(progress=True)
            received += [event.row["message"] for event in batch]
            places[subscription.cursor] = len(received)
        await writing
        assert received == wanted
        for cursor, had in places.items():
            async with await feed.subscribe(ERRORS, after=cursor) as resumed:
                assert await messages(resumed, len(wanted) - had) == wanted[had:]


async def test_the_cursor_of_a_closed_subscription_stays_where_it_was(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as other:
        subscription = await feed.subscribe(ERRORS)
        await subscription.aclose()
        await write(connection, "an error", level="error")
        await events(other, 1)
        async with await feed.subscribe(ERRORS, after=subscription.cursor) as resumed:
            assert await messages(resumed, 1) == ["an error"]
