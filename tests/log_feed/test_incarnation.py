"""Where a cursor ends with its incarnation, as the tables show it; drills make the crashes and restores."""

from dataclasses import replace

import asyncpg
import pytest

from graphql_api.domain.account_changes import CHANGES
from graphql_api.log_feed import Feed, FeedResetError, LogFilter, UnfitDatabaseError
from graphql_api.log_feed.feed_offset import Cursor, CursorCodec, FeedOffset
from graphql_api.log_feed.feed_schema import LOGS, FeedSchema
from graphql_api.log_feed.incarnation import enter_incarnation
from graphql_api.postgres.address import Address
from tests import factories
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
    assert len({await enter_incarnation(connection) for connection in connections}) == 1
    for connection in connections:
        await connection.close()


async def test_an_interruption_begins_another_incarnation(address: Address) -> None:
    connection = await address.connect()
    before = await enter_incarnation(connection)
    await interrupt(connection)
    assert await enter_incarnation(connection) != before
    await connection.close()


async def test_a_reset_ends_cursors_when_its_transaction_commits(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    reader = await address.connect()
    first = await enter_incarnation(reader)
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("SELECT FROM system_logs")
        await interrupt(reader)
        second = await enter_incarnation(reader)  # which the transaction can't see
        await connection.execute("SELECT log_feed.reset(), log_feed.reset()")
        assert await enter_incarnation(reader) == second
    third = await enter_incarnation(reader)
    assert len({first, second, third}) == 3
    assert await reader.fetchval("SELECT count(*) FROM log_feed.incarnations") == 1
    await reader.close()


@pytest.mark.parametrize("leaves", [True, False])
async def test_what_has_left_an_account_in_a_transaction_during_a_reset_resets_once_again(
    address: Address, connection: "asyncpg.Connection", leaves: bool
) -> None:
    account = await factories.account(connection, await factories.user(connection))
    trade = await factories.trade(connection, await factories.session(connection, account))
    reader, writer, other = [await address.connect() for _ in range(3)]
    async with other.transaction():  # which doesn't end
        await write(other, "in progress")
        async with writer.transaction():
            await writer.execute(
                "DELETE FROM trades" if leaves else "UPDATE trades SET pnl = 1 WHERE id = $1",
                *(() if leaves else (trade,)),
            )
            for _ in range(3):
                await connection.execute("SELECT activity.reset()")
                during = await enter_incarnation(reader, CHANGES)
            await write(connection, "later")
            assert await enter_incarnation(reader, CHANGES) == during
        after = await enter_incarnation(reader, CHANGES)
        assert (after != during) == leaves
        assert await enter_incarnation(reader, CHANGES) == after
    assert await enter_incarnation(reader, CHANGES) == after
    await connection.execute("SELECT activity.reset()")
    assert await enter_incarnation(reader, CHANGES) != after
    ours = "SELECT count(*) FROM activity.resets WHERE xid IN (SELECT xid FROM log_feed.entries)"
    assert await reader.fetchval(ours) == 0
    for each in (reader, writer, other):
        await each.close()


async def test_a_transaction_that_is_newer_than_a_reset_and_older_than_its_commit_resets_once_again(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    account = await factories.account(connection, await factories.user(connection))
    await factories.trade(connection, await factories.session(connection, account))
    reader, writer = [await address.connect() for _ in range(2)]
    resetting = connection.transaction()
    await resetting.start()
    await connection.execute("SELECT activity.reset()")
    async with writer.transaction():
        await writer.execute("DELETE FROM trades")
        await resetting.commit()
        during = await enter_incarnation(reader, CHANGES)
    assert await enter_incarnation(reader, CHANGES) != during
    await reader.close()
    await writer.close()


async def test_a_reset_that_a_restored_dump_left_pending_is_none(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    reader = await address.connect()
    present = await enter_incarnation(reader, CHANGES)
    await connection.execute("INSERT INTO activity.resets VALUES ('4611686018427387904', true)")
    assert await enter_incarnation(reader, CHANGES) == present
    assert await connection.fetchval("SELECT count(*) FROM activity.resets") == 0
    await reader.close()


@pytest.mark.parametrize("schema", [LOGS, CHANGES])
async def test_a_feed_begins_where_all_tables_are_published(
    address: Address, connection: "asyncpg.Connection", schema: FeedSchema
) -> None:
    await connection.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    reader = await address.connect()
    before = await enter_incarnation(reader, schema)
    await connection.execute(f"SELECT {schema.name}.reset()")
    assert await enter_incarnation(reader, schema) != before
    await reader.close()


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
    offset = FeedOffset(cursor.offset.next_xid + 10**6)
    ahead = CODEC.encode(replace(cursor, offset=offset))
    assert await code(make_feed(), ahead) == "FEED_RESET_RESTORE"


async def test_a_copy_of_a_database_lives_its_own_life(address: Address, server: Address) -> None:
    original = await address.connect()
    name = await original.fetchval("SELECT current_database()")
    incarnation = await enter_incarnation(original)
    await original.close()
    admin = await server.connect_plain()
    await admin.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name} STRATEGY file_copy")
    copy = await database_of(server, f"{name}_copy").connect()
    try:
        assert await enter_incarnation(copy) != incarnation
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


async def test_entries_from_the_future_are_history(feed: Feed, connection: "asyncpg.Connection") -> None:
    """A dump of another server brings them with it, whose counter of transactions was further on."""
    await write(connection, "old", "older", "oldest")
    for ahead, message in ((3, "old"), (50, "older"), (10**9, "oldest")):
        await connection.execute(
            "UPDATE log_feed.entries SET xid = (pg_current_xact_id()::text::bigint + $1)::text::xid8"
            " WHERE id = (SELECT id FROM system_logs WHERE message = $2)",
            ahead,
            message,
        )
    async with await feed.subscribe(EVERYTHING, backfill=10) as subscription:
        assert sorted(await messages(subscription, 3)) == ["old", "older", "oldest"]
        for number in range(60):
            await write(connection, str(number))
        assert await messages(subscription, 60) == list(map(str, range(60)))
        await nothing_more(subscription)


async def test_subscribers_end_while_lines_are_not_recorded(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    feed = make_feed()
    async with await feed.subscribe(EVERYTHING) as subscription:
        cursor = subscription.cursor
        await connection.execute("ALTER TABLE system_logs DISABLE TRIGGER log_feed_insert")
        with pytest.raises(UnfitDatabaseError, match="graphql-api migrate"):
            await subscription.batch()
    with pytest.raises(UnfitDatabaseError, match="graphql-api migrate"):
        await feed.subscribe(EVERYTHING)
    with pytest.raises(UnfitDatabaseError, match="graphql-api migrate"):
        await feed.check()
    await write(connection, "not recorded")
    await connection.execute("ALTER TABLE system_logs ENABLE TRIGGER log_feed_insert")
    assert await code(make_feed(), cursor) == "FEED_RESET_RESTORE"
    async with await feed.subscribe(EVERYTHING, backfill=1) as subscription:
        await write(connection, "recorded")
        assert await messages(subscription, 2) == ["not recorded", "recorded"]


async def test_subscribers_end_where_lines_were_not_recorded_for_a_moment(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        await connection.execute(  # in one message, so that nobody looks in between
            "ALTER TABLE system_logs DISABLE TRIGGER ALL;"
            " INSERT INTO system_logs (level, component, message) VALUES ('info', 'test', 'not recorded');"
            " ALTER TABLE system_logs ENABLE TRIGGER ALL"
        )
        with pytest.raises(FeedResetError):
            await subscription.batch()


async def test_a_cursor_ends_where_lines_were_written_before_anybody_noted_the_interruption(
    make_feed: MakeFeed, address: Address, connection: "asyncpg.Connection"
) -> None:
    """A copy of the server writes lines before it is followed: the original's cursor may be as far on."""
    cursor = await cursor_after_a_row(make_feed(), connection)
    await interrupt(connection)
    program = await address.connect_plain()  # no session outlives an interruption
    await write(program, *["by the copy"] * 10)
    await program.close()
    lsn = await connection.fetchval("SELECT pg_current_wal_insert_lsn()")
    assert await code(make_feed(), text(cursor, lsn=lsn)) == "FEED_RESET_RESTORE"


async def test_a_cursor_ends_where_its_transactions_are_those_of_another_server(
    make_feed: MakeFeed, address: Address, connection: "asyncpg.Connection"
) -> None:
    """The original wrote little in many transactions, the copy much in few: only transaction ids show it."""
    cursor = await cursor_after_a_row(make_feed(), connection)
    await interrupt(connection)
    program = await address.connect_plain()
    await write(program, "by the copy")
    await program.close()
    offset = FeedOffset(await connection.fetchval("SELECT pg_current_xact_id()") + 100)
    await connection.execute(
        "DO $$ BEGIN FOR n IN 1..200 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    )
    assert await code(make_feed(), CODEC.encode(replace(cursor, offset=offset))) == "FEED_RESET_RESTORE"


async def test_a_cursor_survives_where_lines_were_written_before_anybody_followed_again(
    make_feed: MakeFeed, address: Address, connection: "asyncpg.Connection"
) -> None:
    cursor = await cursor_after_a_row(make_feed(), connection)
    await interrupt(connection)
    program = await address.connect_plain()
    await write(program, "second", "third")
    await program.close()
    async with await make_feed().subscribe(EVERYTHING, after=text(cursor)) as subscription:
        assert await messages(subscription, 2) == ["second", "third"]


async def test_replicated_lines_need_their_trigger(
    make_feed: MakeFeed, connection: "asyncpg.Connection"
) -> None:
    async with await make_feed().subscribe(EVERYTHING) as subscription:
        cursor = subscription.cursor
    await connection.execute("ALTER TABLE system_logs ENABLE TRIGGER ALL")
    await connection.execute(
        "CREATE SUBSCRIPTION logs CONNECTION 'dbname=none' PUBLICATION logs WITH (connect = false)"
    )
    await connection.execute(
        "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)"
        " SELECT oid, 'system_logs'::regclass, 'i' FROM pg_subscription"
        " WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    try:
        with pytest.raises(UnfitDatabaseError, match="graphql-api migrate"):
            await make_feed().subscribe(EVERYTHING)
        await connection.execute("ALTER TABLE system_logs ENABLE REPLICA TRIGGER log_feed_replica")
        assert await code(make_feed(), cursor) == "FEED_RESET_RESTORE"
    finally:
        await connection.execute("DELETE FROM pg_subscription_rel")
        await connection.execute("ALTER SUBSCRIPTION logs SET (slot_name = NONE); DROP SUBSCRIPTION logs")
