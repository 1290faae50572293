"""A subscription: reads from the database until it has caught up with the hub, then from memory.

    Opening ──────────────────────────────▶ Live     from now on
    Opening ──────────────▶ CatchingUp ───▶ Live     after a cursor
    Opening ─▶ Replaying ─▶ CatchingUp ───▶ Live     with a backfill, or after a cursor inside one
                            CatchingUp ◀─── Live     the hub has dropped the events that come next

From every state a subscription becomes Failed when the feed ends, and Closed when its consumer leaves.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.base import PGDialect

from graphql_api.log_feed.errors import (
    BackfillTimeoutError,
    CursorExpiredError,
    FeedError,
    FeedResetError,
    FeedUnavailableError,
    SlowReadError,
)
from graphql_api.log_feed.feed_offset import Cursor, CursorAfter
from graphql_api.log_feed.feed_schema import LOGS, FeedSchema
from graphql_api.log_feed.filter import FilterShape
from graphql_api.log_feed.hub import Event, EventBatch, EventFilter, Hub
from graphql_api.log_feed.incarnation import check_lineage
from graphql_api.log_feed.tail import (
    NEWEST,
    SNAPSHOT,
    Snapshot,
    Tail,
    condition_text,
    fetch_page,
    wait_for_flush,
)
from graphql_api.postgres.statement import Fetch, Statement, compile_statement
from graphql_api.postgres.tables import sort_key, system_logs
from graphql_api.quotas import current_usage

NO_ANSWER = "the database doesn't answer: subscribe again after a pause, with the last cursor"
_TOO_MUCH_SINCE = "too much was written since this cursor, which lies inside a backfill"

# With a filter that matches few rows, a page may examine so many times as many rows as it may return.
_MAX_SCAN_FACTOR = 20

# Fetches after which the tail must have read everything that a cursor of another process has read, if each of
# them found no further rows. The first may have begun before the cursor was written.
_FETCHES_TO_MEET_A_CURSOR = 2

# Heartbeats without an event after which a subscriber gets its progress; the first may come at once.
_QUIET_HEARTBEATS = 2

_SORT_KEY = sort_key(system_logs.alias("log").c.timestamp).compile(dialect=PGDialect())  # type: ignore[no-untyped-call]

# The newest lines that the statement's snapshot sees, in ascending order.
_BACKFILL = """
    WITH seen AS MATERIALIZED ({snapshot}),
    feed_end AS MATERIALIZED (SELECT seen.*, {newest_xid} FROM seen)
    SELECT feed_end.*, line.*
    FROM feed_end LEFT JOIN (
        SELECT {columns} FROM system_logs log WHERE {wanted}
        ORDER BY {key} DESC, id DESC LIMIT CAST(:rows AS integer)) AS line ON true
    ORDER BY line.sort_key, line.id
"""

# The rest of a backfill: the lines after one of its lines, of those that an offset has read. Lines that the
# offset hasn't read may be among them, so as many more lines are examined.
_REST_OF_BACKFILL = """
    WITH unread AS MATERIALIZED (
        SELECT id FROM (
            SELECT id FROM log_feed.entries WHERE xid >= CAST(:next_xid AS xid8)
            UNION ALL
            SELECT id FROM log_feed.entries WHERE xid = ANY (CAST(:in_progress AS xid8[]))) AS entry
        LIMIT CAST(:max_unread AS integer) + 1
    ),
    candidates AS MATERIALIZED (
        SELECT {columns} FROM system_logs log
        WHERE {wanted} AND ({key}, id) > (CAST(:after_key AS timestamptz), CAST(:after_id AS uuid))
        ORDER BY {key}, id LIMIT CAST(:rows AS integer) + (SELECT count(*) FROM unread)
    )
    SELECT counted.unread, line.*
    FROM (SELECT count(*) AS unread FROM unread) AS counted LEFT JOIN (
        SELECT * FROM candidates WHERE NOT EXISTS (SELECT FROM unread WHERE unread.id = candidates.id)
        ORDER BY sort_key, id LIMIT CAST(:rows AS integer)) AS line ON true
    ORDER BY line.sort_key, line.id
"""

# The most lines written since a cursor inside a backfill: each page of the backfill reads all their ids.
_MAX_UNREAD = 100_000
_COLUMNS = (
    f"log.id, log.timestamp, log.level, log.component, log.message, log.details, {_SORT_KEY} AS sort_key"
)


@functools.cache
def _backfill_statement(template: str, shape: FilterShape | None) -> Statement:
    return compile_statement(
        text(
            template.format(
                snapshot=SNAPSHOT.format(schema=LOGS.name),
                newest_xid=NEWEST.format(schema=LOGS.name),
                columns=_COLUMNS,
                key=_SORT_KEY,
                wanted=condition_text(shape),
            )
        )
    )


class FeedProgress(NamedTuple):
    """How far a subscription has come."""

    cursor: str
    """Where a client that has had every event so far may resume."""
    up_to_date: bool
    """Whether all that was committed before the subscription has been returned, for the first time."""


OnDue = Callable[[EventBatch, "FeedSubscription"], None]
"""Called with events that are due to a subscription whose consumer waits, so that its task needn't wake.

Returns at once. The events may be delivered as long as `FeedSubscription.is_due`, and `delivered` is called
then; if they can't be, `wake` is called.
"""
_ROW_SECONDS = 2e-6
"""Seconds that it takes to make an event of a row, and to apply the filter to it."""


@dataclass(slots=True, eq=False)
class Opening:
    """`open` has not returned yet, so there is no cursor to start from."""

    read_up_to: None = None


@dataclass(slots=True, eq=False)
class Live:
    """Events come from the group, in memory."""

    read_up_to: Cursor | Event
    """The cursor behind everything that was read for this subscription; so in the other states."""
    index: int
    """The number of the next event of the group."""


@dataclass(slots=True, eq=False)
class CatchingUp:
    """Pages come from the database, until they reach a cursor that the hub had reached (`target`).

    The rows that a page examines are bounded, not those that match, so that `read_up_to` also advances with a
    filter that matches nothing.
    """

    read_up_to: Cursor
    page_rows: int
    """How many rows the next page may examine."""
    replayed: bool
    """Whether the events were committed before the subscription began."""
    target: Cursor | None = None
    """The hub's cursor when it had read all that this subscription had, and no transaction partly."""
    index: int = 0
    """The number of the group's first event behind the target."""
    exhausted: bool = False
    """Whether the last page had all remaining rows."""
    waiting_since: float | None = None
    tail_fetches: int = 0
    """How often the tail has fetched all rows since, and still lacked some of this subscription's."""


@dataclass(slots=True, eq=False)
class Replaying:
    """Pages of a backfill come from the database, in the order of their timestamps."""

    read_up_to: Cursor
    then: CatchingUp


@dataclass(slots=True, eq=False)
class Failed:
    """The feed has ended. The events that the group still holds are delivered before the error."""

    read_up_to: Cursor | Event | None
    error: FeedError
    remaining: Live | None = None


@dataclass(slots=True, eq=False)
class Closed:
    """The consumer has left."""

    read_up_to: Cursor | Event | None


State = Opening | Live | CatchingUp | Replaying | Failed | Closed


class FeedSubscription:
    """Events that match a filter, for one consumer. Close it with `aclose`, or use it as a context manager.

    If the state changes while a read of the database is awaited, the rows that it returns are dropped.
    """

    def __init__(
        self,
        wanted: EventFilter,
        hub: Hub,
        tail: Tail,
        fetch: Fetch,
        on_close: Callable[["FeedSubscription"], Awaitable[None]],
        *,
        page_rows: int,
        outage_timeout: float,
        schema: FeedSchema = LOGS,
        on_due: OnDue | None = None,
    ) -> None:
        """`fetch` reads from the database; `outage_timeout` is how many seconds to wait for the tail.

        While `advance` waits, `on_due` is called with the events that come.
        """
        self._schema = schema
        self._filter = wanted
        self._hub = hub
        self._tail = tail
        self._fetch = fetch
        self._on_close = on_close
        self._page_rows = page_rows
        self._outage_timeout = outage_timeout
        self._group = hub.join(wanted)
        self._state: State = Opening()
        # Events that were read before the consumer asked for them, and the cursor before these events.
        self._pending = EventBatch()
        self._pending_after: Cursor | None = None
        self._in_backlog = True
        self._reported = ""
        """The last cursor that `advance` has returned, or that was delivered."""
        self._progress_due: int | None = None
        """The number of the heartbeat at which no events are returned; None where there is none."""
        self._on_due = on_due
        self._offered: EventBatch | None = None
        """Events that were given to `on_due`, and have not been delivered."""

    async def open(self, after: Cursor | None, backfill: int) -> None:
        """Finds the cursor to start from, which is fixed when this returns. Raises FeedError."""
        begun = time.monotonic()
        while (hub_cursor := self._hub.read_up_to) is None:
            self._check_open()
            await self._wait_for_tail(begun)
        self._check_open()
        if after is not None:
            await self._resume(after, hub_cursor.incarnation)
        elif backfill:
            await self._backfill(backfill, begun)
        else:
            self._enter(Live(hub_cursor, self._group.end))

    def _check_open(self) -> None:
        if isinstance(self._state, Failed):
            raise self._state.error.with_traceback(None)
        if isinstance(self._state, Closed):
            raise FeedUnavailableError(NO_ANSWER)

    async def _resume(self, after: Cursor, incarnation: int) -> None:
        """Reads the rows after a cursor, until an event is found or the subscription is live."""
        catching_up = self._catch_up_from(after, replayed=True)
        self._enter(catching_up if after.replayed is None else Replaying(after, catching_up))
        await check_lineage(self._fetch, after, incarnation, self._schema)
        while self._state.read_up_to is after:
            self._check_open()
            self._pending = await self._read()
        self._pending_after = after

    async def _backfill(self, count: int, begun: float) -> None:
        """Reads the newest lines.

        The cursor to start from is the end of the snapshot that they were read in.
        """
        statement = _backfill_statement(_BACKFILL, self._filter.shape)
        while True:
            rows = await self._fetch_lines(statement, rows=count)
            snapshot = Snapshot.of(rows[0])
            if snapshot.incarnation is not None:
                break
            await self._wait_for_tail(begun)
        await wait_for_flush(self._fetch, snapshot)
        self._check_open()
        start = Cursor(snapshot.end(rows[0]["newest"]), snapshot.incarnation, snapshot.insert_lsn)
        catching_up = self._catch_up_from(start, replayed=False)
        if rows[0]["id"] is None:
            self._enter(catching_up)
            return
        self._enter(Replaying(start, catching_up))
        self._pending = self._backfill_events(rows, start)
        before_first = str(UUID(int=max(UUID(rows[0]["id"]).int - 1, 0)))
        self._pending_after = replace(start, replayed=(rows[0]["sort_key"], before_first))

    async def advance(self) -> EventBatch | FeedProgress | None:
        """Returns the next events or, if there are none for a while, how far the feed has come.

        Once everything committed before the subscription has been returned, FeedProgress says so
        (`up_to_date`). Returns None when closed. Raises FeedError if the feed can't continue.
        """
        if not self._reported:
            self._reported = self.cursor
        while not self.closed:
            if events := await self.batch(progress=True, backlog=self._in_backlog):
                self._reported = events[-1].cursor
                return events
            up_to_date = self._in_backlog and self.is_live
            if up_to_date or self.cursor != self._reported:
                self._in_backlog = self._in_backlog and not up_to_date
                self._reported = self.cursor
                return FeedProgress(self._reported, up_to_date)
        return None

    async def batch(
        self, timeout: float | None = None, *, progress: bool = False, backlog: bool = False
    ) -> EventBatch:
        """Returns the next events; an empty batch after `timeout` seconds without any, or when closed.

        With `progress`, also returns an empty batch after one or two heartbeats without events, so that the
        client can be sent `cursor`. With `backlog`, also returns one once everything committed before has
        been returned (`is_live`). Raises FeedError if the feed can't continue, after the events that it still
        has.
        """
        if self._pending and not self.closed:
            events, self._pending = self._pending, EventBatch()
        else:
            deadline = None if timeout is None else time.monotonic() + timeout
            self._progress_due = self._hub.heartbeats + _QUIET_HEARTBEATS if progress else None
            events = await self._next(deadline, backlog=backlog)
        self._hub.stats.deliveries += len(events)
        return events

    async def _next(self, deadline: float | None, *, backlog: bool) -> EventBatch:
        """Returns the next events; an empty batch after `deadline`, when progress is due, or when closed.

        With `backlog`, also when live.
        """
        group, hub = self._group, self._hub
        while True:
            state = self._state
            if isinstance(state, Live):
                if state.index < group.start:
                    self._fall_behind(state)
                    continue
                if backlog:
                    return EventBatch()
                if events := self._take(state):
                    return events
            elif isinstance(state, Failed):
                return self._take_remaining(state)
            elif isinstance(state, Closed):
                return EventBatch()
            remaining = None if deadline is None else deadline - time.monotonic()
            if (remaining is not None and remaining <= 0) or self._is_progress_due:
                return EventBatch()
            if isinstance(state, Live):
                state.read_up_to = hub.read_up_to or state.read_up_to
                if self._on_due is None:
                    await group.arrival.wait(remaining)
                else:
                    await self._wait_idle(remaining)
            elif events := await self._read():
                return events

    def _take(self, live: Live) -> EventBatch:
        events = self._group.take(live.index)
        if events:
            live.index += len(events)
            live.read_up_to = events[-1]
        return events

    @property
    def _is_progress_due(self) -> bool:
        return self._progress_due is not None and self._hub.heartbeats >= self._progress_due

    async def _wait_idle(self, timeout: float | None) -> None:
        """Waits until the consumer has something to do; events that come are offered meanwhile."""
        waiter = self._group.idle[self] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            pass
        finally:
            del self._group.idle[self]
            self._offered = None

    def offer(self) -> None:
        """Gives `on_due` the events that have come, unless earlier ones haven't been delivered yet."""
        state = self._state
        if self._offered is not None or not isinstance(state, Live) or self._on_due is None:
            return
        if state.index < self._group.start:
            self.wake()  # it has fallen behind
        else:
            self._offered = self._group.take(state.index)
            self._on_due(self._offered, self)

    def is_due(self, events: EventBatch) -> bool:
        """Whether nobody has had these events yet that were offered, and the consumer still waits."""
        waiter = self._group.idle.get(self)
        return (
            self._offered is events
            and isinstance(self._state, Live)
            and waiter is not None
            and not waiter.done()
        )

    def delivered(self) -> None:
        """Goes on behind the events that were offered: they have been delivered."""
        live, events = self._state, self._offered
        assert isinstance(live, Live) and events is not None  # noqa: S101, PT018 - as `is_due` says
        self._offered = None
        live.index += len(events)
        live.read_up_to = events[-1]
        self._hub.stats.deliveries += len(events)
        self._reported = events[-1].cursor
        if self._progress_due is not None:
            self._progress_due = self._hub.heartbeats + _QUIET_HEARTBEATS
        if live.index < self._group.end:
            self.offer()

    def beat(self) -> None:
        """Wakes the consumer if it is time for its progress."""
        state = self._state
        if self._is_progress_due:
            self.wake()
        elif isinstance(state, Live) and state.index == self._group.end:
            state.read_up_to = self._hub.read_up_to or state.read_up_to

    def wake(self) -> None:
        """Wakes the consumer, which takes the events that are due itself."""
        self._group.wake(self)

    def _take_remaining(self, failed: Failed) -> EventBatch:
        live = failed.remaining
        if live is not None and live.index >= self._group.start and (events := self._take(live)):
            failed.read_up_to = live.read_up_to
            return events
        raise failed.error.with_traceback(None)

    def _fall_behind(self, live: Live) -> None:
        """Reads from the database again: the hub has dropped events that this subscription has not had."""
        read_up_to = live.read_up_to
        cursor = read_up_to.read_up_to if isinstance(read_up_to, Event) else read_up_to
        self._enter(self._catch_up_from(cursor, replayed=False))

    def _catch_up_from(self, cursor: Cursor, *, replayed: bool) -> CatchingUp:
        self._hub.stats.catch_ups += 1
        start = cursor if cursor.replayed is None else replace(cursor, replayed=None)
        return CatchingUp(start, self._page_rows, replayed)

    async def _read(self) -> EventBatch:
        """Reads the next page from the database, and returns the events that match. Raises FeedError."""
        await current_usage().settle()
        state = self._state
        try:
            if isinstance(state, Replaying):
                return await self._replay(state)
            if isinstance(state, CatchingUp):
                return await self._catch_up(state)
        except FeedError as error:
            if self._state is state:
                self._enter(Failed(state.read_up_to, error))
                raise
        return EventBatch()

    async def _replay(self, state: Replaying) -> EventBatch:
        cursor = state.read_up_to
        if cursor.replayed is None:
            self._enter(state.then)
            return EventBatch()
        after_key, after_id = cursor.replayed
        rows = await self._fetch_lines(
            _backfill_statement(_REST_OF_BACKFILL, self._filter.shape),
            next_xid=cursor.offset.next_xid,
            in_progress=cursor.offset.in_progress,
            after_key=after_key,
            after_id=after_id,
            rows=self._page_rows,
            max_unread=_MAX_UNREAD,
        )
        if rows[0]["unread"] > _MAX_UNREAD:
            raise CursorExpiredError(_TOO_MUCH_SINCE)
        if rows[0]["id"] is None:
            rows = []
        if self._state is not state:
            return EventBatch()
        self._count_page(len(rows))
        more = len(rows) == self._page_rows
        state.read_up_to = replace(cursor, replayed=(rows[-1]["sort_key"], rows[-1]["id"]) if more else None)
        return self._backfill_events(rows, state.read_up_to)

    async def _fetch_lines(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        """Reads lines of a backfill, which may have to search the whole log. Raises FeedError."""
        try:
            return await self._fetch(statement, **self._filter.values(), **values)
        except SlowReadError as error:
            raise BackfillTimeoutError from error

    def _backfill_events(self, rows: Sequence[asyncpg.Record], end: Cursor) -> EventBatch:
        """Returns events of rows that `end` has read, the oldest first."""

        def cursor_after(index: int) -> Cursor:
            if index + 1 == len(rows):
                return end
            return replace(end, replayed=(rows[index]["sort_key"], rows[index]["id"]))

        return self._events(rows, cursor_after, replayed=True)

    async def _catch_up(self, state: CatchingUp) -> EventBatch:
        """Reads the next page up to the hub's cursor; once it is reached, the subscription is live.

        While the hub has read a transaction partly, no statement can read up to its cursor: pages are then
        read without a target, until there are no more rows.
        """
        hub_cursor = self._hub.read_up_to
        offset = state.read_up_to.offset
        if state.target is None and hub_cursor is not None and hub_cursor.offset.covers(offset):
            state.target, state.index = hub_cursor, self._group.end
            if offset == hub_cursor.offset:
                self._enter(Live(hub_cursor, state.index))
                return EventBatch()
        target = state.target
        inside = hub_cursor is not None and hub_cursor.offset.partial is not None
        if hub_cursor is None or (target is None and (state.exhausted or not inside)):
            await self._wait_to_be_covered(state)
            return EventBatch()
        page, snapshot = await fetch_page(
            self._fetch,
            offset,
            state.page_rows,
            schema=self._schema,
            wanted=self._filter,
            max_wanted=state.page_rows if self._filter.shape is None else self._page_rows,
            until=None if target is None else target.offset,
        )
        if (
            snapshot.incarnation != hub_cursor.incarnation
        ):  # another server answers now, which the tail will find out
            await self._wait_to_be_covered(state)
            return EventBatch()
        snapshot.check_continuity(page)
        if target is None:
            await wait_for_flush(self._fetch, snapshot)
            incarnation, lsn = hub_cursor.incarnation, snapshot.insert_lsn
        else:
            incarnation, lsn = target.incarnation, target.lsn
        if self._state is not state:
            return EventBatch()
        self._count_page(page.rows[-1]["number"] if page.rows else 0)
        state.exhausted, state.waiting_since, state.tail_fetches = page.complete, None, 0
        if target is not None and page.complete:
            self._enter(Live(target, state.index))
        else:
            state.read_up_to = Cursor(page.end, incarnation, lsn)
        events = self._events(
            page.rows,
            lambda index: Cursor(page.offset_after(index), incarnation, lsn),
            replayed=state.replayed,
        )
        few = len(events) * 4 < self._page_rows
        state.page_rows = (
            min(state.page_rows * 4, self._page_rows * _MAX_SCAN_FACTOR) if few else self._page_rows
        )
        return events

    async def _wait_to_be_covered(self, state: CatchingUp) -> None:
        """Waits until the tail has fetched again, for a limited time.

        A cursor that is ahead of this process comes from another one. Our tail's next fetches must find what
        that process has read. Raises FeedResetError if they don't, and FeedUnavailableError after a while.
        """
        hub = self._hub
        if state.waiting_since is None:
            state.waiting_since = time.monotonic()
        await self._wait_for_tail(state.waiting_since)
        if hub.read_up_to is not None and hub.complete:
            state.tail_fetches += 1
            if state.tail_fetches > _FETCHES_TO_MEET_A_CURSOR and not hub.read_up_to.offset.covers(
                state.read_up_to.offset
            ):
                raise FeedResetError("FEED_RESET_RESTORE", self._schema)

    async def _wait_for_tail(self, since: float) -> None:
        remaining = since + self._outage_timeout - time.monotonic()
        if remaining <= 0:
            raise FeedUnavailableError(NO_ANSWER)
        self._tail.fetch_now()
        await self._hub.moved.wait(remaining)

    def _events(
        self, rows: Sequence[asyncpg.Record], cursor_after: CursorAfter, *, replayed: bool
    ) -> EventBatch:
        """Returns the events of the rows that match; rows of a backfill all match."""
        codec = self._hub.codec
        events = [
            Event(row, index, cursor_after, codec, replayed=replayed)
            for index, row in enumerate(rows)
            if row.get("wanted", True)
        ]
        return EventBatch(self._filter.choose(events, {}) if self._filter.shape is None else events)

    def _count_page(self, rows: int) -> None:
        self._hub.stats.catch_up_pages += 1
        self._hub.stats.catch_up_rows += rows
        current_usage().add_step(rows * _ROW_SECONDS)

    def _enter(self, state: State) -> None:
        reading = (CatchingUp, Replaying)
        self._hub.stats.catching_up += isinstance(state, reading) - isinstance(self._state, reading)
        self._state = state

    @property
    def cursor(self) -> str:
        """The text of the cursor behind all events that were returned.

        It advances also while nothing matches.
        """
        hub, state = self._hub, self._state
        cursor = self._pending_after if self._pending else state.read_up_to
        current = isinstance(state, Live) and state.index == self._group.end
        if current and not self._pending and hub.read_up_to is not None:
            return hub.cursor()
        assert cursor is not None  # noqa: S101 - narrows: a subscription is open before anybody has it
        return cursor.cursor if isinstance(cursor, Event) else hub.codec.encode(cursor)

    @property
    def is_live(self) -> bool:
        """Whether everything that was committed when it caught up has been returned."""
        return isinstance(self._state, Live) and not self._pending

    @property
    def closed(self) -> bool:
        """Whether there is nothing more to come."""
        return isinstance(self._state, Closed)

    def fail(self, error: FeedError) -> None:
        """Ends the subscription with an error, once the events that are left have been returned."""
        state = self._state
        if isinstance(state, Failed | Closed):
            return
        self._enter(Failed(state.read_up_to, error, state if isinstance(state, Live) else None))
        self._group.arrival.notify_all()
        self.wake()

    async def aclose(self) -> None:
        """Ends the subscription.

        Events that were not returned come to a later subscription after `cursor`.
        """
        if self.closed:
            return
        self._enter(Closed(self._state.read_up_to))
        self._hub.leave(self._group)
        self._group.arrival.notify_all()
        self.wake()
        await self._on_close(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
