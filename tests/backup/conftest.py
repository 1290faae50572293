"""A server with a database to back up, a catalog, and a receiver of its write-ahead log."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

import asyncpg
import pytest

from graphql_api.backup.catalog import Catalog
from graphql_api.backup.receiver import Receiver
from graphql_api.backup.recovery import choose, recoverable_until, recovered
from graphql_api.backup.verification import Fingerprints, fingerprints, scratch_folder
from tests.drills.servers import DATABASE, Server

Receiving = Callable[[], AbstractAsyncContextManager[Receiver]]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server for one test, which may break it, with a migrated database."""
    server = Server({"summarize_wal": "on"})
    await server.make_copy()
    yield server
    server.remove()


@pytest.fixture
async def connection(server: Server) -> AsyncIterator["asyncpg.Connection"]:
    connection = await server.address.connect_plain()
    yield connection
    connection.terminate()


@pytest.fixture
def catalog(server: Server) -> Catalog:
    return Catalog(server.folder / "backups")


@pytest.fixture
def receiving(server: Server, catalog: Catalog) -> Receiving:
    """Receives the server's write-ahead log during the block."""

    @asynccontextmanager
    async def receive() -> AsyncIterator[Receiver]:
        receiver = Receiver(server.address, catalog)
        task = asyncio.create_task(receiver.run())
        try:
            await receives(server)
            yield receiver
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return receive


async def receives(server: Server) -> None:
    """Waits until the server streams its write-ahead log."""
    connection = await server.address.connect_plain()
    while not await connection.fetchval("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"):
        await asyncio.sleep(0.02)
    await connection.close()


async def contents_now(server: Server) -> tuple[Fingerprints, datetime]:
    """Returns the fingerprints of all tables, and the moment at which they were taken."""
    connection = await server.address.connect_plain()
    tables = await fingerprints(connection)
    moment = await connection.fetchval("SELECT clock_timestamp()")
    await connection.close()
    return tables, moment


async def reached(catalog: Catalog, moment: datetime) -> None:
    """Waits until the catalog has the complete log up to a moment."""
    while recoverable_until(catalog, catalog.backups()[0]) < moment:
        await asyncio.sleep(0.05)


async def restored(catalog: Catalog, moment: datetime | None) -> Fingerprints:
    """Returns the fingerprints of all tables of a server that is restored to a moment."""
    backup, target = choose(catalog, moment)
    with scratch_folder(catalog) as folder:
        async with recovered(catalog, backup, target, folder / "data") as server:
            connection = await server.address_of("postgres", DATABASE).connect_plain()
            tables = await fingerprints(connection)
            await connection.close()
    return tables
