"""The server is killed, and loses everything that it had not written to disk."""

import asyncio
import random

import asyncpg
import pytest

from graphql_api.log_feed import Feed, FeedOptions, FeedUnavailableError, LogFilter, TailOptions
from tests.drills.conftest import MakeFeed, MakeServer
from tests.drills.servers import Server
from tests.log_feed.writers import Committed, Writer

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]

EVERYTHING = LogFilter()
OPTIONS = FeedOptions(tail=TailOptions(timeout=2, max_backoff=0.2), outage_timeout=20)
CONNECTION_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


async def write(server: Server, seed: int) -> None:
    """Writes until the server crashes."""
    writer = Writer(f"w{seed}", server.address, seed, Committed())
    try:
        await writer.run(10**9, two_phase=False)
    except CONNECTION_ERRORS:
        return


async def table(server: Server) -> list[str]:
    connection = await server.address.connect_plain()
    try:
        return [row["message"] for row in await connection.fetch("SELECT message FROM system_logs")]
    finally:
        await connection.close()


class Follower:
    """Reads until stopped, from the last cursor on."""

    def __init__(self) -> None:
        self.cursor: str | None = None
        self.messages: list[str] = []
        self.resets: list[str] = []

    async def begin(self, feed: Feed) -> None:
        """Begins with the rows that are committed from now on."""
        async with await feed.subscribe(EVERYTHING) as subscription:
            self.cursor = subscription.cursor

    async def follow(self, feed: Feed) -> None:
        try:
            async with await feed.subscribe(EVERYTHING, after=self.cursor) as subscription:
                self.cursor = subscription.cursor
                while True:
                    for event in await subscription.batch():
                        self.messages.append(event.row["message"])
                        self.cursor = event.cursor
        except FeedUnavailableError:
            await asyncio.sleep(0.1)

    async def until_current(self, feed: Feed, expected: int) -> None:
        """Read what is left."""
        async with await feed.subscribe(EVERYTHING, after=self.cursor) as subscription:
            while len(self.messages) < expected:
                batch = await subscription.batch(timeout=5)
                self.messages += [event.row["message"] for event in batch]
                if not batch:
                    return
            self.messages += [event.row["message"] for event in await subscription.batch(timeout=0.5)]
            self.cursor = subscription.cursor


async def all_of(follower: Follower, feed: Feed, server: Server, seed: int) -> None:
    expected = await table(server)
    await follower.until_current(feed, len(expected))
    assert sorted(follower.messages) == sorted(expected), f"seed {seed}"


@pytest.fixture(params=["on", "off"])
async def server(request: pytest.FixtureRequest, make_server: MakeServer) -> Server:
    """One whose commits wait for the disk, and one whose commits don't: a crash undoes the last of them."""
    server = make_server(synchronous_commit=request.param, wal_writer_delay="10s")
    await server.make()
    return server


async def test_a_cursor_goes_on_over_crashes_amid_rollbacks(server: Server, make_feed: MakeFeed) -> None:
    """Ids of transactions that left no trace are given out again; a cursor must not have passed them."""
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    feed = make_feed(server, OPTIONS)
    follower = Follower()
    await follower.begin(feed)
    for _ in range(12):
        writers = [asyncio.create_task(write(server, chance.getrandbits(32))) for _ in range(6)]
        reading = asyncio.create_task(follower.follow(feed))
        await asyncio.sleep(0.2 + chance.random() * 0.5)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        server.crash()
        await asyncio.gather(*writers)
        await server.start()
        await all_of(follower, feed, server, seed)


async def test_a_subscription_goes_on_over_crashes_amid_rollbacks(
    server: Server, make_feed: MakeFeed
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    feed = make_feed(server, OPTIONS)
    follower = Follower()
    await follower.begin(feed)
    reading = asyncio.create_task(follower.follow(feed))
    for _ in range(12):
        writers = [asyncio.create_task(write(server, chance.getrandbits(32))) for _ in range(6)]
        await asyncio.sleep(0.2 + chance.random() * 0.5)
        server.crash()
        await asyncio.gather(*writers)
        await server.start()
        expected = await table(server)
        while len(follower.messages) < len(expected):
            assert not reading.done(), f"seed {seed}"
            await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await all_of(follower, feed, server, seed)
