"""One subscriber's way: from the database until it has caught up, then with everybody else."""

import time
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import UUID

from graphql_api.log_feed import incarnation, source, statements
from graphql_api.log_feed.catch_up import CatchUp, backfill_events
from graphql_api.log_feed.cursor import Cursor
from graphql_api.log_feed.errors import FeedError, FeedResetError
from graphql_api.log_feed.event import Batch, Event
from graphql_api.log_feed.filter import LogFilter

if TYPE_CHECKING:
    from graphql_api.log_feed.feed import Feed

# Looks at the database, each of which found all there was, after which a cursor must have been met: the
# first may have begun before the cursor came.
_LOOKS = 2

# Heartbeats, of which the first may come at once.
_QUIET = 2


class Subscription(AsyncIterator[Event]):
    """Events that match a filter, for one consumer. Close it with `aclose`, or use it as a context manager.

    Raises a FeedError where the feed can't go on, after the events that it still had.
    """

    def __init__(self, feed: "Feed", wanted: LogFilter) -> None:
        self._feed = feed
        self._filter = wanted
        self._group = feed.hub.enter(wanted)
        self._index = 0
        self._catch_up: CatchUp | None = None
        self._waited_since: float | None = None
        self._looks = 0
        self._ready: deque[Event] = deque()
        self._failure: FeedError | None = None
        self._closed = False
        # Behind what was read for this subscriber, and, while some of it is `_ready`, behind what it has had.
        self._reached: Cursor | Event
        self._handed: Cursor | Event

    async def open(self, after: Cursor | None, backfill: int) -> None:
        """Find the place to begin. Raises FeedError."""
        while (place := self._feed.hub.place) is None:
            await self._wait_for_reader()
        if after is None:
            self._live_from(place)
            if backfill:
                await self._read_backfill(place, backfill)
            return
        await incarnation.verify(self._feed.fetch, after.origin, place.origin.incarnation)
        self._reached = self._handed = after
        self._begin_catch_up(replayed=True)
        while self._catch_up is not None and self._catch_up.place is after:
            self._ready.extend(await self._read())

    def _live_from(self, place: Cursor) -> None:
        """Live with the group from where the process stands now."""
        self._reached = self._handed = place
        self._index = self._group.end

    async def _read_backfill(self, place: Cursor, count: int) -> None:
        rows = await self._feed.fetch(
            statements.newest(self._filter),
            **self._filter.values(),
            **source.values_of(place.position),
            rows=count,
        )
        if rows:
            rows.reverse()
            before = str(UUID(int=max(UUID(rows[0]["id"]).int - 1, 0)))
            self._handed = Cursor(place.position, place.origin, (rows[0]["key"], before))
            self._ready.extend(backfill_events(rows, place, self._feed.codec))

    def _begin_catch_up(self, *, replayed: bool) -> None:
        self._catch_up = CatchUp(
            self._filter,
            self._reached.place if isinstance(self._reached, Event) else self._reached,
            fetch=self._feed.fetch,
            codec=self._feed.codec,
            stats=self._feed.stats,
            rows=self._feed.options.catch_up_rows,
            replayed=replayed,
        )
        self._feed.stats.catch_ups += 1
        self._feed.stats.catching_up += 1

    def _end_catch_up(self) -> None:
        if self._catch_up is not None:
            self._catch_up = None
            self._feed.stats.catching_up -= 1

    async def _read(self) -> list[Event]:
        """What matches in the next page of the database, which may be nothing.

        Reads up to where the process stands, to live with the group from there on. While that is inside a
        transaction, no statement reads up to there: then it reads for itself, until it has all there is.
        """
        reading, place = self._catch_up, self._feed.hub.place
        assert reading is not None  # noqa: S101 - narrows: called only while there is one
        if reading.target is None and place is not None and place.position.covers(reading.place.position):
            reading.aim(place)
            self._index = self._group.end
            if reading.place is place:
                self._reached = place
                self._end_catch_up()
                return []
        inside = place is not None and place.position.half is not None
        if place is None or (reading.target is None and (reading.exhausted or not inside)):
            await self._wait_for_reader()
            return []
        before = reading.place
        events = await reading.step(place.origin.incarnation)
        if reading.place is before:  # another server has answered: the reader will find out which
            await self._wait_for_reader()
            return []
        self._waited_since, self._looks = None, 0
        self._reached = reading.place
        if reading.place is reading.target:
            self._end_catch_up()
        return events

    async def _wait_for_reader(self) -> None:
        """Wait until the reader has looked again, but not for ever.

        A cursor that is ahead of this process comes from another one: what that has found, a look of ours
        must find too. Raises FeedResetError where it doesn't, and FeedUnavailableError after a while.
        """
        hub = self._feed.hub
        if self._waited_since is None:
            self._waited_since = time.monotonic()
        await self._feed.moved(self._waited_since + self._feed.options.patience)
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if hub.place is not None and hub.complete and self._catch_up is not None:
            self._looks += 1
            if self._looks > _LOOKS and not hub.place.position.covers(self._catch_up.place.position):
                raise FeedResetError("FEED_RESET_RESTORE")

    def _take(self) -> Batch:
        """What the group has for this subscriber."""
        events = self._group.take(self._index)
        if events:
            self._index += len(events)
            self._reached = events[-1]
        return events

    async def _next(self, deadline: float | None, quiet: int | None = None) -> Batch:
        """The next events; none after `deadline`, at the heartbeat of the number `quiet`, or when closed."""
        group, hub = self._group, self._feed.hub
        while not self._closed:
            live = self._catch_up is None and self._index >= group.start
            if live and (events := self._take()):
                return events
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or (quiet is not None and hub.beats >= quiet):
                break
            if live:
                self._reached = hub.place or self._reached
                await group.bell.heard(left)
                continue
            if self._catch_up is None:
                self._begin_catch_up(replayed=False)
            if found := await self._read():
                return Batch(found)
        return Batch()

    async def batch(self, timeout: float | None = None, *, progress: bool = False) -> Batch:
        """The next events, at least one; none after `timeout` seconds without any, or when closed.

        Whoever sends them on does so with fewer wake-ups than one by one. With `progress` there are none
        after a heartbeat or two without any, too: time to tell the client `cursor`. Raises FeedError.
        """
        if self._ready:
            events = Batch(self._ready)
            self._ready.clear()
        else:
            deadline = None if timeout is None else time.monotonic() + timeout
            events = await self._next(deadline, self._feed.hub.beats + _QUIET if progress else None)
        self._feed.stats.deliveries += len(events)
        return events

    async def __anext__(self) -> Event:
        if not self._ready:
            self._ready.extend(await self._next(None))
            if not self._ready:
                raise StopAsyncIteration
        event = self._ready.popleft()
        self._handed = event
        self._feed.stats.deliveries += 1
        return event

    @property
    def cursor(self) -> str:
        """From where to go on after all that was handed over. It moves on even while nothing matches."""
        hub, current = self._feed.hub, self._catch_up is None and self._index == self._group.end
        fed = self._failure is None and not self._closed  # else its group may lack what the hub has read
        if not self._ready and current and fed and hub.place is not None:
            return hub.cursor()
        place = self._handed if self._ready else self._reached
        return place.cursor if isinstance(place, Event) else self._feed.codec.encode(place)

    @property
    def closed(self) -> bool:
        """Whether there is nothing more to come."""
        return self._closed

    def fail(self, error: FeedError) -> None:
        """End with an error, once what is left has been handed over."""
        self._failure = error
        self._group.bell.ring()

    async def aclose(self) -> None:
        """Stop. Events that were not handed over are the next subscription's, by `cursor`."""
        if self._closed:
            return
        self._closed = True
        self._end_catch_up()
        self._feed.hub.leave(self._group)
        self._group.bell.ring()
        await self._feed.leave(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
