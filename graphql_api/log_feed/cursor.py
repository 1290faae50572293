"""A position as text that a client keeps: compact, safe in a URL, and signed.

A cursor also says in which life of which database it was read (`log_feed.incarnation`), since transaction ids
mean nothing elsewhere.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from uuid import UUID

from graphql_api.log_feed.errors import InvalidCursorError
from graphql_api.log_feed.feed_position import MAX_RUNNING, Position

_FORMAT = 1
_SIGNATURE_BYTES = 16
_MAX_TEXT = 8192
_HAS_HALF, _HAS_REPLAY = 1, 2


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a position was read."""

    incarnation: int
    lsn: int
    """How far PostgreSQL's log had come when it was read: what has been read lies before."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position, where it was read, and how far a backfill before it has come.

    `replayed` is the sort key and the id of the last row of the backfill that was read, if more follow.
    """

    position: Position
    origin: Origin
    replayed: tuple[str, str] | None = None


class CursorCodec:
    """Cursors to text and back, under one key. Every process that shares the key reads all cursors."""

    def __init__(self, key: bytes) -> None:
        self._key = hashlib.sha256(b"log feed cursor" + key).digest()

    def encode(self, cursor: Cursor) -> str:
        """The cursor as URL-safe text, about 70 characters."""
        position, origin = cursor.position, cursor.origin
        flags = (_HAS_HALF if position.half else 0) | (_HAS_REPLAY if cursor.replayed else 0)
        body = bytearray((_FORMAT, flags))
        body += origin.incarnation.to_bytes(8, "big")
        _write(body, origin.lsn, position.next, len(position.running))
        above = position.next
        for xid in reversed(position.running):
            _write(body, above - xid)
            above = xid
        if position.half:
            xid, row = position.half
            _write(body, xid)
            body += UUID(row).bytes
        if cursor.replayed:
            key, row = cursor.replayed
            _write(body, len(key))
            body += key.encode() + UUID(row).bytes
        return base64.urlsafe_b64encode(body + self._sign(body)).rstrip(b"=").decode()

    def decode(self, text: str) -> Cursor:
        """What `encode` wrote. Raises InvalidCursorError for anything else."""
        body = memoryview(self._verified(text))
        if body[0] != _FORMAT:
            raise InvalidCursorError
        try:
            return _read(body)
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
        if base64.urlsafe_b64encode(signed).rstrip(b"=") != text.encode():  # one text a cursor
            raise InvalidCursorError
        if not body or not hmac.compare_digest(signature, self._sign(body)):
            raise InvalidCursorError
        return body

    def _sign(self, body: bytes | bytearray) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_SIGNATURE_BYTES]


def _write(body: bytearray, *numbers: int) -> None:
    """Append numbers, seven bits a byte, the lowest first."""
    for number in numbers:
        rest = number
        while rest > 0x7F:
            body.append(rest & 0x7F | 0x80)
            rest >>= 7
        body.append(rest)


class _Reader:
    """Takes values from the front of some bytes. Raises IndexError where they end."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._at = 0

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def take(self, size: int) -> bytes:
        taken = bytes(self._body[self._at : self._at + size])
        if len(taken) < size:
            raise IndexError
        self._at += size
        return taken


def _read(body: memoryview) -> Cursor:
    reader = _Reader(body)
    _, flags = reader.take(2)
    incarnation = int.from_bytes(reader.take(8), "big")
    lsn, following, count = reader.number(), reader.number(), reader.number()
    if count > MAX_RUNNING:
        raise ValueError
    running: list[int] = []
    above = following
    for _ in range(count):
        above -= reader.number()
        running.append(above)
    half = replayed = None
    if flags & _HAS_HALF:
        half = (reader.number(), str(UUID(bytes=reader.take(16))))
    if flags & _HAS_REPLAY:
        replayed = (reader.take(reader.number()).decode(), str(UUID(bytes=reader.take(16))))
    position = Position(following, tuple(reversed(running)), half)
    return Cursor(position, Origin(incarnation, lsn), replayed)
