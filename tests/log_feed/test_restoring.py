"""Dumps that PostgreSQL's own programs make and restore, between two clusters.

No old line is sent as a new one, no new line is lost, and cursors that can't be resumed from say so.
"""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Self

import asyncpg
import pytest

from graphql_api.dev.embedded import EmbeddedPostgres
from graphql_api.dev.embedded.programs import Programs, SystemUser, environment
from graphql_api.log_feed import CursorExpiredError, Feed, FeedResetError, LogFilter, UnfitDatabaseError
from graphql_api.log_feed.incarnation import delete_entries_from
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.migrate import migrate
from tests.conftest import SETTINGS, temporary_database
from tests.log_feed.conftest import KEY, events, messages, nothing_more, write
from tests.scratch import scratch_folder

EVERYTHING = LogFilter()
ENDS = (FeedResetError, UnfitDatabaseError)
"""How subscriptions end with a restore; the second is seen while it has tables or triggers still to make."""
OLD = [f"old {number}" for number in range(60)]
BURN = "DO $$ BEGIN FOR n IN 1..{} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"


@pytest.fixture(scope="module")
def young_cluster() -> Iterator[Address]:
    """A cluster that has given out fewer transaction ids than the one of the other tests."""
    folder = scratch_folder()
    postgres = EmbeddedPostgres(folder, "postgres", SETTINGS)
    yield Address.parse(postgres.start())
    postgres.stop()
    shutil.rmtree(folder)


@pytest.fixture
async def target(young_cluster: Address) -> AsyncIterator[Address]:
    """An empty database of the young cluster."""
    async with temporary_database(young_cluster) as address:
        yield address


class Source:
    """A database whose log was followed, and lies further on than the young cluster."""

    def __init__(self, address: Address, folder: Path, cursor: str) -> None:
        self.address = address
        self.cursor = cursor
        self._dump = folder / "dump"

    async def dump(self, *options: str) -> Path:
        """What pg_dump makes of it."""
        await run("pg_dump", f"--file={self._dump}", *options, f"--dbname={self.address.dsn}")
        return self._dump


@pytest.fixture
async def source(
    address: Address, connection: "asyncpg.Connection", young_cluster: Address, tmp_path: Path
) -> Source:
    async with Follower(address) as follower, await follower.feed.subscribe(EVERYTHING) as subscription:
        await write(connection, *OLD)
        await events(subscription, len(OLD))
        cursor = subscription.cursor
    young = await young_cluster.connect_plain()
    ahead = await young.fetchval("SELECT pg_current_xact_id()::text::bigint")
    here = await connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
    await connection.execute(BURN.format(max(0, ahead - here) + 2000))
    await write(connection, "old, and late")
    await young.close()
    return Source(address, tmp_path, cursor)


async def run(program: str, *arguments: str, fails: bool = False) -> None:
    """Runs one of PostgreSQL's programs. It `fails` if some tables have the restored rows already."""
    path = Programs.find(SystemUser(), None).folder / program
    process = await asyncio.create_subprocess_exec(
        path, *arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    printed, _ = await process.communicate()
    assert (process.returncode != 0) == fails, printed.decode()


class Follower:
    """A process that serves a database, and a client that follows the log through it."""

    def __init__(self, address: Address) -> None:
        self._database = Database(address)
        self.feed = Feed(self._database, address, KEY)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.feed.close()
        await self._database.close()


async def is_served(address: Address, *, lines: Sequence[str] = (*OLD, "old, and late")) -> None:
    """The old lines are history, all new ones arrive, and cursors and deletions work as ever."""
    writer = await address.connect_plain()
    async with Follower(address) as follower:
        feed = follower.feed
        async with await feed.subscribe(EVERYTHING, backfill=1000) as subscription:
            assert sorted(await messages(subscription, len(lines))) == sorted(lines)
            for number in range(20):  # the counter passes whatever ids the dump has brought
                await writer.execute(BURN.format(150))
                await write(writer, f"new {number}")
            received = await events(subscription, 20)
            assert [event.row["message"] for event in received] == [f"new {n}" for n in range(20)]
            await nothing_more(subscription)
        async with await feed.subscribe(EVERYTHING, after=received[9].cursor) as subscription:
            assert await messages(subscription, 10) == [f"new {n}" for n in range(10, 20)]
        await writer.execute("DELETE FROM system_logs WHERE message = 'new 15'")
        async with await feed.subscribe(EVERYTHING, after=received[15].cursor) as subscription:
            assert await messages(subscription, 4) == [f"new {n}" for n in range(16, 20)]
        with pytest.raises(CursorExpiredError):
            await feed.subscribe(EVERYTHING, after=received[14].cursor)
    await writer.close()


async def reset(address: Address, cursor: str) -> None:
    """A cursor of before ends."""
    async with Follower(address) as follower:
        with pytest.raises(FeedResetError) as caught:
            await follower.feed.subscribe(EVERYTHING, after=cursor)
    assert caught.value.code == "FEED_RESET_RESTORE"
    assert "restored or set back, or log lines were written while no trigger recorded them" in str(
        caught.value
    )


@pytest.mark.parametrize("deleted", [0, 20, 61])
async def test_a_whole_dump_in_another_cluster(
    source: Source, target: Address, connection: "asyncpg.Connection", deleted: int
) -> None:
    await connection.execute(
        "DELETE FROM system_logs WHERE id IN (SELECT id FROM log_feed.entries ORDER BY xid LIMIT $1)", deleted
    )
    dump = await source.dump("--format=custom")
    await run("pg_restore", f"--dbname={target.dsn}", str(dump))
    await reset(target, source.cursor)
    await is_served(target, lines=[*OLD, "old, and late"][deleted:])


async def test_a_whole_dump_after_trimming(
    source: Source, target: Address, connection: "asyncpg.Connection"
) -> None:
    await connection.execute("INSERT INTO log_feed.watermarks (xid) SELECT pg_current_xact_id()")
    await connection.execute("INSERT INTO log_feed.horizon (xid) SELECT max(xid) FROM log_feed.entries")
    await connection.execute("DELETE FROM log_feed.entries")
    dump = await source.dump("--format=custom")
    await run("pg_restore", f"--dbname={target.dsn}", str(dump))
    await reset(target, source.cursor)
    await is_served(target)


# Ways to restore the rows alone, and whether they complain of tables of ours that have such rows already.
LOG = ("--format=custom", "--data-only", "--table=system_logs")
EVERY_TABLE = ("--format=custom", "--data-only")
ALL_BUT_OURS = (*EVERY_TABLE, "--exclude-schema=log_feed", "--exclude-table=graphql_api.revision")
WAYS = {
    "the log": (LOG, (), False),
    "the log without triggers": (LOG, ("--disable-triggers",), False),
    "the log in one transaction": (LOG, ("--single-transaction",), False),
    "the log as inserts": ((*LOG, "--inserts"), (), False),
    "every table": (EVERY_TABLE, (), True),
    "every table but the feed's and the revision": (ALL_BUT_OURS, ("--exit-on-error",), False),
    "every table without triggers": (EVERY_TABLE, ("--disable-triggers",), True),
    "every table, two at a time": (EVERY_TABLE, ("--jobs=2",), True),
}
way = pytest.mark.parametrize(("dumping", "restoring", "fails"), WAYS.values(), ids=WAYS.keys())


@way
async def test_data_in_a_database_that_was_only_migrated(
    source: Source, target: Address, dumping: Sequence[str], restoring: Sequence[str], fails: bool
) -> None:
    await migrate(target)
    await run(
        "pg_restore", *restoring, f"--dbname={target.dsn}", str(await source.dump(*dumping)), fails=fails
    )
    await reset(target, source.cursor)
    await is_served(target)


@way
async def test_data_in_a_database_that_is_followed(
    source: Source, target: Address, dumping: Sequence[str], restoring: Sequence[str], fails: bool
) -> None:
    await migrate(target)
    writer = await target.connect_plain()
    async with Follower(target) as follower, await follower.feed.subscribe(EVERYTHING) as subscription:
        await write(writer, "before")
        assert await messages(subscription, 1) == ["before"]
        cursor = subscription.cursor
        await writer.execute(BURN.format(500))
        await run(
            "pg_restore", *restoring, f"--dbname={target.dsn}", str(await source.dump(*dumping)), fails=fails
        )
        with pytest.raises(ENDS):
            await subscription.batch()
    await writer.close()
    await reset(target, cursor)
    await is_served(target, lines=[*OLD, "old, and late", "before"])


async def test_a_plain_dump_that_psql_reads(source: Source, target: Address) -> None:
    await migrate(target)
    dump = await source.dump("--data-only", "--table=system_logs")
    await run("psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={dump}", f"--dbname={target.dsn}")
    await is_served(target)


async def test_lines_that_come_back_after_they_were_lost(
    source: Source, connection: "asyncpg.Connection"
) -> None:
    """Somebody empties the log by mistake, and restores it from the last night's dump."""
    dump = await source.dump(*LOG)
    await write(connection, "after the dump")
    await connection.execute("TRUNCATE system_logs")
    await run("pg_restore", f"--dbname={source.address.dsn}", str(dump))
    await reset(source.address, source.cursor)
    await is_served(source.address)


async def test_a_dump_over_its_own_database(source: Source, connection: "asyncpg.Connection") -> None:
    dump = await source.dump("--format=custom")
    await write(connection, "after the dump")
    async with (
        Follower(source.address) as follower,
        await follower.feed.subscribe(EVERYTHING) as subscription,
    ):
        await run("pg_restore", "--clean", "--if-exists", f"--dbname={source.address.dsn}", str(dump))
        with pytest.raises(ENDS):
            await subscription.batch()
    await reset(source.address, source.cursor)
    await is_served(source.address)


async def test_entries_from_the_future_are_deleted_while_programs_write(
    address: Address, connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that transactions of this server write meanwhile stay, though their ids are as high."""
    monkeypatch.setattr("graphql_api.log_feed.incarnation._MEND_ROWS", 100)
    await write(connection, "before")
    await connection.execute(
        "INSERT INTO log_feed.entries SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::int8 + n / 9)"
        "::text::xid8, gen_random_uuid() FROM generate_series(9, 4000) n"
    )
    began = await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())")
    await write(connection, *map(str, range(600)))
    async with connection.transaction(), connection.transaction():
        await write(connection, "in a savepoint")

    await delete_entries_from(connection, began)

    # Other tests' transactions may have been given ids of the first entries before the deletion began.
    row = await connection.fetchrow(
        "SELECT count(*) AS entries, count(log.id) AS lines"
        " FROM log_feed.entries LEFT JOIN system_logs log USING (id) WHERE xid >= $1 OR log.id IS NOT NULL",
        began,
    )
    assert row is not None
    assert (row["entries"], row["lines"]) == (602, 602)
