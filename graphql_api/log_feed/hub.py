"""The fan-out of one process: gives each row to the subscribers whose filter it matches, and keeps it once.

The tail publishes each page of rows here. The last pages are kept for subscribers that are late. Subscribers
with equal filters form a group: a row is matched at most once for each group, and an index by key leaves out
most groups that it can't match. A page wakes only the groups for which it has a match. A subscriber that
falls behind costs no memory: it has the number of its next event, and reads the database if that was dropped.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from sys import getsizeof
from typing import Any, Protocol

import asyncpg

from graphql_api.log_feed.feed_offset import Cursor, CursorAfter, CursorCodec, FeedPage
from graphql_api.log_feed.feed_schema import LOGS, FeedSchema
from graphql_api.log_feed.filter import FilterShape
from graphql_api.log_feed.stats import FeedStats

# About how many bytes a kept row takes besides its texts: the record, its event, and entries in lists.
_ROW_BYTES = 600

# Events that are delivered at once: enough to fill a socket's buffer, few enough to be fair.
_MAX_BATCH = 100

# The latest batches of a group that are kept. While its subscribers are being woken more rows may come, which
# those who are woken later take together with the batch before.
_KEPT_BATCHES = 4

# Waiters that are woken in one iteration of the event loop.
_WOKEN_AT_ONCE = 200

# Seconds for which groups choose among the rows of a page before other tasks run.
_CHOOSING_TIME = 0.005


class Event:
    """One row of the feed, for one or more subscribers.

    `row` has the columns of the feed's schema in the types of `postgres.type_codecs`. `replayed`: the row was
    committed before the subscription began. `results` is a cache for callers, shared by all subscribers who
    get this same object: what they have made of the event, by keys of theirs.
    """

    __slots__ = ("_codec", "_cursor", "_cursor_after", "_index", "_views", "replayed", "results", "row")

    def __init__(
        self,
        row: Any,
        index: int,
        cursor_after: CursorAfter,
        codec: CursorCodec,
        *,
        replayed: bool,
    ) -> None:
        self.row = row
        self.replayed = replayed
        self.results: dict[Any, Any] = {}
        self._index = index
        self._cursor_after = cursor_after
        self._codec = codec
        self._cursor: str | None = None
        self._views: dict[Any, Event] | None = None

    def view(self, row: tuple[Any, ...]) -> "Event":
        """Returns a view of this event with another row, as some filters show it; one for equal rows."""
        if self._views is None:
            self._views = {}
        event = self._views.get(row)
        if event is None:
            event = self._views[row] = Event(
                row, self._index, self._cursor_after, self._codec, replayed=self.replayed
            )
        return event

    @property
    def cursor(self) -> str:
        """The text of the cursor after this row."""
        if self._cursor is None:
            self._cursor = self._codec.encode(self._cursor_after(self._index))
        return self._cursor

    @property
    def read_up_to(self) -> Cursor:
        """The same cursor, not encoded."""
        return self._cursor_after(self._index)


class EventFilter(Protocol):
    """Which events a subscriber wants. Filters are hashable, and subscribers with equal ones form a group."""

    @property
    def shape(self) -> FilterShape | None:
        """The condition that a page's statement tests; None if the filter is applied in memory alone."""

    @property
    def keys(self) -> frozenset[str] | None:
        """Values, one of which a wanted row has in a column of `FeedSchema.keys`; None if it may have any."""

    def values(self) -> Mapping[str, Any]:
        """Returns the parameters of the condition in `shape`."""

    def choose(self, events: Iterable[Event], cache: dict[Any, Any]) -> list[Event]:
        """Returns the events that are wanted, or views of them.

        `cache` is for values that filters compute from events; all filters share it for one page.
        """


class IdleMember(Protocol):
    """A subscription that has returned all events of its group, and whose consumer waits for the next."""

    def offer(self) -> None:
        """Offers the events that have come, to be delivered without waking the consumer."""

    def beat(self) -> None:
        """Wakes the consumer if it is time for its progress."""


class EventBatch(list[Event]):
    """Events that are due at the same time: one object for all subscribers that are due the same events.

    `results` is a cache for callers, as an event's is.
    """

    __slots__ = ("results",)

    def __init__(self, events: Iterable[Event] = ()) -> None:
        super().__init__(events)
        self.results: dict[Any, Any] = {}


class WakeQueue:
    """Wakes tasks, a few in each iteration of the event loop, so that other tasks run in between."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: deque[asyncio.Future[None]] = deque()

    def add(self, waiters: "Iterable[asyncio.Future[None]]") -> None:
        """Wakes the tasks that await these futures, after those that were added before."""
        idle = not self._waiters
        self._waiters.extend(waiters)
        if idle and self._waiters:
            asyncio.get_running_loop().call_soon(self._wake)

    def _wake(self) -> None:
        waiters = self._waiters
        for _ in range(min(_WOKEN_AT_ONCE, len(waiters))):
            _resolve(waiters.popleft())
        if waiters:
            asyncio.get_running_loop().call_soon(self._wake)


class Broadcast:
    """Wakes all tasks that wait: a condition without a lock. Later waiters wait for the next notification."""

    __slots__ = ("_queue", "_waiters")

    def __init__(self, queue: WakeQueue) -> None:
        self._queue = queue
        self._waiters: set[asyncio.Future[None]] = set()

    def notify_all(self) -> None:
        """Wakes all who wait, in their order."""
        waiters, self._waiters = self._waiters, set()
        self._queue.add(waiters)

    async def wait(self, timeout: float | None = None) -> None:
        """Returns at the next `notify_all`, or after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        timer = None if timeout is None else loop.call_later(timeout, _resolve, waiter)
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            if timer is not None:
                timer.cancel()


def _resolve(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


class FilterGroup:
    """The subscribers with one filter, and the events that some of them may not have had yet."""

    __slots__ = ("_batches", "_pages", "_queue", "arrival", "events", "filter", "idle", "members", "start")

    def __init__(self, wanted: EventFilter, queue: WakeQueue) -> None:
        self.filter = wanted
        self._queue = queue
        self.arrival = Broadcast(queue)
        """Notified when events have come, and when a member has to check its own state."""
        self.idle: dict[IdleMember, asyncio.Future[None]] = {}
        """Members that offer events while their consumers wait, and what these wait for."""
        self.members = 0
        self.events: list[Event] = []
        self.start = 0
        """The number of the first event that is kept; the events before it have been dropped."""
        self._pages: deque[tuple[int, int]] = deque()
        self._batches: dict[tuple[int, int], EventBatch] = {}

    @property
    def end(self) -> int:
        """The number of the event that comes next."""
        return self.start + len(self.events)

    def add(self, page_number: int, events: Sequence[Event]) -> None:
        """Keeps the events of a page that match, for the subscribers that wait for them."""
        self.events += events
        self._pages.append((page_number, len(events)))
        self.arrival.notify_all()
        for member in self.idle:
            member.offer()

    def beat(self) -> None:
        """Wakes the members for whose progress it may be time."""
        self.arrival.notify_all()
        for member in self.idle:
            member.beat()

    def wake(self, member: IdleMember) -> None:
        """Wakes the consumer of an idle member; nothing happens if it isn't idle."""
        waiter = self.idle.get(member)
        if waiter is not None:
            self._queue.add((waiter,))

    def take(self, index: int) -> EventBatch:
        """Returns the events from the number `index` on, at most a batch of them.

        Subscribers that ask for the same events get the same object.
        """
        end = min(self.end, index + _MAX_BATCH)
        batch = self._batches.get((index, end))
        if batch is None:
            batch = EventBatch(self.events[index - self.start : end - self.start])
            if batch:
                self._batches[index, end] = batch
                if len(self._batches) > _KEPT_BATCHES:
                    del self._batches[next(iter(self._batches))]
        return batch

    def drop(self, page_number: int) -> None:
        """Drops the events of the pages up to `page_number`."""
        dropped = 0
        while self._pages and self._pages[0][0] <= page_number:
            dropped += self._pages.popleft()[1]
        if dropped:
            del self.events[:dropped]
            self.start += dropped
            self._batches.clear()


@dataclass(frozen=True, slots=True)
class BufferLimits:
    """How much a hub keeps for late subscribers. If they are later than that, they read the database."""

    rows: int = 10_000
    bytes: int = 16 * 1024 * 1024
    """Bytes of memory for the rows, without the results that are cached with them."""


class _PageEvents:
    """The events of a page, indexed by the keys of the filters that may want them."""

    def __init__(self, events: Sequence[Event], columns: Sequence[str]) -> None:
        self._events = events
        self._by_key: dict[str, list[int]] = {}
        for index, event in enumerate(events) if columns else ():
            for key in {event.row[column] for column in columns}:
                self._by_key.setdefault(key, []).append(index)

    @property
    def keys(self) -> Iterable[str]:
        """The values that rows have in the columns by which groups are found."""
        return self._by_key.keys()

    def candidates(self, keys: frozenset[str] | None) -> Sequence[Event]:
        """Returns the events with one of a filter's keys, in order; all events for a filter without keys."""
        if keys is None:
            return self._events
        found = keys & self._by_key.keys()
        indexes = [self._by_key[key] for key in found]
        in_order = indexes[0] if len(indexes) == 1 else sorted(set().union(*indexes))
        return [self._events[index] for index in in_order]


class Hub:
    """How far the process has read, the last pages that it has read, and the groups of subscribers."""

    def __init__(
        self,
        codec: CursorCodec,
        stats: FeedStats,
        limits: BufferLimits,
        heartbeat: float,
        schema: FeedSchema = LOGS,
    ) -> None:
        self.codec = codec
        self._texts = schema.texts
        self._key_columns = schema.keys
        self.stats = stats
        self._limits = limits
        self._heartbeat_interval = heartbeat
        self._next_heartbeat = 0.0
        self._groups: dict[EventFilter, FilterGroup] = {}
        self._keyed: dict[str, set[FilterGroup]] = {}
        self._unkeyed: set[FilterGroup] = set()
        self._joined: set[FilterGroup] = set()
        """Groups that were created while the tail publishes a page."""
        self._queue = WakeQueue()
        self._pages: deque[tuple[int, int, int]] = deque()
        self._page_number = 0
        self._read_up_to: Cursor | None = None
        self._cursor: str | None = None
        self.complete = False
        """Whether the last page left nothing unread."""
        self.moved = Broadcast(self._queue)
        """Notified whenever the tail has fetched a page, even an empty one."""
        self.heartbeats = 0
        """How many heartbeats there were: one clock for all waiting subscribers."""

    @property
    def read_up_to(self) -> Cursor | None:
        """How far the process has read; None until the tail has begun."""
        return self._read_up_to

    def cursor(self) -> str:
        """Returns the text of `read_up_to`. Call it only once the tail has begun."""
        if self._cursor is None:
            assert self._read_up_to is not None  # noqa: S101 - narrows: subscribers wait for the tail to begin
            self._cursor = self.codec.encode(self._read_up_to)
        return self._cursor

    def move_to(self, cursor: Cursor) -> None:
        """Sets how far the process has read: at the start, and after a fetch that has found no new row."""
        if cursor != self._read_up_to:
            self._read_up_to, self._cursor = cursor, None
        self.moved.notify_all()
        self._beat()

    async def publish(self, page: FeedPage, incarnation: int, lsn: int) -> None:
        """Gives the rows of a page to the groups, and sets the offset behind the page.

        Other tasks run while groups choose among the rows. They see the new events and the new offset at the
        same time; otherwise a subscriber that joins in between would miss events, or get them twice.
        """
        if page.rows:

            def cursor_after(index: int) -> Cursor:
                return Cursor(page.offset_after(index), incarnation, lsn)

            events = [
                Event(row, index, cursor_after, self.codec, replayed=False)
                for index, row in enumerate(page.rows)
            ]
            chosen = await self._choose(_PageEvents(events, self._key_columns))
            self._page_number += 1
            self._keep(page.rows)
            for group, matching in chosen:
                group.add(self._page_number, matching)
        self.complete = page.complete
        self.move_to(Cursor(page.end, incarnation, lsn))

    async def _choose(self, page: _PageEvents) -> list[tuple[FilterGroup, list[Event]]]:
        """Returns the groups that want events of a page, each with these events."""
        chosen = []
        cache: dict[Any, Any] = {}
        self._joined = set()
        groups = self._unkeyed.union(*(self._keyed.get(key, ()) for key in page.keys))
        pause_at = time.monotonic() + _CHOOSING_TIME
        while groups:
            for group in groups:
                if matching := group.filter.choose(page.candidates(group.filter.keys), cache):
                    chosen.append((group, matching))
                if time.monotonic() > pause_at:
                    await asyncio.sleep(0)
                    pause_at = time.monotonic() + _CHOOSING_TIME
            groups, self._joined = self._joined, set()
        return chosen

    def _beat(self) -> None:
        now = time.monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + self._heartbeat_interval
            self.heartbeats += 1
            for group in self._groups.values():
                group.beat()

    def _keep(self, rows: Sequence[asyncpg.Record]) -> None:
        stats = self.stats
        size = len(rows) * _ROW_BYTES + sum(getsizeof(row[name]) for name in self._texts for row in rows)
        self._pages.append((self._page_number, len(rows), size))
        stats.buffered_rows += len(rows)
        stats.buffered_bytes += size
        dropped = None
        while len(self._pages) > 1 and (
            stats.buffered_rows > self._limits.rows or stats.buffered_bytes > self._limits.bytes
        ):
            dropped, count, size = self._pages.popleft()
            stats.buffered_rows -= count
            stats.buffered_bytes -= size
        if dropped is not None:
            for group in self._groups.values():
                group.drop(dropped)

    def join(self, wanted: EventFilter) -> FilterGroup:
        """Adds a member to the group of a filter, and returns the group."""
        group = self._groups.get(wanted)
        if group is None:
            group = self._groups[wanted] = FilterGroup(wanted, self._queue)
            self._joined.add(group)
            if wanted.keys is None:
                self._unkeyed.add(group)
            for key in wanted.keys or ():
                self._keyed.setdefault(key, set()).add(group)
        group.members += 1
        self.stats.groups = len(self._groups)
        return group

    def leave(self, group: FilterGroup) -> None:
        """Removes a member from a group, and the group with its last member."""
        group.members -= 1
        if not group.members and self._groups.get(group.filter) is group:
            del self._groups[group.filter]
            self._unkeyed.discard(group)
            self._joined.discard(group)
            for key in group.filter.keys or ():
                self._keyed[key].discard(group)
                if not self._keyed[key]:
                    del self._keyed[key]
        self.stats.groups = len(self._groups)

    def clear(self) -> None:
        """Drops the offset, the pages and the groups. Subscribers still get the events in their groups."""
        self._groups, self._keyed = {}, {}
        self._unkeyed, self._joined = set(), set()
        self._pages.clear()
        self.complete = False
        self._read_up_to = self._cursor = None
        self.stats.buffered_rows = self.stats.buffered_bytes = self.stats.groups = 0
