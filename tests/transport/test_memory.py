"""Answers that nobody reads take bounded memory, which goes back to the system afterwards."""

import asyncio
import gc
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import orjson
import pytest

from graphql_api.transport import uvicorn_protocols
from tests.http_client import http_client
from tests.transport.conftest import Serve, Served, until
from tests.transport.sockets import ask, connected, hear

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


async def until_it_stays(served: Served, least: int) -> int:
    """The number of operations that have begun, once no further ones begin: `least` or more."""
    await until(lambda: served.world.contexts >= least)
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
        assert await until_it_stays(narrow, PLACES) <= 2 * PLACES
        async with http_client(headers={"authorization": "Bearer bob"}) as client:
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
        assert await until_it_stays(narrow, PLACES) <= 2 * PLACES + 3


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
        await until_it_stays(served, 1)
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
        await until_it_stays(served, 1)
        async with asking(served, "bob") as second, asking(served, "eve") as third:
            await until_it_stays(served, 3)
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


JUNK = "x" * 500_000
SUBSCRIPTION = {
    "query": "subscription { guarded }",
    "variables": {"junk": JUNK},
    "extensions": {"junk": JUNK},
}


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """Yields what returns the bytes of Python's objects, those of client and server, since the beginning."""
    gc.collect()
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


async def test_subscriptions_keep_of_their_requests_what_they_need(served: Served) -> None:
    authorization = {"authorization": "Bearer ada"}
    message = orjson.dumps({"type": "subscribe", "id": "1", "payload": SUBSCRIPTION}).decode()
    with traced() as memory:
        async with AsyncExitStack() as stack:
            for _ in range(10):
                socket = await stack.enter_async_context(connected(served, additional_headers=authorization))
                await socket.send(message)
                assert '"next"' in await socket.recv()
            assert memory() < 3_000_000


async def test_so_do_streams(served: Served) -> None:
    headers = {"authorization": "Bearer ada", "accept": "text/event-stream"}
    body = orjson.dumps(SUBSCRIPTION)
    async with http_client(headers={**headers, "content-type": "application/json"}) as client:
        with traced() as memory:
            async with AsyncExitStack() as stack:
                for _ in range(10):
                    request = client.build_request("POST", served.url, content=body)
                    answer = await client.send(request, stream=True)
                    stack.push_async_callback(answer.aclose)
                    assert "next" in await anext(answer.aiter_text())
                # The client keeps its requests: as bytes, which are the same for all.
                assert memory() < 3_000_000


async def test_a_socket_that_waits_keeps_no_message(served: Served) -> None:
    message = orjson.dumps({"type": "pong", "payload": {"junk": JUNK + JUNK[1000:]}}).decode()
    with traced() as memory:
        async with AsyncExitStack() as stack:
            for _ in range(10):
                socket = await stack.enter_async_context(connected(served))
                await ask(socket, "1", "{ hello }")
                assert (await hear(socket))["type"] == "next"
                await socket.send(message)
            async with asyncio.timeout(100):  # until a heartbeat comes
                await until(lambda: memory() < 4_000_000)


async def test_a_viewers_subscriptions_have_bounded_variables(serve: Serve) -> None:
    served = serve(settings={"max_viewer_sockets": 2})
    query = "subscription ($kind: String!) { failing(kind: $kind) }"
    async with connected(served, {"authorization": "Bearer ada"}) as socket:
        for size, expected in ((30_000, "error"), (10_000, "next"), (10_000, "next")):
            await ask(socket, "1", query, variables={"kind": "x" * size})
            answers = [await hear(socket)]
            if expected == "next":
                answers.append(await hear(socket))
            assert answers[0]["type"] == expected
            code = answers[-1]["payload"][0]["extensions"]["code"]
            assert code == ("INTERNAL_SERVER_ERROR" if expected == "next" else "SERVICE_UNAVAILABLE")
