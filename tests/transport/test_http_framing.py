"""Where a request ends: the bytes of one request's body must never be run as another request."""

import asyncio
import json
import shutil
import socket
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transport.conftest import Served, until
from tests.transport.raw import ANSWER, BODY, HANDSHAKE, HEAD, REQUEST, UPGRADE, dialled, whole

MUTATION = b'{"query": "mutation { write }"}'
HIDDEN = HEAD + b"Content-Length: %d\r\n\r\n" % len(MUTATION) + MUTATION
"""A request that a server would run that misjudges where the one before ends."""
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"


def with_length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes) -> bytes:
    return b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


async def answers(served: Served, sent: bytes) -> bytes:
    """All that comes back for what is sent, until the connection ends or a last request is answered.

    A last request is sent unless one before has asked to close the connection: clients send no more then,
    and data that comes after the close resets it.
    """
    async with dialled(served) as (reader, writer):
        writer.write(sent)
        await writer.drain()
        if b"Connection: close" not in sent:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return await whole(reader)


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize("frame", [with_length, chunked])
@pytest.mark.parametrize(
    "offer",
    [
        H2C,
        b"Connection: keep-alive, Upgrade\r\nUpgrade: TLS/1.0\r\n",
        b"Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: foo/2\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
        b"Connection: Upgrade\r\nUpgrade:\r\n",
        b"Connection: upgrade\r\n",
        b"Upgrade: h2c\r\n",
    ],
    ids=["h2c", "TLS", "two lines", "a list", "two offers", "nothing", "no offer", "not for this connection"],
)
async def test_an_offer_of_another_protocol_is_served_as_if_it_had_not_been_made(
    served: Served, offer: bytes, frame: Callable[[bytes], bytes]
) -> None:
    answer = await answers(served, HEAD + offer + frame(BODY) + REQUEST)
    assert statuses(answer) == [200, 200, 200]
    assert answer.count(ANSWER) == 2


async def test_an_offer_is_served_however_its_bytes_arrive(served: Served) -> None:
    sent = HEAD + H2C + with_length(BODY)
    async with dialled(served) as (reader, writer):
        for position in range(len(sent)):
            writer.write(sent[position : position + 1])
            await writer.drain()
            await asyncio.sleep(0)
        assert (await reader.readuntil(ANSWER)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_offer_for_the_last_request_of_a_connection_is_served_too(
    served: Served, version: bytes
) -> None:
    head = HEAD.replace(b"1.1", version) + b"Connection: close, Upgrade\r\nUpgrade: h2c\r\n"
    async with dialled(served) as (reader, writer):
        # Nothing after it: what the server hasn't read when it closes resets the connection.
        writer.write(head + with_length(BODY))
        assert statuses(await whole(reader)) == [200]


async def test_an_offer_that_takes_part_in_a_pipeline_is_answered_in_its_place(served: Served) -> None:
    answer = await answers(served, (REQUEST + HEAD + H2C + with_length(MUTATION)) * 3)
    assert statuses(answer) == [200] * 7
    assert [answer.find(b'{"write":%d}' % number) > 0 for number in (1, 2, 3)] == [True] * 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"", H2C, b"Expect: 100-continue\r\n"]),
            st.sampled_from([with_length, chunked]),
            st.sampled_from([BODY, MUTATION, HIDDEN]),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 500),
)
def test_requests_are_answered_in_order_however_their_bytes_are_cut(
    served: Served, requests: list[tuple[bytes, Callable[[bytes], bytes], bytes]], size: int
) -> None:
    served.world.started = 0
    sent = b"".join(HEAD + offer + frame(body) for offer, frame, body in requests)
    sent += b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = b""
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), size):
            client.sendall(sent[start : start + size])
        while received := client.recv(65_536):
            answer += received
    final = [status for status in statuses(answer) if status != 100]
    assert final == [400 if body is HIDDEN else 200 for *_, body in requests] + [200]
    assert served.world.started == [body for *_, body in requests].count(MUTATION)


@pytest.mark.parametrize("frame", [with_length, chunked])
@pytest.mark.parametrize("offer", [b"", H2C, UPGRADE], ids=["no offer", "h2c", "websocket"])
async def test_a_request_that_is_sent_as_a_body_is_not_run(
    served: Served, offer: bytes, frame: Callable[[bytes], bytes]
) -> None:
    answer = await answers(served, HEAD + offer + frame(HIDDEN))
    assert statuses(answer)[0] == 400
    assert served.world.started == 0


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Transfer-Encoding: chunked\r\n" + with_length(b"0\r\n\r\n" + HIDDEN),
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        HEAD + b"Content-Length: 0\r\n" + with_length(HIDDEN),
        HEAD + b"Content-Length: 0, %d\r\n\r\n" % len(HIDDEN) + HIDDEN,
        HEAD + b"Content-Length: +0\r\n\r\n" + HIDDEN,
        HEAD + b"Content-Length : 0\r\n\r\n" + HIDDEN,
        HEAD + b"Transfer-Encoding: identity\r\n\r\n" + HIDDEN,
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN,
        HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-0\r\n\r\n" + HIDDEN,
        HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 0\n\n" + HIDDEN,
        HANDSHAKE + with_length(HIDDEN),
        HANDSHAKE + chunked(HIDDEN),
        HEAD + b"Host: b\r\nConnection: close\r\n" + with_length(MUTATION),
        HEAD + b"Transfer-Encoding: gzip, chunked\r\nConnection: close\r\n\r\n0\r\n\r\n" + HIDDEN,
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n" + HIDDEN,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    ],
)
async def test_a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_is_run(
    served: Served, sent: bytes
) -> None:
    answer = await answers(served, sent)
    assert statuses(answer) in ([400], [501])
    assert b"connection: close" in answer
    assert b'"extensions":{"code":' in answer
    assert served.world.started == 0


@pytest.mark.parametrize("before", [b"", REQUEST], ids=["first", "in a pipeline"])
async def test_what_follows_a_websocket_handshake_is_not_run_as_a_request(
    served: Served, before: bytes
) -> None:
    async with dialled(served) as (reader, writer):
        writer.write(before + HANDSHAKE + b"\r\n" + HIDDEN)
        await whole(reader)
    assert served.world.started == 0


async def test_garbage_behind_a_request_does_not_take_its_answer(served: Served) -> None:
    body = b'{"query": "{ slow(seconds: 0.1) }"}'
    async with dialled(served) as (reader, writer):
        writer.write(HEAD + with_length(body) + b"garbage\r\n\r\n")
        answer = await whole(reader)
    assert statuses(answer) == [200]
    assert answer.endswith(b'{"data":{"slow":"done"}}')


async def test_a_broken_body_behind_a_request_is_refused_in_its_place(served: Served) -> None:
    body = b'{"query": "{ slow(seconds: 0.1) }"}'
    async with dialled(served) as (reader, writer):
        writer.write(HEAD + with_length(body) + HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
        answer = await whole(reader)
    assert statuses(answer) == [200, 400]
    assert served.world.finished == 1


async def test_a_long_body_does_not_count_for_the_head_behind_it(served: Served) -> None:
    body = BODY + b" " * 40_000
    async with dialled(served) as (reader, writer):
        writer.write(HEAD + with_length(body) + REQUEST[:20])
        await reader.readuntil(ANSWER)
        writer.write(REQUEST[20:])
        await reader.readuntil(ANSWER)


async def test_a_client_that_expects_to_continue_is_asked_for_the_body(served: Served) -> None:
    async with dialled(served) as (reader, writer):
        for _ in range(2):
            writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(BODY)
            assert (await reader.readuntil(ANSWER)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("head", "refused"),
    [
        (HEAD + b"Content-Length: 10000000\r\n", 413),
        (HEAD.replace(b"json", b"xml") + b"Content-Length: 10\r\n", 415),
        (HEAD.replace(b"/graphql", b"/nowhere") + b"Content-Length: 10\r\n", 404),
    ],
)
async def test_a_body_that_is_refused_beforehand_is_not_asked_for(
    served: Served, head: bytes, refused: int
) -> None:
    # A client may send the body all the same, or go on with its next request: so the connection ends.
    async with dialled(served) as (reader, writer):
        writer.write(head + b"Expect: 100-continue\r\n\r\n")
        answer = await whole(reader)
    assert statuses(answer) == [refused]
    assert b"connection: close" in answer


async def test_a_client_of_http_1_0_is_not_told_to_continue(served: Served) -> None:
    async with dialled(served) as (reader, writer):
        writer.write(HEAD.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\n" + with_length(BODY))
        assert statuses(await whole(reader)) == [200]


async def test_a_process_that_stops_ends_a_connection_that_is_yet_to_be_told_to_continue(
    served: Served,
) -> None:
    first = b'{"query": "{ slow(seconds: 0.2) }"}'
    second = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY)
    async with dialled(served) as (reader, writer):
        writer.write(HEAD + with_length(first) + second)
        await until(lambda: served.world.started)
        (protocol,) = served.server.server_state.connections
        protocol.loop.call_soon_threadsafe(protocol.shutdown)
        await reader.readuntil(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.write(BODY)
        assert (await whole(reader)).endswith(ANSWER)


@pytest.mark.parametrize(
    "options",
    [("--expect100-timeout", "30", "-H", "Expect: 100-continue"), ("--http2",), ("--http1.0",)],
    ids=lambda options: options[0],
)
async def test_curl_is_served(served: Served, options: tuple[str, ...]) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("needs curl")
    body = BODY.decode() + " " * 100_000
    arguments = ("-sS", "-m", "20", "-H", "Content-Type: application/json", "-d", "@-", *options, served.url)
    process = await asyncio.create_subprocess_exec(curl, *arguments, stdin=PIPE, stdout=PIPE)
    output, _ = await process.communicate(body.encode())
    assert json.loads(output) == json.loads(ANSWER)


@pytest.mark.slow
async def test_javas_client_is_served(served: Served) -> None:
    java = shutil.which("java")
    if java is None:
        pytest.skip("needs Java")
    process = await asyncio.create_subprocess_exec(
        java, Path(__file__).parent / "java" / "Client.java", served.url, stdout=PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().splitlines() == ["200 " + ANSWER.decode()] * 4
    await until(lambda: not served.server.server_state.tasks)
