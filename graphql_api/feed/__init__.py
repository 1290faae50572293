"""The log feed: new rows of system_logs, in commit order, each once. It knows no GraphQL and no web."""

from graphql_api.feed.errors import (
    CursorExpiredError,
    FeedError,
    FeedResetError,
    FeedUnavailableError,
    InvalidCursorError,
    UnfitDatabaseError,
)
from graphql_api.feed.event import Event
from graphql_api.feed.feed import Feed, FeedOptions
from graphql_api.feed.filter import InvalidFilterError, LogFilter
from graphql_api.feed.hub import Retention
from graphql_api.feed.reader import Pace
from graphql_api.feed.stats import FeedStats
from graphql_api.feed.subscription import Subscription

__all__ = [
    "CursorExpiredError",
    "Event",
    "Feed",
    "FeedError",
    "FeedOptions",
    "FeedResetError",
    "FeedStats",
    "FeedUnavailableError",
    "InvalidCursorError",
    "InvalidFilterError",
    "LogFilter",
    "Pace",
    "Retention",
    "Subscription",
    "UnfitDatabaseError",
]
