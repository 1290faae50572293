"""WebSockets that speak graphql-transport-ws."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.transport.conftest import Served

PROTOCOL = Subprotocol("graphql-transport-ws")


@asynccontextmanager
async def opened(served: Served, **options: Any) -> AsyncIterator[ClientConnection]:
    """Opens a socket, and sends nothing."""
    async with connect(served.socket_url, subprotocols=[PROTOCOL], **options) as socket:
        yield socket


@asynccontextmanager
async def connected(
    served: Served, payload: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[ClientConnection]:
    """Opens a socket, and waits for connection_ack."""
    async with opened(served, **options) as socket:
        await say(socket, type="connection_init", payload=payload)
        assert await hear(socket) == {"type": "connection_ack"}
        yield socket


async def say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def ask(socket: ClientConnection, identifier: str, query: str, **parameters: Any) -> None:
    await say(socket, id=identifier, type="subscribe", payload={"query": query, **parameters})


async def hear(socket: ClientConnection) -> Any:
    message = await socket.recv()
    assert isinstance(message, str), "browsers' clients read text frames only"
    return json.loads(message)


async def close_of(socket: ClientConnection) -> tuple[int, str]:
    with suppress(ConnectionClosed):
        while True:
            await socket.recv()
    assert socket.close_code is not None
    return socket.close_code, socket.close_reason or ""
