"""WebSockets, by the protocol graphql-transport-ws: the endpoint, and a socket from its start to its end.

A front door of this package. A socket authenticates its viewer through the gateway, rechecks the token while
it is open, and closes with the codes in `close_codes`. `uvicorn_protocols` writes its frames, and limits how
slowly a client may read them.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final, NamedTuple

import orjson
from graphql import OperationType
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from graphql_api.execution.errors import RequestError
from graphql_api.execution.inputs import dump_json
from graphql_api.execution.operations import GraphQLRequest, Operation, Result
from graphql_api.execution.subscriptions import MAX_SHARED_RESULTS, Results
from graphql_api.gateway.errors import HTTPError, error_result, masked_result, unavailable
from graphql_api.gateway.gateway import FREE_SIZE, LARGE_RESPONSE, ClientConnection, Gateway, unauthenticated
from graphql_api.identity.viewer import ANONYMOUS, Viewer
from graphql_api.relational.scalars import serialize_datetime
from graphql_api.transport.close_codes import CloseCode, ServerCloseCode
from graphql_api.transport.graphql_http import (
    MalformedRequestError,
    client_address,
    parse_json,
    parse_parameters,
)
from graphql_api.transport.origins import Origins, is_own

PROTOCOL = "graphql-transport-ws"
FRAMES: Final = "websocket.send.frames"
"""The name of an ASGI extension, and of its event, whose `frames` (bytes) are sent as they are: text frames.

One such event sends many messages, for a small part of what "websocket.send" costs for each. The value of the
extension has two functions that take frames. `write` writes them at once; it returns False if it would have
to wait, or can't write. `beat` writes them, and closes the socket if the client has sent nothing since the
last call.
"""

EXPIRY_NOTICE: Final = timedelta(minutes=1)
"""How long before its token expires a socket is told so; or two heartbeats, if that is longer."""

_CLOSE_TIMEOUT = 1.0  # seconds
_LONGEST_REASON = 120  # a close frame has room for 123 bytes
_LONGEST_ID = 256
_BYTES_AT_A_TIME = 64 * 1024  # after which a slow client is waited for
_EVENTS_AT_A_TIME = 32  # after which a source that is always ready lets other tasks run
_SERVER_CODES = frozenset(ServerCloseCode)
_PING: Final = b'{"type":"ping"}'
_HEARTBEAT_SLOTS = 64
_SHORTEST_TICK = 0.05  # seconds
_NO_FRAMES: Final = {"type": FRAMES, "frames": b""}


class SocketClosed(Exception):  # noqa: N818 - an end, and not always an error
    """Ends a socket: the service closes it with `code`; without one, the client has closed it."""

    def __init__(self, code: CloseCode | None = None, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")


class WebSocketEndpoint:
    """The ASGI application at /graphql, for websocket scopes.

    It accepts pages of `origins` and the service's own: browsers let any page open a socket to any server.
    Clients that aren't browsers send no Origin, and are accepted.
    """

    def __init__(self, gateway: Gateway, *, origins: Origins) -> None:
        self._gateway = gateway
        self._origins = origins
        self._heartbeats = Heartbeats(gateway.limits.heartbeat)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one socket."""
        await receive()  # websocket.connect
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and not is_own(origin, headers.get("host", "")) and origin not in self._origins:
            refusal = self._origins.refusal(origin)
            response = Response(refusal.result.render(), refusal.status, media_type="application/json")
            await response(scope, receive, send)
            return
        end = SocketClosed()
        try:
            await self._serve(scope, receive, send)
        except* SocketClosed as group:
            end = next(leaves(group))
        except* Exception as group:  # noqa: BLE001 - masked and logged
            (error,) = masked_result(group).errors
            end = SocketClosed(CloseCode.TRY_AGAIN_LATER, error.message)
        if end.code is not None:
            self._gateway.metrics.closes.labels(end.code).inc()
            await close(send, end.code, end.reason)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if PROTOCOL not in scope["subprotocols"]:
            await send({"type": "websocket.accept"})
            raise SocketClosed(CloseCode.BAD_SUBPROTOCOL, f"Subprotocol not acceptable: use {PROTOCOL}")
        await send({"type": "websocket.accept", "subprotocol": PROTOCOL})
        try:
            with self._gateway.connection("websocket", client_address(scope)) as connection:
                socket = GraphQLSocket(self._gateway, connection, self._heartbeats, scope, receive, send)
                await socket.serve()
        except HTTPError as error:
            # Not by status 503: browsers hide it from their clients, which would give up.
            raise SocketClosed(CloseCode.TRY_AGAIN_LATER, str(error)) from None


async def close(send: Send, code: int, reason: str) -> None:
    """Closes a socket, or leaves that to the server if the client doesn't read any more."""
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await send({"type": "websocket.close", "code": int(code), "reason": reason})
    except (OSError, RuntimeError):
        return  # the connection is closed already; a timeout is an OSError


def leaves(group: BaseExceptionGroup[SocketClosed]) -> Iterator[SocketClosed]:
    """Yields the exceptions in a group, at all levels."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


class Heartbeats:
    """Calls functions once in each interval, by one timer for all of them, spread over the interval."""

    def __init__(self, interval: float) -> None:
        """`interval` in seconds."""
        self._slots: list[set[Callable[[], object]]] = [
            set() for _ in range(max(1, min(_HEARTBEAT_SLOTS, int(interval / _SHORTEST_TICK))))
        ]
        self._tick = interval / len(self._slots)
        self._due = 0
        """The slot that is due next."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no timer runs, since there is no function to call."""
        return self._timer is None

    @contextmanager
    def calling(self, call: Callable[[], object]) -> Iterator[None]:
        """Calls `call` once in each interval until the block ends, first after about one interval."""
        slot = self._slots[self._due - 1]
        slot.add(call)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick, self._call)
        try:
            yield
        finally:
            slot.discard(call)

    def _call(self) -> None:
        slot, self._timer = self._slots[self._due], None
        self._due = (self._due + 1) % len(self._slots)
        if any(self._slots):
            self._timer = asyncio.get_running_loop().call_later(self._tick, self._call)
        for call in tuple(slot):
            call()


class GraphQLSocket:
    """An accepted socket, from its connection_init to its end.

    One task reads messages, one rechecks the viewer, and each running operation has a task of its own. They
    end together: whatever ends the socket is raised as SocketClosed, and cancels them all. A send waits until
    the client has read what was sent before. So a slow client delays its own operations, and each of them
    keeps at most some 64 KiB and one message in memory.
    """

    def __init__(
        self,
        gateway: Gateway,
        connection: ClientConnection,
        heartbeats: Heartbeats,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._gateway = gateway
        self._connection = connection
        self._heartbeats = heartbeats
        self._client = client_address(scope)
        self._receive = receive
        self._send = send
        frames = scope.get("extensions", {}).get(FRAMES)
        self._takes_frames = frames is not None
        self._write: Callable[[bytes], bool] = frames["write"] if frames else _write_nothing
        self._beat_at_once: Callable[[bytes], object] | None = frames and frames["beat"]
        self._authorization = Headers(scope=scope).get("authorization", "")
        self._viewer = ANONYMOUS
        self._running: dict[str, asyncio.Task[None]] = {}
        """The task of each operation, by the client's id."""
        self._unfinished: set[asyncio.Task[None]] = set()
        """These tasks, and those that are cancelled but haven't ended yet."""
        self._subscriptions: dict[str, Operation] = {}
        """Running subscriptions, by the client's id."""
        self._was_used = True
        """Whether an operation has begun since `_close_if_idle` last checked."""

    async def serve(self) -> None:
        """Reads and answers messages until the socket ends. Raises SocketClosed, alone or in a group."""
        try:
            async with asyncio.timeout(self._gateway.limits.socket_init_timeout):
                await self._wait_for_init()
        except TimeoutError:
            raise SocketClosed(CloseCode.TIMEOUT, "Connection initialisation timeout") from None
        await self._authenticate()
        await self._send_message({"type": "connection_ack"})
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_viewer())
            with self._heartbeats.calling(lambda: self._beat(tasks)):
                await self._read_messages(tasks)

    async def _wait_for_init(self) -> None:
        while not await self._is_init(await self._next_message()):
            pass

    async def _is_init(self, message: Mapping[str, Any]) -> bool:
        match message["type"]:
            case "connection_init":
                payload = message.get("payload")
                if payload is not None and not isinstance(payload, dict):
                    raise SocketClosed(CloseCode.BAD_REQUEST, "payload: must be an object or null")
                self._authorization = find_authorization(payload) or self._authorization
                return True
            case "subscribe":
                raise SocketClosed(CloseCode.UNAUTHORIZED, "Unauthorized")
            case _:
                await self._handle_at_any_time(message)
                return False

    async def _read_messages(self, tasks: asyncio.TaskGroup) -> None:
        while True:  # and while it waits, holds no message, which may have a megabyte
            await self._handle(await self._next_message(), tasks)

    async def _handle(self, message: Mapping[str, Any], tasks: asyncio.TaskGroup) -> None:
        match message["type"]:
            case "subscribe":
                await self._subscribe(message, tasks)
            case "connection_init":
                raise SocketClosed(CloseCode.TOO_MANY_INITS, "Too many initialisation requests")
            case "ping" if authorization := find_authorization(message.get("payload")):
                await self._renew(authorization)
            case _:
                await self._handle_at_any_time(message)

    async def _handle_at_any_time(self, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "ping":
                payload = message.get("payload")
                await self._send_message({"type": "pong"} | ({"payload": payload} if payload else {}))
            case "pong":
                pass
            case "complete":
                self._cancel(read_id(message))
            case _:
                raise SocketClosed(CloseCode.BAD_REQUEST, "Invalid message received: unknown type")

    async def _subscribe(self, message: Mapping[str, Any], tasks: asyncio.TaskGroup) -> None:
        identifier = read_id(message)
        try:
            request = parse_parameters(message.get("payload"))
        except MalformedRequestError as error:
            raise SocketClosed(CloseCode.BAD_REQUEST, f"Invalid message received: {error}") from None
        if identifier in self._running:
            raise SocketClosed(CloseCode.SUBSCRIBER_EXISTS, f"Subscriber for {identifier} already exists")
        if len(self._unfinished) >= self._gateway.limits.max_socket_subscriptions:
            await self._send_errors(identifier, unavailable("too many operations on this socket").result)
            return
        self._was_used = True
        task = tasks.create_task(self._run_operation(identifier, request))
        self._running[identifier] = task
        self._unfinished.add(task)
        task.add_done_callback(lambda task: self._on_done(identifier, task))

    def _on_done(self, identifier: str, task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step can't clean up by itself.
        self._unfinished.discard(task)
        if self._running.get(identifier) is task:
            self._forget(identifier)

    def _forget(self, identifier: str) -> asyncio.Task[None] | None:
        self._subscriptions.pop(identifier, None)
        return self._running.pop(identifier, None)

    def _cancel(self, identifier: str) -> None:
        task = self._forget(identifier)
        if task is not None:
            task.cancel()

    async def _run_operation(self, identifier: str, request: GraphQLRequest) -> None:
        try:
            operation = await self._gateway.find_operation(request, self._client, self._identify)
            del request  # of which a subscription keeps little
            if operation.type is OperationType.SUBSCRIPTION:
                await self._run_subscription(identifier, operation)
            else:
                await self._run_once(identifier, operation)
        except RequestError as error:
            await self._send_errors(identifier, error_result(*error.errors))
        except HTTPError as error:
            await self._send_errors(identifier, error.result)
        except SocketClosed:
            raise
        except Exception as error:  # noqa: BLE001 - masked and logged
            await self._send_errors(identifier, masked_result(error))

    async def _identify(self) -> Viewer:
        return self._viewer

    async def _run_once(self, identifier: str, operation: Operation) -> None:
        started = perf_counter()
        result = await self._gateway.run_operation(
            operation, self._viewer, self._client, on_sign_in=self._accept_viewer
        )
        self._gateway.metrics.observe("websocket", operation.type.value, perf_counter() - started, result)
        if result.executed:
            await self._send_next(identifier, Results([result]))
            await self._send_message({"id": identifier, "type": "complete"})
        else:
            await self._send_errors(identifier, result)

    async def _run_subscription(self, identifier: str, operation: Operation) -> None:
        self._subscriptions[identifier] = operation
        metrics = self._gateway.metrics
        deliver = partial(self._send_at_once, next_prefix(identifier)) if self._takes_frames else None
        async with self._gateway.subscription(
            operation, lambda: self._viewer, self._client, deliver
        ) as subscription:
            sent = 0
            async for results in subscription:
                if results.progress is not None:
                    payload = {"id": identifier, **results.progress.message}
                    await self._send_message({"type": "ping", "payload": payload})
                    continue
                if not results[-1].executed:
                    await self._send_errors(identifier, results[-1])
                    return
                await self._send_next(identifier, results)
                metrics.events.inc(len(results))
                sent += len(results)
                if sent >= _EVENTS_AT_A_TIME:
                    sent = 0
                    await asyncio.sleep(0)
        await self._send_message({"id": identifier, "type": "complete"})

    def _beat(self, tasks: asyncio.TaskGroup) -> None:
        """Sends a ping; if the token is about to expire, its payload says so."""
        expires_at, text = self._viewer.expires_at, _PING
        if expires_at is not None:
            notice = max(EXPIRY_NOTICE, timedelta(seconds=2 * self._gateway.limits.heartbeat))
            if expires_at - datetime.now(UTC) <= notice:
                text = orjson.dumps({"type": "ping", "payload": token_end(self._viewer)})
        if self._beat_at_once is None:
            tasks.create_task(self._send_text(text.decode()))
        else:
            self._beat_at_once(_frame_head(len(text)) + text)

    async def _authenticate(self) -> None:
        try:
            self._accept_viewer(await self._gateway.authenticate(self._authorization, self._client))
        except HTTPError as error:
            is_invalid = error.status is HTTPStatus.UNAUTHORIZED
            code = CloseCode.FORBIDDEN if is_invalid else CloseCode.TRY_AGAIN_LATER
            raise SocketClosed(code, str(error)) from None

    async def _renew(self, authorization: str) -> None:
        """Takes a newer token from a ping; the pong says until when it is valid, or why it wasn't accepted.

        A token that isn't accepted changes nothing: the socket stays open until the former one expires.
        """
        try:
            viewer = await self._gateway.authenticate(authorization, self._client)
            if not self._accept_viewer(viewer):
                raise unauthenticated("Authorization: the token must be of the user who has signed in here")
        except HTTPError as error:
            answer: dict[str, Any] = {"errors": [part.formatted for part in error.result.errors]}
        else:
            answer = token_end(viewer)
        await self._send_message({"type": "pong", "payload": answer})
        await self._end_forbidden()

    def _accept_viewer(self, viewer: Viewer) -> bool:
        """Continues as a viewer who has signed in. Returns False if the socket belongs to another user.

        Raises HTTPError (503) if too many connections of theirs are open.
        """
        if self._viewer.is_authenticated and viewer.principal != self._viewer.principal:
            return False
        self._connection.count_for(viewer, self._client)
        self._viewer = viewer
        return True

    async def _watch_viewer(self) -> None:
        await self._close_if_idle()
        await self._recheck_viewer()

    async def _close_if_idle(self) -> None:
        """Ends a socket on which nobody has signed in, and no operation has begun for a while.

        Returns once somebody has signed in.
        """
        while not self._viewer.is_authenticated:
            if not (self._was_used or self._unfinished):
                raise SocketClosed(CloseCode.UNAUTHORIZED, "Nothing was run, and nobody has signed in")
            self._was_used = False
            await asyncio.sleep(self._gateway.limits.anonymous_socket_timeout)

    async def _recheck_viewer(self) -> None:
        while True:
            checked = self._viewer
            try:
                current = await self._gateway.wait_and_recheck(checked)
            except HTTPError as error:
                if self._viewer is checked:
                    raise SocketClosed(CloseCode.FORBIDDEN, str(error)) from None
                continue  # the token was renewed while it was checked
            if self._viewer is checked:
                self._viewer = current
                await self._end_forbidden()

    async def _end_forbidden(self) -> None:
        """Ends the subscriptions that the viewer is no longer permitted to have."""
        refused = [
            (identifier, denial)
            for identifier, operation in self._subscriptions.items()
            if (denial := self._gateway.check_permission(operation, self._viewer, self._client))
        ]
        for identifier, _ in refused:  # all of them, before anything is awaited
            self._cancel(identifier)
        for identifier, denial in refused:
            await self._send_errors(identifier, denial)

    async def _next_message(self) -> dict[str, Any]:
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            if event.get("code") in _SERVER_CODES:
                self._gateway.metrics.closes.labels(event["code"]).inc()
            raise SocketClosed
        text = event.get("text")
        if text is None:
            raise SocketClosed(CloseCode.BAD_REQUEST, "Invalid message received: not a text frame")
        try:
            if len(text) > FREE_SIZE:
                await self._gateway.pay_for_size(text.encode(), self._client, self._viewer)
            message = parse_json(text)
        except HTTPError as error:
            raise SocketClosed(CloseCode.TRY_AGAIN_LATER, str(error)) from None
        except MalformedRequestError as error:
            raise SocketClosed(CloseCode.BAD_REQUEST, f"Invalid message received: {error}") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise SocketClosed(CloseCode.BAD_REQUEST, "Invalid message received: an object with a type")
        return message

    def _send_at_once(self, prefix: bytes, results: Results) -> bool:
        """Sends results without errors if they are small, and the client has read what was sent before."""
        encoded = encode(results, len(prefix))
        if encoded is None or len(encoded.writes) > 1 or encoded.size >= LARGE_RESPONSE:
            return False
        if not self._write(prefix.join(encoded.writes[0])):
            return False
        self._gateway.metrics.events.inc(len(results))
        return True

    async def _send_next(self, identifier: str, results: Results) -> None:
        for result in results:
            if result.errors:
                self._gateway.metrics.count_errors(result.errors)
        prefix = next_prefix(identifier)
        if not self._takes_frames:
            for result in results:
                await self._send_text((prefix + result.render() + b"}").decode())
            return
        encoded = encode(results, len(prefix))
        if encoded is None:
            for result in results:
                await self._send_large(prefix, result.render())
            return
        with self._gateway.count_unread(encoded.size, self._viewer, self._client):
            for pieces in encoded.writes:
                frames = prefix.join(pieces)
                if not self._write(frames):
                    await self._send_event({"type": FRAMES, "frames": frames})
            if encoded.size >= LARGE_RESPONSE:
                await self._send_event(_NO_FRAMES)  # once the client has read what was sent before

    async def _send_large(self, prefix: bytes, body: bytes) -> None:
        """Sends a large message: copying it takes milliseconds, so other tasks run between the copies."""
        size = len(prefix) + len(body) + 1
        with self._gateway.count_unread(size, self._viewer, self._client):
            await asyncio.sleep(0)
            await self._send_event(_NO_FRAMES)  # so that no copy waits for the client
            frame = b"".join((_frame_head(size), prefix, body, b"}"))
            await self._send_event({"type": FRAMES, "frames": frame})
            del frame
            await self._send_event(_NO_FRAMES)

    async def _send_errors(self, identifier: str, result: Result) -> None:
        errors = [error.formatted for error in result.errors]
        self._gateway.metrics.count_errors(result.errors)
        await self._send_message({"id": identifier, "type": "error", "payload": errors})

    async def _send_message(self, message: Mapping[str, Any]) -> None:
        await self._send_text(dump_json(message).decode())

    async def _send_text(self, text: str) -> None:
        await self._send_event({"type": "websocket.send", "text": text})

    async def _send_event(self, event: dict[str, Any]) -> None:
        try:
            await self._send(event)
        except (OSError, RuntimeError):  # what servers raise once the connection is closed
            raise SocketClosed from None


def _write_nothing(_frames: bytes) -> bool:
    return False


def read_id(message: Mapping[str, Any]) -> str:
    """Returns the id of the operation that a message is about. Raises SocketClosed."""
    identifier = message.get("id")
    if not isinstance(identifier, str) or not 0 < len(identifier) <= _LONGEST_ID:
        raise SocketClosed(CloseCode.BAD_REQUEST, f"id: must be a text of 1 to {_LONGEST_ID} characters")
    return identifier


def find_authorization(payload: object) -> str | None:
    """Returns `authorization` of a payload that is an object, in any case; it may also be in `headers`."""
    if not isinstance(payload, dict):
        return None
    for mapping in (payload, payload.get("headers")):
        if isinstance(mapping, dict):
            for name, value in mapping.items():
                if name.lower() == "authorization" and isinstance(value, str):
                    return value
    return None


def token_end(viewer: Viewer) -> dict[str, str | None]:
    """Returns the payload that says when a viewer's token expires; null for one that doesn't."""
    expires_at = viewer.expires_at
    return {"tokenExpiresAt": None if expires_at is None else serialize_datetime(expires_at)}


def next_prefix(identifier: str) -> bytes:
    """Returns what stands before a result in an operation's message of the type next."""
    return b'{"id":%b,"type":"next","payload":' % orjson.dumps(identifier)


class EncodedResults(NamedTuple):
    """Messages of results, without the prefix that each of them begins with."""

    writes: list[list[bytes]]
    """As `frames_around` returns them."""
    size: int
    """Bytes of the results."""


def encode(results: Results, prefix_length: int) -> EncodedResults | None:
    """Returns the messages of results; None if one is so large that it shouldn't be copied in one go.

    They are made once for all sockets that share the results; only the prefix differs.
    """
    encoded: EncodedResults | None = results.encoded.get(prefix_length)
    if encoded is None:
        bodies = [result.render() for result in results]
        if max(map(len, bodies), default=0) >= LARGE_RESPONSE:
            return None
        bodies = [body + b"}" for body in bodies]
        encoded = EncodedResults(frames_around(prefix_length, bodies), sum(map(len, bodies)))
        if len(results.encoded) < MAX_SHARED_RESULTS:
            results.encoded[prefix_length] = encoded
    return encoded


def frames_around(size: int, bodies: Iterable[bytes]) -> list[list[bytes]]:
    """Returns text frames (RFC 6455, unmasked) of messages that begin with the same bytes, without these.

    The messages begin with `size` bytes, the prefix, which contains an id of the client. Each list, joined by
    the prefix, is about 64 KiB of whole frames. So frames are made once for all sockets whose messages have
    the same bodies: each socket only joins them by its own prefix.
    """
    writes: list[list[bytes]] = []
    pieces: list[bytes] = []
    previous, length = b"", 0
    for body in bodies:
        pieces.append(previous + _frame_head(size + len(body)))
        previous = body
        length += size + len(body)
        if length >= _BYTES_AT_A_TIME:
            writes.append([*pieces, previous])
            pieces.clear()
            previous, length = b"", 0
    if pieces:
        writes.append([*pieces, previous])
    return writes


def _frame_head(length: int) -> bytes:
    if length < 126:
        return bytes((0x81, length))
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")
