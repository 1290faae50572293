"""A database moves to another server, while lines are written and followed: docs/moving.md by the row."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest

from graphql_api.log_feed import Feed, FeedError, FeedResetError, FeedSubscription, LogFilter
from graphql_api.log_feed.incarnation import enter_incarnation
from graphql_api.log_feed.trimming import trim_entries
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.migrate import find_damage
from graphql_api.postgres.tables.base import metadata
from tests.drills.conftest import MakeFeed, MakeServer
from tests.drills.servers import DATABASE, PORT, Server
from tests.log_feed.conftest import KEY, events, messages, nothing_more, write

pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]

EVERYTHING = LogFilter()
OLD = [f"old {number}" for number in range(200)]
BURN = "DO $$ BEGIN FOR n IN 1..{} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
DOCUMENTED = f"FOR TABLE {', '.join(str(t) for t in metadata.tables.values() if t.schema is None)}"


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator["asyncpg.Connection"]:
    connection = await server.address.connect_plain()
    try:
        yield connection
    finally:
        await connection.close()


async def followed(server: Server, make_feed: MakeFeed) -> list[str]:
    """Writes the old lines, follows them, and returns the cursor behind each."""
    async with connected(server) as writer, await make_feed(server).subscribe(EVERYTHING) as subscription:
        await write(writer, *OLD)
        return [event.cursor for event in await events(subscription, len(OLD))]


async def served(server: Server, make_feed: MakeFeed, written: Server, number: int = 100) -> None:
    """Lines that are written to one server come on the other, once and in order, also after each cursor."""
    lines = [f"new {n}" for n in range(number)]
    feed = make_feed(server)
    async with connected(server) as here, connected(written) as there:
        async with await feed.subscribe(EVERYTHING) as subscription:
            for line in lines:
                await here.execute(BURN.format(100))  # past all ids that the other server has given out
                await write(there, line)
            received = await events(subscription, number)
            assert [event.row["message"] for event in received] == lines
            await nothing_more(subscription)
        for index in (0, number // 2, number - 1):
            async with await feed.subscribe(EVERYTHING, after=received[index].cursor) as subscription:
                assert await messages(subscription, number - index - 1) == lines[index + 1 :]
                await nothing_more(subscription)


async def codes(server: Server, make_feed: MakeFeed, cursors: Sequence[str]) -> set[str]:
    """Returns how subscriptions from these cursors end."""
    found, feed = set(), make_feed(server)
    for cursor in cursors:
        with pytest.raises(FeedError) as caught:
            await feed.subscribe(EVERYTHING, after=cursor)
        found.add(caught.value.code)
    return found


async def replicated(server: Server) -> None:
    """Waits until a subscription has copied all tables."""
    async with connected(server) as connection:
        while not await connection.fetchval("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"):
            await asyncio.sleep(0.05)


async def moves_on(server: Server, ids: int) -> None:
    """Lets a server give out transaction ids."""
    async with connected(server) as connection:
        await connection.execute(BURN.format(ids))


@pytest.mark.parametrize("behind", [True, False], ids=["a younger server", "an older server"])
@pytest.mark.parametrize(
    ("tables", "migrated"),
    [("FOR ALL TABLES", False), ("FOR ALL TABLES", True), (DOCUMENTED, True)],
    ids=["all tables", "all tables into a migrated database", "the documented ones"],
)
async def test_logical_replication(
    make_server: MakeServer, make_feed: MakeFeed, tables: str, migrated: bool, behind: bool
) -> None:
    old, new = make_server(wal_level="logical"), make_server(wal_level="logical")
    await old.make()
    cursors = await followed(old, make_feed)
    if not migrated:
        await new.make(migrated=False)
        schema = old.folder / "schema"
        old.programs.run("pg_dump", "--schema-only", f"--file={schema}", *old.login(DATABASE))
        new.programs.run("psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={schema}", *new.login(DATABASE))
    else:
        await new.make()
    await moves_on(old if behind else new, 5000)

    feed = make_feed(new)
    async with connected(old) as publisher, connected(new) as subscriber:
        # There is a horizon to replicate, and a follower whom the first copy finds there.
        await publisher.execute("INSERT INTO log_feed.watermarks SELECT pg_current_xact_id(), '2000-01-01'")
        await write(publisher, "after the watermark")
        await trim_entries(make_feed(old).database, make_feed(old).options.retention)
        async with await feed.subscribe(EVERYTHING) as before:
            await publisher.execute(f"CREATE PUBLICATION moving {tables}")
            if migrated and tables == "FOR ALL TABLES":
                await subscriber.execute("DELETE FROM graphql_api.revision")
            await subscriber.execute(
                f"CREATE SUBSCRIPTION moving CONNECTION 'host={old.folder} port={PORT} user=postgres"
                f" dbname={DATABASE}' PUBLICATION moving"
            )
            await replicated(new)
            with pytest.raises(FeedResetError):
                await before.batch()

        lines = await subscriber.fetchval("SELECT count(*) FROM system_logs")
        assert lines == len(OLD) + 1
        await served(new, make_feed, written=old)
        # What the old server trims is no loss to the new one's followers.
        async with await feed.subscribe(EVERYTHING) as subscription:
            await write(publisher, "before the switch")
            (event,) = await events(subscription, 1)
            await publisher.execute(
                "INSERT INTO log_feed.horizon (xid) SELECT pg_current_xact_id()"
                " ON CONFLICT (single) DO UPDATE SET xid = excluded.xid"
            )
            await publisher.execute("DELETE FROM log_feed.entries")
            await write(publisher, "after trimming")
            assert await messages(subscription, 1) == ["after trimming"]
            await subscriber.execute("DROP SUBSCRIPTION moving")
            await write(subscriber, "after the switch")
            assert await messages(subscription, 1) == ["after the switch"]
        async with await feed.subscribe(EVERYTHING, after=event.cursor) as subscription:
            assert await messages(subscription, 2) == ["after trimming", "after the switch"]
        assert await codes(new, make_feed, [cursors[0], cursors[-1]]) == {"FEED_RESET_RESTORE"}
        await served(new, make_feed, written=new)
    assert await find_damage(new.address) == []


async def test_a_copy_that_is_started_apart(
    server: Server, make_server: MakeServer, make_feed: MakeFeed
) -> None:
    """Both have one identity: the copy refuses cursors of rows that the original wrote after it."""
    shared = await followed(server, make_feed)
    copy = make_server()
    copy.copy_of(server, standby=False)
    apart = await followed(server, make_feed)
    await copy.start()
    async with connected(copy) as connection:  # much, and in few transactions, before anybody follows it
        await write(connection, *map(str, range(20)))
        await connection.execute(
            "CREATE TABLE filling AS SELECT repeat('x', 500) FROM generate_series(1, 50000)"
        )
    assert await codes(copy, make_feed, apart) == {"FEED_RESET_RESTORE"}
    async with await make_feed(copy).subscribe(EVERYTHING, after=shared[-1]) as subscription:
        assert await messages(subscription, 20) == [str(n) for n in range(20)]
        await nothing_more(subscription)
    await served(copy, make_feed, written=copy)


async def test_disks_set_back_under_a_bot_that_goes_on_first(server: Server, make_feed: MakeFeed) -> None:
    shared = await followed(server, make_feed)
    server.crash()
    server.save()
    await server.start()
    lost = await followed(server, make_feed)
    server.crash()
    server.set_back()
    await server.start()
    async with connected(server) as connection:
        await write(connection, *map(str, range(300)))
    assert await codes(server, make_feed, lost) == {"FEED_RESET_RESTORE"}
    async with await make_feed(server).subscribe(EVERYTHING, after=shared[-1]) as subscription:
        assert await messages(subscription, 300) == [str(n) for n in range(300)]


async def test_a_primary_that_moves_among_the_hosts_of_a_url(server: Server, standby: Server) -> None:
    """Nothing is restarted but the servers; what was there before stays, and what comes after is sent."""
    hosts = f"host={server.folder},{standby.folder}&port={PORT},{PORT}"
    address = Address.parse(f"postgresql://postgres@/{DATABASE}?{hosts}")
    backwards = Address.parse(
        f"postgresql://postgres@/{DATABASE}?host={standby.folder},{server.folder}&port={PORT},{PORT}"
    )
    for each in (address, backwards):
        connection = await each.connect_plain()
        assert not await connection.fetchval("SELECT pg_is_in_recovery()")
        await connection.close()

    feed = Feed(Database(backwards), backwards, KEY)
    try:
        writer = await address.connect_plain()
        async with await feed.subscribe(EVERYTHING) as subscription:
            await write(writer, "before")
            assert await messages(subscription, 1) == ["before"]
            async with connected(standby) as reader:
                while not await reader.fetchval("SELECT count(*) FROM system_logs"):
                    await asyncio.sleep(0.02)
            server.crash()
            await asyncio.sleep(1)  # for a while, no host takes changes
            standby.promote()
            with pytest.raises(FeedError) as caught:
                await subscription.batch()
            assert caught.value.code == "FEED_RESET_FAILOVER"
        writer = await address.connect_plain()
        async with await feed.subscribe(EVERYTHING, backfill=10) as subscription:
            assert await messages(subscription, 1) == ["before"]
            await write(writer, "after")
            assert await messages(subscription, 1) == ["after"]
        await writer.close()
    finally:
        await feed.close()
        await feed.database.close()


async def test_a_million_entries_from_the_future(server: Server, make_feed: MakeFeed) -> None:
    """They are deleted while programs write and under a role's short time, and the table doesn't grow."""
    async with connected(server) as connection:
        await connection.execute("ALTER ROLE postgres SET statement_timeout = '3s'")
        await connection.execute("SET statement_timeout = 0")
        await connection.execute(
            "INSERT INTO log_feed.entries SELECT (n + 10000000)::text::xid8, gen_random_uuid()"
            " FROM generate_series(1, 1000000) n"
        )
        before = await connection.fetchval("SELECT pg_table_size('log_feed.entries')")
        subscribing = asyncio.create_task(_subscribed(make_feed(server)))
        number = 0
        while not subscribing.done():
            await write(connection, f"meanwhile {number}")
            number += 1
        async with await subscribing as subscription:
            await write(connection, "after")
            while (await messages(subscription, 1)) != ["after"]:
                pass  # what was written while it subscribed
        assert await connection.fetchval("SELECT count(*) FROM log_feed.entries") == number + 1
        after = await connection.fetchval("SELECT pg_table_size('log_feed.entries')")
        assert after < before * 1.1


async def _subscribed(feed: Feed) -> FeedSubscription:
    connection = await feed.database.address.connect_plain()
    await enter_incarnation(connection)
    await connection.close()
    return await feed.subscribe(EVERYTHING)
