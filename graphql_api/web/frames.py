"""Many text messages at a time: an extension of ASGI's websocket scope, and the frames it comes to.

An event {"type": "websocket.send.many", "messages": iterable of bytes in UTF-8} sends what as many
"websocket.send" would, for a small part of their cost: the messages are put into frames and written together.
"""

from collections.abc import Iterable, Iterator
from typing import Final

MANY: Final = "websocket.send.many"
"""The extension's name, and its event's type."""

_TEXT = b"\x81"
_AT_A_TIME = 64 * 1024  # bytes, after which a slow client is waited for


def text_frames(messages: Iterable[bytes]) -> Iterator[bytes]:
    """Frames (RFC 6455, unmasked) of these messages, some 64 KiB of them at a time."""
    parts: list[bytes] = []
    size = 0
    for message in messages:
        length = len(message)
        if length < 126:
            parts += _TEXT, length.to_bytes(1, "big"), message
        elif length < 65_536:
            parts += _TEXT, b"\x7e", length.to_bytes(2, "big"), message
        else:
            parts += _TEXT, b"\x7f", length.to_bytes(8, "big"), message
        size += length
        if size >= _AT_A_TIME:
            yield b"".join(parts)
            parts.clear()
            size = 0
    if parts:
        yield b"".join(parts)
