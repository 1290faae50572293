"""States of a real PostgreSQL in which a right statement fails, and what is made of each."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import pytest
from sqlalchemy import text

from graphql_api.dev.embedded import EmbeddedPostgres
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database, Transaction
from graphql_api.postgres.errors import (
    ConnectionLostError,
    DatabaseUnavailableError,
    StatementTimeoutError,
)
from graphql_api.postgres.statement import Statement, compile_statement
from tests.conftest import AsRole
from tests.scratch import scratch_folder

PID = compile_statement(text("SELECT pg_backend_pid() AS pid"))
SLEEP = compile_statement(text("SELECT pg_backend_pid() AS pid, pg_sleep(:seconds)"))
COUNT_USERS = compile_statement(text("SELECT count(*) AS n FROM users"))
ADD_USER = compile_statement(
    text("INSERT INTO users (email, password_hash) VALUES (gen_random_uuid()::text, 'x') RETURNING id")
)
LOCK_USERS = compile_statement(text("LOCK TABLE users"))
ALL_USERS = compile_statement(text("SELECT * FROM users"))
TAKE_LOCKS = compile_statement(
    text("SELECT count(pg_advisory_xact_lock(n)) FROM generate_series(1, 1000000) n")
)
ADD_ROWS = compile_statement(
    text("INSERT INTO heap SELECT repeat(md5(n::text), 50) FROM generate_series(1, 20000) n RETURNING 1")
)


@asynccontextmanager
async def opened(address: Address, *, pool_size: int = 1) -> AsyncIterator[Database]:
    database = Database(address, pool_size=pool_size, pool_timeout=60)
    try:
        yield database
    finally:
        await database.close()


async def add_user(database: Database) -> None:
    await database.change(ADD_USER)


async def test_a_read_only_database_takes_no_changes_and_is_read(as_role: AsRole) -> None:
    async with opened(await as_role("SET default_transaction_read_only = on")) as database:
        with pytest.raises(DatabaseUnavailableError, match="takes no changes") as error:
            await add_user(database)
        assert (error.value.sqlstate, error.value.retry_after) == ("25006", 5)
        assert (await database.fetch(COUNT_USERS))[0]["n"] == 0


async def test_while_no_host_takes_changes_the_database_is_away(as_role: AsRole) -> None:
    address = await as_role("SET default_transaction_read_only = on")
    folder = parse_qs(urlsplit(address.dsn).query)["host"][0]
    several = Address.parse(address.dsn.replace(f"host={quote(folder, '')}", f"host={folder},{folder}"))
    async with opened(several) as database:
        with pytest.raises(DatabaseUnavailableError, match="can't be reached") as error:
            await database.fetch(PID)
    assert error.value.retry_after == 1
    assert "target_session_attrs" in str(error.value.__cause__)


async def test_after_a_refused_change_the_next_connection_may_be_to_another_server(as_role: AsRole) -> None:
    async with opened(await as_role("SET default_transaction_read_only = on")) as database:
        before = (await database.fetch(PID))[0]["pid"]
        with pytest.raises(DatabaseUnavailableError):
            await add_user(database)
        assert (await database.fetch(PID))[0]["pid"] != before


async def test_a_roles_own_statement_timeout_is_one(as_role: AsRole) -> None:
    async with opened(await as_role("SET statement_timeout = '500ms'")) as database:
        with pytest.raises(StatementTimeoutError) as error:
            await database.fetch(SLEEP, seconds=600)
        assert error.value.sqlstate == "57014"
        assert len(await database.fetch(PID)) == 1


async def test_a_roles_own_lock_timeout_is_one(as_role: AsRole, connection: "asyncpg.Connection") -> None:
    async with opened(await as_role("SET lock_timeout = '50ms'")) as database, connection.transaction():
        await connection.execute("LOCK TABLE users")
        with pytest.raises(StatementTimeoutError) as error:
            await database.fetch(COUNT_USERS)
        assert error.value.sqlstate == "55P03"


async def ended(connection: "asyncpg.Connection", pid: int) -> None:
    """Waits until the server has ended a session."""
    while await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
        await asyncio.sleep(0.01)


async def test_a_transaction_that_idles_beyond_the_servers_time_is_lost(
    as_role: AsRole, connection: "asyncpg.Connection"
) -> None:
    async with opened(await as_role("SET idle_in_transaction_session_timeout = '50ms'")) as database:

        async def work(transaction: Transaction) -> None:
            [row] = await transaction.fetch(PID)
            await transaction.fetch(ADD_USER)
            await ended(connection, row["pid"])
            await transaction.fetch(ADD_USER)

        with pytest.raises(ConnectionLostError):
            await database.run(work)
        assert (await database.fetch(COUNT_USERS))[0]["n"] == 0


async def test_a_transaction_beyond_the_servers_time_is_a_timeout(
    as_role: AsRole, connection: "asyncpg.Connection"
) -> None:
    if connection.get_server_version().major < 17:
        pytest.skip("there is no transaction_timeout before PostgreSQL 17")
    async with opened(await as_role("SET transaction_timeout = '500ms'")) as database:
        with pytest.raises(StatementTimeoutError) as error:
            await database.fetch(SLEEP, seconds=600)
        assert error.value.sqlstate == "25P04"
        assert len(await database.fetch(PID)) == 1


async def test_a_session_that_idled_beyond_the_servers_time_is_replaced(
    as_role: AsRole, connection: "asyncpg.Connection"
) -> None:
    async with opened(await as_role("SET idle_session_timeout = '500ms'")) as database:
        before = (await database.fetch(PID))[0]["pid"]
        await ended(connection, before)
        assert (await database.fetch(PID))[0]["pid"] != before


async def test_where_no_connection_is_left_the_pools_own_serve(as_role: AsRole) -> None:
    async with opened(await as_role("CONNECTION LIMIT 2"), pool_size=5) as database:
        rows = await asyncio.gather(*(database.fetch(SLEEP, seconds=0.05) for _ in range(20)))
    assert len({row[0]["pid"] for row in rows}) == 2


async def test_that_connections_are_refused_is_logged_once(
    as_role: AsRole, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(await as_role("CONNECTION LIMIT 1"), pool_size=5) as database:
        for _ in range(3):
            await asyncio.gather(*(database.fetch(SLEEP, seconds=0.01) for _ in range(5)))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "requests wait for those there are: too many connections for role" in line


async def test_connections_that_are_opened_at_once_and_refused_together_are_tried_again(
    as_role: AsRole,
) -> None:
    address = await as_role("CONNECTION LIMIT 1")
    for _ in range(20):
        async with opened(address, pool_size=8) as database:
            await asyncio.gather(*(database.fetch(PID) for _ in range(8)))


async def test_where_the_pool_has_no_connection_either_it_says_so(as_role: AsRole) -> None:
    async with opened(await as_role("CONNECTION LIMIT 0"), pool_size=5) as database:
        outcomes = await asyncio.gather(*(database.fetch(PID) for _ in range(20)), return_exceptions=True)
    assert {getattr(outcome, "sqlstate", outcome) for outcome in outcomes} == {"53300"}


async def test_the_pool_grows_again_once_it_may(as_role: AsRole, connection: "asyncpg.Connection") -> None:
    address = await as_role("CONNECTION LIMIT 1")
    async with opened(address, pool_size=3) as database:
        await asyncio.gather(*(database.fetch(SLEEP, seconds=0.05) for _ in range(3)))
        role = address.dsn.split("//")[1].split("@")[0]
        await connection.execute(f"ALTER ROLE {role} CONNECTION LIMIT 3")
        pids: set[int] = set()
        while len(pids) < 3:  # the pool remembers the refusal for a while
            rows = await asyncio.gather(*(database.fetch(SLEEP, seconds=0.05) for _ in range(3)))
            pids = {row[0]["pid"] for row in rows}


@pytest.mark.parametrize(
    ("change", "statement", "sqlstate"),
    [
        ("REVOKE ALL ON users FROM {role}", COUNT_USERS, "42501"),
        ("ALTER TABLE users RENAME TO people", COUNT_USERS, "42P01"),
        ("ALTER TABLE users DROP COLUMN password_hash", ADD_USER, "42703"),
    ],
)
async def test_a_schema_or_a_role_that_lacks_something_has_to_be_mended(
    as_role: AsRole, connection: "asyncpg.Connection", change: str, statement: Statement, sqlstate: str
) -> None:
    address = await as_role("")
    await connection.execute(change.format(role=address.dsn.split("//")[1].split("@")[0]))
    async with opened(address) as database:
        with pytest.raises(DatabaseUnavailableError, match="isn't ready") as error:
            await database.fetch(statement)
    assert (error.value.sqlstate, error.value.retry_after) == (sqlstate, 30)
    assert isinstance(error.value.__cause__, asyncpg.PostgresError)


async def test_a_transaction_under_a_table_that_was_altered_is_done_again(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    attempts = []

    async def work(transaction: Transaction) -> int:
        attempts.append(1)
        return len(await transaction.fetch(ALL_USERS))

    await database.run(work)
    await connection.execute("ALTER TABLE users ADD COLUMN nickname text")
    assert await database.run(work) == 0
    assert len(attempts) == 3


@pytest.fixture
def own_server() -> Iterator[Address]:
    """A server whose resources may be used up."""
    folder = scratch_folder()
    server = EmbeddedPostgres(folder, settings={"fsync": "off", "max_locks_per_transaction": "10"})
    try:
        yield Address.parse(server.start())
    finally:
        server.stop()
        subprocess.run(("rm", "-rf", folder), check=True)


@pytest.mark.slow
async def test_a_server_out_of_memory_says_so_and_goes_on(own_server: Address) -> None:
    async with opened(own_server) as database:
        with pytest.raises(DatabaseUnavailableError, match="out of resources") as error:
            await database.fetch(TAKE_LOCKS)
        assert (error.value.sqlstate, error.value.retry_after) == ("53200", 5)
        assert len(await database.fetch(PID)) == 1


@pytest.mark.slow
async def test_a_server_whose_disk_is_full_says_so_and_goes_on(own_server: Address, scratch: Path) -> None:
    disk = scratch / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(("mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk)).returncode
    ):
        pytest.skip("only root can make a small disk")
    try:
        admin = await own_server.connect_plain()
        (disk / "space").mkdir()
        folder = Path(await admin.fetchval("SHOW data_directory"))
        os.chown(disk / "space", folder.stat().st_uid, folder.stat().st_gid)
        await admin.execute(f"CREATE TABLESPACE small LOCATION '{disk}/space'")
        await admin.execute("CREATE TABLE heap (filling text STORAGE plain) TABLESPACE small")
        async with opened(own_server) as database:
            with pytest.raises(DatabaseUnavailableError, match="out of resources") as error:
                await database.change(ADD_ROWS)
            assert error.value.sqlstate == "53100"
            assert len(await database.fetch(PID)) == 1
        await admin.execute("DROP TABLE heap")
        await admin.execute("DROP TABLESPACE small")
        await admin.close()
    finally:
        subprocess.run(("umount", "-l", disk), check=True)
