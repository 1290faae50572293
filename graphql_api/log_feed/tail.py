"""The one task of a process that reads the log while somebody wants it."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from graphql_api.log_feed import incarnation, source, statements
from graphql_api.log_feed.cursor import Origin
from graphql_api.log_feed.errors import (
    CursorExpiredError,
    FeedError,
    FeedResetError,
    FeedUnavailableError,
    UnfitDatabaseError,
)
from graphql_api.log_feed.feed_position import MAX_RUNNING
from graphql_api.log_feed.hub import Hub
from graphql_api.log_feed.stats import FeedStats
from graphql_api.postgres.address import Address
from graphql_api.postgres.statement import Statement

log = logging.getLogger(__name__)

# A connection that is lost, refused or silent; all of it may pass.
_INTERRUPTIONS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # asyncpg says so of a connection that was ended between two statements
    FeedUnavailableError,
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to look, in seconds, and how much to take."""

    idle: float = 0.5
    """Between two looks while nothing comes, should no notification do."""
    busy: float = 0.025
    """Between two looks while rows come: of writers at the same time only one notifies."""
    busy_for: float = 1.0
    """How long after the last row it is still busy."""
    rest: float = 0.005
    """Between two looks, whatever the notifications."""
    rest_each: float = 0.000_1
    """As much longer for every subscriber: each look that finds something wakes them."""
    flush: float = 0.005
    """Before PostgreSQL is asked to have on its disk what was read, should it not have it yet."""
    timeout: float = 5.0
    """For an answer; a connection that has none is given up."""
    retry: float = 5.0
    """Between two attempts to connect, at most."""
    rows: int = 1000


class Reader:
    """Reads from where its hub stands, for as long as it runs."""

    def __init__(
        self, address: Address, hub: Hub, stats: FeedStats, pace: Pace, fail: Callable[[FeedError], None]
    ) -> None:
        """`fail` is called with what ends every subscription: continuity is lost, or can't be had."""
        self._address = address
        self._hub = hub
        self._stats = stats
        self._pace = pace
        self._fail = fail
        self._woken = asyncio.Event()
        self._deleted: int | None = None
        self._incarnation = 0

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    async def run(self) -> None:
        """Read until cancelled."""
        failures = 0
        while True:
            try:
                async with self._connection() as connection:
                    await self._begin(connection)
                    failures = 0
                    self._stats.connected = True
                    await self._follow(connection)
            except UnfitDatabaseError as error:
                # Where it has served before, a standby may be on its way to become the primary.
                if self._hub.place is None:
                    self._fail(error)
                    return
                log.warning("the log feed waits for a primary: %s", error)
            except (FeedResetError, CursorExpiredError) as error:
                log.warning("the log feed begins anew: %s", error)
                self._stats.resets += 1
                self._hub.clear()
                self._fail(error)
            except _INTERRUPTIONS as error:
                log.warning("the log feed has lost its connection: %s: %s", type(error).__name__, error)
            except Exception:
                log.exception("the log feed has failed")
                self._hub.clear()
                self._fail(FeedUnavailableError("the feed has failed: subscribe again, with the last cursor"))
            finally:
                self._stats.connected = False
            failures = min(failures + 1, 10)
            self._stats.reconnects += 1
            await asyncio.sleep(min(self._pace.retry, 0.05 * 2**failures) * random.uniform(0.5, 1))  # noqa: S311

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["asyncpg.Connection"]:
        connection = await self._address.connect(
            application="graphql-api feed", command_timeout=self._pace.timeout
        )
        connection.add_termination_listener(self._terminated)
        try:
            yield connection
        finally:
            # Closing politely would wait for an answer that may never come.
            connection.terminate()

    def _terminated(self, _: object) -> None:
        self._woken.set()

    def _notified(self, *_: object) -> None:
        self._stats.wake_ups += 1
        self._woken.set()

    async def _begin(self, connection: "asyncpg.Connection") -> None:
        number = await incarnation.enter(connection)
        # Before the first look: what is committed from here on either is seen or notifies.
        await connection.add_listener(statements.CHANNEL, self._notified)
        fetch = _fetch_on(connection)
        place = self._hub.place
        if place is None:
            position, seen = await source.start(fetch)
            await source.put_on_disk(fetch, seen, self._pace.flush)
            self._hub.move(position, Origin(number, seen.written))
            self._deleted = seen.deleted
        elif place.origin.incarnation != number:
            await incarnation.verify(fetch, place.origin, number)
            # Its past is proved: from here on it is a position of the present.
            self._hub.move(place.position, Origin(number, place.origin.lsn))
        self._incarnation = number

    async def _follow(self, connection: "asyncpg.Connection") -> None:
        pace, busy_until = self._pace, 0.0
        while True:
            self._woken.clear()
            complete, some = await self._pull(_fetch_on(connection))
            if some:
                busy_until = time.monotonic() + pace.busy_for
            if not complete:
                continue
            await asyncio.sleep(pace.rest + pace.rest_each * self._stats.subscribers)
            wait = pace.busy if time.monotonic() < busy_until else pace.idle
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()

    async def _pull(self, fetch: source.Fetch) -> tuple[bool, bool]:
        hub, stats = self._hub, self._stats
        place = hub.place
        assert place is not None  # noqa: S101 - narrows: `_begin` has placed the hub
        page, seen = await source.pull(fetch, place.position, self._pace.rows)
        page.end_between_transactions()  # who joins begins between two
        page.keep_running_below(MAX_RUNNING)
        if seen.incarnation != self._incarnation:
            raise FeedUnavailableError("the database's life has changed")
        if seen.deleted != self._deleted:
            seen.check_kept(place.position)
            self._deleted = seen.deleted
        stats.pulls += 1
        stats.rows += len(page.rows)
        if page.rows:
            await source.put_on_disk(fetch, seen, self._pace.flush)
        lsn = seen.written if page.rows else place.origin.lsn
        hub.publish(page, Origin(self._incarnation, lsn))
        if page.complete:
            stats.current_at = time.monotonic()
        return page.complete or not page.rows, bool(page.rows)


def _fetch_on(connection: "asyncpg.Connection") -> source.Fetch:
    async def fetch(statement: Statement, **values: Any) -> list[asyncpg.Record]:
        return await connection.fetch(statement.sql, *statement.arguments(values))

    return fetch
