"""Offsets and cursors of a feed: which transactions a reader has read, and the signed text of that.

Rows commit out of order, so neither a time nor a sequence says what has been read. An offset does: every
row that a transaction below `next_xid` has committed is read, except the rows of the transactions that were
`in_progress` then; of the transaction `partial`, if any, only the rows up to an id are read.

`next_xid` is one above the newest transaction of which rows were read, not the next id that PostgreSQL would
assign: after a crash, the server assigns the ids of transactions that left no trace on disk again.

A cursor adds the incarnation of the database in which the offset was read (`log_feed.incarnation`), since
transaction ids mean nothing in another one. Its text is compact, safe in a URL, and signed.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from graphql_api.log_feed.errors import InvalidCursorError

# How many transactions in progress an offset may remember. The text of a cursor stays below 4 kB.
MAX_IN_PROGRESS = 1000

LOWEST_ID = "00000000-0000-0000-0000-000000000000"

_FORMAT = 1
_SIGNATURE_BYTES = 16
_MAX_TEXT = 8192
_HAS_PARTIAL, _HAS_REPLAYED = 1, 2


@dataclass(frozen=True, slots=True)
class FeedOffset:
    """The rows that have been read, as the module's docstring says.

    `in_progress` is ascending, and its transactions are below `next_xid`. The transaction of `partial` is
    below it too, and not in `in_progress`.
    """

    next_xid: int
    in_progress: tuple[int, ...] = ()
    partial: tuple[int, str] | None = None
    """A transaction and the id of its last row that was read; its rows are read in the order of their ids."""

    def covers(self, other: "FeedOffset") -> bool:
        """Whether this has read everything that `other` has; False if it has read a transaction partly."""
        if (
            self.partial is not None
            or other.next_xid > self.next_xid
            or any(xid < other.next_xid and xid not in other.in_progress for xid in self.in_progress)
        ):
            return False
        return other.partial is None or (
            other.partial[0] < self.next_xid and other.partial[0] not in self.in_progress
        )


class FeedPage:
    """Consecutive rows of a feed after the offset `base`, and the offset behind each of them.

    A row has its transaction, `xid`, and that of the row after it, `following_xid`, which a filter may have
    left out of the page. `in_progress` are the transactions that the page's snapshot did not see, ascending.
    `complete`: the snapshot has no further row. `missing`: some of the page's rows have been deleted.
    """

    __slots__ = ("base", "complete", "in_progress", "missing", "rows")

    def __init__(
        self,
        base: FeedOffset,
        rows: Sequence[asyncpg.Record],
        in_progress: tuple[int, ...],
        *,
        complete: bool,
        missing: bool = False,
    ) -> None:
        self.base = base
        self.rows = rows
        self.in_progress = in_progress
        self.complete = complete
        self.missing = missing

    def drop_partial_transaction(self) -> None:
        """Leaves the last transaction, which may have more rows, to the next page, if there are others."""
        if not self.complete and self.rows and self.rows[0]["xid"] != self.rows[-1]["xid"]:
            self._drop_last_transaction()

    def limit_in_progress(self, limit: int) -> None:
        """Ends the page before its offset would remember more than `limit` transactions in progress."""
        while self.rows and len(self.end.in_progress) > max(limit, len(self.base.in_progress)):
            self._drop_last_transaction()

    def _drop_last_transaction(self) -> None:
        last = self.rows[-1]["xid"]
        end = len(self.rows)
        while end and self.rows[end - 1]["xid"] == last:
            end -= 1
        self.rows = self.rows[:end]
        self.complete = False

    def offset_after(self, index: int) -> FeedOffset:
        """Returns the offset of a reader that has read the rows up to `index`."""
        base, row = self.base, self.rows[index]
        xid: int = row["xid"]
        following: int | None = row["following_xid"]
        ended = self.complete if following is None else following != xid
        partial = None if ended else (xid, row["id"])
        if base.partial is not None and xid == base.partial[0]:
            return FeedOffset(base.next_xid, base.in_progress, partial)
        if xid < base.next_xid:  # the rows of lower ones come before it
            in_progress = tuple(t for t in base.in_progress if t > xid or t in self.in_progress)
            return FeedOffset(base.next_xid, in_progress, partial)
        still = [t for t in base.in_progress if t in self.in_progress]
        since = [t for t in self.in_progress if base.next_xid <= t < xid]
        return FeedOffset(xid + 1, (*still, *since), partial)

    @property
    def end(self) -> FeedOffset:
        """The offset of a reader that has read the whole page."""
        end = self.offset_after(len(self.rows) - 1) if self.rows else self.base
        if not self.complete:
            return end
        return FeedOffset(end.next_xid, tuple(t for t in end.in_progress if t in self.in_progress))


@dataclass(frozen=True, slots=True)
class Cursor:
    """An offset, and the incarnation of the database in which it was read."""

    offset: FeedOffset
    incarnation: int
    lsn: int
    """The end of the write-ahead log when the offset was read: all rows that it has read are before."""
    replayed: tuple[str, str] | None = None
    """The sort key and the id of the last row that was read of a backfill, unless that has ended."""


CursorAfter = Callable[[int], Cursor]
"""Returns the cursor of a subscriber that has had the rows up to the one with an index."""


class CursorCodec:
    """Encodes cursors as text, signed with a key, and decodes them.

    Processes that share the key share cursors.
    """

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.sha256(b"log feed cursor" + key).digest()

    def encode(self, cursor: Cursor) -> str:
        """Returns the cursor as URL-safe text, about 80 characters."""
        offset = cursor.offset
        flags = (_HAS_PARTIAL if offset.partial else 0) | (_HAS_REPLAYED if cursor.replayed else 0)
        body = bytearray((_FORMAT, flags))
        body += cursor.incarnation.to_bytes(8, "big")
        _write(body, cursor.lsn, offset.next_xid, len(offset.in_progress))
        above = offset.next_xid
        for xid in reversed(offset.in_progress):
            _write(body, above - xid)
            above = xid
        if offset.partial:
            xid, row_id = offset.partial
            _write(body, xid)
            body += UUID(row_id).bytes
        if cursor.replayed:
            key, row_id = cursor.replayed
            _write(body, len(key))
            body += key.encode() + UUID(row_id).bytes
        return base64.urlsafe_b64encode(body + self._sign(body)).rstrip(b"=").decode()

    def decode(self, text: str) -> Cursor:
        """Returns the cursor that `encode` wrote. Raises InvalidCursorError for any other text."""
        body = memoryview(self._verified(text))
        if body[0] != _FORMAT:
            raise InvalidCursorError
        try:
            return _read_cursor(_BodyReader(body))
        except (IndexError, ValueError):
            raise InvalidCursorError from None

    def _verified(self, text: str) -> bytes:
        if len(text) > _MAX_TEXT or not text.isascii():
            raise InvalidCursorError
        try:
            signed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raise InvalidCursorError from None
        body, signature = signed[:-_SIGNATURE_BYTES], signed[-_SIGNATURE_BYTES:]
        if base64.urlsafe_b64encode(signed).rstrip(b"=") != text.encode():  # a cursor has one text
            raise InvalidCursorError
        if not body or not hmac.compare_digest(signature, self._sign(body)):
            raise InvalidCursorError
        return body

    def _sign(self, body: bytes | bytearray) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_SIGNATURE_BYTES]


def _write(body: bytearray, *numbers: int) -> None:
    """Appends numbers as LEB128: seven bits in each byte, the lowest first."""
    for number in numbers:
        rest = number
        while rest > 0x7F:
            body.append(rest & 0x7F | 0x80)
            rest >>= 7
        body.append(rest)


class _BodyReader:
    """Takes values from the front of some bytes. Raises IndexError where they end."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._offset = 0

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def take(self, size: int) -> bytes:
        taken = bytes(self._body[self._offset : self._offset + size])
        if len(taken) < size:
            raise IndexError
        self._offset += size
        return taken


def _read_cursor(body: _BodyReader) -> Cursor:
    _, flags = body.take(2)
    incarnation = int.from_bytes(body.take(8), "big")
    lsn, next_xid, count = body.number(), body.number(), body.number()
    if count > MAX_IN_PROGRESS:
        raise ValueError
    in_progress: list[int] = []
    above = next_xid
    for _ in range(count):
        above -= body.number()
        in_progress.append(above)
    partial = replayed = None
    if flags & _HAS_PARTIAL:
        partial = (body.number(), str(UUID(bytes=body.take(16))))
    if flags & _HAS_REPLAYED:
        replayed = (body.take(body.number()).decode(), str(UUID(bytes=body.take(16))))
    offset = FeedOffset(next_xid, tuple(reversed(in_progress)), partial)
    return Cursor(offset, incarnation, lsn, replayed)
