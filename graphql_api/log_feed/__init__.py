"""Change feeds: the rows that the entries of a feed's schema name, each once. No GraphQL, no web.

There are two, of new rows of system_logs and of rows of accounts that changed.
"""

from graphql_api.log_feed.errors import (
    BackfillTimeoutError,
    CursorExpiredError,
    FeedError,
    FeedResetError,
    FeedUnavailableError,
    InvalidCursorError,
    UnfitDatabaseError,
)
from graphql_api.log_feed.feed import Feed, FeedOptions
from graphql_api.log_feed.filter import InvalidFilterError, LogFilter
from graphql_api.log_feed.hub import BufferLimits, Event, EventBatch
from graphql_api.log_feed.stats import FeedStats
from graphql_api.log_feed.subscription import Subscription
from graphql_api.log_feed.tail import TailOptions

__all__ = [
    "BackfillTimeoutError",
    "BufferLimits",
    "CursorExpiredError",
    "Event",
    "EventBatch",
    "Feed",
    "FeedError",
    "FeedOptions",
    "FeedResetError",
    "FeedStats",
    "FeedUnavailableError",
    "InvalidCursorError",
    "InvalidFilterError",
    "LogFilter",
    "Subscription",
    "TailOptions",
    "UnfitDatabaseError",
]
