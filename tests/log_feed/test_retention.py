"""Deleted rows: a cursor that has not read them expires, since nobody can tell what it has missed."""

import asyncpg
import pytest

from graphql_api.log_feed import CursorExpiredError, Feed, LogFilter
from tests.log_feed.conftest import MakeFeed, events, messages, nothing_more, write, write_many

EVERYTHING = LogFilter()


async def cursor_now(feed: Feed) -> str:
    async with await feed.subscribe(EVERYTHING) as subscription:
        return subscription.cursor


async def test_a_cursor_ends_where_rows_after_it_were_deleted(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    cursor = await cursor_now(feed)
    await write(connection, "gone", "kept")
    await connection.execute("DELETE FROM system_logs WHERE message = 'gone'")
    with pytest.raises(CursorExpiredError):
        await feed.subscribe(EVERYTHING, after=cursor)


async def test_a_cursor_goes_on_where_only_rows_before_it_were_deleted(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "1", "2")
        (_, second) = await events(subscription, 2)
    await write(connection, "3")
    await connection.execute("DELETE FROM system_logs WHERE message IN ('1', '2')")
    async with await feed.subscribe(EVERYTHING, after=second.cursor) as subscription:
        assert await messages(subscription, 1) == ["3"]


async def test_a_cursor_ends_where_the_table_was_emptied(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    cursor = await cursor_now(feed)
    await write(connection, "gone")
    await connection.execute("TRUNCATE system_logs")
    with pytest.raises(CursorExpiredError):
        await feed.subscribe(EVERYTHING, after=cursor)


async def test_a_cursor_inside_a_transaction_ends_with_the_rest_of_its_rows(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write_many(connection, 5)
        first = (await events(subscription, 1))[0]
    await connection.execute("DELETE FROM system_logs")
    with pytest.raises(CursorExpiredError):
        await feed.subscribe(EVERYTHING, after=first.cursor)


async def test_a_cursor_ends_where_a_transaction_it_waited_for_was_deleted(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    other = await feed.database.address.connect_plain()
    transaction = other.transaction()
    await transaction.start()
    await write(other, "late")
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "early")
        early = (await events(subscription, 1))[0]
    await transaction.commit()
    await connection.execute("DELETE FROM system_logs WHERE message = 'late'")
    with pytest.raises(CursorExpiredError):
        await feed.subscribe(EVERYTHING, after=early.cursor)
    await other.close()


async def test_what_a_transaction_writes_and_deletes_itself_was_never_there(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    cursor = await cursor_now(feed)
    async with connection.transaction():
        await write(connection, "draft")
        await connection.execute("DELETE FROM system_logs")
        await write(connection, "final")
    async with await feed.subscribe(EVERYTHING, after=cursor) as subscription:
        assert await messages(subscription, 1) == ["final"]


@pytest.mark.parametrize("undo", ["DELETE FROM system_logs WHERE message = 'draft'", "TRUNCATE system_logs"])
async def test_a_transaction_may_delete_its_own_lines_amid_others(
    feed: Feed, connection: "asyncpg.Connection", undo: str
) -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        async with connection.transaction():
            async with connection.transaction():
                await write(connection, "draft", "draft")
            await connection.execute(undo)
            await write(connection, "final")
        assert await messages(subscription, 1) == ["final"]
        await nothing_more(subscription)
    assert feed.stats.resets == 0


async def test_a_deletion_that_is_rolled_back_costs_nothing(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    cursor = await cursor_now(feed)
    await write(connection, "kept")
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("DELETE FROM system_logs")
    await transaction.rollback()
    async with await feed.subscribe(EVERYTHING, after=cursor) as subscription:
        assert await messages(subscription, 1) == ["kept"]


async def test_deleting_what_was_delivered_disturbs_no_live_subscriber(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        for number in range(3):
            await write(connection, str(number))
            await messages(subscription, 1)
            await connection.execute("DELETE FROM system_logs")
            await nothing_more(subscription)
    assert feed.stats.resets == 0


async def test_deletions_while_a_writer_is_open_disturb_no_live_subscriber(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    other = await feed.database.address.connect_plain()
    async with await feed.subscribe(EVERYTHING) as subscription:
        transaction = other.transaction()
        await transaction.start()
        await write(other, "late")
        await write(connection, "early")
        await messages(subscription, 1)
        await connection.execute("DELETE FROM system_logs")
        await nothing_more(subscription)
        await transaction.commit()
        assert await messages(subscription, 1) == ["late"]
    assert feed.stats.resets == 0
    await other.close()


async def test_live_subscribers_end_where_rows_vanished_before_they_were_read(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    feed = make_feed()
    async with await feed.subscribe(EVERYTHING) as subscription:
        await connection.execute("SET log_feed.notify = off")
        await nothing_more(subscription)
        await connection.execute(  # in one message, so that nobody looks in between
            "BEGIN; INSERT INTO system_logs (level, component, message)"
            " VALUES ('info', 'test', 'gone'); COMMIT;"
            " BEGIN; DELETE FROM system_logs; COMMIT"
        )
        with pytest.raises(CursorExpiredError):
            await subscription.batch()
    assert feed.stats.resets == 1


async def test_a_new_subscriber_begins_after_what_was_deleted(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    await write(connection, "1", "2", "3")
    await connection.execute("TRUNCATE system_logs")
    cursor = await cursor_now(feed)
    await write(connection, "4")
    async with await feed.subscribe(EVERYTHING, after=cursor) as subscription:
        assert await messages(subscription, 1) == ["4"]


async def test_who_may_delete_rows_needs_no_right_in_the_feeds_schema(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    cursor = await cursor_now(feed)
    await write(connection, "gone")
    role = await connection.fetchval(
        "SELECT 'janitor_' || oid FROM pg_database WHERE datname = current_database()"
    )
    await connection.execute(f"CREATE ROLE {role}; GRANT ALL ON system_logs TO {role}; SET ROLE {role}")
    try:
        await write(connection, "by a stranger")
        await connection.execute("DELETE FROM system_logs WHERE message = 'gone'")
    finally:
        await connection.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")
    with pytest.raises(CursorExpiredError):
        await feed.subscribe(EVERYTHING, after=cursor)


async def test_deletions_at_the_same_time_never_wait_for_one_another(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    await write(connection, "1", "2")
    other = await feed.database.address.connect_plain(command_timeout=10)
    async with connection.transaction():
        await connection.execute("DELETE FROM system_logs WHERE message = '2'")
        await other.execute("DELETE FROM system_logs WHERE message = '1'")
    await other.close()
