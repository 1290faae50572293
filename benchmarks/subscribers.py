"""Subscribers: WebSockets that speak graphql-transport-ws, and count events."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from benchmarks.load import LoadError

_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A
_AT_ONCE = 50  # sockets that are being opened
_HEAD_END = b"\r\n\r\n"
_TYPE_WITHIN = 64  # bytes of a message, its type among them
_UPGRADE = (
    "GET /graphql HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YmVuY2htYXJrcyBhcmUgZg==\r\n"
    "Sec-WebSocket-Protocol: graphql-transport-ws\r\n"
)


class Subscriber(asyncio.Protocol):
    """One socket, with one subscription or several alike."""

    def __init__(
        self, parameters: Mapping[str, Any], headers: Mapping[str, str], subscriptions: int = 1
    ) -> None:
        self._parameters = dict(parameters)
        self._subscriptions = subscriptions
        self._headers = headers
        self._rest = b""
        self._upgraded = False
        self.events = 0
        """How many events came."""
        self.subscribed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the subscriptions are asked for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for a WebSocket."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        headers = "".join(f"{name}: {value}\r\n" for name, value in self._headers.items())
        self._transport.write(f"{_UPGRADE}{headers}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        """Count events, and answer what has to be answered."""
        buffer = self._rest + data
        at = 0
        if not self._upgraded:
            at = buffer.find(_HEAD_END) + len(_HEAD_END)
            if at < len(_HEAD_END):
                self._rest = buffer
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                self._fail(f"answered {buffer[:300]!r}")
                return
            self._upgraded = True
            self._send({"type": "connection_init"})
        self._rest = buffer[self.read_frames(buffer, at) :]

    def read_frames(self, buffer: bytes, at: int) -> int:
        """Take the whole frames, and return where the rest begins."""
        while (end := self.read_frame(buffer, at)) > at:
            at = end
        return at

    def read_frame(self, buffer: bytes, at: int) -> int:
        """Take a frame, and return where the next begins: here, if this one isn't whole yet."""
        start, size = at + 2, len(buffer)
        if start > size:
            return at
        length = buffer[at + 1]
        if length > 125:  # then its own bytes follow
            start += 2 if length == 126 else 8
            if start > size:
                return at
            length = int.from_bytes(buffer[at + 2 : start], "big")
        end = start + length
        if end > size:
            return at
        if buffer[at] == _TEXT and buffer.find(b'"next"', start, start + _TYPE_WITHIN) >= 0:
            self.events += 1
        else:
            self._read_other(buffer[at], buffer[start:end])
        return end

    def _read_other(self, kind: int, payload: bytes) -> None:
        if kind == _PING:
            self._transport.write(bytes((_PONG, 0x80 | len(payload))) + bytes(4) + payload)
        elif kind == _TEXT and json.loads(payload)["type"] == "connection_ack":
            for number in range(self._subscriptions):
                self._send({"id": str(number), "type": "subscribe", "payload": self._parameters})
            self.subscribed.set_result(None)
        elif kind == _TEXT and json.loads(payload)["type"] == "ping":
            self._send({"type": "pong"})
        elif kind not in (_TEXT, _PONG) or json.loads(payload or b"{}").get("type") != "pong":
            self._fail(f"sent {payload[:300]!r}")

    def _send(self, message: Mapping[str, Any]) -> None:
        payload = json.dumps(message).encode()
        # A mask of zeros leaves the payload as it is; no proxy is in between.
        head = bytes((_TEXT, 0x80 | 126)) + len(payload).to_bytes(2, "big") + bytes(4)
        self._transport.write(head + payload)

    def _fail(self, message: str) -> None:
        self._transport.abort()
        if not self.subscribed.done():
            self.subscribed.set_exception(LoadError(message))

    def connection_lost(self, error: Exception | None) -> None:
        """Wake the task that waits for the subscription."""
        self._fail(f"the connection ended: {error}")

    def close(self) -> None:
        """End the connection."""
        self._transport.abort()


SubscriberT = TypeVar("SubscriberT", bound=Subscriber)


@asynccontextmanager
async def subscribed(
    port: int, count: int, make: Callable[[], SubscriberT]
) -> AsyncIterator[list[SubscriberT]]:
    """So many subscribers, until the block ends. Raises LoadError."""
    loop = asyncio.get_running_loop()
    opening = asyncio.Semaphore(_AT_ONCE)
    subscribers: list[SubscriberT] = []

    async def open_one() -> None:
        async with opening:
            _, subscriber = await loop.create_connection(make, "127.0.0.1", port)
            subscribers.append(subscriber)
            await subscriber.subscribed

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(count):
                tasks.create_task(open_one())
        yield subscribers
    finally:
        for subscriber in subscribers:
            subscriber.close()
