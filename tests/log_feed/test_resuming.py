"""What a subscriber gets after it resumes, or falls behind."""

import asyncpg

from graphql_api.log_feed import BufferLimits, Feed, FeedOptions, LogFilter, TailOptions
from tests.log_feed.conftest import MakeFeed, events, messages, nothing_more, write, write_many

EVERYTHING = LogFilter()
ERRORS = LogFilter(minimum_level="ERROR")


async def test_a_cursor_resumes_at_another_process(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    one, two = make_feed(), make_feed()
    async with await one.subscribe(EVERYTHING) as subscription:
        await write(connection, "1", "2", "3")
        first = (await events(subscription, 1))[0]
    await write(connection, "4")
    async with await two.subscribe(EVERYTHING, after=first.cursor) as subscription:
        assert await messages(subscription, 3) == ["2", "3", "4"]
        await write(connection, "5")
        assert await messages(subscription, 1) == ["5"]


async def test_a_cursor_ahead_of_this_process_is_waited_for(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    ahead, behind = make_feed(), make_feed(options=FeedOptions(tail=TailOptions(idle_interval=60)))
    await connection.execute("SET log_feed.notify = off")
    async with await behind.subscribe(EVERYTHING) as other, await ahead.subscribe(EVERYTHING) as subscription:
        await write(connection, "1", "2")
        cursor = (await events(subscription, 1))[0].cursor
        async with await behind.subscribe(EVERYTHING, after=cursor) as resumed:
            assert await messages(resumed, 1) == ["2"]
        assert await messages(other, 2) == ["1", "2"]


async def test_a_cursor_inside_a_transaction_resumes_inside_it(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    one, two = make_feed(), make_feed()
    async with await one.subscribe(EVERYTHING) as subscription:
        await write_many(connection, 10)
        first = await events(subscription, 4)
    async with await two.subscribe(EVERYTHING, after=first[-1].cursor) as subscription:
        rest = await events(subscription, 6)
        await nothing_more(subscription)
    assert len({event.row["id"] for event in first + rest}) == 10


async def test_a_cursor_may_go_on_with_another_filter(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(ERRORS) as subscription:
        await write(connection, "an error", level="error")
        cursor = (await events(subscription, 1))[0].cursor
    await write(connection, "a note")
    async with await feed.subscribe(EVERYTHING, after=cursor) as subscription:
        assert await messages(subscription, 1) == ["a note"]


async def test_what_was_there_before_the_subscriber_is_marked(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        cursor = subscription.cursor
    await write(connection, "before")
    async with await feed.subscribe(EVERYTHING, after=cursor) as subscription:
        (before,) = await events(subscription, 1)
        await write(connection, "after")
        (after,) = await events(subscription, 1)
    assert (before.replayed, after.replayed) == (True, False)


async def test_a_cursor_moves_on_while_nothing_matches(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    one, two = make_feed(), make_feed(options=FeedOptions(catch_up_rows=1))
    async with await one.subscribe(ERRORS) as subscription, await one.subscribe(EVERYTHING) as other:
        before = subscription.cursor
        await write(connection, *map(str, range(20)))
        await events(other, 20)
        after = subscription.cursor
    assert after != before
    await write(connection, "an error", level="error")
    async with await two.subscribe(ERRORS, after=after) as subscription:
        assert await messages(subscription, 1) == ["an error"]
        assert two.stats.fetches < 20


async def test_a_resume_behind_a_filter_that_matches_nothing_reaches_the_first_match(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    feed = make_feed(options=FeedOptions(catch_up_rows=10))
    async with await feed.subscribe(ERRORS) as subscription:
        cursor = subscription.cursor
    await write_many(connection, 95)
    async with await feed.subscribe(ERRORS, after=cursor) as subscription:
        assert await subscription.batch(timeout=0.2) == []
        await write(connection, "an error", level="error")
        assert await messages(subscription, 1) == ["an error"]


async def test_a_subscriber_that_falls_behind_the_buffer_loses_and_repeats_nothing(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    feed = make_feed(
        options=FeedOptions(tail=TailOptions(page_rows=10), buffer=BufferLimits(rows=20), catch_up_rows=7)
    )
    async with await feed.subscribe(EVERYTHING) as slow, await feed.subscribe(EVERYTHING) as quick:
        await write(connection, *map(str, range(50)))
        await events(quick, 50)
        assert feed.stats.buffered_rows <= 20
        begun = await messages(slow, 25)
        await write(connection, *map(str, range(50, 90)))
        await events(quick, 40)
        rest = await messages(slow, 65)
        await nothing_more(slow)
    assert begun + rest == list(map(str, range(90)))


async def test_a_subscriber_that_catches_up_lives_with_its_group_again(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    feed = make_feed(options=FeedOptions(buffer=BufferLimits(rows=5)))
    async with await feed.subscribe(EVERYTHING) as slow, await feed.subscribe(EVERYTHING) as quick:
        await write(connection, *map(str, range(20)))
        await events(quick, 20)
        await events(slow, 20)
        await write(connection, "shared")
        assert (await events(slow, 1))[0] is (await events(quick, 1))[0]
    assert feed.stats.catching_up == 0


INSIDE = FeedOptions(tail=TailOptions(page_rows=1), buffer=BufferLimits(rows=100), catch_up_rows=50)


async def test_who_resumes_while_the_process_is_inside_a_transaction_need_not_wait(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    feed = make_feed(options=INSIDE)
    async with await feed.subscribe(EVERYTHING) as first:
        cursor = first.cursor
        await write_many(connection, 2000)
        await write(connection, "last")
        await events(first, 1)
        async with await feed.subscribe(EVERYTHING, after=cursor) as resumed:
            assert len(set(await messages(resumed, 2000))) == 2000
            assert feed.hub.read_up_to is not None
            assert feed.hub.read_up_to.offset.partial is not None
            assert await messages(resumed, 1) == ["last"]
            await nothing_more(resumed)


async def test_a_backfill_while_the_process_is_inside_a_transaction_has_it_whole(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    feed = make_feed(options=INSIDE)
    async with await feed.subscribe(EVERYTHING) as first:
        await write_many(connection, 500)
        await events(first, 1)
        async with await feed.subscribe(EVERYTHING, backfill=500) as subscription:
            received = await events(subscription, 500)
            await nothing_more(subscription)
    assert len({event.row["id"] for event in received}) == 500
    assert all(event.replayed for event in received)


async def test_rows_of_a_megabyte_come_a_few_at_a_time(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    one, two = make_feed(), make_feed()
    async with await one.subscribe(EVERYTHING) as subscription:
        start = subscription.cursor
        await connection.execute(
            "INSERT INTO system_logs (level, component, message)"
            " SELECT 'info', 'test', n || repeat('x', 1024 * 1024) FROM generate_series(100, 119) n"
        )
        live = {event.row["message"][:3] for event in await events(subscription, 20)}
        assert one.stats.fetches >= 4
        await nothing_more(subscription)
    async with await two.subscribe(EVERYTHING, after=start) as subscription:
        assert len(await subscription.batch()) < 10
    assert live == set(map(str, range(100, 120)))
