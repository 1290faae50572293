"""Which database a command works on: the one that the settings name, else an embedded PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from graphql_api.cli.errors import UsageError
from graphql_api.cli.progress import StepDisplay
from graphql_api.dev.embedded import EmbeddedPostgres
from graphql_api.postgres.address import Address, direct_address
from graphql_api.postgres.database import Database
from graphql_api.settings import Settings

T = TypeVar("T")

# Incremental backups need WAL summaries; and while no receiver runs, its slot must not fill the disk.
_EMBEDDED_SETTINGS = {"summarize_wal": "on", "max_slot_wal_keep_size": "1GB"}


@contextmanager
def named_or_embedded(settings: Settings, *, create: bool = False) -> Iterator[Address]:
    """Yields the direct address of the named database, or of the embedded one, which runs in the block.

    With `create`, an embedded database is made if there is none. Raises UsageError if there is no database,
    and in production if none is named.
    """
    if settings.database_url is not None:
        yield direct_address(settings)
        return
    if settings.profile == "production":
        raise UsageError("production never uses an embedded database: set DATABASE_URL")
    if not (create or has_embedded(settings)):
        raise UsageError(
            "there is no database yet: set DATABASE_URL to yours, or let `graphql-api serve` make one with "
            "demo data"
        )
    server = EmbeddedPostgres(settings.data_dir / "postgres", settings=_EMBEDDED_SETTINGS)
    try:
        with StepDisplay("starting PostgreSQL"):
            url = server.start()
        yield Address.parse(url)
    finally:
        with StepDisplay("stopping PostgreSQL"):
            server.stop()


def has_embedded(settings: Settings) -> bool:
    """Returns whether the embedded PostgreSQL has data already."""
    return (settings.data_dir / "postgres").exists()


@asynccontextmanager
async def opened(
    address: Address, *, pool_size: int = 2, prepared_statements: bool | None = None
) -> AsyncIterator[Database]:
    """Yields a pool that is closed at the end of the block."""
    database = Database(address, pool_size=pool_size, prepared_statements=prepared_statements)
    try:
        yield database
    finally:
        await database.close()


def in_database(work: Callable[[Database], Awaitable[T]]) -> T:
    """Runs `work` with the database that the settings name, or else the embedded one."""

    async def run() -> T:
        async with opened(address) as database:
            return await work(database)

    with named_or_embedded(Settings()) as address:
        return asyncio.run(run())
