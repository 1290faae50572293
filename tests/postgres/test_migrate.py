import asyncio
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import asyncpg
import pytest

from graphql_api.postgres.address import Address
from graphql_api.postgres.indexes import IndexMismatchError
from graphql_api.postgres.migrate import NotOurDatabaseError, migrate
from tests.postgres.catalog import describe
from tests.postgres.given import fill, rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def newest(connection: "asyncpg.Connection") -> set[str]:
    """A database that is up to date."""
    return await describe(connection)


async def test_an_empty_database_gets_everything(
    empty: Address, empty_connection: "asyncpg.Connection", newest: set[str]
) -> None:
    await migrate(empty)

    assert await describe(empty_connection) == newest


async def test_a_database_that_is_up_to_date_stays_as_it_is(
    address: Address, connection: "asyncpg.Connection", newest: set[str]
) -> None:
    await migrate(address)

    assert await describe(connection) == newest


async def test_many_may_migrate_at_once(
    empty: Address, empty_connection: "asyncpg.Connection", newest: set[str]
) -> None:
    await asyncio.gather(*(migrate(empty) for _ in range(5)))

    assert await describe(empty_connection) == newest


async def test_a_given_database_is_adopted_with_its_rows(
    empty: Address, given_connection: "asyncpg.Connection", newest: set[str]
) -> None:
    await fill(given_connection)
    before = await rows(given_connection)

    await migrate(empty)

    assert await describe(given_connection) == newest
    assert await rows(given_connection) == before


@pytest.mark.parametrize(
    ("missing", "kind"), [("risk_settings", "TABLE"), ("account_performance", "VIEW")], ids=["table", "view"]
)
async def test_a_database_that_lacks_a_given(
    missing: str, kind: str, empty: Address, given_connection: "asyncpg.Connection"
) -> None:
    await given_connection.execute(f"DROP {kind} {missing}")
    before = await describe(given_connection)

    with pytest.raises(NotOurDatabaseError, match=rf"lacks \['{missing}'\]"):
        await migrate(empty)
    assert await describe(given_connection) == before


async def test_other_programs_tables_stay_as_they_are(
    empty: Address, empty_connection: "asyncpg.Connection"
) -> None:
    await empty_connection.execute("CREATE TABLE orders AS SELECT 7 AS n")
    before = await describe(empty_connection)

    await migrate(empty)

    assert before <= await describe(empty_connection)
    assert await empty_connection.fetchval("SELECT n FROM orders") == 7


@pytest.mark.parametrize(
    "taken",
    [
        "CREATE TABLE idx_trades_page (taken text)",
        "CREATE INDEX idx_trades_page ON trades (entry_time)",
        "CREATE INDEX idx_trades_page ON users (created_at, id)",
    ],
    ids=["table", "other columns", "other table"],
)
async def test_a_name_of_ours_that_is_taken_is_refused_before_anything_changes(
    taken: str, empty: Address, given_connection: "asyncpg.Connection"
) -> None:
    await given_connection.execute(taken)
    before = await describe(given_connection)

    with pytest.raises(IndexMismatchError, match="there is a idx_trades_page on"):
        await migrate(empty)
    assert await describe(given_connection) == before


async def test_a_server_that_does_not_answer_is_an_os_error() -> None:
    with pytest.raises(OSError, match="Connect"):
        await migrate(Address.parse("postgresql://u@127.0.0.1:1/d"))


async def test_what_the_server_refuses_is_postgresqls_own_error(
    empty: Address, empty_connection: "asyncpg.Connection"
) -> None:
    await empty_connection.execute("CREATE ROLE reader LOGIN")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await migrate(Address.parse(empty.dsn.replace("postgres@", "reader@")))
    finally:
        await empty_connection.execute("DROP ROLE reader")


def run(*command: str, **environment: str) -> str:
    """Runs this Python with arguments, and returns what it printed."""
    done = subprocess.run(
        (sys.executable, *command),
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_an_installed_wheel_migrates(
    empty: Address, empty_connection: "asyncpg.Connection", newest: set[str], tmp_path: Path
) -> None:
    run("-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")  # all that installing is, for our wheel
    program = """if True:
        import asyncio, sys
        from graphql_api.postgres.address import Address
        from graphql_api.postgres.migrate import migrate, migrations_folder
        asyncio.run(migrate(Address.parse(sys.argv[1])))
        print(migrations_folder())
    """

    used = run("-P", "-c", program, empty.dsn, PYTHONPATH=str(tmp_path / "installed"))

    assert used.strip() == str(tmp_path / "installed" / "graphql_api" / "_migrations")
    assert await describe(empty_connection) == newest


async def test_alembics_own_command_prefers_the_direct_address(address: Address) -> None:
    run(
        "-m",
        "alembic",
        "check",
        DATABASE_URL="postgresql://nobody@127.0.0.1:1/d",
        DATABASE_DIRECT_URL=address.dsn,
    )
