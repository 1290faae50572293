"""Where a reader stands in the log, in transaction ids.

Rows commit out of order, so neither a time nor a sequence says what has been read. A position does: every
row that a transaction below `next` has committed is read, except the rows of `running`, which had not
committed then; of the transaction `half`, if any, only the rows up to an id.

`next` follows what was read, never what PostgreSQL handed out: after a crash the server gives the ids of
transactions that left no trace on disk to new ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

# How many open transactions a position may remember. A cursor stays below four kilobytes.
MAX_RUNNING = 1000

NO_ID = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Position:
    """What has been read: see the module.

    `running` is ascending and below `next`; so is the transaction of `half`, which is not in `running`.
    """

    next: int
    running: tuple[int, ...] = ()
    half: tuple[int, str] | None = None
    """A transaction and the id of its last row that was read; its rows are read in the order of their ids."""

    def covers(self, other: "Position") -> bool:
        """Whether everything that `other` has read is read here too; a position with a half says no."""
        if (
            self.half is not None
            or other.next > self.next
            or any(xid < other.next and xid not in other.running for xid in self.running)
        ):
            return False
        return other.half is None or (other.half[0] < self.next and other.half[0] not in self.running)


class Page:
    """Rows in the feed's order, and where each of them leads.

    A row knows its transaction, `feed_xid`, and that of the row after it, `following`, which a filter may
    have left out. `running` are the transactions that the page's snapshot did not see, ascending;
    `complete` says that the snapshot held no further row.
    """

    __slots__ = ("base", "complete", "rows", "running")

    def __init__(
        self, base: Position, rows: Sequence[asyncpg.Record], running: tuple[int, ...], *, complete: bool
    ) -> None:
        self.base = base
        self.rows = rows
        self.running = running
        self.complete = complete

    def end_between_transactions(self) -> None:
        """Leave the last transaction, which may go on, to the next page, unless the page is all of one."""
        if not self.complete and self.rows and self.rows[0]["feed_xid"] != self.rows[-1]["feed_xid"]:
            self._drop_last()

    def keep_running_below(self, limit: int) -> None:
        """End the page before a position would remember more than `limit` open transactions."""
        while self.rows and len(self.end.running) > max(limit, len(self.base.running)):
            self._drop_last()

    def _drop_last(self) -> None:
        last = self.rows[-1]["feed_xid"]
        end = len(self.rows)
        while end and self.rows[end - 1]["feed_xid"] == last:
            end -= 1
        self.rows = self.rows[:end]
        self.complete = False

    def after(self, index: int) -> Position:
        """The position of who has read the rows up to `index`."""
        base, row = self.base, self.rows[index]
        xid: int = row["feed_xid"]
        following: int | None = row["following"]
        ended = self.complete if following is None else following != xid
        half = None if ended else (xid, row["id"])
        if base.half is not None and xid == base.half[0]:
            return Position(base.next, base.running, half)
        if xid < base.next:  # the rows of lower ones come before it
            return Position(base.next, tuple(t for t in base.running if t > xid or t in self.running), half)
        still = [t for t in base.running if t in self.running]
        since = [t for t in self.running if base.next <= t < xid]
        return Position(xid + 1, (*still, *since), half)

    @property
    def end(self) -> Position:
        """The position of who has read all of the page."""
        end = self.after(len(self.rows) - 1) if self.rows else self.base
        if not self.complete:
            return end
        return Position(end.next, tuple(t for t in end.running if t in self.running))
