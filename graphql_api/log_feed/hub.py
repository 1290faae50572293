"""What one process has read of the log, shared by all its subscribers.

The rows of the last pages are kept once, whoever waits for them; a subscriber is a number, how many events
of its group it has had. Groups are the distinct filters: a row is matched once for each, and a page wakes
only the groups in which it matched something.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from graphql_api.log_feed.broadcast import Bell
from graphql_api.log_feed.cursor import Cursor, CursorCodec, Origin
from graphql_api.log_feed.event import Batch, Event, Reading
from graphql_api.log_feed.feed_position import Page, Position
from graphql_api.log_feed.filter import LogFilter
from graphql_api.log_feed.stats import FeedStats

# What a row costs besides its texts, roughly: the record, its event, and places in lists.
_ROW_BYTES = 600

# Events handed over at once: enough to fill a socket's buffer, few enough to be fair.
_BATCH = 100

# Kept of each group, the latest: while it is woken more rows may come, and some take them with the last.
_BATCHES = 4


class Group:
    """The subscribers of one filter, and the events they may still want."""

    __slots__ = ("_batches", "_pages", "bell", "events", "filter", "members", "start")

    def __init__(self, wanted: LogFilter) -> None:
        self.filter = wanted
        self.bell = Bell()
        self.members = 0
        self.events: list[Event] = []
        self.start = 0
        """How many events came before the first that is kept."""
        self._pages: deque[tuple[int, int]] = deque()
        self._batches: dict[tuple[int, int], Batch] = {}

    @property
    def end(self) -> int:
        """How many events there have been."""
        return self.start + len(self.events)

    def add(self, number: int, events: Sequence[Event]) -> None:
        """Take what matches of a page, and wake whoever waits for it."""
        matches = self.filter.matches
        wanted = [event for event in events if matches(event.row)]
        if wanted:
            self.events += wanted
            self._pages.append((number, len(wanted)))
            self.bell.ring()

    def take(self, index: int) -> Batch:
        """The events from one on, as many as are handed over at once. Who asks alike gets the same batch."""
        end = min(self.end, index + _BATCH)
        batch = self._batches.get((index, end))
        if batch is None:
            batch = Batch(self.events[index - self.start : end - self.start])
            if batch:
                self._batches[index, end] = batch
                if len(self._batches) > _BATCHES:
                    del self._batches[next(iter(self._batches))]
        return batch

    def forget(self, number: int) -> None:
        """Let go of the events of pages up to `number`."""
        gone = 0
        while self._pages and self._pages[0][0] <= number:
            gone += self._pages.popleft()[1]
        if gone:
            del self.events[:gone]
            self.start += gone
            self._batches.clear()


@dataclass(frozen=True, slots=True)
class Retention:
    """How much a hub keeps for subscribers that are late; who is later reads from the database."""

    rows: int = 10_000
    bytes: int = 16 * 1024 * 1024


class Hub:
    """The reader's position, the last pages, and the groups."""

    def __init__(self, codec: CursorCodec, stats: FeedStats, retention: Retention, heartbeat: float) -> None:
        self._codec = codec
        self._stats = stats
        self._retention = retention
        self._heartbeat = heartbeat
        self._beat_at = 0.0
        self._groups: dict[LogFilter, Group] = {}
        self._pages: deque[tuple[int, int, int]] = deque()
        self._number = 0
        self._place: Cursor | None = None
        self._cursor: str | None = None
        self.complete = False
        """Whether the last page left nothing unread."""
        self.moved = Bell()
        self.beats = 0
        """How many heartbeats there were: one clock for all who wait, where each would else have a timer."""

    @property
    def place(self) -> Cursor | None:
        """How far the process has read; None until it has begun."""
        return self._place

    def cursor(self) -> str:
        """`place` as text. Only once the process has begun to read."""
        if self._cursor is None:
            assert self._place is not None  # noqa: S101 - narrows: subscribers exist only after the beginning
            self._cursor = self._codec.encode(self._place)
        return self._cursor

    def move(self, position: Position, origin: Origin) -> None:
        """Stand somewhere else: at the beginning, or without a new row."""
        place = Cursor(position, origin)
        if place != self._place:
            self._place, self._cursor = place, None
        self.moved.ring()
        self._beat()

    def publish(self, page: Page, origin: Origin) -> None:
        """Hand a page to the groups, and stand behind it."""
        if page.rows:
            reading = Reading(page, origin)
            events = [
                Event(row, reading, index, self._codec, replayed=False) for index, row in enumerate(page.rows)
            ]
            self._number += 1
            self._keep(page.rows)
            for group in self._groups.values():
                group.add(self._number, events)
        self.complete = page.complete
        self.move(page.end, origin)

    def _beat(self) -> None:
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + self._heartbeat
            self.beats += 1
            for group in self._groups.values():
                group.bell.ring()

    def _keep(self, rows: Sequence[asyncpg.Record]) -> None:
        stats = self._stats
        size = sum(len(row["message"]) + len(row["details"] or "") + _ROW_BYTES for row in rows)
        self._pages.append((self._number, len(rows), size))
        stats.buffered_rows += len(rows)
        stats.buffered_bytes += size
        gone = None
        while len(self._pages) > 1 and (
            stats.buffered_rows > self._retention.rows or stats.buffered_bytes > self._retention.bytes
        ):
            gone, count, size = self._pages.popleft()
            stats.buffered_rows -= count
            stats.buffered_bytes -= size
        if gone is not None:
            for group in self._groups.values():
                group.forget(gone)

    def enter(self, wanted: LogFilter) -> Group:
        """The group of a filter, one member larger."""
        group = self._groups.get(wanted)
        if group is None:
            group = self._groups[wanted] = Group(wanted)
        group.members += 1
        self._stats.groups = len(self._groups)
        return group

    def leave(self, group: Group) -> None:
        """One member less."""
        group.members -= 1
        if not group.members and self._groups.get(group.filter) is group:
            del self._groups[group.filter]
        self._stats.groups = len(self._groups)

    def clear(self) -> None:
        """Forget everything; who is subscribed keeps what has been published to them."""
        self._groups = {}
        self._pages.clear()
        self.complete = False
        self._place = self._cursor = None
        self._stats.buffered_rows = self._stats.buffered_bytes = self._stats.groups = 0
