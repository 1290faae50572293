"""A TCP port before a PostgreSQL's socket, so that tests can stand where the network is."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from graphql_api.db.address import Address

SSL_REQUEST = struct.pack("!II", 8, 80877103)


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where it listens."""

    port: int
    connections: list[asyncio.StreamWriter]
    """The clients' ends, those that are closed too."""

    def url(self, address: Address, parameters: str = "") -> str:
        """The address of the same database through the proxy."""
        database = urlsplit(address.dsn).path
        return f"postgresql://postgres:secret@127.0.0.1:{self.port}{database}{parameters}"


@asynccontextmanager
async def proxy_to(
    address: Address, refuse: Callable[[bytes], bytes | None] = lambda _: None
) -> AsyncIterator[Proxy]:
    """A proxy that speaks no TLS. `refuse` sees a start-up message, and may answer instead of the server."""
    socket = parse_qs(urlsplit(address.dsn).query)["host"][0] + "/.s.PGSQL.5432"
    clients: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            message = await _message(reader)
            if message == SSL_REQUEST:
                writer.write(b"N")
                message = await _message(reader)
            if answer := refuse(message):
                writer.write(answer)
            else:
                server_reader, server_writer = await asyncio.open_unix_connection(socket)
                server_writer.write(message)
                await asyncio.gather(_pump(reader, server_writer), _pump(server_reader, writer))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield Proxy(server.sockets[0].getsockname()[1], clients)
        for client in clients:
            client.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(struct.unpack("!I", length)[0] - 4)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
