"""The load driver: it counts the requests sent, and refuses an answer that differs from the first."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from benchmarks.load import LoadError, Request, ask, drive, post


@asynccontextmanager
async def serving(answers: Sequence[bytes]) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that sends these answers in turn, and repeats the last one. Yields the requests that it got.

    Without answers it closes the connection.
    """
    asked: list[bytes] = []
    ended: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(writer)
        while answers and (head := await reader.read(65536)):
            asked.append(head)
            writer.write(answers[min(len(asked), len(answers)) - 1])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked
        for writer in ended:
            with suppress(ConnectionError):
                await writer.wait_closed()


def answer(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


async def test_it_sends_as_many_requests_as_it_was_told() -> None:
    request = Request(post("/graphql", b"{}", {}), answer=b"known")

    async with serving([answer(b"known")]) as (port, asked):
        load = await drive(port, [request], count=20, connections=3)

    assert len(asked) == len(load.latencies) == 20


async def test_an_answer_that_differs_from_the_known_one_fails() -> None:
    request = Request(post("/graphql", b"{}", {}), answer=b"known")

    async with serving([answer(b"known"), answer(b"other")]) as (port, _):
        with pytest.raises(LoadError, match="other"):
            await drive(port, [request], count=20, connections=1)


async def test_an_answer_of_another_status_fails() -> None:
    async with serving([answer(b"too many", "429 Too Many Requests")]) as (port, _):
        with pytest.raises(LoadError, match="429"):
            await ask(port, Request(post("/graphql", b"{}", {})))


async def test_an_answer_may_come_in_pieces() -> None:
    body = b"a long body " * 100_000

    async with serving([answer(body)]) as (port, _):
        assert await ask(port, Request(post("/graphql", b"{}", {}))) == body


async def test_a_connection_that_ends_early_fails() -> None:
    async with serving([]) as (port, _):
        with pytest.raises(LoadError, match="connection ended"):
            await ask(port, Request(post("/graphql", b"{}", {})))
