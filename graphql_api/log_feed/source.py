"""Reads the log by position, whichever connection does the reading."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from graphql_api.log_feed import statements
from graphql_api.log_feed.errors import CursorExpiredError, FeedUnavailableError
from graphql_api.log_feed.feed_position import MAX_RUNNING, NO_ID, Page, Position
from graphql_api.log_feed.filter import EVERYTHING, LogFilter

Fetch = Callable[..., Awaitable[list[asyncpg.Record]]]
"""Runs a Statement with named values: a Database's `fetch`, or one over a single connection."""

# A page may be one row larger than this, and has at least one.
PAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Seen:
    """What a statement learnt about the database, in the snapshot of its rows."""

    running: tuple[int, ...]
    """Transactions that were open, ascending."""
    written: int
    flushed: int
    incarnation: int | None
    deleted: int | None
    """The newest transaction that a row was ever deleted of."""

    @classmethod
    def of(cls, row: asyncpg.Record) -> "Seen":
        """From the first columns of every statement's rows."""
        snapshot = row["snapshot"]
        return cls(
            tuple(sorted(snapshot[2])), row["written"], row["flushed"], row["incarnation"], row["deleted"]
        )

    def check_kept(self, position: Position) -> None:
        """Raise CursorExpiredError where rows that `position` had not read may have been deleted."""
        if self.deleted is None:
            return
        unread = [position.next, *(xid for xid in position.running if xid not in self.running)]
        if position.half is not None:
            unread.append(position.half[0])
        if self.deleted >= min(unread):
            raise CursorExpiredError


async def start(fetch: Fetch) -> tuple[Position, Seen]:
    """The position of who has read all that is there."""
    (row,) = await fetch(statements.START)
    seen = Seen.of(row)
    following = max(row["newest"] or 0, seen.deleted or 0) + 1
    running = tuple(xid for xid in seen.running if xid < following)
    if len(running) > MAX_RUNNING:
        raise FeedUnavailableError("too many transactions are open")
    return Position(following, running), seen


async def pull(
    fetch: Fetch,
    base: Position,
    rows: int,
    *,
    wanted: LogFilter = EVERYTHING,
    most: int | None = None,
    until: Position | None = None,
) -> tuple[Page, Seen]:
    """The next rows after `base` that match, of what is visible or of what `until` has read.

    At most `rows` are looked at. A page ends before that with `most` that match, or with PAGE_BYTES of text.
    """
    half_xid, half_id = base.half or (None, NO_ID)
    most = rows if most is None else most
    found = await fetch(
        statements.pull(wanted),
        **wanted.values(),
        floor=base.next - 1,
        running=base.running,
        half_xid=half_xid,
        half_id=half_id,
        until_next=until and until.next,
        until_running=until and until.running,
        rows=rows,
        most=most,
        bytes=PAGE_BYTES,
    )
    seen = Seen.of(found[0])
    running = seen.running if until is None else until.running
    last = found[-1]
    if last["number"] is None:
        return Page(base, [], running, complete=True), seen
    before = found[-2]["found"] if len(found) > 1 else 0
    if last["found"] > before + last["wanted"]:  # there was no place for some between the two
        return Page(base, found[:-1], running, complete=False), seen
    return Page(base, found, running, complete=last["number"] < rows), seen


def values_of(position: Position) -> dict[str, Any]:
    """A position as the parameters of the history's statements."""
    half_xid, half_id = position.half or (0, NO_ID)
    return {"next": position.next, "running": position.running, "half_xid": half_xid, "half_id": half_id}


async def put_on_disk(fetch: Fetch, seen: Seen, patience: float = 0.0) -> None:
    """Return when PostgreSQL has on its disk whatever `seen` saw.

    Rows of asynchronous commits show before, and a crash would undo what was delivered. Mostly a commit of
    somebody else sees to it, if not before, then within `patience` seconds.
    """
    if seen.flushed >= seen.written:
        return
    if patience:
        await asyncio.sleep(patience)
        if (await fetch(statements.FLUSHED))[0]["flushed"] >= seen.written:
            return
    await fetch(statements.FLUSH)
