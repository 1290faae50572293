"""Another server in the place of the first: a cursor of the first must not be taken for one of the second."""

import asyncio

import pytest

from graphql_api.log_feed import FeedError, LogFilter, UnfitDatabaseError
from tests.drills.conftest import MakeFeed, MakeServer
from tests.drills.servers import DATABASE, Server
from tests.log_feed.conftest import messages, write

pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]

EVERYTHING = LogFilter()


async def cursor_after(server: Server, make_feed: MakeFeed, *texts: str) -> str:
    """Write, read all of it, and return the cursor of the last."""
    feed, connection = make_feed(server), await server.address.connect_plain()
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, *texts)
        assert await messages(subscription, len(texts)) == list(texts)
        cursor = subscription.cursor
    await connection.close()
    return cursor


async def code(server: Server, make_feed: MakeFeed, cursor: str) -> str:
    with pytest.raises(FeedError) as caught:
        await make_feed(server).subscribe(EVERYTHING, after=cursor)
    return caught.value.code


async def serves_anew(server: Server, make_feed: MakeFeed) -> None:
    """A client that subscribes without a cursor is served, and can resume."""
    cursor = await cursor_after(server, make_feed, "anew")
    connection = await server.address.connect_plain()
    await write(connection, "resumed")
    await connection.close()
    async with await make_feed(server).subscribe(EVERYTHING, after=cursor) as subscription:
        assert await messages(subscription, 1) == ["resumed"]


async def caught_up(standby: Server, text: str) -> None:
    connection = await standby.address.connect_plain()
    while not await connection.fetchval("SELECT count(*) FROM system_logs WHERE message = $1", text):
        await asyncio.sleep(0.05)
    await connection.close()


async def test_a_standby_is_refused(standby: Server, make_feed: MakeFeed) -> None:
    with pytest.raises(UnfitDatabaseError, match="set DATABASE_DIRECT_URL"):
        await make_feed(standby).subscribe(EVERYTHING)
    with pytest.raises(UnfitDatabaseError, match="set DATABASE_DIRECT_URL"):
        await make_feed(standby).check()


async def test_a_cursor_ends_with_a_promotion(server: Server, standby: Server, make_feed: MakeFeed) -> None:
    cursor = await cursor_after(server, make_feed, "before")
    await caught_up(standby, "before")
    server.crash()
    standby.promote()
    assert await code(standby, make_feed, cursor) == "FEED_RESET_FAILOVER"
    await serves_anew(standby, make_feed)


async def test_a_cursor_ends_with_a_promotion_that_lost_rows(
    server: Server, standby: Server, make_feed: MakeFeed
) -> None:
    """The standby was behind: it gives the ids of transactions that it never heard of to its own."""
    await cursor_after(server, make_feed, "replicated")
    await caught_up(standby, "replicated")
    standby.stop()
    cursor = await cursor_after(server, make_feed, "lost 1", "lost 2")
    server.crash()
    await standby.start()
    standby.promote()
    await standby.accepts_writes()
    assert await code(standby, make_feed, cursor) in ("FEED_RESET_RESTORE", "FEED_RESET_FAILOVER")
    await serves_anew(standby, make_feed)


async def test_a_cursor_ends_with_a_restore_from_a_backup(
    server: Server, make_server: MakeServer, make_feed: MakeFeed
) -> None:
    await cursor_after(server, make_feed, "kept")
    restored = make_server()
    restored.copy_of(server, standby=False)
    cursor = await cursor_after(server, make_feed, "after the backup")
    server.crash()
    restored.recover()
    await restored.start()
    await restored.accepts_writes()
    assert await code(restored, make_feed, cursor) in ("FEED_RESET_RESTORE", "FEED_RESET_FAILOVER")
    await serves_anew(restored, make_feed)


async def test_a_cursor_ends_with_a_dump_that_is_restored_elsewhere(
    server: Server, make_server: MakeServer, make_feed: MakeFeed
) -> None:
    cursor = await cursor_after(server, make_feed, *map(str, range(300)))
    dump = server.folder / "dump"
    server.programs.run("pg_dump", "--format=custom", f"--file={dump}", *server.login(DATABASE))
    other = make_server()
    await other.make(migrated=False)
    other.programs.run("pg_restore", *other.login(DATABASE), dump)
    assert await code(other, make_feed, cursor) == "FEED_RESET_RESTORE"
    await serves_anew(other, make_feed)


async def test_a_disk_that_is_set_back_ends_cursors_of_what_it_forgot(
    server: Server, make_feed: MakeFeed
) -> None:
    """A snapshot of the disks of a running server starts as after a crash: same server, same timeline."""
    await cursor_after(server, make_feed, "kept")
    server.crash()
    server.save()
    await server.start()
    cursor = await cursor_after(server, make_feed, *map(str, range(100)))
    server.crash()
    server.set_back()
    await server.start()
    assert await code(server, make_feed, cursor) == "FEED_RESET_RESTORE"
    await serves_anew(server, make_feed)
