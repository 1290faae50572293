"""Feeds like those of several processes, and another program that writes log lines."""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from graphql_api.log_feed import Event, Feed, FeedOptions, FeedSubscription
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database

KEY = b"the key that all processes share"

MakeFeed = Callable[..., Feed]


@pytest.fixture
async def make_feed(database: Database, address: Address) -> AsyncIterator[MakeFeed]:
    """Makes a feed, as another process would."""
    feeds: list[Feed] = []

    def make(key: bytes = KEY, options: FeedOptions | None = None, direct: Address = address) -> Feed:
        feed = Feed(database, direct, key, options)
        feeds.append(feed)
        return feed

    yield make
    for feed in feeds:
        await feed.close()


@pytest.fixture
def feed(make_feed: MakeFeed) -> Feed:
    """A feed with the defaults."""
    return make_feed()


async def write(
    connection: "asyncpg.Connection", *messages: str, level: str = "info", component: str = "test"
) -> None:
    """Writes each message in a transaction of its own."""
    for message in messages:
        await connection.execute(
            "INSERT INTO system_logs (level, component, message) VALUES ($1, $2, $3)",
            level,
            component,
            message,
        )


async def write_many(connection: "asyncpg.Connection", count: int, prefix: str = "") -> None:
    """Writes `count` messages in one transaction."""
    await connection.execute(
        "INSERT INTO system_logs (level, component, message)"
        " SELECT 'info', 'test', $1 || n FROM generate_series(1, $2::int) n",
        prefix,
        count,
    )


_LEFT: "weakref.WeakKeyDictionary[FeedSubscription, list[Event]]" = weakref.WeakKeyDictionary()
"""Events of each subscription that came with others, and that no test has asked for yet."""


async def events(subscription: FeedSubscription, count: int) -> list[Event]:
    """Returns the next `count` events. Raises TimeoutError if they don't come."""
    left = _LEFT.setdefault(subscription, [])
    async with asyncio.timeout(100):
        while len(left) < count:
            left += await subscription.batch()
    taken = left[:count]
    del left[:count]
    return taken


async def messages(subscription: FeedSubscription, count: int) -> list[str]:
    """Returns the messages of the next `count` events."""
    return [event.row["message"] for event in await events(subscription, count)]


async def nothing_more(subscription: FeedSubscription) -> None:
    """Asserts that no event comes once the feed has read everything that is committed now."""
    for _ in range(3):
        await subscription._hub.moved.wait(5)
    assert [*_LEFT.get(subscription, ()), *await subscription.batch(timeout=0.01)] == []
