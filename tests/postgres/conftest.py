"""Databases that nothing has migrated."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from graphql_api.postgres.address import Address
from tests.conftest import temporary_database
from tests.postgres.given import make_given


@pytest.fixture
async def empty(server: Address) -> AsyncIterator[Address]:
    """An empty database."""
    async with temporary_database(server) as address:
        yield address


@pytest.fixture
async def empty_connection(empty: Address) -> AsyncIterator["asyncpg.Connection"]:
    connection = await empty.connect_plain(application="another program")
    yield connection
    await connection.close()


@pytest.fixture
async def given_connection(empty_connection: "asyncpg.Connection") -> "asyncpg.Connection":
    """A connection to a database that has the documented schema alone."""
    await make_given(empty_connection)
    return empty_connection
