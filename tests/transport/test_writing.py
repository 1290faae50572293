import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from graphql_api.transport.uvicorn_protocols import HeadWithBody

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Wire:
    """A response's transport, and what has come out at the other end."""

    def __init__(self, response: HeadWithBody, peer: socket.socket) -> None:
        self.response = response
        self.peer = peer

    def read(self) -> bytes:
        try:
            return self.peer.recv(65536)
        except BlockingIOError:
            return b""


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    yield Wire(HeadWithBody(transport), theirs)
    transport.abort()
    theirs.close()


async def test_a_head_waits_for_its_body(wire: Wire) -> None:
    wire.response.write(HEAD)
    assert wire.read() == b""
    wire.response.write(b"{}")
    assert wire.read() == HEAD + b"{}"


async def test_what_follows_goes_out_at_once(wire: Wire) -> None:
    wire.response.write(HEAD)
    wire.response.write(b"{")
    wire.read()
    wire.response.write(b"}")
    assert wire.read() == b"}"


async def test_a_head_without_a_body_goes_out_with_its_end(wire: Wire) -> None:
    wire.response.write(HEAD)
    wire.response.write(b"")
    assert wire.read() == HEAD


async def test_a_head_goes_out_before_the_connection_closes(wire: Wire) -> None:
    wire.response.write(HEAD)
    wire.response.close()
    await asyncio.sleep(0)
    assert wire.read() == HEAD


async def test_the_head_of_a_stream_does_not_wait_for_its_first_event(wire: Wire) -> None:
    wire.response.write(STREAM)
    assert wire.read() == STREAM
    wire.response.write(b"an event")
    assert wire.read() == b"an event"


async def test_leave_to_continue_is_no_head(wire: Wire) -> None:
    wire.response.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert wire.read() == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.response.write(HEAD)
    assert wire.read() == b""
