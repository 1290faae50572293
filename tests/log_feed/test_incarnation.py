"""Where a cursor ends with its incarnation, as the tables show it; drills make the crashes and restores."""

from dataclasses import replace

import asyncpg
import pytest

from graphql_api.log_feed import Feed, FeedResetError, LogFilter
from graphql_api.log_feed.feed_position import Cursor, CursorCodec, Position
from graphql_api.log_feed.incarnation import present_incarnation
from graphql_api.postgres.address import Address
from tests.conftest import database_of
from tests.log_feed.conftest import KEY, MakeFeed, events, messages, nothing_more, write

EVERYTHING = LogFilter()
CODEC = CursorCodec(KEY)


async def cursor_after_a_row(feed: Feed, connection: "asyncpg.Connection") -> Cursor:
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "first")
        (event,) = await events(subscription, 1)
        return CODEC.decode(event.cursor)


def text(cursor: Cursor, *, lsn: int | None = None) -> str:
    """The cursor as clients have it, read at another place of PostgreSQL's log."""
    return CODEC.encode(cursor if lsn is None else replace(cursor, lsn=lsn))


async def interrupt(connection: "asyncpg.Connection") -> None:
    """What a crash leaves behind of an unlogged table."""
    await connection.execute("TRUNCATE log_feed.incarnation")


async def code(feed: Feed, after: str) -> str:
    with pytest.raises(FeedResetError) as caught:
        await feed.subscribe(EVERYTHING, after=after)
    return caught.value.code


async def test_every_process_finds_the_same_incarnation(address: Address) -> None:
    connections = [await address.connect() for _ in range(3)]
    assert len({await present_incarnation(connection) for connection in connections}) == 1
    for connection in connections:
        await connection.close()


async def test_an_interruption_begins_another_incarnation(address: Address) -> None:
    connection = await address.connect()
    before = await present_incarnation(connection)
    await interrupt(connection)
    assert await present_incarnation(connection) != before
    await connection.close()


async def test_a_cursor_survives_a_crash(make_feed: MakeFeed, connection: "asyncpg.Connection") -> None:
    cursor = await cursor_after_a_row(make_feed(), connection)
    await write(connection, "second")
    await interrupt(connection)
    async with await make_feed().subscribe(EVERYTHING, after=text(cursor)) as subscription:
        assert await messages(subscription, 1) == ["second"]


async def test_a_cursor_of_an_unknown_life_ends(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    cursor = await cursor_after_a_row(make_feed(), connection)
    await interrupt(connection)
    await connection.execute("DELETE FROM log_feed.incarnations")
    assert await code(make_feed(), text(cursor)) == "FEED_RESET_RESTORE"


async def test_a_cursor_from_beyond_the_end_of_its_life_ends(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    cursor = await cursor_after_a_row(make_feed(), connection)
    await interrupt(connection)
    assert await code(make_feed(), text(cursor, lsn=2**50)) == "FEED_RESET_RESTORE"


async def test_a_cursor_of_another_timeline_ends(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    cursor = await cursor_after_a_row(make_feed(), connection)
    await interrupt(connection)
    await connection.execute("UPDATE log_feed.incarnations SET timeline = '00000000'")
    assert await code(make_feed(), text(cursor)) == "FEED_RESET_FAILOVER"


async def test_a_cursor_that_is_ahead_of_its_own_life_ends(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    """A snapshot of the disks, rolled back while the server was down, leaves the incarnation as it was."""
    cursor = await cursor_after_a_row(make_feed(), connection)
    position = Position(cursor.position.next_xid + 10**6)
    ahead = CODEC.encode(replace(cursor, position=position))
    assert await code(make_feed(), ahead) == "FEED_RESET_RESTORE"


async def test_a_copy_of_a_database_lives_its_own_life(address: Address, server: Address) -> None:
    original = await address.connect()
    name = await original.fetchval("SELECT current_database()")
    incarnation = await present_incarnation(original)
    await original.close()
    admin = await server.connect_plain()
    await admin.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name} STRATEGY file_copy")
    copy = await database_of(server, f"{name}_copy").connect()
    try:
        assert await present_incarnation(copy) != incarnation
    finally:
        await copy.close()
        await admin.execute(f"DROP DATABASE {name}_copy WITH (FORCE)")
        await admin.close()


async def test_live_subscribers_go_on_over_a_crash(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "before")
        await messages(subscription, 1)
        await interrupt(connection)
        await write(connection, "after")
        assert await messages(subscription, 1) == ["after"]
        await nothing_more(subscription)
    assert feed.stats.reconnects == 1


async def test_live_subscribers_end_where_continuity_cannot_be_proved(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        await connection.execute("DELETE FROM log_feed.incarnations")
        await interrupt(connection)
        with pytest.raises(FeedResetError):
            await subscription.batch()
    assert feed.stats.resets == 1
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "anew")
        assert await messages(subscription, 1) == ["anew"]


async def test_what_a_dump_brings_from_the_future_becomes_the_past(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    future = "SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + $1)::text::xid8"
    for ahead in (3, 50, 10**9):
        await connection.execute(
            "INSERT INTO system_logs (level, component, message, feed_xid)"
            f" VALUES ('info', 'test', 'old', ({future}))",
            ahead,
        )
    async with await feed.subscribe(EVERYTHING, backfill=10) as subscription:
        assert await messages(subscription, 3) == ["old"] * 3
        for number in range(60):
            await write(connection, str(number))
        assert await messages(subscription, 60) == list(map(str, range(60)))
