"""One PostgreSQL for the whole run, one migrated template, and a database of its own for each test."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from graphql_api.dev.embedded import EmbeddedPostgres
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.migrate import migrate
from tests.app import App, served
from tests.graph import Graph, opened, settings_for
from tests.once import RUN_FOLDER
from tests.postgres.partitioned import make_partitioned
from tests.scratch import remove_abandoned_folders, scratch_folder

TEMPLATE = "migrated"

SETTINGS = {
    # Nothing here outlives the run.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    # What tests of replication and of two-phase commit need.
    "wal_level": "logical",
    "max_prepared_transactions": "20",
    "max_connections": "300",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--drill", action="store_true", help="also run what needs minutes or several servers")
    parser.addoption("--partitioned", action="store_true", help="partition trades and system_logs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--drill"):
        return
    for item in items:
        if "drill" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="a drill: runs with --drill"))


def pytest_configure(config: pytest.Config) -> None:
    # pytest-xdist's workers inherit this, and share what is in it: one server, and what is made once.
    if not hasattr(config, "workerinput"):
        remove_abandoned_folders()
        os.environ[RUN_FOLDER] = str(scratch_folder())


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(RUN_FOLDER), ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[Address]:
    """The maintenance database of the server that the whole run uses."""
    postgres = EmbeddedPostgres(Path(os.environ[RUN_FOLDER], "server"), "postgres", SETTINGS)
    yield Address.parse(postgres.start())
    postgres.stop()


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for a database server of one test. Other system users can't enter pytest's own folders."""
    folder = scratch_folder()
    yield folder
    shutil.rmtree(folder)


def database_of(server: Address, name: str) -> Address:
    """Returns the address of another database of the same server."""
    return Address.parse(server.dsn.replace("/postgres?", f"/{name}?"))


@asynccontextmanager
async def temporary_database(server: Address, template: str = "template1") -> AsyncIterator[Address]:
    """Yields a copy of a database, or an empty database without `template`, which is dropped afterwards."""
    name = f"test_{uuid4().hex}"
    admin = await server.connect_plain()
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        yield database_of(server, name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template(server: Address, pytestconfig: pytest.Config) -> str:
    """The name of a migrated database, which the first worker that needs it makes."""
    connection = await server.connect_plain()
    try:
        await connection.execute("SELECT pg_advisory_lock(1)")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", TEMPLATE):
            await connection.execute("CREATE DATABASE half_migrated")
            address = database_of(server, "half_migrated")
            if pytestconfig.getoption("--partitioned"):
                given = await address.connect_plain()
                await make_partitioned(given)
                await given.close()
            await migrate(address)
            await connection.execute(f"ALTER DATABASE half_migrated RENAME TO {TEMPLATE}")
    finally:
        await connection.close()
    return TEMPLATE


@pytest.fixture
async def address(server: Address, template: str) -> AsyncIterator[Address]:
    """A migrated database for one test, without rows."""
    async with temporary_database(server, template) as address:
        yield address


@pytest.fixture
async def database(address: Address) -> AsyncIterator[Database]:
    """The service's pool of connections to the test's database."""
    database = Database(address)
    yield database
    await database.close()


@pytest.fixture
async def connection(address: Address) -> AsyncIterator["asyncpg.Connection"]:
    """Another program's connection to the test's database, with asyncpg's own types."""
    connection = await address.connect_plain(application="another program")
    yield connection
    await connection.close()


AsRole = Callable[[str], Awaitable[Address]]


@pytest.fixture
async def as_role(address: Address, connection: "asyncpg.Connection") -> AsyncIterator[AsRole]:
    """Creates a role that may use every table, with options of ALTER ROLE; returns the address for it."""
    name = f"role_{uuid4().hex}"

    async def make(options: str) -> Address:
        await connection.execute(f"CREATE ROLE {name} LOGIN")
        for (schema,) in await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'"):
            await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
            await connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {name}")
        if options:
            await connection.execute(f"ALTER ROLE {name} {options}")
        return Address.parse(address.dsn.replace("postgres@", f"{name}@"))

    yield make
    await connection.execute(f"DROP OWNED BY {name} CASCADE")
    await connection.execute(f"DROP ROLE {name}")


@pytest.fixture
async def graph(address: Address, tmp_path: Path) -> AsyncIterator[Graph]:
    """The schema over the test's database. The viewer is anonymous until `as_` gives another."""
    # The limit on cost has tests of its own.
    async with opened(settings_for(address, tmp_path, max_cost=10**9)) as graph:
        yield graph


@pytest.fixture
def compiled(address: Address, tmp_path: Path) -> None:
    """For tests of what only compiled operations do; a run with the stock executor skips them."""
    if settings_for(address, tmp_path).engine == "stock":
        pytest.skip("a test of what only compiled operations do")


@pytest.fixture
async def app(address: Address, tmp_path: Path) -> AsyncIterator[App]:
    """The whole application over the test's database, in the development profile."""
    async with served(address, tmp_path) as app:
        yield app
