"""One subscriber's way: from the database until it has caught up, then with everybody else."""

import time
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import UUID

from graphql_api.feed import lineage, source, statements
from graphql_api.feed.catch_up import CatchUp, backfill_events
from graphql_api.feed.cursor import Cursor
from graphql_api.feed.errors import FeedError, FeedResetError
from graphql_api.feed.event import Event
from graphql_api.feed.filter import LogFilter
from graphql_api.feed.hub import Group

if TYPE_CHECKING:
    from graphql_api.feed.feed import Feed

# Events handed over at once: enough to fill a socket's buffer, few enough to be fair.
_BATCH = 100


class Subscription(AsyncIterator[Event]):
    """Events that match a filter, for one consumer. Close it with `aclose`, or use it as a context manager.

    Raises a FeedError where the feed can't go on, after the events that it still had.
    """

    def __init__(self, feed: "Feed", wanted: LogFilter) -> None:
        self._feed = feed
        self._filter = wanted
        self._group: Group | None = None
        self._index = 0
        self._catch_up: CatchUp | None = None
        self._ready: deque[Event] = deque()
        self._failure: FeedError | None = None
        self._closed = False
        # Behind what was read for this subscriber, and, while some of it is `_ready`, behind what it has had.
        self._reached: Cursor | Event
        self._handed: Cursor | Event

    async def open(self, after: Cursor | None, backfill: int) -> None:
        """Find the place to begin. Raises FeedError."""
        deadline = time.monotonic() + self._feed.options.patience
        hub = self._feed.hub
        while hub.place is None:
            await self._moved(deadline)
        self._group = hub.enter(self._filter)
        if after is None:
            await self._join(deadline)
            if backfill:
                await self._read_backfill(backfill)
        else:
            await lineage.verify(self._feed.fetch, after.origin, hub.place.origin.incarnation)
            self._reached = self._handed = after
            await self._begin_catch_up(deadline, replayed=True)
            self._ready.extend(await self._read())

    async def _moved(self, deadline: float) -> None:
        await self._feed.moved(deadline)
        if self._failure is not None:
            raise self._failure

    async def _join(self, deadline: float) -> None:
        """Live with the group, from where the process stands."""
        hub, group = self._feed.hub, self._group
        assert group is not None  # noqa: S101 - narrows: `open` has entered it
        while hub.place is None or hub.place.position.half is not None:
            await self._moved(deadline)
        self._reached = self._handed = hub.place
        self._index = group.end

    async def _read_backfill(self, count: int) -> None:
        place = self._reached
        assert isinstance(place, Cursor)  # noqa: S101 - narrows: `_join` has set it
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

    async def _begin_catch_up(self, deadline: float, *, replayed: bool) -> None:
        """Read from the database up to where the process stands now, and live with the group from there on.

        A cursor that is ahead of this process comes from another one: a look at the database, begun after it
        came, must find what the other has found.
        """
        hub, group = self._feed.hub, self._group
        assert group is not None  # noqa: S101 - narrows: `open` has entered it
        place = self._reached.place if isinstance(self._reached, Event) else self._reached
        looks = 0
        while hub.place is None or hub.place.position.half or not hub.place.position.covers(place.position):
            if hub.place is not None and hub.complete:
                looks += 1
                if looks > 2:  # one of them may have begun before the cursor came
                    raise FeedResetError("FEED_RESET_RESTORE")
            await self._moved(deadline)
        self._index = group.end
        self._catch_up = CatchUp(
            self._filter,
            place,
            hub.place,
            fetch=self._feed.fetch,
            codec=self._feed.codec,
            rows=self._feed.options.catch_up_rows,
            replayed=replayed,
        )
        self._feed.stats.catch_ups += 1
        self._feed.stats.catching_up += 1

    async def _read(self) -> list[Event]:
        """What matches in the next page of the database, which may be nothing."""
        reading, hub = self._catch_up, self._feed.hub
        assert reading is not None  # noqa: S101 - narrows: called only while there is one
        place = reading.place
        events = [] if hub.place is None else await reading.step(hub.place.origin.incarnation)
        if reading.place is place:  # another server has answered: the reader will find out which
            await self._moved(time.monotonic() + self._feed.options.patience)
        self._reached = reading.place
        if reading.place is reading.target:
            self._end_catch_up()
        return events

    def _end_catch_up(self) -> None:
        if self._catch_up is not None:
            self._catch_up = None
            self._feed.stats.catching_up -= 1

    def _take(self) -> list[Event]:
        """What the group has for this subscriber."""
        group = self._group
        assert group is not None  # noqa: S101 - narrows: `open` has entered it
        at = self._index - group.start
        events = group.events[at : at + _BATCH]
        if events:
            self._index += len(events)
            self._reached = events[-1]
        return events

    async def batch(self, timeout: float | None = None) -> list[Event]:
        """The next events, at least one; none after `timeout` seconds without any, or when closed.

        Whoever sends them on does so with fewer wake-ups than one by one, and may tell its client `cursor`
        when there were none. Raises FeedError.
        """
        if self._ready:
            events = list(self._ready)
            self._ready.clear()
        else:
            events = await self._next(None if timeout is None else time.monotonic() + timeout)
        self._feed.stats.deliveries += len(events)
        return events

    async def _next(self, deadline: float | None) -> list[Event]:
        group = self._group
        assert group is not None  # noqa: S101 - narrows: `open` has entered it
        while not self._closed:
            live = self._catch_up is None and self._index >= group.start
            if live and (events := self._take()):
                return events
            if self._failure is not None:
                raise self._failure
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return []
            if live:
                if self._feed.hub.place is not None:
                    self._reached = self._feed.hub.place
                await group.bell.heard(left)
                continue
            if self._catch_up is None:
                await self._begin_catch_up(time.monotonic() + self._feed.options.patience, replayed=False)
            if events := await self._read():
                return events
        return []

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
        place = self._handed if self._ready else self._reached
        group, hub = self._group, self._feed.hub
        if (
            not self._ready
            and self._catch_up is None
            and group is not None
            and self._index == group.end
            and self._failure is None
            and hub.place is not None
        ):
            return hub.cursor()
        return place.cursor if isinstance(place, Event) else self._feed.codec.encode(place)

    def fail(self, error: FeedError) -> None:
        """End with an error, once what is left has been handed over."""
        self._failure = error
        if self._group is not None:
            self._group.bell.ring()

    async def aclose(self) -> None:
        """Stop. Events that were not handed over are the next subscription's, by `cursor`."""
        if self._closed:
            return
        self._closed = True
        self._end_catch_up()
        if self._group is not None:
            self._feed.hub.leave(self._group)
            self._group.bell.ring()
        await self._feed.leave(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
