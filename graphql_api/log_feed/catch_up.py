"""Reading from the database, for a subscriber that is behind its process."""

from collections.abc import Sequence

import asyncpg

from graphql_api.log_feed import source, statements
from graphql_api.log_feed.cursor import Cursor, CursorCodec, Origin
from graphql_api.log_feed.event import Backfill, Event, Place, Reading
from graphql_api.log_feed.filter import LogFilter
from graphql_api.log_feed.source import Fetch
from graphql_api.log_feed.stats import FeedStats

# Behind a filter that matches little, this many times as many rows are looked at as may be found.
_MOST_LOOKS = 20


class CatchUp:
    """The rows after a place, page by page: up to `target`, or all that there are.

    A page is counted in rows that are looked at, not in those that match, so that the place moves on behind a
    filter that matches nothing. A `target` has read everything that `place` has, and no half transaction.
    """

    def __init__(
        self,
        wanted: LogFilter,
        place: Cursor,
        *,
        fetch: Fetch,
        codec: CursorCodec,
        stats: FeedStats,
        rows: int,
        replayed: bool,
    ) -> None:
        self.place = place
        self.target: Cursor | None = None
        self.exhausted = False
        """Whether the last page was the last there was."""
        self._filter = wanted
        self._fetch = fetch
        self._codec = codec
        self._stats = stats
        self._rows = self._looks = rows
        self._replayed = replayed

    def aim(self, target: Cursor) -> None:
        """Read up to `target` and no further, which may be nothing."""
        self.target = target
        if self.place.replayed is None and self.place.position == target.position:
            self.place = target

    async def step(self, incarnation: int) -> list[Event]:
        """What matches in the next page; `place` is then behind it, and is `target` after the last.

        Nothing moves where another server answers than the one in `incarnation`. Raises CursorExpiredError
        where rows of the page may have been deleted.
        """
        if self.place.replayed is not None:
            return await self._replay(*self.place.replayed)
        target = self.target
        page, seen = await source.pull(
            self._fetch,
            self.place.position,
            self._looks,
            wanted=self._filter,
            most=self._rows,
            until=None if target is None else target.position,
        )
        if seen.incarnation != incarnation:
            return []
        seen.check_kept(self.place.position)
        if target is None:
            await source.put_on_disk(self._fetch, seen)
            origin = Origin(incarnation, seen.written)
        else:
            origin = target.origin
        self._count(page.rows[-1]["number"] if page.rows else 0)
        self.exhausted = page.complete
        self.place = target if target is not None and page.complete else Cursor(page.end, origin)
        reading = Reading(page, origin)
        events = [
            Event(row, reading, index, self._codec, replayed=self._replayed)
            for index, row in enumerate(page.rows)
            if row["wanted"]
        ]
        scarce = len(events) * 4 < self._rows
        self._looks = min(self._looks * 4, self._rows * _MOST_LOOKS) if scarce else self._rows
        return events

    async def _replay(self, key: str, row: str) -> list[Event]:
        """The next rows of a backfill that was interrupted."""
        position, origin = self.place.position, self.place.origin
        rows = await self._fetch(
            statements.replay(self._filter),
            **self._filter.values(),
            **source.values_of(position),
            after_key=key,
            after_id=row,
            rows=self._rows,
        )
        self._count(len(rows))
        more = len(rows) == self._rows
        self.place = Cursor(position, origin, (rows[-1]["key"], rows[-1]["id"]) if more else None)
        return backfill_events(rows, self.place, self._codec)

    def _count(self, rows: int) -> None:
        self._stats.catch_up_pages += 1
        self._stats.catch_up_rows += rows


def backfill_events(rows: Sequence[asyncpg.Record], place: Cursor, codec: CursorCodec) -> list[Event]:
    """Events of rows that lie before `place`, oldest first."""
    backfill: Place = Backfill(rows, place)
    return [Event(row, backfill, index, codec, replayed=True) for index, row in enumerate(rows)]
