"""uvicorn's protocols with the bounds it leaves to a proxy: slow clients, long heads, a gentle stop."""

import asyncio
import random
from http import HTTPStatus
from typing import Any, cast

import uvicorn
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request
from websockets.protocol import State

from graphql_api.gateway.gateway import TransportLimits
from graphql_api.transport.frames import FRAMES

_LINGER = 1.0  # seconds
_CONTINUE = b"HTTP/1.1 100"
_STREAMED = b"\r\ntransfer-encoding: chunked\r\n"


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration with our limits in it, which is how they reach its protocols."""

    def __init__(self, *args: Any, limits: TransportLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limits = limits


class Timer:
    """Calls back once, a number of seconds after it was started, unless it is stopped."""

    __slots__ = ("_callback", "_handle", "_seconds")

    def __init__(self, seconds: float, callback: Any) -> None:
        self._seconds = seconds
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether it will call back."""
        return self._handle is not None

    def start(self) -> None:
        """Start, or go on if started."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(self._seconds, self._fire)

    def stop(self) -> None:
        """Stop; stopped already is fine."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._callback()


class HeadTooLargeError(Exception):
    """A request whose line and headers are longer than allowed."""


class _SendTimeout(asyncio.Protocol):
    """Drops a client that leaves unread what it was sent. To be mixed into a protocol with a transport."""

    config: uvicorn.Config
    transport: asyncio.Transport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits_of(self.config)
        self._sending = Timer(self._limits.send_timeout, self._abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._sending.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads too slowly for now."""
        super().pause_writing()
        self._sending.start()

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        self._sending.stop()

    def _abort(self) -> None:
        self.transport.abort()


class HTTPProtocol(_SendTimeout, HttpToolsProtocol):
    """HTTP/1.1 that waits for no client for ever.

    A client has `receive_timeout` to send a whole request, and `send_timeout` to read what it is sent.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._receiving = Timer(self._limits.receive_timeout, self._give_up_receiving)
        self._in_head = True
        self._received = 0
        self._parsed = 0
        self._refused = False
        self._stopping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the client its time for a first request, if there is room for it."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            transport.close()
        else:
            self._receiving.start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._receiving.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and refuse a head that doesn't end."""
        if self._refused:
            return
        if self.cycle is None or self.cycle.response_complete:
            self._receiving.start()
        super().data_received(data)
        # The parser hands over a header once it is whole: one that never ends shows only here.
        if self._in_head:
            self._received += len(data)
            if self._received > self._limits.max_header_size and not self._refused:
                self._refuse(431)

    def on_message_begin(self) -> None:
        """Count a new head."""
        super().on_message_begin()
        self._in_head = True
        self._received = self._parsed = 0

    def on_url(self, url: bytes) -> None:
        """Count the request's line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header, or a trailer."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request."""
        self._in_head = False
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before and self.scope["method"] != "HEAD":
            self.cycle.transport = HeadWithBody(self.transport)
        if self._stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The client has sent its part; one that was answered before may send another request."""
        self._receiving.stop()
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self._receiving.start()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, with its time to say something."""
        self._receiving.stop()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser refused, which may be our doing."""
        if self._parsed > self._limits.max_header_size:
            self._refuse(431)
        else:
            super().send_400_response(msg)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even one whose client never reads its last answer."""
        super().timeout_keep_alive_handler()
        self._sending.start()

    def shutdown(self) -> None:
        """Finish the request under way, or wait for one that may be on its way: its answer is the last.

        An event stream has no end of its own, so it is cut, but not yet.
        """
        self._stopping = True
        if self._is_idle():
            self.loop.call_later(min(_LINGER, self._limits.drain_time), self._close_if_idle)
            return
        super().shutdown()
        if self.cycle is not None and self.cycle.chunked_encoding:
            self.loop.call_later(drain_delay(self._limits), self.transport.close)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _count(self, size: int) -> None:
        self._parsed += size
        if self._parsed > self._limits.max_header_size:
            raise HeadTooLargeError  # the parser turns it into send_400_response

    def _give_up_receiving(self) -> None:
        silent = self.cycle is None and not self._received and not self._parsed
        answered = self.cycle is not None and self.cycle.response_started and not self._in_head
        if silent or answered:
            self.transport.close()
        else:
            self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answer without the application, and read no further.

        The connection stays half open for a moment: closing it over data that nobody has read would reset
        it, and the client might never see why.
        """
        self._refused = True
        self._receiving.stop()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.close)


class HeadWithBody(asyncio.Transport):
    """A transport for one response, which sends the head together with what comes first of the body.

    uvicorn writes them one after the other, and each write is a system call and a packet: a tenth of a small
    query's time. A body without a stated length isn't waited for: it may be events, and slow in coming.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._head = b""
        self._begun = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or keep a head until there is something to send with it."""
        if self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        elif self._begun or data[:12] == _CONTINUE:
            self._transport.write(data)
        else:
            self._begun = True
            if _STREAMED in bytes(data):
                self._transport.write(data)
            else:
                self._head = bytes(data)

    def close(self) -> None:
        """Send what is left, and close."""
        if self._head:
            self.write(b"")
        self._transport.close()


class WebSocketProtocol(_SendTimeout, WebSocketsSansIOProtocol):
    """A WebSocket that waits for no client for ever, and takes its time to stop.

    It takes whole frames too (`frames.FRAMES`).
    """

    def handle_connect(self, event: Request) -> None:
        """Tell the application what this server can do."""
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self.scope["extensions"][FRAMES] = {}

    async def send(self, message: ASGISendEvent) -> None:
        """Send, and know that a handshake answered by a plain HTTP response is over."""
        if message["type"] == FRAMES:  # type: ignore[comparison-overlap] # our own extension
            await self._send_frames(message["frames"])
            return
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True

    async def _send_frames(self, frames: bytes) -> None:
        await self.writable.wait()
        if self.disconnected or self.close_sent or self.conn.state is not State.OPEN:
            raise ClientDisconnected
        self.transport.write(frames)

    def keepalive_timeout(self) -> None:
        """Drop a client that doesn't answer: it won't read the close frame either."""
        super().keepalive_timeout()
        self._sending.start()

    def shutdown(self) -> None:
        """Close with 1012 at a moment of our own, lest all clients come back at the same one."""
        if self.handshake_complete and not self.close_sent:
            self.loop.call_later(drain_delay(self._limits), self._close)
        else:
            super().shutdown()

    def _close(self) -> None:
        if not self.disconnected:
            super().shutdown()


def limits_of(config: uvicorn.Config) -> TransportLimits:
    """The limits that came with the configuration."""
    return cast("ServerConfig", config).limits


def drain_delay(limits: TransportLimits) -> float:
    """When to cut a connection that a stopping process still has."""
    return random.uniform(0, limits.drain_time)  # noqa: S311 - spreads load, keeps no secret
