import asyncio
import gc
import re
import socket
import sys
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, suppress
from functools import partial

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from graphql_api.transport import uvicorn_protocols
from graphql_api.transport.graphql_transport_ws import Heartbeats
from graphql_api.transport.uvicorn_protocols import (
    MAX_AHEAD,
    HeldBytes,
    HTTPProtocol,
    ResponseTransport,
    Timer,
)
from tests.transport.conftest import Serve, Served, until
from tests.transport.raw import ANSWER, BODY, HANDSHAKE, HEAD, REQUEST, dialled, status, whole


async def test_several_requests_share_a_connection(served: Served) -> None:
    async with dialled(served) as (reader, writer):
        for _ in range(3):
            writer.write(REQUEST)
            assert (await reader.readuntil(ANSWER)).startswith(b"HTTP/1.1 200")


async def test_requests_sent_ahead_are_answered_in_order(served: Served) -> None:
    async with dialled(served) as (reader, writer):
        writer.write(REQUEST * 5)
        for _ in range(5):
            assert (await reader.readuntil(ANSWER)).startswith(b"HTTP/1.1 200")


async def test_a_client_that_says_nothing_is_let_go(serve: Serve) -> None:
    async with dialled(serve(settings={"receive_timeout": 0.1})) as (reader, _):
        assert await whole(reader) == b""


async def test_a_head_that_drips_is_ended(serve: Serve) -> None:
    async with dialled(serve(settings={"receive_timeout": 0.3})) as (reader, writer):
        answer = asyncio.create_task(status(reader))
        writer.write(HEAD + b"X: ")
        while not answer.done():
            writer.write(b"a")
            await asyncio.sleep(0.05)
        assert answer.result() == 408


async def test_a_body_that_stops_half_way_is_ended(serve: Serve) -> None:
    async with dialled(serve(settings={"receive_timeout": 0.5})) as (reader, writer):
        writer.write(REQUEST[:-5])
        assert (await whole(reader)).startswith(b"HTTP/1.1 408")


async def test_the_time_to_send_begins_anew_with_each_request(serve: Serve) -> None:
    async with dialled(serve(settings={"receive_timeout": 1.5})) as (reader, writer):
        for _ in range(4):
            writer.write(REQUEST)
            await reader.readuntil(ANSWER)
            await asyncio.sleep(0.5)


async def test_an_answer_may_take_longer_than_the_request(serve: Serve) -> None:
    body = b'{"query": "{ slow(seconds: 1.0) }"}'
    async with dialled(serve(settings={"receive_timeout": 0.5})) as (reader, writer):
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await reader.readuntil(b'{"data":{"slow":"done"}}')


async def test_an_idle_connection_that_sends_empty_lines_is_let_go(serve: Serve) -> None:
    async with dialled(serve(settings={"receive_timeout": 0.5})) as (reader, writer):
        writer.write(REQUEST)
        await reader.readuntil(ANSWER)
        writer.write(b"\r\n")
        assert await whole(reader) == b""


async def test_a_response_has_the_bytes_that_uvicorns_own_would_write(serve: Serve) -> None:
    answers = []
    for stock_protocols in (False, True):
        async with dialled(serve(stock_protocols=stock_protocols)) as (reader, writer):
            for request in (REQUEST, REQUEST.replace(b"Host", b"Connection: close\r\nHost")):
                writer.write(request)
                answer = await reader.readuntil(ANSWER)
                answers.append(re.sub(rb"date: .*?\r\n", b"", answer))
            assert await whole(reader) == b""
    assert answers[:2] == answers[2:]


async def test_answered_requests_are_not_left_to_the_garbage_collector(served: Served) -> None:
    def count() -> int:
        return sum(isinstance(each, RequestResponseCycle) for each in gc.get_objects())

    async with dialled(served) as (reader, writer):
        gc.collect()
        gc.disable()
        try:
            before = count()
            for _ in range(20):
                writer.write(REQUEST)
                await reader.readuntil(ANSWER)
            assert count() <= before + 2
        finally:
            gc.enable()


@pytest.mark.parametrize("sent", [REQUEST[:-5], REQUEST[:20]], ids=["half a body", "half a head"])
async def test_a_request_that_stops_half_way_behind_another_is_ended(serve: Serve, sent: bytes) -> None:
    body = b'{"query": "{ slow(seconds: 1.0) }"}'
    async with dialled(serve(settings={"receive_timeout": 0.5})) as (reader, writer):
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body + sent)
        await reader.readuntil(b'{"data":{"slow":"done"}}')
        assert (await whole(reader)).startswith(b"HTTP/1.1 408")


async def test_a_body_refused_before_its_end_is_let_go_too(serve: Serve) -> None:
    async with dialled(serve(settings={"receive_timeout": 0.5})) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 10000000\r\n\r\n" + b" " * 1000)
        assert (await whole(reader)).startswith(b"HTTP/1.1 413")


async def test_a_refused_body_does_not_spoil_the_next_request(served: Served) -> None:
    size = 2 * 1024 * 1024
    async with dialled(served) as (reader, writer):
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % size + b" " * size)
        assert await status(reader) == 413
        writer.write(REQUEST)
        await reader.readuntil(ANSWER)


@pytest.mark.parametrize(
    "head",
    [
        b"POST /graphql HTTP/1.1\r\n"
        + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 100) for n in range(400))
        + b"\r\n",
        b"POST /graphql HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nX: " + b"a" * 40_000,
        b"GET /graphql?" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /graphql?" + b"a" * 40_000,
    ],
    ids=["many headers", "a long header", "an endless header", "a long line", "an endless line"],
)
async def test_a_head_over_the_limit_is_refused(served: Served, head: bytes) -> None:
    async with dialled(served) as (reader, writer):
        for start in range(0, len(head), 10_000):
            writer.write(head[start : start + 10_000])
            await asyncio.sleep(0)
        assert await status(reader) == 431


async def test_trailers_over_the_limit_are_refused(served: Served) -> None:
    chunk = b"%x\r\n%b\r\n" % (len(BODY), BODY)
    async with dialled(served) as (reader, writer):
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n")
        writer.write(b"".join(b"X-%d: %s\r\n" % (n, b"a" * 100) for n in range(400)))
        assert await status(reader) == 431


async def test_what_is_no_http_is_refused(served: Served) -> None:
    async with dialled(served) as (reader, writer):
        writer.write(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        assert await status(reader) == 400


async def test_a_client_that_does_not_read_its_answer_is_cut_off(serve: Serve) -> None:
    served = serve(settings={"send_timeout": 0.2})
    body = b'{"query": "{ text(size: 50000000) }"}'
    async with dialled(served) as (reader, writer):
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert await status(reader) == 200
        await until(lambda: not served.server.server_state.connections)


async def test_a_process_that_stops_answers_what_is_under_way(serve: Serve) -> None:
    served = serve()
    body = b'{"query": "mutation { write(seconds: 0.3) }"}'
    async with dialled(served) as (reader, writer):
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await until(lambda: served.world.started)
        served.stop()
        answer = await whole(reader)
    assert answer.endswith(b'{"data":{"write":1}}')
    assert b"connection: close" in answer


async def test_a_process_that_stops_answers_what_was_on_its_way(serve: Serve) -> None:
    served = serve()
    async with dialled(served) as (reader, writer):
        writer.write(REQUEST)
        await reader.readuntil(ANSWER)
        served.stop()
        await until(lambda: not served.server.servers[0].is_serving())
        writer.write(REQUEST)
        answer = await whole(reader)
    assert answer.endswith(ANSWER)
    assert b"connection: close" in answer


async def test_a_process_that_stops_waits_for_no_client_that_says_nothing(serve: Serve) -> None:
    served = serve()
    async with dialled(served) as (reader, writer):
        writer.write(REQUEST)
        await reader.readuntil(ANSWER)
        served.stop()
        assert await whole(reader) == b""


async def test_a_process_that_must_stop_tells_whoever_still_waits(serve: Serve) -> None:
    served = serve(settings={"shutdown_timeout": 1})
    body = b'{"query": "{ slow }"}'
    async with dialled(served) as (reader, writer):
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await until(lambda: served.world.started)
        served.stop()
        answer = await whole(reader)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in answer


async def test_beyond_the_limit_the_connection_is_closed_that_has_been_idle_for_longest(
    serve: Serve,
) -> None:
    served = serve(settings={"max_connections": 2})
    async with dialled(served) as (first, _), dialled(served) as (second, writer):
        writer.write(REQUEST)
        await second.readuntil(ANSWER)
        async with dialled(served) as (third, another):
            assert await whole(first) == b""
            another.write(REQUEST)
            await third.readuntil(ANSWER)
            writer.write(REQUEST)
            await second.readuntil(ANSWER)


async def test_beyond_the_limit_none_is_closed_that_waits_for_an_answer(serve: Serve) -> None:
    served = serve(settings={"max_connections": 1})
    body = b'{"query": "{ slow(seconds: 2) }"}'
    async with dialled(served) as (reader, writer):
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await until(lambda: served.world.started)
        async with dialled(served) as (other, _):
            assert await whole(other) == b""
        assert await status(reader) == 200


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others have one loopback address")
async def test_the_address_that_has_most_idle_connections_makes_room(serve: Serve) -> None:
    served = serve(settings={"max_connections": 4})
    async with AsyncExitStack() as stack:
        mine, writer = await stack.enter_async_context(dialled(served))
        writer.write(REQUEST)
        await mine.readuntil(ANSWER)
        others = [await stack.enter_async_context(dialled(served, "127.0.0.2")) for _ in range(5)]
        assert await whole(others[0][0]) == await whole(others[1][0]) == b""
        writer.write(REQUEST)
        await mine.readuntil(ANSWER)


TINY = b"GET /healthz HTTP/1.1\r\n\r\n"


async def test_requests_that_come_at_once_are_parsed_as_they_are_answered(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[int] = []
    complete = HTTPProtocol.on_response_complete

    def noting(self: HTTPProtocol) -> None:
        waiting.append(len(self.pipeline))
        complete(self)

    monkeypatch.setattr(HTTPProtocol, "on_response_complete", noting)
    async with dialled(served) as (reader, writer):
        writer.write(TINY * 8_000 + REQUEST)
        for _ in range(8_000):
            assert await reader.readuntil(b'{"status":"ok"}')
        assert await reader.readuntil(ANSWER)
    assert max(waiting) <= MAX_AHEAD + 4_096 // len(TINY)


@pytest.mark.parametrize("size", [700, 3_000, 5_000])
async def test_requests_that_drip_in_are_parsed_as_they_are_answered_too(served: Served, size: int) -> None:
    async with dialled(served) as (reader, writer):
        answers = asyncio.create_task(answered(reader, 1_000))
        sent = TINY * 1_000
        for start in range(0, len(sent), size):
            writer.write(sent[start : start + size])
            await asyncio.sleep(0)
        await answers


async def answered(reader: asyncio.StreamReader, times: int) -> None:
    for _ in range(times):
        await reader.readuntil(b'{"status":"ok"}')


async def test_a_body_in_chunks_of_a_byte_is_taken_whole(served: Served) -> None:
    body = BODY + b" " * 50_000
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    async with dialled(served) as (reader, writer):
        for _ in range(2):
            writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
            assert (await reader.readuntil(ANSWER)).startswith(b"HTTP/1.1 200")


async def test_a_long_body_behind_requests_waits_for_their_answers(served: Served) -> None:
    body = BODY + b" " * 500_000
    long = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with dialled(served) as (reader, writer):
        writer.write(TINY * 50 + long + TINY)
        await answered(reader, 50)
        assert await reader.readuntil(ANSWER)
        await answered(reader, 1)


def holds(held: HeldBytes, least: int) -> bool:
    return held.size >= least


async def test_those_who_send_slowest_are_cut_off_when_too_much_is_half_sent(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_protocols, "MAX_UNFINISHED", 250_000)
    served = serve()
    body = BODY + b" " * 100_000
    head, begun, rest = HEAD + b"Content-Length: %d\r\n\r\n" % len(body), body[:90_000], body[90_000:]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(dialled(served)) for _ in range(3)]
        held = served.server.config.unfinished  # type: ignore[attr-defined]
        for number, (_, writer) in enumerate(clients):
            writer.write(head + begun)
            await until(partial(holds, held, 90_000 * min(number + 1, 2)))
        with suppress(ConnectionError):
            assert await whole(clients[0][0]) == b""
        for reader, writer in clients[1:]:
            writer.write(rest)
            assert (await reader.readuntil(ANSWER)).startswith(b"HTTP/1.1 200")
        await until(lambda: held.size == 0)


@pytest.mark.parametrize("fragments", [1, 9])
async def test_messages_that_are_half_sent_count_too(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, fragments: int
) -> None:
    monkeypatch.setattr(uvicorn_protocols, "MAX_UNFINISHED", 250_000)
    served = serve()
    part = b"x" * (90_000 // fragments)
    frame = b"\xff" + len(part).to_bytes(8, "big") + bytes(4) + part
    begun = b"\x01" + frame + (b"\x00" + frame) * (fragments - 1) + b"\x80\xff" + (1000).to_bytes(8, "big")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(dialled(served)) for _ in range(3)]
        held = served.server.config.unfinished  # type: ignore[attr-defined]
        for number, (reader, writer) in enumerate(clients):
            await initialise(reader, writer)
            writer.write(begun)
            await until(partial(holds, held, 90_000 * min(number + 1, 2)))
        with suppress(ConnectionError):
            assert b"error" not in await whole(clients[0][0])
        clients[1][1].write(bytes(4) + b"x" * 1000)
        assert (4400).to_bytes(2, "big") in await whole(clients[1][0])  # it is no JSON
        await until(lambda: 90_000 <= held.size < 180_000)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\x81\x02{}", 1002),
        (b"\xc1\x82\0\0\0\0{}", 1002),
        (b"\x80\x80\0\0\0\0", 1002),
        (b"\x81\xff" + b"\xff" * 8, 1009),
        (b"\x81\xff\0\0\0\0\xff\xff\xff\xff", 1009),
        (
            b"\x01\xfe\xff\xff\0\0\0\0"
            + b"a" * 65535
            + (b"\x00\xfe\xff\xff\0\0\0\0" + b"a" * 65535) * 15
            + b"\x00\xfe\xff\xff\0\0\0\0",
            1009,
        ),
    ],
    ids=[
        "unknown opcode",
        "not masked",
        "compressed",
        "loose end",
        "absurd length",
        "too long",
        "too long in parts",
    ],
)
async def test_a_malformed_frame_closes_the_socket(served: Served, frame: bytes, code: int) -> None:
    async with dialled(served) as (reader, writer):
        writer.write(HANDSHAKE + b"\r\n")
        assert await status(reader) == 101
        await reader.readuntil(b"\r\n\r\n")
        writer.write(frame)
        answer = await whole(reader)
    assert answer[0] == 0x88  # a close frame
    assert int.from_bytes(answer[2:4], "big") == code


HEAD_OF_TWO = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Wire:
    """A response's transport, and what has come out at the other end."""

    def __init__(self, response: ResponseTransport, peer: socket.socket) -> None:
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
    yield Wire(ResponseTransport(transport), theirs)
    transport.abort()
    theirs.close()


async def test_a_head_waits_for_its_body(wire: Wire) -> None:
    wire.response.write(HEAD_OF_TWO)
    assert wire.read() == b""
    wire.response.write(b"{}")
    assert wire.read() == HEAD_OF_TWO + b"{}"


async def test_what_follows_goes_out_at_once(wire: Wire) -> None:
    wire.response.write(HEAD_OF_TWO)
    wire.response.write(b"{")
    wire.read()
    wire.response.write(b"}")
    assert wire.read() == b"}"


async def test_a_head_without_a_body_goes_out_with_its_end(wire: Wire) -> None:
    wire.response.write(HEAD_OF_TWO)
    wire.response.write(b"")
    assert wire.read() == HEAD_OF_TWO


async def test_a_head_goes_out_before_the_connection_closes(wire: Wire) -> None:
    wire.response.write(HEAD_OF_TWO)
    wire.response.close()
    await asyncio.sleep(0)
    assert wire.read() == HEAD_OF_TWO


async def test_the_head_of_a_stream_does_not_wait_for_its_first_event(wire: Wire) -> None:
    wire.response.write(STREAM)
    assert wire.read() == STREAM
    wire.response.write(b"an event")
    assert wire.read() == b"an event"


async def test_a_timer_that_is_started_again_counts_from_then() -> None:
    loop, fired = asyncio.get_running_loop(), asyncio.Event()
    timer = Timer(0.1, fired.set)
    timer.start()
    timer.stop()
    await asyncio.sleep(0.05)
    began = loop.time()
    timer.start()
    await fired.wait()
    assert loop.time() - began > 0.09


async def test_a_timer_that_is_stopped_calls_nobody() -> None:
    fired = asyncio.Event()
    timer = Timer(0.01, fired.set)
    timer.start()
    timer.stop()
    await asyncio.sleep(0.05)
    assert not fired.is_set()


async def test_a_timer_that_is_cancelled_lets_go_of_what_it_would_call() -> None:
    fired = asyncio.Event()
    timer = Timer(60.0, fired.set)
    dead = weakref.ref(fired)
    timer.start()
    timer.cancel()
    del timer, fired
    gc.collect()
    assert dead() is None


Dialled = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def masked(opcode: int, payload: bytes = b"") -> bytes:
    """A frame of a client, of less than 126 bytes, under a mask of zeros."""
    return bytes((opcode, 0x80 | len(payload))) + bytes(4) + payload


@pytest.fixture
async def upgraded(served: Served) -> AsyncIterator[Dialled]:
    async with dialled(served) as (reader, writer):
        await initialise(reader, writer)
        yield reader, writer


async def initialise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Opens a socket, to its connection_ack."""
    writer.write(HANDSHAKE + b"\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.write(masked(0x81, b'{"type": "connection_init"}'))
    await reader.readuntil(b'"connection_ack"}')


@pytest.mark.parametrize(
    ("frame", "answer"),
    [(masked(0x89), b"\x8a\x00"), (masked(0x81, b'{"type":"ping"}'), b'\x81\x0f{"type":"pong"}')],
    ids=["control frames", "messages"],
)
async def test_frames_that_come_at_once_are_answered_in_turns(
    served: Served, upgraded: Dialled, frame: bytes, answer: bytes
) -> None:
    reader, writer = upgraded
    scheduler = served.server.config.scheduler  # type: ignore[attr-defined]
    before = scheduler.pauses
    writer.write(frame * 5_000)
    assert await reader.readexactly(len(answer) * 5_000) == answer * 5_000
    assert scheduler.pauses - before >= len(frame) * 5_000 / 4_096 - 1


async def test_a_long_message_comes_whole_through_its_turns(upgraded: Dialled) -> None:
    reader, writer = upgraded
    text = b'{"type":"ping","payload":{"x":"' + b"y" * 500_000 + b'"}}'
    writer.write(b"\x81\xff" + len(text).to_bytes(8, "big") + bytes(4) + text)
    answer = await reader.readexactly(10 + len(text))
    assert answer.endswith(text.replace(b"ping", b"pong"))


TEXT_PING, PING = b'\x81\x0f{"type":"ping"}', b"\x89\x00"


async def test_a_client_that_answers_heartbeats_itself_gets_one_ping(serve: Serve) -> None:
    async with dialled(serve(settings={"heartbeat": 0.2})) as (reader, writer):
        await initialise(reader, writer)
        assert await reader.readexactly(19) == TEXT_PING + PING
        for answer in (masked(0x8A), masked(0x81, b'{"type":"pong"}')):
            writer.write(answer)
            assert await reader.readexactly(17) == TEXT_PING
            if answer == masked(0x8A):  # its library has answered
                assert await reader.readexactly(2) == PING
        writer.write(masked(0x81, b'{"type":"pong"}'))
        assert await reader.readexactly(17) == TEXT_PING
        close = await reader.read(100)
        assert (close[0], int.from_bytes(close[2:4], "big")) == (0x88, 4408)


async def test_one_timer_calls_all_within_their_interval() -> None:
    beats, heartbeats = Counter[int](), Heartbeats(0.5)
    with ExitStack() as stack:
        for number in range(100):
            stack.enter_context(heartbeats.calling(partial(beats.update, (number,))))
        await until(lambda: len(beats) == 100)
        timers = [each for each in vars(heartbeats).values() if isinstance(each, asyncio.TimerHandle)]
        assert len(timers) == 1
        assert max(beats.values()) - min(beats.values()) <= 1
    await until(lambda: heartbeats.is_idle)


async def test_a_message_of_endless_fragments_ends_the_socket(upgraded: Dialled) -> None:
    reader, writer = upgraded
    writer.write(masked(0x01) + masked(0x00) * 100_000)
    assert (1009).to_bytes(2, "big") in await whole(reader)
