"""A proxy in front of PostgreSQL that can stop passing bytes on without closing connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class TcpProxy:
    """Passes bytes between a TCP port and the Unix socket at `target`."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._passing = asyncio.Event()
        self._passing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0

    def black_hole(self) -> None:
        """Stops passing bytes on open connections. New connections work."""
        self._passing.clear()
        self._passing = asyncio.Event()
        self._passing.set()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        """Listens, and yields the port."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self._target)
        self.connections += 1
        for source, sink in ((reader, server_writer), (server_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink, self._passing))
            self._tasks.add(task)

    @staticmethod
    async def _pass_on(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, passing: asyncio.Event
    ) -> None:
        try:
            while data := await source.read(65536):
                await passing.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass  # the other end has gone, as it may
        finally:
            sink.close()
