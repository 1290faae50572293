"""The WebSocket at /graphql: whom it lets in, and how it ends."""

import asyncio
import logging
from collections.abc import Collection, Iterator
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from graphql_api.gateway.errors import HTTPError
from graphql_api.gateway.gateway import Caller, Service
from graphql_api.transport.close_codes import CloseCode, SocketClosed
from graphql_api.transport.frames import FRAMES
from graphql_api.transport.graphql_transport_ws import Socket

PROTOCOL = "graphql-transport-ws"
_CLOSE_TIMEOUT = 1.0

logger = logging.getLogger(__name__)


class WebSocketEndpoint:
    """The ASGI application behind /graphql, for websocket scopes.

    `allowed_origins` may connect besides our own. A client that is no browser sends no Origin, and passes.
    """

    def __init__(self, service: Service, *, allowed_origins: Collection[str] = ()) -> None:
        self._service = service
        self._allowed_origins = frozenset(allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket."""
        headers = Headers(scope=scope)
        await receive()  # websocket.connect
        if not origin_allowed(headers, self._allowed_origins):
            await send({"type": "websocket.close", "code": CloseCode.FORBIDDEN})
            return
        try:
            with self._service.connection("websocket"):
                caller = Caller((scope.get("client") or ("",))[0], headers)
                frames = FRAMES in scope.get("extensions", ())
                socket = Socket(self._service, caller, receive, send, takes_frames=frames)
                await self._serve(scope, socket, send)
        except HTTPError as error:
            response = Response(error.result.render(), error.status, media_type="application/json")
            response.raw_headers.extend(error.headers)
            await response(scope, receive, send)

    async def _serve(self, scope: Scope, socket: Socket, send: Send) -> None:
        code: CloseCode | None = None
        reason = ""
        try:
            if PROTOCOL in scope["subprotocols"]:
                await send({"type": "websocket.accept", "subprotocol": PROTOCOL})
                await socket.serve()
            else:
                await send({"type": "websocket.accept"})
                code, reason = CloseCode.BAD_SUBPROTOCOL, f"Subprotocol not acceptable: use {PROTOCOL}"
        except* SocketClosed as ends:
            end = next(leaves(ends))
            code, reason = end.code, end.reason
        except* Exception:
            logger.exception("a socket failed")
            code = CloseCode.INTERNAL_ERROR
        if code is not None:
            self._service.metrics.closes.labels(code).inc()
            await close(send, code, reason)


async def close(send: Send, code: int, reason: str) -> None:
    """Close a socket, or leave it to the server if the client reads nothing any more."""
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT):
            await send({"type": "websocket.close", "code": int(code), "reason": reason})
    except (
        OSError,
        RuntimeError,
    ):  # what servers raise once the connection is closed; a timeout is an OSError
        return


def leaves(group: BaseExceptionGroup[SocketClosed]) -> Iterator[SocketClosed]:
    """The exceptions in a group of groups."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error


def origin_allowed(headers: Headers, allowed: Collection[str]) -> bool:
    """Whether a page of this Origin may connect: browsers let every page open a socket to anywhere."""
    origin = headers.get("origin")
    if origin is None or origin in allowed or "*" in allowed:
        return True
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(host) and host == headers.get("host")
