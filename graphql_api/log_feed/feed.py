"""The log feed of a process: new rows of system_logs, in commit order, each once, to all who subscribe.

This is where to begin. An event comes through tail.py, which fetches rows, hub.py, which gives them to the
groups of subscribers, and subscription.py, which returns them to one subscriber.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from graphql_api.log_feed.errors import FeedError, FeedUnavailableError, UnfitDatabaseError
from graphql_api.log_feed.feed_position import CursorCodec
from graphql_api.log_feed.filter import LogFilter
from graphql_api.log_feed.hub import Hub, Retention
from graphql_api.log_feed.incarnation import present_incarnation
from graphql_api.log_feed.stats import FeedStats
from graphql_api.log_feed.subscription import NO_ANSWER, Subscription
from graphql_api.log_feed.tail import Tail, TailOptions
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.errors import DatabaseUnavailableError
from graphql_api.postgres.pooler import is_transaction_pooled
from graphql_api.postgres.statement import Statement

# The last two are how a standby answers: it may be about to become the primary.
_POOLED = (
    "the log feed listens for notifications, which a pooler doesn't pass on:"
    " set DATABASE_DIRECT_URL to the database's address without the pooler"
)
_OUTAGES = (
    DatabaseUnavailableError,
    TimeoutError,
    asyncpg.OperatorInterventionError,
    asyncpg.FeatureNotSupportedError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)

_RETRY_INTERVAL = 0.2


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """What may be tuned; the defaults are for production."""

    tail: TailOptions = field(default_factory=TailOptions)
    retention: Retention = field(default_factory=Retention)
    outage_timeout: float = 10.0
    """Seconds for which a subscription waits for a database that doesn't answer."""
    max_concurrent_reads: int = 4
    """Reads from the database that subscribers make at the same time."""
    catch_up_rows: int = 200
    """Rows that a subscriber that is behind gets from the database at once."""
    heartbeat: float = 20.0
    """Seconds: who has had no event for one to two of them can be told how far the feed has come."""


class Feed:
    """New rows of system_logs, in commit order, each once.

    `database` is where subscribers that are behind read; `direct` is the primary without a pooler, where the
    tail listens; every process that shares `key` takes the others' cursors.
    """

    def __init__(
        self, database: Database, direct: Address, key: bytes, options: FeedOptions | None = None
    ) -> None:
        self.database = database
        self.options = options or FeedOptions()
        self.stats = FeedStats()
        self.hub = Hub(CursorCodec(key), self.stats, self.options.retention, self.options.heartbeat)
        self._direct = direct
        self._tail = Tail(direct, self.hub, self.options.tail, self._fail)
        self._reads = asyncio.Semaphore(self.options.max_concurrent_reads)
        self._subscriptions: set[Subscription] = set()

    async def check(self) -> None:
        """Raise UnfitDatabaseError where the address can't serve a feed; else OSError or asyncpg's errors."""
        self.refuse_pooler()
        if await is_transaction_pooled(self._direct):
            raise UnfitDatabaseError(_POOLED)
        connection = await self._direct.connect(application="graphql-api feed")
        try:
            await present_incarnation(connection)
        finally:
            await connection.close()

    def refuse_pooler(self) -> None:
        """Raise UnfitDatabaseError where the direct address is a pooler's."""
        if self._direct.pooled:
            raise UnfitDatabaseError(_POOLED)

    async def subscribe(
        self, wanted: LogFilter, *, after: str | None = None, backfill: int = 0
    ) -> Subscription:
        """Subscribe to the rows that match and are committed after this returns, or maybe shortly before.

        With `after`, from that cursor on. With `backfill`, first the newest so many that match, in the order
        of their timestamps; it has no meaning beside `after`. Close what this returns. Raises FeedError.
        """
        self.refuse_pooler()
        cursor = None if after is None else self.hub.codec.decode(after)
        subscription = Subscription(
            wanted,
            self.hub,
            self._tail,
            self._fetch,
            self._leave,
            page_rows=self.options.catch_up_rows,
            outage_timeout=self.options.outage_timeout,
        )
        self._subscriptions.add(subscription)
        self.stats.subscribers = len(self._subscriptions)
        self._tail.start()
        try:
            await subscription.open(cursor, backfill)
        except BaseException:
            await subscription.aclose()
            raise
        return subscription

    def _fail(self, error: FeedError) -> None:
        for subscription in self._subscriptions:
            subscription.fail(error)
        self.hub.moved.notify_all()

    async def _leave(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
        self.stats.subscribers = len(self._subscriptions)
        if not self._subscriptions:
            await self._stop()

    async def _stop(self) -> None:
        self.hub.clear()
        self.stats.current_at = 0.0
        await self._tail.stop()

    async def _fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        """Read from the database for a subscriber, once few enough others read too.

        An outage shorter than `outage_timeout` is waited for. Raises FeedUnavailableError.
        """
        deadline = time.monotonic() + self.options.outage_timeout
        while True:
            try:
                async with self._reads:
                    return await self.database.fetch(statement, **values)
            except _OUTAGES as error:
                if time.monotonic() > deadline:
                    raise FeedUnavailableError(NO_ANSWER) from error
            await asyncio.sleep(_RETRY_INTERVAL)

    async def close(self) -> None:
        """End every subscription."""
        for subscription in list(self._subscriptions):
            await subscription.aclose()
        await self._stop()
