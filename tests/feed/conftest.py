"""Feeds as several processes would have them, and a program that writes logs."""

from collections.abc import AsyncIterator, Callable

import pytest

from graphql_api.db.address import Address
from graphql_api.db.database import Database
from graphql_api.feed import Feed, FeedOptions

KEY = b"the key that all processes share"

MakeFeed = Callable[..., Feed]


@pytest.fixture
async def make_feed(database: Database, address: Address) -> AsyncIterator[MakeFeed]:
    """Makes a feed, as another process would."""
    feeds: list[Feed] = []

    def make(key: bytes = KEY, options: FeedOptions | None = None) -> Feed:
        feed = Feed(database, address, key, options)
        feeds.append(feed)
        return feed

    yield make
    for feed in feeds:
        await feed.close()


@pytest.fixture
def feed(make_feed: MakeFeed) -> Feed:
    """A feed with the defaults."""
    return make_feed()
