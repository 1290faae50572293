"""The load: a fixed number of requests over a fixed number of connections, the same for every server.

Each connection sends its next request when it has the answer to the last, or at its turn of a given pace.
Every answer must have the same bytes as the first, so that failures don't count as fast answers.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from time import perf_counter
from typing import cast

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


class LoadError(Exception):
    """A server did not answer as it did before."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request as it goes over the wire, and the body that must come back, once that is known."""

    wire: bytes
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """The results of a load."""

    seconds: float
    latencies: list[float]
    """The latency of each request in seconds, sorted."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, part: float) -> float:
        """Returns a percentile of the latency, in seconds."""
        return self.latencies[min(int(len(self.latencies) * part), len(self.latencies) - 1)]


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A POST of JSON as it goes over the wire."""
    lines = {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


class _Client(asyncio.Protocol):
    """One connection, which works off requests until the stock is used up."""

    def __init__(self, request: Request, stock: "_Stock") -> None:
        self._request = request
        self._stock = stock
        self._buffer = bytearray()
        self._body_at = 0  # unknown before the head is there, like the next
        self._whole = 0
        self._sent = 0.0
        self.bodies: list[bytes] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._send()

    def _send(self) -> None:
        wait = self._stock.take()
        if wait is None:
            self._transport.close()
            if not self.done.done():
                self.done.set_result(None)
        elif wait > 0:
            asyncio.get_running_loop().call_later(wait, self._write)
        else:
            self._write()

    def _write(self) -> None:
        self._sent = perf_counter()
        self._transport.write(self._request.wire)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._whole and not self._read_head():
            return
        if len(self._buffer) < self._whole:
            return
        self._stock.latencies.append(perf_counter() - self._sent)
        body = bytes(memoryview(self._buffer)[self._body_at :])
        if self._request.answer is None:
            self.bodies.append(body)
        elif body != self._request.answer:
            self._fail(f"answered {body[:200]!r} after {self._request.answer[:200]!r}")
            return
        self._buffer = bytearray()
        self._whole = 0
        self._send()

    def _read_head(self) -> bool:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return False
        length = _LENGTH.search(self._buffer, 0, end + 2)
        if length is None or not self._buffer.startswith(b"HTTP/1.1 200"):
            self._fail(f"answered {bytes(self._buffer[:1000])!r}")
            return False
        self._body_at = end + len(_HEAD_END)
        self._whole = self._body_at + int(length[1])
        return True

    def _fail(self, message: str) -> None:
        self._transport.abort()
        if not self.done.done():
            self.done.set_exception(LoadError(message))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(LoadError(f"the connection ended: {error}"))


class _Stock:
    """The requests that all connections share."""

    def __init__(self, count: int, rate: float = inf) -> None:
        self._count = count
        self._rate = rate
        self._began = perf_counter()
        self._taken = 0
        self.latencies: list[float] = []

    def take(self) -> float | None:
        """Takes a request. Returns the seconds until it is to be sent; None if no request is left."""
        if self._taken == self._count:
            return None
        self._taken += 1
        return self._began + self._taken / self._rate - perf_counter()


async def drive(
    port: int, requests: Sequence[Request], *, count: int, connections: int, rate: float = inf
) -> Load:
    """Send `count` requests in all; connection number n sends `requests[n]`, and begins again at the end.

    `rate` is how many requests a second all connections send together, at most. Raises LoadError.
    """
    loop = asyncio.get_running_loop()
    stock = _Stock(count, rate)
    began = perf_counter()
    clients = []
    for number in range(connections):
        request = requests[number % len(requests)]
        _, client = await loop.create_connection(partial(_Client, request, stock), "127.0.0.1", port)
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))
    return Load(perf_counter() - began, sorted(stock.latencies))


async def ask(port: int, request: Request) -> bytes:
    """The body of the answer to one request. Raises LoadError."""
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(partial(_Client, request, _Stock(1)), "127.0.0.1", port)
    await client.done
    return client.bodies[0]
