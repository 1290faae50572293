"""What a subscriber gets."""

import asyncio

import asyncpg
import pytest

from graphql_api.log_feed import Feed, FeedOptions, LogFilter
from tests.log_feed.conftest import MakeFeed, events, messages, nothing_more, write, write_many

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
        received = await events(subscription, had)
        cursor = received[-1].cursor if received else subscription.cursor
        first = [event.row["message"] for event in received]
    await write(connection, "missed")
    async with await two.subscribe(EVERYTHING, after=cursor) as subscription:
        rest = await messages(subscription, 5 - had)
        await nothing_more(subscription)
    assert first + rest == ["2", "3", "4", "5", "missed"]


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


async def test_closing_ends_a_wait_for_events(feed: Feed) -> None:
    subscription = await feed.subscribe(EVERYTHING)
    waiting = asyncio.create_task(subscription.batch())
    await asyncio.sleep(0)
    await subscription.aclose()
    assert await waiting == []
    assert subscription.closed


async def test_a_consumer_may_be_cancelled_and_go_on(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await subscription.batch()
        await write(connection, "still there")
        assert await messages(subscription, 1) == ["still there"]
