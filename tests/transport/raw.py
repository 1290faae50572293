"""Connections to a server on which tests send and read bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.transport.conftest import Served

HEAD = b"POST /graphql HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
BODY = b'{"query": "{ hello }"}'
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
VERSION = b"Sec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + VERSION + KEY
HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nHost: a\r\n" + UPGRADE + b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n"
)
ANSWER = b'{"data":{"hello":"hello world"}}'


@asynccontextmanager
async def dialled(
    served: Served, address: str | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Opens a connection, from another `address` of this machine if given."""
    host, port = served.host.split(":")
    local = None if address is None else (address, 0)
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 24, local_addr=local)
    try:
        yield reader, writer
    finally:
        writer.close()


async def status(reader: asyncio.StreamReader) -> int:
    return int((await reader.readline()).split()[1])


async def whole(reader: asyncio.StreamReader) -> bytes:
    """Returns everything that comes until the server closes the connection."""
    return await reader.read()
