"""The log feed of a process: one reader, and everybody who is subscribed."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from graphql_api.log_feed import incarnation
from graphql_api.log_feed.cursor import CursorCodec
from graphql_api.log_feed.errors import FeedError, FeedUnavailableError, UnfitDatabaseError
from graphql_api.log_feed.filter import LogFilter
from graphql_api.log_feed.hub import Hub, Retention
from graphql_api.log_feed.stats import FeedStats
from graphql_api.log_feed.subscription import Subscription
from graphql_api.log_feed.tail import Pace, Reader
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database, DatabaseUnavailableError
from graphql_api.postgres.statement import Statement

_NO_ANSWER = "the database doesn't answer: subscribe again after a pause, with the last cursor"

# The last two are how a standby answers: it may be on its way to become the primary.
_OUTAGES = (
    DatabaseUnavailableError,
    TimeoutError,
    asyncpg.OperatorInterventionError,
    asyncpg.FeatureNotSupportedError,
    asyncpg.ObjectNotInPrerequisiteStateError,
)


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """What may be tuned; the defaults are for production."""

    pace: Pace = field(default_factory=Pace)
    retention: Retention = field(default_factory=Retention)
    patience: float = 10.0
    """Seconds a new subscription waits for a database that doesn't answer."""
    catch_ups: int = 4
    """Reads from the database that subscribers make at the same time."""
    catch_up_rows: int = 200
    heartbeat: float = 20.0
    """Seconds: who has had nothing for one to two of them can be told how far the feed has come."""


class Feed:
    """New rows of system_logs, in commit order, each once.

    `database` is where subscribers that are behind read; `direct` is the primary without a pooler, where the
    reader listens; every process that shares `key` takes the others' cursors.
    """

    def __init__(
        self, database: Database, direct: Address, key: bytes, options: FeedOptions | None = None
    ) -> None:
        self.database = database
        self.options = options or FeedOptions()
        self.stats = FeedStats()
        self.codec = CursorCodec(key)
        self.hub = Hub(self.codec, self.stats, self.options.retention, self.options.heartbeat)
        self._reading = asyncio.Semaphore(self.options.catch_ups)
        self._direct = direct
        self._subscriptions: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None
        self._reader: Reader | None = None

    async def check(self) -> None:
        """Raise UnfitDatabaseError where the address can't serve a feed; else OSError or asyncpg's errors."""
        self.refuse_pooler()
        connection = await self._direct.connect(application="graphql-api feed")
        try:
            await incarnation.enter(connection)
        finally:
            await connection.close()

    def refuse_pooler(self) -> None:
        """Raise UnfitDatabaseError where the direct address isn't one."""
        if self._direct.pooled:
            raise UnfitDatabaseError(
                "the log feed listens for notifications, which a pooler doesn't pass on:"
                " set DATABASE_DIRECT_URL to the database's address without the pooler"
            )

    async def subscribe(
        self, wanted: LogFilter, *, after: str | None = None, backfill: int = 0
    ) -> Subscription:
        """Rows that match, from now on: all that is committed after this returns, and maybe shortly before.

        With `after`, from that cursor on. With `backfill`, first the newest so many that match, in the order
        of their times; it has no meaning beside `after`. Close what this returns. Raises FeedError.
        """
        self.refuse_pooler()
        cursor = None if after is None else self.codec.decode(after)
        subscription = Subscription(self, wanted)
        self._subscriptions.add(subscription)
        self.stats.subscribers = len(self._subscriptions)
        self._start()
        try:
            await subscription.open(cursor, backfill)
        except BaseException:
            await subscription.aclose()
            raise
        return subscription

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._reader = Reader(self._direct, self.hub, self.stats, self.options.pace, self._fail)
            self._task = asyncio.create_task(self._reader.run(), name="log feed")

    def _fail(self, error: FeedError) -> None:
        for subscription in self._subscriptions:
            subscription.fail(error)
        self.hub.moved.ring()

    async def leave(self, subscription: Subscription) -> None:
        """Let a subscription go, and stop reading after the last."""
        self._subscriptions.discard(subscription)
        self.stats.subscribers = len(self._subscriptions)
        if not self._subscriptions:
            await self._stop()

    async def _stop(self) -> None:
        task, self._task, self._reader = self._task, None, None
        self.hub.clear()
        self.stats.current_at = 0.0
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        """A read from the database for a subscriber, once few enough others read too.

        An outage shorter than the feed's patience is waited for. Raises FeedUnavailableError.
        """
        deadline = time.monotonic() + self.options.patience
        while True:
            try:
                async with self._reading:
                    return await self.database.fetch(statement, **values)
            except _OUTAGES as error:
                if time.monotonic() > deadline:
                    raise FeedUnavailableError(_NO_ANSWER) from error
            await asyncio.sleep(0.2)

    async def moved(self, deadline: float) -> None:
        """Wait until the reader has looked again. Raises FeedUnavailableError after `deadline`."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise FeedUnavailableError(_NO_ANSWER)
        if self._reader is not None:
            self._reader.wake()
        await self.hub.moved.heard(left)

    async def close(self) -> None:
        """End every subscription."""
        for subscription in list(self._subscriptions):
            await subscription.aclose()
        await self._stop()
