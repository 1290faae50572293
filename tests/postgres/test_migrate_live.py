"""Migrating a database that other programs use: how long they wait, and what an interruption leaves."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from graphql_api.postgres import migrate as migration
from graphql_api.postgres.address import Address
from graphql_api.postgres.indexes import BuildProgress
from graphql_api.postgres.migrate import (
    MigrationBlockedError,
    NotOurDatabaseError,
    Options,
    Reporter,
    UnknownRevisionError,
    current_revision,
    find_damage,
    migrate,
    newest_revision,
    plan,
    unfit,
)
from tests.postgres.catalog import describe
from tests.postgres.given import fill, rows

PRERELEASE = Path(__file__).with_name("prerelease.sql").read_text()
LOG_LINE = "INSERT INTO system_logs (level, component, message) VALUES ('INFO', 'bot', 'still here')"


class Log(Reporter):
    """Keeps what a migration reports, and lets tests wait for it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.waiting = asyncio.Event()
        self.building = asyncio.Event()

    def started(self, step: migration.Step) -> None:
        self.lines.append(f"started {step}")

    def progressed(self, step: migration.Step, progress: BuildProgress) -> None:
        self.lines.append(f"{step}: {progress.phase}")
        self.building.set()

    def finished(self, step: migration.Step) -> None:
        self.lines.append(f"finished {step}")

    def waits(self, reason: str) -> None:
        self.lines.append(reason)
        self.waiting.set()


@pytest.fixture
async def newest(connection: "asyncpg.Connection") -> set[str]:
    """A database that is up to date."""
    return await describe(connection)


@pytest.fixture
async def other(
    empty: Address, given_connection: "asyncpg.Connection"
) -> AsyncIterator["asyncpg.Connection"]:
    """A second connection of other programs, to the documented tables with rows in them."""
    await fill(given_connection)
    connection = await empty.connect_plain(application="the bot")
    yield connection
    await connection.close()


async def test_a_database_of_before_the_first_release_is_carried_over(
    empty: Address, empty_connection: "asyncpg.Connection", newest: set[str]
) -> None:
    await empty_connection.execute(PRERELEASE)
    before = await rows(empty_connection)

    await migrate(empty)

    assert await describe(empty_connection) == newest
    after = await rows(empty_connection)
    assert after.keys() == before.keys()
    assert await empty_connection.fetchval(
        "SELECT email FROM users JOIN graphql_api.user_roles r ON user_id = id"
    )
    for table, key in (
        ("token_families", "password_digest = '\\x01'"),
        ("refresh_tokens", "digest = '\\x02'"),
        ("service_tokens", "digest = '\\x03'"),
        ("idempotency_keys", "answer = '\\x05'"),
    ):
        assert await empty_connection.fetchval(f"SELECT count(*) FROM graphql_api.{table} WHERE {key}") == 1


async def test_writers_go_on_while_a_revision_cannot_get_its_locks(
    empty: Address, given_connection: "asyncpg.Connection", other: "asyncpg.Connection", newest: set[str]
) -> None:
    log = Log()
    open_writer = given_connection.transaction()
    await open_writer.start()
    await given_connection.execute(LOG_LINE)

    migrating = asyncio.create_task(migrate(empty, reporter=log))
    await log.waiting.wait()
    await other.execute("SET statement_timeout = '2s'")
    for _ in range(50):
        await other.execute(LOG_LINE)
    await open_writer.commit()
    await migrating

    assert any("other programs hold locks that are needed (system_logs" in line for line in log.lines)
    assert await describe(other) == newest


async def test_a_revision_that_gets_no_locks_says_who_holds_them(
    empty: Address, given_connection: "asyncpg.Connection", other: "asyncpg.Connection"
) -> None:
    async with other.transaction():
        await other.execute(LOG_LINE)

        with pytest.raises(MigrationBlockedError, match=r"process \d+, the bot, in a transaction for"):
            await migrate(empty, options=Options(max_wait=0.1))

    assert await current_revision(empty) == "0003"
    await migrate(empty)
    assert await current_revision(empty) == newest_revision()


async def building(connection: "asyncpg.Connection") -> int:
    """The process that builds an index, once there is one."""
    while True:
        pid: int | None = await connection.fetchval(
            "SELECT pid FROM pg_stat_progress_create_index"
            " WHERE phase LIKE 'waiting%' AND datname = current_database()"
        )
        if pid is not None:
            return pid
        await asyncio.sleep(0.02)


async def test_a_build_that_was_cut_off_is_done_again(
    empty: Address, given_connection: "asyncpg.Connection", other: "asyncpg.Connection", newest: set[str]
) -> None:
    async with other.transaction(isolation="repeatable_read"):
        await other.fetchval("SELECT count(*) FROM trades")  # its snapshot keeps a build from ending
        migrating = asyncio.create_task(migrate(empty))
        await given_connection.execute("SELECT pg_terminate_backend($1)", await building(given_connection))
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await migrating
    invalid = await given_connection.fetch("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid")
    assert len(invalid) == 1

    await migrate(empty)

    assert await describe(given_connection) == newest


async def test_a_build_goes_on_where_its_program_was_killed_and_the_next_one_waits_for_it(
    empty: Address, given_connection: "asyncpg.Connection", other: "asyncpg.Connection", newest: set[str]
) -> None:
    log = Log()
    async with other.transaction(isolation="repeatable_read"):
        await other.fetchval("SELECT count(*) FROM trades")
        program = subprocess.Popen(
            (sys.executable, "-m", "graphql_api", "migrate"),
            env=os.environ | {"DATABASE_URL": empty.dsn},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        pid = await building(given_connection)
        program.send_signal(signal.SIGKILL)
        program.wait()
        migrating = asyncio.create_task(migrate(empty, reporter=log))
        await log.waiting.wait()
    await migrating

    assert log.lines[0] == f"another `graphql-api migrate` is at work (process {pid} of the server)"
    assert await describe(given_connection) == newest


async def test_a_build_reports_its_progress_and_what_it_waits_for(
    empty: Address, given_connection: "asyncpg.Connection", other: "asyncpg.Connection"
) -> None:
    log = Log()
    async with other.transaction(isolation="repeatable_read"):
        await other.fetchval("SELECT count(*) FROM trades")
        migrating = asyncio.create_task(migrate(empty, reporter=log))
        await log.building.wait()
    await migrating

    assert any(
        line.endswith("waiting for writers before build") or "waiting for old snapshots" in line
        for line in log.lines
    )


async def test_a_plan_says_each_step_and_changes_nothing(
    empty: Address, given_connection: "asyncpg.Connection"
) -> None:
    before = await describe(given_connection)

    steps = [(str(step), step.locks) for step in await plan(empty)]

    assert steps[0] == ("adopt the documented tables and views as they are", "nothing")
    assert ("revision 0002: Roles, logins and tokens", "users: writes wait for moments") in steps
    assert any(
        step == "build index idx_trades_page on trades" and "reads and writes go on" in locks
        for step, locks in steps
    )
    assert await describe(given_connection) == before


async def test_there_is_nothing_to_do_for_a_database_that_is_up_to_date(address: Address) -> None:
    assert await plan(address) == []


async def test_tables_in_a_schema_of_the_search_path_are_adopted_there(
    empty: Address, given_connection: "asyncpg.Connection"
) -> None:
    await fill(given_connection)
    database = await given_connection.fetchval("SELECT current_database()")
    await given_connection.execute("ALTER SCHEMA public RENAME TO trading; CREATE SCHEMA public")
    before = await describe(given_connection)
    with pytest.raises(NotOurDatabaseError, match="are in the schema trading, where this role does not look"):
        await migrate(empty)
    assert await describe(given_connection) == before

    await given_connection.execute(f"ALTER DATABASE {database} SET search_path = trading")
    await migrate(empty)

    tables = "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_name = 'trades'"
    assert [row[0] for row in await given_connection.fetch(tables)] == ["trading"]
    assert await given_connection.fetchval("SELECT to_regclass('trading.idx_trades_page')") is not None
    assert await plan(empty) == []


async def test_numbers_of_events_go_on_above_those_that_replication_has_brought(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    event = "INSERT INTO graphql_api.risk_events (account_id, kind{}) VALUES (gen_random_uuid(), ''{})"
    await connection.execute(event.format(", number", ", 1000"))
    (fault,) = await find_damage(address)
    assert fault.startswith("the sequence graphql_api.risk_events_number_seq is below the newest number")
    await migrate(address)
    assert await find_damage(address) == []
    assert await connection.fetchval(f"{event.format('', '')} RETURNING number") == 1001


async def test_a_newer_database_is_served_unless_it_breaks_older_code(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    await connection.execute("UPDATE graphql_api.revision SET version_num = '9998'")
    assert await unfit(address) is None
    await connection.execute("DROP VIEW activity.trigger_version CASCADE; DROP INDEX idx_trades_page")
    assert await plan(address) == []  # the newer one may have done without
    assert await find_damage(address) == []
    await migrate(address)

    await connection.execute("UPDATE graphql_api.revision SET version_num = '9999'")
    await connection.execute("INSERT INTO graphql_api.breaking_revisions VALUES ('9999')")
    assert await unfit(address) == (
        "the database is at revision 9999, which this version can't serve: install a newer one"
    )
    with pytest.raises(UnknownRevisionError, match="can't serve"):
        await migrate(address)


async def test_partitioned_logs_are_served(empty: Address, given_connection: "asyncpg.Connection") -> None:
    await given_connection.execute("""
        ALTER TABLE system_logs RENAME TO system_logs_before;
        CREATE TABLE system_logs (LIKE system_logs_before INCLUDING DEFAULTS) PARTITION BY RANGE (timestamp);
        CREATE TABLE logs_2026 PARTITION OF system_logs FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
        CREATE TABLE logs_other PARTITION OF system_logs DEFAULT;
    """)

    await migrate(empty)

    assert await plan(empty) == []
    valid = await given_connection.fetch(
        "SELECT indisvalid FROM pg_index WHERE indexrelid::regclass::text LIKE 'idx_system_logs_page%'"
    )
    assert [row[0] for row in valid] == [True] * 3
