"""Change feeds: each row that an entry of a feed's schema names, once. Nothing here knows of GraphQL or HTTP.

There are two feeds: new rows of system_logs, and rows of accounts that have changed.
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
from graphql_api.log_feed.subscription import FeedSubscription
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
    "FeedSubscription",
    "FeedUnavailableError",
    "InvalidCursorError",
    "InvalidFilterError",
    "LogFilter",
    "TailOptions",
    "UnfitDatabaseError",
]
