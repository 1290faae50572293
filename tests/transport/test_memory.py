"""Answers that nobody reads take bounded memory, which goes back to the system afterwards."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import orjson
import pytest

from graphql_api.transport import uvicorn_protocols
from tests.transport.conftest import Serve, Served
from tests.transport.sockets import ask, connected

SIZE = 15_000_000  # more than the kernel's buffers hold
LARGE = f"{{ text(size: {SIZE}) }}"
PLACES = 2


@pytest.fixture
def narrow(serve: Serve) -> Served:
    """A server that lets each viewer have two operations at once."""
    return serve(settings={"max_viewer_operations": PLACES})


@asynccontextmanager
async def asking(served: Served, viewer: str, **headers: str) -> AsyncIterator[asyncio.StreamReader]:
    """A request for a large answer, of which nothing is read before the block does."""
    body = orjson.dumps({"query": LARGE})
    given = {
        "authorization": f"Bearer {viewer}",
        "content-type": "application/json",
        "connection": "close",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
    first = "POST /graphql HTTP/1.1\r\nhost: test\r\nconnection: close\r\n"
    writer.write(f"{first}{lines}content-length: {len(body)}\r\n\r\n".encode() + body)
    try:
        yield reader
    finally:
        writer.transport.abort()


async def until_it_stays(served: Served) -> int:
    """The number of operations that have begun, once no further ones begin."""
    before = -1
    while before != served.world.contexts:
        before = served.world.contexts
        await asyncio.sleep(0.3)
    return before


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_viewers_unread_answers_count_among_their_operations(narrow: Served, accept: str) -> None:
    async with AsyncExitStack() as stack:
        requests = [asking(narrow, "ada", accept=accept) for _ in range(4 * PLACES)]
        readers = [await stack.enter_async_context(each) for each in requests]
        begun = await until_it_stays(narrow)
        assert PLACES <= begun <= 2 * PLACES
        async with httpx.AsyncClient(headers={"authorization": "Bearer bob"}) as client:
            assert (await client.post(narrow.url, json={"query": "{ hello }"})).status_code == 200
        for reader in readers:
            assert len(await reader.read(-1)) > SIZE
        assert narrow.world.contexts == 4 * PLACES + 1


async def test_so_do_those_on_a_socket(narrow: Served) -> None:
    authorization = {"authorization": "Bearer ada"}
    async with connected(narrow, additional_headers=authorization, max_size=None, max_queue=1) as socket:
        for number in range(4 * PLACES):
            await ask(socket, str(number), LARGE)
        # The client's library reads up to three ahead.
        assert await until_it_stays(narrow) <= 2 * PLACES + 3


async def test_messages_that_wait_for_a_sockets_reader_are_written_one_by_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    unread: list[int] = []
    send = uvicorn_protocols.WebSocketProtocol._send_frames

    async def noting(self: uvicorn_protocols.WebSocketProtocol, frames: bytes) -> None:
        await send(self, frames)
        unread.append(self.transport.get_write_buffer_size())

    monkeypatch.setattr(uvicorn_protocols.WebSocketProtocol, "_send_frames", noting)
    served = serve()
    authorization = {"authorization": "Bearer ada"}
    async with connected(served, additional_headers=authorization, max_size=None, max_queue=1) as socket:
        for number in range(6):
            await ask(socket, str(number), LARGE)
        await until_it_stays(served)
        answers = 0
        while answers < 6:
            answers += len(await socket.recv()) > SIZE
    assert SIZE / 2 < max(unread) < 1.5 * SIZE


async def test_the_slowest_reader_is_cut_off_when_all_leave_too_much_unread(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_protocols, "MAX_UNREAD", 2 * SIZE)
    served = serve()
    async with asking(served, "ada") as first:
        await until_it_stays(served)
        async with asking(served, "bob") as second, asking(served, "eve") as third:
            await until_it_stays(served)
            assert len(await first.read(-1)) < SIZE
            assert len(await second.read(-1)) > SIZE
            assert len(await third.read(-1)) > SIZE


PEAK = """
from pathlib import Path
from graphql_api.transport.uvicorn_server import tune_allocator

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

tune_allocator()
bytes(20_000_000)
before = resident()
answers, kept = [], []
for _ in range(16):
    answers.append(b"x" * 12_000_000)
    kept.append(b"y" * 100_000)
peak = resident()
answers.clear()
print(peak - before, resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_goes_back_to_the_system_after_a_peak() -> None:
    run = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    peak, left = map(int, run.stdout.split())
    assert peak > 16 * 12_000_000
    assert left < 16_000_000
