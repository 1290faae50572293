"""A TCP port in front of PostgreSQL's socket, with which tests play the network."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from graphql_api.postgres.address import Address

SSL_REQUEST = struct.pack("!II", 8, 80877103)


@dataclass(frozen=True, slots=True)
class Silence:
    """Holds back the server's answers from the first message with `command` on; the server executes it."""

    command: bytes
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Proxy:
    """A proxy that listens at `host` and `port`."""

    port: int
    host: str = "127.0.0.1"
    connections: list[asyncio.StreamWriter] = field(default_factory=list)
    """The clients' ends, those that are closed too."""
    silence: Silence | None = None
    away: bool = False
    """Whether it closes every new connection."""
    thawed: asyncio.Event = field(default_factory=asyncio.Event)
    """Unset while nothing is answered on any connection, as if PostgreSQL had been frozen."""

    def cut(self) -> None:
        """Closes all connections, and accepts no others until `away` is unset."""
        self.away = True
        for client in self.connections:
            client.close()

    def url(self, address: Address, parameters: str = "") -> str:
        """Returns the address of the same database through the proxy."""
        database = urlsplit(address.dsn).path
        return f"postgresql://postgres:secret@{self.host}:{self.port}{database}{parameters}"


@asynccontextmanager
async def proxy_to(
    address: Address,
    refuse: Callable[[bytes], bytes | None] = lambda _: None,
    tls: ssl.SSLContext | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Proxy]:
    """Runs a proxy, with TLS if given. `refuse` gets a start-up message, and may answer it for the server."""
    socket = parse_qs(urlsplit(address.dsn).query)["host"][0] + "/.s.PGSQL.5432"

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections.append(writer)
        if proxy.away:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            message = await _message(reader)
            if message == SSL_REQUEST:
                writer.write(b"S" if tls else b"N")
                if tls:
                    await _start_tls(writer, tls)
                message = await _message(reader)
            if answer := refuse(message):
                writer.write(answer)
            else:
                server_reader, server_writer = await asyncio.open_unix_connection(socket)
                server_writer.write(message)
                heard = asyncio.Event()
                await asyncio.gather(
                    _ask(proxy, reader, server_writer, heard), _answer(proxy, server_reader, writer, heard)
                )
        writer.close()

    async with await asyncio.start_server(serve, host, port) as server:
        proxy = Proxy(server.sockets[0].getsockname()[1], host)
        proxy.thawed.set()
        yield proxy
        proxy.thawed.set()
        for client in proxy.connections:
            client.close()
        await asyncio.gather(*serving)


async def _start_tls(writer: asyncio.StreamWriter, tls: ssl.SSLContext) -> None:
    transport = writer.transport
    try:
        await writer.start_tls(tls)
    except (OSError, AttributeError) as error:
        # After a client that hangs up asyncio goes on with None for a transport.
        writer._transport = transport  # type: ignore[attr-defined]
        raise ConnectionResetError from error


async def _message(reader: asyncio.StreamReader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(struct.unpack("!I", length)[0] - 4)


async def _ask(
    proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: asyncio.Event
) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            silence = proxy.silence
            if silence is not None and silence.command in data and not silence.begun.is_set():
                heard.set()
                silence.begun.set()
            writer.write(data)
            await writer.drain()
    writer.close()


async def _answer(
    proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: asyncio.Event
) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            if proxy.silence is not None and heard.is_set():
                await proxy.silence.over.wait()
            await proxy.thawed.wait()
            writer.write(data)
            await writer.drain()
    writer.close()


def fatal(code: str, message: str) -> bytes:
    """A server's last word, as it is sent."""
    fields = "".join(f"{field}\0" for field in ("SFATAL", "VFATAL", f"C{code}", f"M{message}", ""))
    return b"E" + struct.pack("!I", len(fields) + 4) + fields.encode()
