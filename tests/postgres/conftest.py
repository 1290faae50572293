"""Databases that nothing has migrated."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from graphql_api.postgres.address import Address
from tests.conftest import database_of
from tests.postgres.given import make_given


@pytest.fixture
async def empty(server: Address) -> AsyncIterator[Address]:
    """A database with nothing in it."""
    name = f"empty_{uuid4().hex}"
    admin = await server.connect_plain()
    await admin.execute(f"CREATE DATABASE {name}")
    yield database_of(server, name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def empty_connection(empty: Address) -> AsyncIterator["asyncpg.Connection"]:
    connection = await empty.connect_plain(application="another program")
    yield connection
    await connection.close()


@pytest.fixture
async def given_connection(empty_connection: "asyncpg.Connection") -> "asyncpg.Connection":
    """To a database that was made from its owner's document alone."""
    await make_given(empty_connection)
    return empty_connection
