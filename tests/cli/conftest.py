"""A server for tests of what is said about a whole server."""

from collections.abc import AsyncIterator

import pytest

from graphql_api.postgres.address import Address
from tests.drills.servers import Server


@pytest.fixture
async def lone_address() -> AsyncIterator[Address]:
    """A migrated database on a server of the test's own.

    `doctor` reports on replication and connections of the whole server, and so, on the one that all tests
    share, on what other tests do at the time.
    """
    server = Server()
    try:
        await server.make_copy()
        yield server.address
    finally:
        server.remove()
