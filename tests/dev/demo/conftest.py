"""A database with the demo data for each test, copied from one that each worker makes once."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from graphql_api.dev.demo.load import load
from graphql_api.postgres.address import Address
from tests.conftest import database_of, temporary_database

NOW = datetime(2025, 6, 18, 12, tzinfo=UTC)
"""A Wednesday noon: every market is open."""
TRADES = 3_000
HASH = "the hash of demo-password"


async def keep(server: Address, template: str, name: str) -> Address:
    """Makes a copy of a database, which stays as long as the server runs."""
    admin = await server.connect_plain()
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    await admin.close()
    return database_of(server, name)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def desk_template(server: Address, template: str) -> str:
    """The name of a database with the demo data as of NOW."""
    name = f"desk_{uuid4().hex}"
    await load(await keep(server, template, name), password_hash=HASH, trades=TRADES, now=NOW)
    return name


@pytest.fixture
async def desk(server: Address, desk_template: str) -> AsyncIterator[Address]:
    """The demo data, in a database for one test."""
    async with temporary_database(server, desk_template) as address:
        yield address


@pytest.fixture
async def witness(desk: Address) -> AsyncIterator["asyncpg.Connection"]:
    """Another program's connection to the test's database, with asyncpg's own types."""
    connection = await desk.connect_plain(application="witness")
    yield connection
    await connection.close()
