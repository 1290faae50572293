"""Connections: uvicorn's protocols for HTTP and WebSocket, hardened to serve clients without a proxy.

They limit how slow a client may be, how long the head of a request may be, and how much data all clients
together may leave half sent or unread. They parse large data in pieces, send a response to every request and
handshake that they refuse, and spread the closing of connections over time when the process stops.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final, cast

import httptools
import uvicorn
from starlette.responses import Response as ASGIResponse
from uvicorn._types import ASGI3Application, ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.frames import CloseCode as FrameCloseCode
from websockets.frames import Frame
from websockets.http11 import Request, Response
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol

from graphql_api.execution.yielding import YieldScheduler
from graphql_api.gateway.errors import HTTPError
from graphql_api.gateway.gateway import TransportLimits
from graphql_api.quotas import client_network
from graphql_api.transport.close_codes import ServerCloseCode
from graphql_api.transport.graphql_http import RESPONSE
from graphql_api.transport.graphql_transport_ws import FRAMES

_LINGER = 1.0  # seconds that a connection stays half open after a last answer
_TIMER_PRECISION = 0.001  # seconds by which uvloop's timers may be early
_CONTINUE = b"HTTP/1.1 100"
_PARSED_AT_ONCE = 4_096
"""Bytes that are parsed in one iteration of the event loop: at most 700 frames or 230 requests, 7 ms."""
MAX_AHEAD: Final = 16
"""Requests of a connection that may wait for those before them. What follows is parsed once there is room."""
_AHEAD_SIZE = 3_000
"""Bytes of memory that a waiting request takes besides its body."""
_PARSING_TIME = 0.001
"""Seconds after which a connection's further requests are parsed in another iteration."""
_LITTLE = 1_024
"""Bytes up to which data is parsed as it comes, without a task."""
_MAX_FRAGMENTS = 1_000
"""Frames of one message, since an empty one takes ten times its size in memory."""
_PING = b"\x89\x00"
_PONGS = (b'{"type":"pong"}', b'{"type": "pong"}')
"""A ping frame of WebSocket; and the answers to a ping of graphql-transport-ws, in JavaScript and Python."""
_OFFERS = (b"connection", b"sec-websocket-extensions", b"sec-websocket-protocol")
_LONGEST_OFFER = 1_000
"""Characters that these headers of a handshake may have: parsing their lists takes 0.5 µs a character."""
MAX_HEADERS: Final = 256
"""Lines of headers that a request may have: short ones take ten times their size in memory."""
_PART_CLOSED = 100
"""If there are too many connections, one in so many of an address's waiting connections is closed."""
_STREAMED = b"\r\ntransfer-encoding: chunked\r\n"
MAX_UNREAD: Final = 256 * 1024 * 1024
"""Bytes that all clients of a process may leave unread together: some large responses of some viewers."""
MAX_UNFINISHED: Final = 256 * 1024 * 1024
"""Bytes of requests and messages that all clients of a process may leave half sent together."""
_LITTLE_UNFINISHED = 4_096
"""Bytes of an incomplete request or message that aren't counted: 20,000 connections can send 80 MB so."""


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, which also passes our limits to the protocols."""

    def __init__(self, *args: Any, limits: TransportLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limits = limits
        self.unread = HeldBytes(MAX_UNREAD)
        self.unfinished = HeldBytes(MAX_UNFINISHED)
        self.scheduler = YieldScheduler()


class Timer:
    """Calls back once, some seconds after its start, unless it is stopped before.

    It is started and stopped thousands of times a second, so neither touches the event loop's timer. That one
    runs until it is due, and then calls back, ends, or is set again for the remaining time.
    """

    __slots__ = ("_callback", "_due", "_handle", "_loop", "_seconds")

    def __init__(self, seconds: float, callback: Any) -> None:
        self._seconds = seconds
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._due: float | None = None
        """When to call back; None while it is stopped."""
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Starts the timer. Does nothing if it runs already."""
        if self._due is None:
            self._due = self._loop.time() + self._seconds
            if self._handle is None:
                self._handle = self._loop.call_at(self._due, self._fire)

    def stop(self) -> None:
        self._due = None

    def cancel(self) -> None:
        """Stops the timer, and drops its reference to the callback."""
        self._due = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        if self._due is None:
            return
        if self._due > self._loop.time() + _TIMER_PRECISION:
            self._handle = self._loop.call_at(self._due, self._fire)
        else:
            self._due = None
            self._callback()


class HeadTooLargeError(Exception):
    """The request's line and headers are longer than allowed."""


class HeldBytes:
    """Bytes that a process holds for slow clients, by connection, the oldest first."""

    def __init__(self, most: int) -> None:
        """`most` is the limit for all connections together."""
        self._most = most
        self._sizes: dict[_LimitedProtocol, int] = {}
        self.size = 0

    def add(self, connection: "_LimitedProtocol", size: int) -> None:
        """Sets how much is held for a client. If it is too much in all, closes the slowest connections."""
        self.remove(connection)
        self._sizes[connection] = size
        self.size += size
        while self.size > self._most and len(self._sizes) > 1:
            slowest = next(iter(self._sizes))
            self.remove(slowest)
            slowest.cut_off()

    def remove(self, connection: "_LimitedProtocol") -> None:
        """Removes a connection whose client has caught up, or is gone."""
        self.size -= self._sizes.pop(connection, 0)


class _LimitedProtocol(asyncio.Protocol):
    """A mixin of both protocols that closes the connections of slow clients.

    It closes a connection whose client leaves data unread for `send_timeout` seconds. The slowest connections
    are closed earlier if all clients together leave more than MAX_UNREAD bytes unread, or have sent more than
    MAX_UNFINISHED bytes of incomplete requests and messages.
    """

    config: uvicorn.Config
    transport: asyncio.Transport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits_of(self.config)
        config = cast("ServerConfig", self.config)
        self._unread = config.unread
        self._unfinished = config.unfinished
        self._has_unfinished = False
        self._scheduler = config.scheduler
        self._unparsed = bytearray()
        self._parsing: asyncio.Task[None] | None = None
        self._sending = Timer(self._limits.send_timeout, self.cut_off)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unread.remove(self)
        self._unfinished.remove(self)
        self._sending.cancel()
        if self._parsing is not None:
            self._parsing.cancel()
        self._unparsed.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Starts the timer: the client reads more slowly than it is written to."""
        super().pause_writing()
        self._sending.start()
        self._unread.add(self, self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Stops the timer: the client has caught up."""
        super().resume_writing()
        self._unread.remove(self)
        self._sending.stop()

    def cut_off(self) -> None:
        """Closes the connection at once; data that hasn't been read is lost."""
        self.transport.abort()

    def note_unfinished(self, size: int) -> None:
        """Counts the bytes that the client has sent of incomplete requests and messages."""
        if size > _LITTLE_UNFINISHED:
            self._has_unfinished = True
            self._unfinished.add(self, size)
        elif self._has_unfinished:
            self._has_unfinished = False
            self._unfinished.remove(self)


class _PiecewiseReading(FlowControl):
    """uvicorn's flow control, which reads on only where the protocol has room for more."""

    def __init__(self, transport: asyncio.Transport, has_room: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._has_room: Callable[[], bool] | None = has_room

    def resume_reading(self) -> None:
        """Reads on, unless what was read before is still to be parsed or answered."""
        if self.read_paused and (self._has_room is None or self._has_room()):
            super().resume_reading()

    def end(self) -> None:
        """Drops the reference to the protocol, which refers to this object, so that both are freed."""
        self._has_room = None


class HTTPProtocol(_LimitedProtocol, HttpToolsProtocol):
    """HTTP/1.1 in which a client has `receive_timeout` seconds to send a whole request.

    A client may send many small requests at once, or a body in chunks of a byte. So data is parsed in pieces,
    and not while MAX_AHEAD requests wait. The only other protocol that a connection can be upgraded to is
    WebSocket. The application may write a whole `RESPONSE` at once.
    """

    flow: FlowControl

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._receiving = Timer(self._limits.receive_timeout, self._give_up_receiving)
        self._in_head = True
        self._received = 0  # bytes of a head that isn't complete
        self._parsed = 0  # bytes of the head or the trailers that the parser has called back with
        self._refused = False
        self.waits_since = 0.0
        """When the last answer was complete, or the connection was made, by the loop's clock."""
        self.network = ""
        """The network that the client's address is counted for."""
        self._stopping = False
        self._served: RequestResponseCycle
        """The request that is being answered: others may wait behind it.

        The request's scope doesn't refer to it: that would be a reference cycle, which only the garbage
        collector frees.
        """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the timer of the first request, or closes the connection if too many are open."""
        super().connection_made(transport)
        self.flow = self._reading = _PiecewiseReading(transport, self._has_room)
        self._receiving.start()
        self.waits_since = self.loop.time()
        self.network = client_network(self.client[0]) if self.client else ""
        if len(self.connections) > self._limits.max_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiving.cancel()
        super().connection_lost(exc)
        self._reading.end()

    @property
    def waits_for_client(self) -> bool:
        """Whether nothing is being answered: the client has a request to send, or the rest of one."""
        return self._is_idle() or (self.cycle.more_body and not self.cycle.response_started)

    def _make_room(self) -> None:
        """Closes connections that wait for their client, those of the network address that has most of them.

        So nobody can keep others out by opening connections that do nothing. If there are no others, this
        connection is closed.
        """
        waiting = defaultdict[str, list[HTTPProtocol]](list)
        for each in self.connections:
            if isinstance(each, HTTPProtocol) and each.waits_for_client and not each.transport.is_closing():
                waiting[each.network].append(each)
        for connections in waiting.values():
            connections.sort(key=lambda each: each.waits_since)
        most = max(waiting.values(), key=lambda connections: (len(connections), -connections[0].waits_since))
        for each in most[: 1 + len(most) // _PART_CLOSED]:  # several, since finding them takes milliseconds
            each.transport.close()

    def data_received(self, data: bytes) -> None:
        """Parses data: at once if it is short, else in pieces, between which other tasks run."""
        if self._refused:
            return
        if len(data) <= _LITTLE and not self._unparsed and len(self.pipeline) < MAX_AHEAD:
            self._parse_piece(data)
            return
        self._unparsed += data
        if self._parsing is None and self._scheduler.is_idle:
            self._parse_pieces()
        if self._unparsed:
            self.flow.pause_reading()
            self._note_held()
            self._parse_on()

    def _has_room(self) -> bool:
        """Whether more data can be read now.

        If not, reading resumes once earlier data is parsed and answered.
        """
        if self._unparsed:
            self._parse_on()
            return False
        return len(self.pipeline) < MAX_AHEAD

    def _parse_on(self) -> None:
        if self._parsing is None:
            self._parsing = self.loop.create_task(self._parse_some())

    async def _parse_some(self) -> None:
        await self._scheduler.pause()
        self._parsing = None
        if not self._is_full():
            self._parse_pieces()
            self.flow.resume_reading()

    def _parse_pieces(self) -> None:
        """Parses received data for a millisecond, and at least one piece of it, while there is room."""
        until = perf_counter() + _PARSING_TIME
        while self._unparsed and not self._is_full():
            some = bytes(self._unparsed[:_PARSED_AT_ONCE])
            del self._unparsed[:_PARSED_AT_ONCE]
            self._parse_piece(some)
            if perf_counter() >= until:
                break

    def _is_full(self) -> bool:
        """Whether the application has to receive a body, or to answer a request, before more is parsed."""
        has_body = not self._is_idle() and len(self.cycle.body) > HIGH_WATER_LIMIT
        return has_body or len(self.pipeline) >= MAX_AHEAD or self.transport.is_closing()

    def _note_held(self) -> None:
        """Counts the bytes of requests that are incomplete, or wait for those before them."""
        held = len(self._unparsed)
        if self._in_head or not self._is_idle():
            held += self._received
        for cycle, _ in self.pipeline:
            held += _AHEAD_SIZE + len(cycle.body)
        self.note_unfinished(held)

    def _parse_piece(self, data: bytes) -> None:
        """Parses data, and refuses a request whose head is too long."""
        self._unset_keepalive_if_required()
        if self._is_idle():
            self._receiving.start()
        self._received += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self._refuse(self._explain(error))
            return
        # The parser calls back with whole headers only, so a header that never ends is noticed only here.
        if self._in_head and self._received > self._limits.max_header_size and not self._refused:
            self._refuse(self._head_too_large())
        self._note_held()

    def _parse(self, data: bytes) -> None:
        """Feeds the parser, and ignores a request's offer of another protocol (`Upgrade`) than WebSocket.

        After a head with an offer httptools stops, as if the bytes that follow were of the other protocol,
        although they are the request's body. So a new parser gets the head without the offer, and the rest.
        """
        following = memoryview(data)
        while True:
            try:
                self.parser.feed_data(following)
            except httptools.HttpParserUpgrade as offer:
                following = following[offer.args[0] :]
            else:
                return
            if self.parser.get_method() == b"CONNECT":
                self._refuse(_refusal(HTTPStatus.NOT_IMPLEMENTED, "CONNECT: this is no proxy"))
                return
            is_handshake = self._offers_websocket()
            if is_handshake and self._is_idle():
                self._open_websocket(bytes(following) + bytes(self._unparsed))
                return
            head = self._head_without_offer()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self.parser.feed_data(head)
            if is_handshake:
                # A connection with responses to send can't become a WebSocket. What follows the handshake may
                # be WebSocket frames, so the connection closes after this response.
                self.cycle.keep_alive = False

    def _offers_websocket(self) -> bool:
        """Returns whether WebSocket is all that is offered. HTTP/1.0 has no offers (RFC 9110 7.8)."""
        offers = [value.lower() for name, value in self.headers if name == b"upgrade"]
        return offers == [b"websocket"] and self.parser.get_http_version() == "1.1"

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _open_websocket(self, following: bytes) -> None:
        """Hands the connection over to the WebSocket protocol.

        That protocol gets the parsed handshake, so that the limits on its head are those of HTTP.
        """
        for name, value in self.headers:
            if name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0")):
                self._refuse(_bad_request("a WebSocket handshake has no body"))
                return
        if sum(len(value) for name, value in self.headers if name in _OFFERS) > _LONGEST_OFFER:
            names = ", ".join(name.decode() for name in _OFFERS)
            self._refuse(_bad_request(f"{names}: may have {_LONGEST_OFFER} characters at most"))
            return
        url = httptools.parse_url(self.url)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers]
        request = Request(
            path=((url.path or b"/") + (b"?" + url.query if url.query else b"")).decode("latin-1"),
            headers=Headers(headers),
            method=self.parser.get_method().decode("latin-1"),
        )
        self._receiving.cancel()
        self._unparsed.clear()
        self._received = 0
        self.flow.read_paused = False  # reading is the other protocol's from here on
        self.connections.discard(self)
        protocol = cast("type[WebSocketProtocol]", self.ws_protocol_class)(
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        protocol.connection_made(self.transport)
        self.transport.set_protocol(protocol)
        protocol.open(request, following)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._parsed = 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Adds a header to those of the request, as uvicorn's own method does, if there is room."""
        self._count(len(name) + len(value) + 4)
        headers = self.headers
        if len(headers) >= MAX_HEADERS:
            raise HeadTooLargeError
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Starts the application, unless the request offers another protocol (see `_parse`)."""
        if self.parser.should_upgrade():
            return
        self._in_head = False
        if self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # HTTP/1.0 has no such answer (RFC 9110 10.1.1)
        super().on_headers_complete()
        cycle = self.cycle
        if self._stopping:
            cycle.keep_alive = False
        if cycle.waiting_for_100_continue:
            cycle.transport = cast("asyncio.Transport", ExpectingResponseTransport(self.transport, cycle))
        elif self.scope["method"] != "HEAD":
            cycle.transport = cast("asyncio.Transport", ResponseTransport(self.transport))
            self.scope["extensions"] = {RESPONSE: {"write": self._write_response}}

    def on_message_complete(self) -> None:
        """Stops the request's timer.

        If the response was sent before the request's end, starts the next one.
        """
        if self.parser.should_upgrade():
            return
        self._received = 0
        self._receiving.stop()
        super().on_message_complete()
        if self.cycle.response_complete:
            self._receiving.start()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def _write_response(self, status: int, head: bytes, body: bytes) -> bool:
        """Writes a response, unless the client has left too much unread, or is gone. Returns whether it did.

        uvicorn would take two ASGI messages, and search each header for characters that aren't allowed.
        """
        cycle = self._served
        if cycle.response_started or cycle.disconnected or self.flow.write_paused:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        common = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((STATUS_LINE[status], *common, head, end, body)))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def on_response_complete(self) -> None:
        """Starts the timer of a request that the client had begun to send before this response."""
        super().on_response_complete()
        self.waits_since = self.loop.time()
        if (self.pipeline or self._unparsed) and not self.transport.is_closing():
            self._note_held()
            self.flow.resume_reading()  # if there was no room before the next request of the pipeline began
        if self.cycle.more_body or self._in_head:
            self._receiving.start()
        elif self._stopping and self._is_idle():
            self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection, even if the client never reads its last response."""
        super().timeout_keep_alive_handler()
        self._sending.start()

    def shutdown(self) -> None:
        """Closes the connection after the request under way, or after one that is about to arrive.

        An event stream doesn't end by itself, so it is closed within `drain_time`.
        """
        self._stopping = True
        if self._is_idle():
            self.loop.call_later(min(_LINGER, self._limits.drain_time), self._close_if_idle)
            return
        super().shutdown()
        if self.cycle.chunked_encoding:
            self.loop.call_later(drain_delay(self._limits), self.transport.close)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_if_idle(self) -> None:
        if self._is_idle():
            self.transport.close()

    def _count(self, size: int) -> None:
        self._parsed += size
        if self._parsed > self._limits.max_header_size:
            raise HeadTooLargeError  # `data_received` gets it as the context of an HttpParserError

    def _head_too_large(self) -> HTTPError:
        return _refusal(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            f"the request's line and headers may have {self._limits.max_header_size} bytes at most,"
            f" and {MAX_HEADERS} lines",
        )

    def _explain(self, error: httptools.HttpParserError) -> HTTPError:
        """Returns the answer to a request that the parser, or one of its callbacks here, has refused."""
        cause = error.__context__
        if isinstance(cause, HeadTooLargeError):
            return self._head_too_large()
        if cause is None:
            return _bad_request(f"not valid HTTP/1.1: {error}")
        self.logger.debug("the target of a request can't be read", exc_info=cause)
        return _bad_request("not valid HTTP/1.1: the request's target can't be read")

    def _give_up_receiving(self) -> None:
        if self._unparsed:  # the client has sent more, which waits until earlier requests are answered
            self._receiving.start()
            return
        silent = self.cycle is None and not self._received and not self._parsed
        answered = self.cycle is not None and self.cycle.response_started and not self._in_head
        if silent or answered:
            self.transport.close()
        else:
            seconds = self._limits.receive_timeout
            self._refuse(
                _refusal(HTTPStatus.REQUEST_TIMEOUT, f"the request didn't come whole within {seconds:g} s")
            )

    def _refuse(self, error: HTTPError) -> None:
        """Sends a response without the application, after those of earlier requests, and stops reading."""
        self._refused = True
        self._unparsed.clear()
        self._receiving.stop()
        response = ASGIResponse(
            error.result.render(), error.status, {"connection": "close"}, "application/json"
        )
        if not self._is_idle() and self._in_head:
            self.cycle.keep_alive = False
            return
        if self.pipeline:  # the newest request, whose body is invalid, waits for its turn
            self.pipeline[0] = (self.cycle, cast("ASGI3Application", response))
            return
        if not self._is_idle():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        lines = [
            b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *response.raw_headers)
        ]
        self.transport.write(b"".join([STATUS_LINE[error.status], *lines, b"\r\n", response.body]))
        # Closing a connection with unread data resets it, and the client might not get the response. So it
        # stays half open for a moment.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.close)


class ResponseTransport:
    """The transport of one response, which writes the head together with the first part of the body.

    uvicorn writes them one after the other, with one more system call and packet: a twentieth of the time of
    a small query. The head of a response without a Content-Length is written at once, since its body may be a
    stream of events. All other methods are those of the connection's transport.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Writes data, or keeps a head until there is a body to write together with it."""
        if self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        elif self._begun or _STREAMED in data:
            self._begun = True
            self._transport.write(data)
        else:
            self._begun = True
            self._head = data

    def close(self) -> None:
        """Writes a head that was kept, and closes the connection."""
        if self._head:
            self.write(b"")
        self._transport.close()


class ExpectingResponseTransport(ResponseTransport):
    """The transport of a response whose client waits for "100 Continue" before it sends the body.

    A client that gets a final response instead may send the body anyway, or another request, and the server
    can't tell which. So the connection is closed after such a response.
    """

    def __init__(self, transport: asyncio.Transport, cycle: RequestResponseCycle) -> None:
        super().__init__(transport)
        self._cycle = cycle
        self._keep_alive = cycle.keep_alive
        cycle.keep_alive = False

    def write(self, data: bytes) -> None:
        """Writes "100 Continue" at once, and a response as the base class does."""
        if data.startswith(_CONTINUE):
            self._transport.write(data)
            self._cycle.keep_alive = self._keep_alive
        else:
            super().write(data)


class WebSocketHandshake(ServerProtocol):
    """websockets' protocol for a handshake that is parsed already; it refuses one in GraphQL's format."""

    parse = Protocol.parse

    def accept(self, request: Request) -> Response:
        """Returns the response to a handshake; for another version than 13, with the supported one."""
        response = super().accept(request)
        exception = self.handshake_exc
        if isinstance(exception, InvalidHeader) and exception.name == "Sec-WebSocket-Version":
            response = self.reject(HTTPStatus.UPGRADE_REQUIRED, f"{exception}: use 13")
            response.headers["Upgrade"] = "websocket"
            response.headers["Sec-WebSocket-Version"] = "13"
        return response

    def reject(self, status: HTTPStatus | int, text: str) -> Response:
        """Returns a response that refuses the handshake."""
        status = HTTPStatus(status)
        response = super().reject(status, "")
        response.body = _refusal(status, text.strip() or status.phrase).result.render()
        del response.headers["Content-Length"], response.headers["Content-Type"]
        response.headers["Content-Length"] = str(len(response.body))
        response.headers["Content-Type"] = "application/json"
        return response


class WebSocketProtocol(_LimitedProtocol, WebSocketsSansIOProtocol):
    """A WebSocket whose handshake `HTTPProtocol` has parsed. The application may send `FRAMES`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = WebSocketHandshake(
            extensions=self.conn.available_extensions,
            max_size=self.config.ws_max_size,
            logger=self.conn.logger,
        )
        self._opening = Timer(self._limits.receive_timeout, self.cut_off)
        self._early = b""
        self._was_heard = True
        """Whether the client has sent anything since the last heartbeat."""
        self._answers_pings = False
        """Whether the client answers pings of graphql-transport-ws."""

    def open(self, request: Request, early: bytes) -> None:
        """Starts the application, which has `receive_timeout` seconds to answer the handshake.

        What the client sends before the answer is parsed after it: `early`, which came with the handshake,
        and what may follow.
        """
        self._early = early
        self._opening.start()
        self.transport.pause_reading()
        self.handle_connect(request)

    def start_keepalive(self) -> None:
        """Begins to read, since the application has accepted the handshake."""
        super().start_keepalive()
        self._opening.cancel()
        self.transport.resume_reading()
        if self._early:
            self.data_received(self._early)
            self._early = b""

    def connection_lost(self, exc: Exception | None) -> None:
        self._opening.cancel()
        super().connection_lost(exc)

    def handle_connect(self, event: Request) -> None:
        """Starts the application, whose scope says that this server has the extension `FRAMES`."""
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self.scope["extensions"][FRAMES] = {"write": self.write, "beat": self.beat}

    async def send(self, message: ASGISendEvent) -> None:
        """Sends an event; after an HTTP response that refuses the handshake, marks it as over."""
        if message["type"] == FRAMES:  # type: ignore[comparison-overlap] # our own extension
            await self._send_frames(message["frames"])
            return
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True

    async def _send_frames(self, frames: bytes) -> None:
        while (
            not self.writable.is_set()
        ):  # of several waiting senders, the first may have filled the buffer again
            await self.writable.wait()
        if not self.write(frames):
            raise ClientDisconnected

    def write(self, frames: bytes) -> bool:
        """Writes frames, unless the client has left too much unread or is gone.

        Returns whether it wrote them.
        """
        if self.disconnected or self.close_sent or self.conn.state is not State.OPEN:
            return False
        if self.writable.is_set():
            self.transport.write(frames)
            return True
        return False

    def beat(self, frames: bytes) -> None:
        """Writes a ping of the subprotocol, and closes the socket if the last one wasn't answered.

        Until the client has answered such a ping, a ping frame of WebSocket is written, too, which every
        client's library answers by itself.
        """
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return
        if not (self._was_heard or self.read_paused):
            self._give_up()
            return
        self._was_heard = False
        self.transport.write(frames if self._answers_pings else frames + _PING)

    def data_received(self, data: bytes) -> None:
        """Parses data, unless the connection has failed.

        More than _LITTLE is parsed in pieces, between which other tasks run: a client can send tens of
        thousands of frames at once, on many sockets. Until they are parsed, no more is read.
        """
        self._was_heard = True
        if self._unparsed or len(data) > _LITTLE:
            self._unparsed += data
            if not self.read_paused:
                self.read_paused = True
                self.transport.pause_reading()
            self._read_on()
        elif self.conn.parser_exc is None:
            super().data_received(data)
        self._note_held()

    def _note_held(self) -> None:
        """Counts the bytes of an incomplete message."""
        held = len(self._unparsed) + len(self.conn.reader.buffer)
        if self.frames:
            held += sum(map(len, self.frames))
        self.note_unfinished(held)

    def _read_on(self) -> None:
        """Continues to parse, or to read, once the application has received the earlier messages."""
        if not self.read_paused or not (self.queue.empty() or self.close_sent):
            return
        if not self._unparsed:
            self.read_paused = False
            self.transport.resume_reading()
        elif self._parsing is None:
            self._parsing = self.loop.create_task(self._parse_some())

    async def _parse_some(self) -> None:
        await self._scheduler.pause()
        self._parsing = None
        some = bytes(self._unparsed[:_PARSED_AT_ONCE])
        del self._unparsed[:_PARSED_AT_ONCE]
        if self.conn.parser_exc is None:
            super().data_received(some)
            self._read_on()
        else:
            self._unparsed.clear()
        self._note_held()

    async def receive(self) -> ASGIReceiveEvent:
        """Returns the client's next event, and continues to read."""
        message: ASGIReceiveEvent = await self.queue.get()
        self._read_on()
        return message

    def handle_text(self, event: Frame) -> None:
        """Passes a message to the application, unless it is the usual answer to a heartbeat."""
        if event.fin and event.data in _PONGS:
            self._answers_pings = True
        else:
            super().handle_text(event)
            event.data = b""  # the parser keeps the last frame until the next one is complete

    def handle_cont(self, event: Frame) -> None:
        """Adds a fragment to a message, which may have no more than _MAX_FRAGMENTS."""
        if len(self.frames) < _MAX_FRAGMENTS:
            super().handle_cont(event)
            event.data = b""
        elif not self.close_sent:
            self.conn.fail(FrameCloseCode.MESSAGE_TOO_BIG, f"over {_MAX_FRAGMENTS} fragments")
            self.handle_parser_exception()

    def handle_ping(self) -> None:
        """Answers a ping, unless the client isn't reading: then only its latest ping needs an answer."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def _give_up(self) -> None:
        """Closes the socket of a client that doesn't answer pings."""
        if not self.close_sent and not self.transport.is_closing():
            self.conn.fail(ServerCloseCode.KEEPALIVE_TIMEOUT, "Keepalive timeout")
            self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Sends the close frame of a connection that has failed, and stops reading.

        The connection stays half open for a moment, as after `HTTPProtocol._refuse`.
        """
        assert self.conn.close_sent is not None  # noqa: S101 - narrows
        self.queue.put_nowait({"type": "websocket.disconnect", "code": self.conn.close_sent.code})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self._drop)

    def _drop(self) -> None:
        self.transport.close()
        self._sending.start()  # in case the client doesn't read at all

    def shutdown(self) -> None:
        """Closes with 1012, each socket at a random time, so that not all clients reconnect at once."""
        if self.handshake_complete and not self.close_sent:
            self.loop.call_later(drain_delay(self._limits), self._close)
        else:
            super().shutdown()

    def _close(self) -> None:
        if not self.disconnected:
            super().shutdown()


def _refusal(status: HTTPStatus, message: str) -> HTTPError:
    """Returns an error of HTTP alone, whose code is the name of its status."""
    return HTTPError(status, status.name, message)


def _bad_request(message: str) -> HTTPError:
    return _refusal(HTTPStatus.BAD_REQUEST, message)


def limits_of(config: uvicorn.Config) -> TransportLimits:
    return cast("ServerConfig", config).limits


def drain_delay(limits: TransportLimits) -> float:
    """Returns the seconds after which a process that stops closes a connection."""
    return random.uniform(0, limits.drain_time)  # noqa: S311 - spreads load, keeps no secret
