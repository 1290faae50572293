"""WebSocket frames that are made for many sockets at a time, and the extension of ASGI that takes them.

An event {"type": "websocket.send.frames", "frames": bytes} sends whole text frames (RFC 6455, unmasked), as
many "websocket.send" would, for a small part of their cost.
"""

from collections.abc import Iterable
from typing import Final

FRAMES: Final = "websocket.send.frames"
"""The extension's name, and its event's type."""

_AT_A_TIME = 64 * 1024  # bytes, after which a slow client is waited for


def around(size: int, bodies: Iterable[bytes]) -> list[list[bytes]]:
    """The frames of messages that have a beginning of `size` bytes in common, without that.

    Each list, joined by the beginning, is some 64 KiB of whole frames. So who sends the same bodies behind
    another beginning of that size need only join.
    """
    writes: list[list[bytes]] = []
    pieces: list[bytes] = []
    before, length = b"", 0
    for body in bodies:
        pieces.append(before + _head(size + len(body)))
        before = body
        length += size + len(body)
        if length >= _AT_A_TIME:
            writes.append([*pieces, before])
            pieces.clear()
            before, length = b"", 0
    if pieces:
        writes.append([*pieces, before])
    return writes


def _head(length: int) -> bytes:
    if length < 126:
        return bytes((0x81, length))
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")
