"""Opening a WebSocket, before graphql-transport-ws begins: each handshake is answered, in time."""

import asyncio
import json

import pytest
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect

from tests.transport.conftest import Serve, Served, until
from tests.transport.raw import HANDSHAKE, KEY, VERSION, dialled, status, whole
from tests.transport.sockets import PROTOCOL, connected, hear


async def refusal(served: Served, sent: bytes) -> tuple[int, dict[str, str], str]:
    """Status, headers and error code of the answer, after which the connection has ended."""
    async with dialled(served) as (reader, writer):
        writer.write(sent)
        answer = await whole(reader)
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (header.partition(": ") for header in lines)}
    assert len(body) == int(headers["content-length"])
    return int(line.split()[1]), headers, json.loads(body)["errors"][0]["extensions"]["code"]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (HANDSHAKE.replace(b"GET", b"POST") + b"Content-Length: 0\r\n\r\n", (405, "METHOD_NOT_ALLOWED")),
        (HANDSHAKE.replace(b"GET", b"POST") + b"Content-Length: 2\r\n\r\n{}", (400, "BAD_REQUEST")),
        (HANDSHAKE.replace(KEY, b"") + b"\r\n", (400, "BAD_REQUEST")),
        (HANDSHAKE + KEY + b"\r\n", (400, "BAD_REQUEST")),
        (HANDSHAKE.replace(KEY, b"Sec-WebSocket-Key: short\r\n") + b"\r\n", (400, "BAD_REQUEST")),
        (HANDSHAKE.replace(b"graphql-transport-ws", b",;=") + b"\r\n", (400, "BAD_REQUEST")),
        (HANDSHAKE.replace(VERSION, b"Sec-WebSocket-Version: 8\r\n") + b"\r\n", (426, "UPGRADE_REQUIRED")),
        (HANDSHAKE.replace(VERSION, b"") + b"\r\n", (426, "UPGRADE_REQUIRED")),
        (HANDSHAKE.replace(b"/graphql", b"/nowhere") + b"\r\n", (403, "FORBIDDEN")),
        (HANDSHAKE + b"Origin: https://evil.example\r\n\r\n", (403, "FORBIDDEN")),
        (HANDSHAKE.replace(b": Upgrade", b": Upgrade" + b",a" * 500) + b"\r\n", (400, "BAD_REQUEST")),
        (HANDSHAKE + b"Sec-WebSocket-Protocol: a,b,c\r\n" * 200 + b"\r\n", (400, "BAD_REQUEST")),
        (HANDSHAKE + b"Cookie: " + b"a" * 40_000 + b"\r\n\r\n", (431, "REQUEST_HEADER_FIELDS_TOO_LARGE")),
    ],
    ids=[
        "POST",
        "POST with a body",
        "no key",
        "two keys",
        "a bad key",
        "bad subprotocols",
        "an old version",
        "no version",
        "another path",
        "another origin",
        "many connection options",
        "many offers",
        "a head that is too long",
    ],
)
async def test_a_handshake_that_cannot_be_accepted_is_answered_and_lets_its_place_go(
    served: Served, sent: bytes, expected: tuple[int, str]
) -> None:
    status, headers, code = await refusal(served, sent)
    assert (status, code) == expected
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/json"
    await until(lambda: not served.server.server_state.connections)


async def test_a_handshake_of_an_old_version_is_told_the_one_we_speak(served: Served) -> None:
    _, headers, _ = await refusal(
        served, HANDSHAKE.replace(VERSION, b"Sec-WebSocket-Version: 8\r\n") + b"\r\n"
    )
    assert headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    "headers",
    [
        [("Cookie", "a" * 9_000)],
        [("Cookie", "a" * 30_000)],
        [(f"X-{number}", "a") for number in range(130)],
        [("X-Latin", "\xe9")],
    ],
    ids=["a cookie of 9 kB", "a cookie of 30 kB", "130 headers", "a byte beyond ASCII"],
)
async def test_a_handshake_may_have_as_long_a_head_as_any_request(
    served: Served, headers: list[tuple[str, str]]
) -> None:
    async with connected(served, additional_headers=headers):
        pass


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n",
        b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
        b"Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
    ],
    ids=["capitals", "a list", "two lines"],
)
async def test_a_handshake_may_be_written_in_several_ways(served: Served, upgrade: bytes) -> None:
    async with dialled(served) as (reader, writer):
        plain = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        writer.write(HANDSHAKE.replace(plain, upgrade) + b"\r\n")
        assert await status(reader) == 101


async def test_a_handshake_to_a_whole_url_opens_a_socket(served: Served) -> None:
    async with dialled(served) as (reader, writer):
        writer.write(HANDSHAKE.replace(b"/graphql", b"http://a/graphql?x=1") + b"\r\n")
        assert await status(reader) == 101


async def test_what_a_client_sends_ahead_of_the_answer_is_not_lost(served: Served) -> None:
    message = b'{"type":"connection_init"}'
    frame = b"\x81" + bytes([0x80 | len(message)]) + b"\0\0\0\0" + message
    async with dialled(served) as (reader, writer):
        writer.write(HANDSHAKE + b"\r\n" + frame[:5])
        writer.write(frame[5:])
        assert await status(reader) == 101
        await reader.readuntil(b'{"type":"connection_ack"}')


async def test_a_handshake_that_nothing_answers_is_cut_off(serve: Serve) -> None:
    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            if scope["type"] == "lifespan":
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return

    served = serve(app=silent, settings={"receive_timeout": 0.2})
    async with dialled(served) as (reader, writer):
        writer.write(HANDSHAKE + b"\r\n")
        assert await whole(reader) == b""
    await until(lambda: not served.server.server_state.connections)


async def test_an_open_socket_outlives_the_time_for_a_handshake(serve: Serve) -> None:
    served = serve(settings={"receive_timeout": 1.0})
    async with connect(served.socket_url, subprotocols=[PROTOCOL]) as socket:
        await asyncio.sleep(1.2)
        await socket.send('{"type":"connection_init"}')
        assert await hear(socket) == {"type": "connection_ack"}
