"""Which database a command works on: the one that is named, or an embedded one of our own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from graphql_api.cli.errors import UsageError
from graphql_api.dev.embedded import EmbeddedPostgres
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.settings import Settings


def direct_address(settings: Settings) -> Address:
    """The named database, without a pooler in between. Raises UsageError if none is named."""
    url = settings.database_direct_url or settings.database_url
    if url is None:
        raise UsageError("set DATABASE_URL to the database this is about")
    return Address.parse(url.get_secret_value())


@contextmanager
def embedded_or_given(settings: Settings) -> Iterator[Address]:
    """The named database, or the embedded one, which runs as long as the block."""
    if settings.database_url is not None:
        yield direct_address(settings)
        return
    if settings.profile == "production":
        raise UsageError("production never uses an embedded database: set DATABASE_URL")
    server = EmbeddedPostgres(settings.data_dir / "postgres")
    try:
        yield Address.parse(server.start())
    finally:
        server.stop()


@asynccontextmanager
async def opened(
    address: Address, *, pool_size: int = 2, prepared_statements: bool | None = None
) -> AsyncIterator[Database]:
    """A small pool for a command's few statements."""
    database = Database(address, pool_size=pool_size, prepared_statements=prepared_statements)
    try:
        yield database
    finally:
        await database.close()
