"""Bring a database to the newest revision, once, whoever asks at the same time."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from graphql_api.postgres.address import Address
from graphql_api.postgres.tables import metadata, views
from graphql_api.settings import Settings

log = logging.getLogger(__name__)

VERSION_TABLE = "graphql_api_version"
"""Ours alone: the database's owner may keep an alembic_version of their own."""

_LOCK = 0x67_71_6C  # any number that every process agrees on
_GIVEN_REVISION = "0001"


class NotOurDatabaseError(Exception):
    """The database holds some of the given tables and views, but not all: nothing is changed."""


class UnknownRevisionError(Exception):
    """The revision to go to, or the one that the database is at, is not among this version's."""


def migrations_folder() -> Path:
    """Where the revisions are: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "alembic"


def config_for(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file of its own."""
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@asynccontextmanager
async def connection_to(address: Address) -> AsyncIterator[AsyncConnection]:
    """One SQLAlchemy connection in a transaction of its own, committed at the end."""
    # Opened here, since SQLAlchemy would put errors of its own in the place of asyncpg's.
    opened = await address.connect_plain(application="graphql-api migrate")

    async def connect() -> "asyncpg.Connection":
        return opened

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def connection_from_environment() -> AsyncIterator[AsyncConnection]:
    """A connection to the database the environment names, the unpooled address first."""
    settings = Settings()
    url = settings.database_direct_url or settings.database_url
    if url is None:
        raise SystemExit("set DATABASE_URL to the database to migrate")
    async with connection_to(Address.parse(url.get_secret_value())) as connection:
        yield connection


def newest_revision() -> str:
    """The revision that this code needs."""
    head = ScriptDirectory.from_config(config_for()).get_current_head()
    assert head is not None  # noqa: S101 - narrows; there is always a first revision
    return head


async def current_revision(address: Address) -> str | None:
    """The revision of the database at `address`; None before the first. Raises asyncpg's errors."""
    async with connection_to(address) as connection:
        return await connection.run_sync(
            lambda sync: MigrationContext.configure(
                sync, opts={"version_table": VERSION_TABLE}
            ).get_current_revision()
        )


def _upgrade(connection: Connection, revision: str) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    connection.execute(text("SET LOCAL lock_timeout = '30s'"))
    config = config_for(connection)
    inspector = inspect(connection)
    present = {*inspector.get_table_names(), *inspector.get_view_names()}
    given = {*(table.name for table in metadata.tables.values() if table.schema is None), *views.tables}
    if VERSION_TABLE not in present and present & given:
        if missing := given - present:
            raise NotOurDatabaseError(
                f"this database has {sorted(present & given)} but lacks {sorted(missing)}"
            )
        log.info("the given tables exist: adopting them as revision %s", _GIVEN_REVISION)
        command.stamp(config, _GIVEN_REVISION)
    command.upgrade(config, revision)


async def migrate(address: Address, revision: str = "head") -> None:
    """Bring the database at `address` up to `revision`, in one transaction under an advisory lock.

    A database that holds the given tables already, made by other hands, is adopted as it is. Raises
    NotOurDatabaseError where only some of them exist, UnknownRevisionError, and asyncpg's errors.
    """
    try:
        async with connection_to(address) as connection:
            await connection.run_sync(_upgrade, revision)
    except CommandError as error:
        raise UnknownRevisionError(f"{error}: the newest of this version is {newest_revision()}") from error
    except DBAPIError as error:
        raise error.driver_exception from error
