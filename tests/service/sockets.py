"""WebSockets to a running service."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.service.conftest import Service


@asynccontextmanager
async def socket_of(service: Service, token: str) -> AsyncIterator[ClientConnection]:
    """Opens a socket, and authenticates it with a token."""
    protocol = Subprotocol("graphql-transport-ws")
    async with connect(service.socket_url, subprotocols=[protocol]) as socket:
        await socket.send(
            json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
        )
        await socket.recv()
        yield socket
