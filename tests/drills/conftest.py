"""Servers, feeds and clients for the drills."""

from collections.abc import AsyncIterator, Callable

import pytest

from graphql_api.log_feed import Feed, FeedOptions
from graphql_api.postgres.database import Database
from tests.drills.follower import KEY
from tests.drills.servers import Server

MakeServer = Callable[..., Server]
MakeFeed = Callable[..., Feed]


@pytest.fixture
async def make_server() -> AsyncIterator[MakeServer]:
    servers: list[Server] = []

    def make(**settings: str) -> Server:
        servers.append(Server(settings))
        return servers[-1]

    yield make
    for server in servers:
        server.remove()


@pytest.fixture
async def server(make_server: MakeServer) -> Server:
    """A running server for one test, with a migrated database."""
    server = make_server()
    await server.make_copy()
    return server


@pytest.fixture
async def standby(server: Server, make_server: MakeServer) -> Server:
    """A standby that streams from the server."""
    standby = make_server()
    standby.copy_of(server, standby=True)
    await standby.start()
    return standby


@pytest.fixture
async def make_feed() -> AsyncIterator[MakeFeed]:
    """Makes a feed over a server, as another process would."""
    feeds: list[Feed] = []

    def make(server: Server, options: FeedOptions | None = None) -> Feed:
        feeds.append(Feed(Database(server.address), server.address, KEY, options))
        return feeds[-1]

    yield make
    for feed in feeds:
        await feed.close()
        await feed.database.close()
