"""A feed of a process: the new rows of a `FeedSchema`, each once, for all subscribers.

This package's front door. The way of a row, once its writer has committed it, and a trigger has recorded
its transaction in an entry:

    Tail                fetches new rows in one statement for the whole process, woken by a notification or by
                        its own clock (`tail.fetch_page`), and publishes them
    Hub                 gives each row to the groups of subscribers whose filter it matches (`Hub.publish`),
                        and keeps the last pages in memory
    FeedSubscription    returns one subscriber's next events (`FeedSubscription.advance`): from its group, or
                        from the database while it is behind

`Feed.subscribe` is called by the resolvers of subscriptions: `domain.system_log`, `domain.activity`.
"""

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg

from graphql_api.log_feed.errors import FeedError, FeedUnavailableError, SlowReadError, UnfitDatabaseError
from graphql_api.log_feed.feed_offset import Cursor, CursorCodec
from graphql_api.log_feed.feed_schema import LOGS, FeedSchema
from graphql_api.log_feed.hub import BufferLimits, EventFilter, Hub
from graphql_api.log_feed.incarnation import enter_incarnation
from graphql_api.log_feed.stats import FeedStats
from graphql_api.log_feed.subscription import NO_ANSWER, FeedSubscription, OnDue
from graphql_api.log_feed.tail import (
    Tail,
    TailOptions,
    fetch_end,
    wait_for_flush,
    wait_until_flushed,
)
from graphql_api.log_feed.trimming import trim_entries
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.errors import CONNECTION_ERRORS, DatabaseUnavailableError
from graphql_api.postgres.pooler import is_transaction_pooled
from graphql_api.postgres.statement import Statement
from graphql_api.quotas import ConcurrencyQuota, create_own_task, current_usage

_POOLED = (
    "the feed listens for notifications, which a pooler doesn't pass on:"
    " set DATABASE_DIRECT_URL to the database's address without the pooler"
)
_DIFFERENT_DATABASES = "DATABASE_DIRECT_URL leads to another database than DATABASE_URL: set both to the same"

# Errors after which a read is tried again. A standby raises the last two: it may be about to become the
# primary.
_OUTAGES = (
    DatabaseUnavailableError,
    TimeoutError,
    asyncpg.OperatorInterventionError,
    asyncpg.FeatureNotSupportedError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)

_RETRY_INTERVAL = 0.2
_PING_TIMEOUT = 2.0
"""Seconds for an answer from a database that hasn't finished a statement in time: it may only be slow."""
_TRIM_INTERVAL = 3600.0
"""The most seconds between two trims by a process. The first trim is at a random time within them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """Settings of a feed; the defaults are for production."""

    tail: TailOptions = field(default_factory=TailOptions)
    buffer: BufferLimits = field(default_factory=BufferLimits)
    retention: timedelta = timedelta(days=30)
    """How long a client can resume from a cursor; older entries are trimmed."""
    outage_timeout: float = 10.0
    """Seconds for which a subscription waits for a database that doesn't answer."""
    max_concurrent_reads: int = 4
    """The most reads of the database by all subscribers at the same time; an owner may have half of them."""
    catch_up_rows: int = 200
    """Rows that one statement reads for a subscriber that is behind."""
    heartbeat: float = 20.0
    """Seconds. A subscriber without an event for one to two heartbeats gets a cursor: its progress."""


class Feed:
    """A feed of a process: the new rows of a `FeedSchema`, each once.

    No row comes before one that its writer had seen committed. Subscribers that are behind read from
    `database`; the tail reads and listens at `direct`, the primary without a pooler. Processes with the same
    `key` accept each other's cursors.
    """

    def __init__(
        self,
        database: Database,
        direct: Address,
        key: bytes,
        options: FeedOptions | None = None,
        schema: FeedSchema = LOGS,
    ) -> None:
        self._schema = schema
        self.database = database
        self.options = options or FeedOptions()
        self.stats = FeedStats()
        self.hub = Hub(CursorCodec(key), self.stats, self.options.buffer, self.options.heartbeat, schema)
        self._direct = direct
        self._tail = Tail(direct, self.hub, self.options.tail, self._fail, schema)
        reads = self.options.max_concurrent_reads
        self._reads = ConcurrencyQuota(max(1, reads // 2), reads)
        self._answered_at = 0.0
        """When a subscriber's statement was last answered, on `time.monotonic`'s clock."""
        self._subscriptions: set[FeedSubscription] = set()
        self._trimming: asyncio.Task[None] | None = None
        self._flushing: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Checks that the address can serve a feed.

        Raises UnfitDatabaseError, OSError or asyncpg's errors.
        """
        self.refuse_pooler()
        if await is_transaction_pooled(self._direct):
            raise UnfitDatabaseError(_POOLED)
        connection = await self._direct.connect(application="graphql-api feed")
        try:
            await enter_incarnation(connection, self._schema)
        finally:
            await connection.close()

    def refuse_pooler(self) -> None:
        """Raises UnfitDatabaseError if the direct address is a pooler's."""
        if self._direct.pooled:
            raise UnfitDatabaseError(_POOLED)

    async def subscribe(
        self,
        wanted: EventFilter,
        *,
        after: str | None = None,
        backfill: int = 0,
        on_due: OnDue | None = None,
    ) -> FeedSubscription:
        """Subscribes to the matching rows that are committed after this returns, or shortly before.

        With `after`, the subscription begins behind that cursor. With `backfill`, the newest so many matching
        rows come first, in the order of their timestamps: only for log lines, and ignored with `after`. While
        `FeedSubscription.advance` waits, `on_due` is called with the events that come. Close the
        subscription that this returns. Raises FeedError.
        """
        self.refuse_pooler()
        cursor = None if after is None else self.hub.codec.decode(after)
        subscription = FeedSubscription(
            wanted,
            self.hub,
            self._tail,
            self._fetch,
            self._leave,
            page_rows=self.options.catch_up_rows,
            outage_timeout=self.options.outage_timeout,
            schema=self._schema,
            on_due=on_due,
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

    async def now(self) -> str:
        """Returns the cursor of a reader that has read all that is committed. Raises FeedError."""
        deadline = time.monotonic() + self.options.outage_timeout
        while True:
            offset, snapshot = await fetch_end(self._fetch, self._schema)
            if snapshot.incarnation is not None:
                await wait_for_flush(self._fetch, snapshot)
                cursor = Cursor(offset, snapshot.incarnation, snapshot.insert_lsn)
                return self.hub.codec.encode(cursor)
            try:
                await self.check()  # begins the incarnation
            except CONNECTION_ERRORS as error:
                raise FeedUnavailableError(NO_ANSWER) from error
            if time.monotonic() > deadline:
                raise UnfitDatabaseError(_DIFFERENT_DATABASES)
            await asyncio.sleep(_RETRY_INTERVAL)

    async def flush(self) -> None:
        """Returns when all that has been read so far is on PostgreSQL's disk. Raises FeedError.

        Callers that wait at the same time share one flush.
        """
        if self._flushing is None:
            self._flushing = create_own_task(self._flush(), f"flush for {self._schema.name}")
        await asyncio.shield(self._flushing)

    async def _flush(self) -> None:
        await asyncio.sleep(0)
        self._flushing = None  # a later caller may have read more
        await wait_until_flushed(self._fetch, self.options.tail.flush_delay)

    def _fail(self, error: FeedError) -> None:
        for subscription in self._subscriptions:
            subscription.fail(error)
        self.hub.moved.notify_all()

    async def _leave(self, subscription: FeedSubscription) -> None:
        self._subscriptions.discard(subscription)
        self.stats.subscribers = len(self._subscriptions)
        if not self._subscriptions:
            await self._stop()

    async def _stop(self) -> None:
        self.hub.clear()
        self.stats.current_at = 0.0
        await self._tail.stop()

    async def _fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        """Reads from the database for a subscriber, after waiting for its turn among other reads.

        Waits for the end of an outage shorter than `outage_timeout`. Raises FeedUnavailableError, or its
        subclass SlowReadError if the database answers, but the statement takes too long.
        """
        deadline = time.monotonic() + self.options.outage_timeout
        owner = current_usage().owner
        while True:
            await self._enter_reads(owner)
            try:
                rows = await self.database.fetch(statement, **values)
            except _OUTAGES as error:
                if time.monotonic() > deadline:
                    if isinstance(error, TimeoutError) and await self._answers():
                        raise SlowReadError from error
                    raise FeedUnavailableError(NO_ANSWER) from error
            else:
                self._answered_at = time.monotonic()
                return rows
            finally:
                self._reads.leave(owner)
            await asyncio.sleep(_RETRY_INTERVAL)

    async def _enter_reads(self, owner: str) -> None:
        """Waits until fewer reads than the limits allow are under way.

        Raises FeedUnavailableError if no read has had an answer for `outage_timeout` seconds.
        """
        if self._reads.enter_at_once(owner):
            return
        began = time.monotonic()
        entering = asyncio.ensure_future(self._reads.enter(owner))
        try:
            while not entering.done():
                remaining = max(began, self._answered_at) + self.options.outage_timeout - time.monotonic()
                if remaining <= 0:
                    raise FeedUnavailableError(NO_ANSWER)  # noqa: TRY301 - cancels what waits, too
                await asyncio.wait((entering,), timeout=remaining)
        except BaseException:
            if not entering.cancel():
                self._reads.leave(owner)
            raise

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(_PING_TIMEOUT):
                await self.database.ping()
        except _OUTAGES:
            return False
        return True

    def start_trimming(self) -> None:
        """Removes entries past the retention, from time to time until the feed is closed."""
        self._trimming = asyncio.create_task(self._trim(), name=f"trimming of {self._schema.name}")

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(random.uniform(0, _TRIM_INTERVAL))  # noqa: S311 - processes take turns
            try:
                await trim_entries(self.database, self.options.retention, self._schema)
            except (DatabaseUnavailableError, TimeoutError, asyncpg.PostgresError) as error:
                log.warning(
                    "entries of %s were not trimmed: %s: %s", self._schema.name, type(error).__name__, error
                )

    async def close(self) -> None:
        """Ends every subscription, and stops trimming."""
        if self._trimming is not None:
            self._trimming.cancel()
            await asyncio.gather(self._trimming, return_exceptions=True)
        for subscription in list(self._subscriptions):
            await subscription.aclose()
        await self._stop()
