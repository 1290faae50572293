"""What a subscriber sees."""

import asyncio

import asyncpg
import pytest

from graphql_api.feed import Feed, FeedOptions, LogFilter, Pace, Retention
from tests.feed.conftest import MakeFeed, events, messages, nothing_more, write, write_many

EVERYTHING = LogFilter()
ERRORS = LogFilter(minimum_level="ERROR")


async def test_a_row_reaches_a_subscriber(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "hello")
        (event,) = await events(subscription, 1)
    assert event.row["message"] == "hello"
    assert not event.replayed


async def test_rows_that_were_there_before_are_not_sent(feed: Feed, connection: "asyncpg.Connection") -> None:
    await write(connection, "before")
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "after")
        assert await messages(subscription, 1) == ["after"]


async def test_rows_come_in_commit_order_whoever_began_first(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    other = await feed.database.address.connect_plain()
    async with await feed.subscribe(EVERYTHING) as subscription:
        slow = other.transaction()
        await slow.start()
        await write(other, "began first")
        await write(connection, "committed first")
        assert await messages(subscription, 1) == ["committed first"]
        await slow.commit()
        assert await messages(subscription, 1) == ["began first"]
    await other.close()


async def test_a_row_that_is_rolled_back_is_not_sent(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        transaction = connection.transaction()
        await transaction.start()
        await write(connection, "never")
        await transaction.rollback()
        await write(connection, "real")
        assert await messages(subscription, 1) == ["real"]
        await nothing_more(subscription)


async def test_a_changed_row_is_not_sent_again(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "once")
        await messages(subscription, 1)
        await connection.execute("UPDATE system_logs SET message = 'twice'")
        await nothing_more(subscription)


async def test_only_what_matches_is_sent(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(ERRORS) as subscription:
        await write(connection, "fine")
        await write(connection, "broken", level="Fatal")
        assert await messages(subscription, 1) == ["broken"]


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
    ahead, behind = make_feed(), make_feed(options=FeedOptions(pace=Pace(idle=60)))
    await connection.execute("ALTER TABLE system_logs DISABLE TRIGGER log_feed_wake")
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


async def test_a_backfill_comes_first_in_the_order_of_its_times(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    times = ("2026-11-22 09:03", "2026-11-22 09:01", "2026-11-22 09:02", None)
    await connection.execute(
        "INSERT INTO system_logs (timestamp, level, component, message)"
        " SELECT t::timestamptz, 'info', 'test', coalesce(t, 'never') FROM unnest($1::text[]) t",
        times,
    )
    async with await feed.subscribe(EVERYTHING, backfill=3) as subscription:
        await write(connection, "live")
        received = await events(subscription, 4)
    assert [event.row["message"] for event in received] == [*sorted(filter(None, times)), "live"]
    assert [event.replayed for event in received] == [True, True, True, False]


async def test_a_backfill_is_of_rows_that_match(feed: Feed, connection: "asyncpg.Connection") -> None:
    await write(connection, "an error", level="error")
    await write(connection, "a note", "another")
    async with await feed.subscribe(ERRORS, backfill=2) as subscription:
        assert await messages(subscription, 1) == ["an error"]


async def test_a_row_uncommitted_at_the_backfill_comes_live(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    other = await feed.database.address.connect_plain()
    transaction = other.transaction()
    await transaction.start()
    await write(other, "late")
    await write(connection, "early")
    async with await feed.subscribe(EVERYTHING, backfill=10) as subscription:
        assert await messages(subscription, 1) == ["early"]
        await transaction.commit()
        assert await messages(subscription, 1) == ["late"]
        await nothing_more(subscription)
    await other.close()


@pytest.mark.parametrize("had", range(4))
async def test_an_interrupted_backfill_goes_on_with_its_rest(
    make_feed: MakeFeed, connection: "asyncpg.Connection", had: int
) -> None:
    one, two = make_feed(), make_feed(options=FeedOptions(catch_up_rows=2))
    for minute in range(6):
        await connection.execute(
            "INSERT INTO system_logs (timestamp, level, component, message)"
            " VALUES ('2026-11-22 09:00'::timestamptz + $1 * interval '1 minute', 'info', 'test', $2)",
            5 - minute,  # the newest is written first
            str(5 - minute),
        )
    async with await one.subscribe(EVERYTHING, backfill=4) as subscription:
        first = await messages(subscription, had)
        cursor = subscription.cursor
    await write(connection, "missed")
    async with await two.subscribe(EVERYTHING, after=cursor) as subscription:
        rest = await messages(subscription, 5 - had)
        await nothing_more(subscription)
    assert first + rest == ["2", "3", "4", "5", "missed"]


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
        assert two.stats.pulls < 20


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
    feed = make_feed(options=FeedOptions(pace=Pace(rows=10), retention=Retention(rows=20), catch_up_rows=7))
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
    feed = make_feed(options=FeedOptions(retention=Retention(rows=5)))
    async with await feed.subscribe(EVERYTHING) as slow, await feed.subscribe(EVERYTHING) as quick:
        await write(connection, *map(str, range(20)))
        await events(quick, 20)
        await events(slow, 20)
        await write(connection, "shared")
        assert (await events(slow, 1))[0] is (await events(quick, 1))[0]
    assert feed.stats.catching_up == 0


async def test_equal_filters_share_an_event(feed: Feed, connection: "asyncpg.Connection") -> None:
    one, two = LogFilter(search="x"), LogFilter(search="x")
    async with await feed.subscribe(one) as first, await feed.subscribe(two) as second:
        await write(connection, "x")
        assert (await events(first, 1))[0] is (await events(second, 1))[0]
        assert feed.stats.groups == 1


async def test_a_batch_holds_all_that_is_ready(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(EVERYTHING) as subscription, await feed.subscribe(EVERYTHING) as other:
        await write_many(connection, 30)
        await events(other, 30)
        assert len(await subscription.batch()) == 30
        assert await subscription.batch(timeout=0.01) == []


async def test_a_cursor_after_a_batch_is_behind_it(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    one, two = make_feed(), make_feed()
    async with await one.subscribe(EVERYTHING) as subscription:
        await write(connection, "1", "2")
        received = 0
        while received < 2:
            received += len(await subscription.batch())
        cursor = subscription.cursor
    await write(connection, "3")
    async with await two.subscribe(EVERYTHING, after=cursor) as subscription:
        assert await messages(subscription, 1) == ["3"]


async def test_closing_ends_the_iteration(feed: Feed) -> None:
    subscription = await feed.subscribe(EVERYTHING)

    async def consume() -> list[object]:
        return [event async for event in subscription]

    consumer = asyncio.create_task(consume())
    await asyncio.sleep(0)
    await subscription.aclose()
    assert await consumer == []


async def test_a_consumer_may_be_cancelled_and_go_on(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(subscription)
        await write(connection, "still there")
        assert await messages(subscription, 1) == ["still there"]


INSIDE = FeedOptions(pace=Pace(rows=1), retention=Retention(rows=100), catch_up_rows=50)


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
            assert feed.hub.place is not None
            assert feed.hub.place.position.half is not None
            assert await messages(resumed, 1) == ["last"]
            await nothing_more(resumed)


async def test_a_backfill_inside_a_transaction_is_of_the_rows_that_were_read(
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
    assert 0 < sum(event.replayed for event in received) < 500


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
        assert one.stats.pulls >= 4
        await nothing_more(subscription)
    async with await two.subscribe(EVERYTHING, after=start) as subscription:
        assert len(await subscription.batch()) < 10
    assert live == set(map(str, range(100, 120)))
