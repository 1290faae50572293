"""A row on its way to subscribers."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import asyncpg

from graphql_api.log_feed.cursor import Cursor, CursorCodec, Origin
from graphql_api.log_feed.feed_position import Page


class Place(Protocol):
    """Knows the cursor after each of some rows."""

    def cursor(self, index: int) -> Cursor:
        """The cursor of who has read the rows up to `index`."""


class Event:
    """One row of system_logs for one or more subscribers.

    `row` has the columns of system_logs in the types of `postgres.type_codecs`. `replayed`: it was there
    before the subscriber came. `rendered` is for callers: what they made of the event, by a key of theirs,
    to be shared by all who get this same object.
    """

    __slots__ = ("_codec", "_cursor", "_index", "_place", "rendered", "replayed", "row")

    def __init__(
        self, row: asyncpg.Record, place: Place, index: int, codec: CursorCodec, *, replayed: bool
    ) -> None:
        self.row = row
        self.replayed = replayed
        self.rendered: dict[Any, Any] = {}
        self._place = place
        self._index = index
        self._codec = codec
        self._cursor: str | None = None

    @property
    def cursor(self) -> str:
        """From where to go on after this row."""
        if self._cursor is None:
            self._cursor = self._codec.encode(self.place)
        return self._cursor

    @property
    def place(self) -> Cursor:
        """The cursor, before it is text."""
        return self._place.cursor(self._index)


class Batch(list[Event]):
    """Events that are due at the same time; the same object for all who get just these at just that time.

    `rendered` is as an event's.
    """

    __slots__ = ("rendered",)

    def __init__(self, events: Iterable[Event] = ()) -> None:
        super().__init__(events)
        self.rendered: dict[Any, Any] = {}


class Reading:
    """The place of rows that came in the feed's order."""

    __slots__ = ("_origin", "_page")

    def __init__(self, page: Page, origin: Origin) -> None:
        self._page = page
        self._origin = origin

    def cursor(self, index: int) -> Cursor:
        """See Place."""
        return Cursor(self._page.after(index), self._origin)


class Backfill:
    """The place of rows that `end` has read, in the order of their times."""

    __slots__ = ("_end", "_rows")

    def __init__(self, rows: Sequence[asyncpg.Record], end: Cursor) -> None:
        self._rows = rows
        self._end = end

    def cursor(self, index: int) -> Cursor:
        """See Place."""
        if index + 1 == len(self._rows):
            return self._end
        row = self._rows[index]
        return Cursor(self._end.position, self._end.origin, (row["key"], row["id"]))
