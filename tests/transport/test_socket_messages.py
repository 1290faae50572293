import asyncio
import json
from typing import Any

import pytest

from tests.transport.conftest import Serve, Served, until
from tests.transport.sockets import ask, close_of, connected, hear, opened, say


async def test_ping_is_answered_with_its_payload(served: Served) -> None:
    async with connected(served) as socket:
        await say(socket, type="ping", payload={"at": 1})
        assert await hear(socket) == {"type": "pong", "payload": {"at": 1}}


async def test_a_payload_of_many_levels_comes_back_whole(served: Served) -> None:
    payload: list[Any] = []
    for _ in range(198):
        payload = [payload]
    async with connected(served) as socket:
        await say(socket, type="ping", payload=payload)
        assert await hear(socket) == {"type": "pong", "payload": payload}


@pytest.mark.parametrize("number", [1732800000.125, 1e300, -(10**30), 2**64, 2**64 - 1])
async def test_numbers_of_a_ping_come_back_as_they_were(served: Served, number: float) -> None:
    async with connected(served) as socket:
        await say(socket, type="ping", payload={"at": [number, 0.5]})
        assert await hear(socket) == {"type": "pong", "payload": {"at": [number, 0.5]}}


async def test_ping_is_answered_before_init_too(served: Served) -> None:
    async with opened(served) as socket:
        await say(socket, type="ping")
        assert await hear(socket) == {"type": "pong"}


async def test_heartbeats_are_sent(serve: Serve) -> None:
    async with connected(serve(settings={"heartbeat": 0.05})) as socket:
        assert await hear(socket) == {"type": "ping"}
        await say(socket, type="pong")
        assert await hear(socket) == {"type": "ping"}


async def test_silence_ends_at_the_init_timeout(serve: Serve) -> None:
    async with opened(serve(settings={"socket_init_timeout": 0.05})) as socket:
        assert await close_of(socket) == (4408, "Connection initialisation timeout")


async def test_talk_without_init_ends_at_the_init_timeout(serve: Serve) -> None:
    async with opened(serve(settings={"socket_init_timeout": 0.2})) as socket:

        async def keep_talking() -> None:
            while True:
                await say(socket, type="ping")
                await asyncio.sleep(0.02)

        talking = asyncio.create_task(keep_talking())
        assert (await close_of(socket))[0] == 4408
        talking.cancel()


async def test_a_second_init_is_too_many(served: Served) -> None:
    async with connected(served) as socket:
        await say(socket, type="connection_init")
        assert (await close_of(socket))[0] == 4429


async def test_a_flood_of_inits_is_cut_off(served: Served) -> None:
    async with opened(served) as socket:
        for _ in range(1000):
            await say(socket, type="connection_init")
        assert (await close_of(socket))[0] == 4429


async def test_subscribing_before_init_is_unauthorised(served: Served) -> None:
    async with opened(served) as socket:
        await ask(socket, "a", "{ hello }")
        assert await close_of(socket) == (4401, "Unauthorized")


async def test_an_identifier_in_use_closes_the_socket(served: Served) -> None:
    async with connected(served) as socket:
        await ask(socket, "a", "subscription { forever }")
        await ask(socket, "a", "{ hello }")
        assert await close_of(socket) == (4409, "Subscriber for a already exists")


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "no json",
        "[]",
        "null",
        "1",
        '"ping"',
        "{}",
        '{"type": 1}',
        '{"type": "start"}',
        '{"type": "subscribe"}',
        '{"type": "subscribe", "id": 1, "payload": {"query": "{ hello }"}}',
        '{"type": "subscribe", "id": "", "payload": {"query": "{ hello }"}}',
        '{"type": "subscribe", "id": "%s", "payload": {"query": "{ hello }"}}' % ("a" * 300),
        '{"type": "subscribe", "id": "a"}',
        '{"type": "subscribe", "id": "a", "payload": []}',
        '{"type": "subscribe", "id": "a", "payload": {"query": 1}}',
        '{"type": "subscribe", "id": "a", "payload": {"query": "{ hello }", "variables": []}}',
        '{"type": "complete"}',
        '{"type": "ping", "payload": NaN}',
        '{"type": "ping", "payload": %s}' % ("[" * 100_000),
        '{"type": "ping", "payload": %s}' % ("[" * 200 + "]" * 200),
        '{"type": "subscribe", "id": "a", "payload": {"query": "{ hello }", "extensions": {"a": %s}}}'
        % ("[" * 250 + "]" * 250),
        '{"type": "ping", "payload": "\\ud800"}',
        '{"type": "ping", "payload": "\\u0000"}',
        b'{"type": "ping"}',
    ],
    ids=lambda frame: repr(frame[:60]),
)
async def test_a_bad_message_closes_the_socket(served: Served, frame: str | bytes) -> None:
    async with connected(served) as socket:
        await socket.send(frame)
        assert (await close_of(socket))[0] == 4400


@pytest.mark.parametrize("frame", ["[]", '{"type": "connection_init", "payload": 1}', b"\x00"])
async def test_a_bad_first_message_closes_the_socket(served: Served, frame: str | bytes) -> None:
    async with opened(served) as socket:
        await socket.send(frame)
        assert (await close_of(socket))[0] == 4400


async def test_a_message_over_the_limit_closes_the_socket(serve: Serve) -> None:
    async with connected(serve(settings={"max_message_size": 1000})) as socket:
        await say(socket, type="ping", payload={"text": "x" * 1000})
        assert (await close_of(socket))[0] == 1009


async def test_text_that_is_not_utf_8_closes_the_socket(served: Served) -> None:
    async with connected(served) as socket:
        await socket.send(b'{"type": "\xff"}', text=True)
        assert (await close_of(socket))[0] == 1007


async def test_operations_beyond_the_limit_are_refused_one_by_one(serve: Serve) -> None:
    async with connected(serve(settings={"max_socket_subscriptions": 2})) as socket:
        for identifier in ("a", "b"):
            await ask(socket, identifier, "subscription { forever(seconds: 60) }")
            assert (await hear(socket))["id"] == identifier
        await ask(socket, "c", "{ hello }")
        message = await hear(socket)
        assert (message["id"], message["type"]) == ("c", "error")
        await say(socket, id="a", type="complete")
        await ask(socket, "d", "{ hello }")
        assert (await hear(socket))["id"] == "d"


async def test_operations_given_up_before_they_began_leave_room_for_others(serve: Serve) -> None:
    async with connected(serve(settings={"max_socket_subscriptions": 2})) as socket:
        for identifier in ("a", "b", "c"):
            begin = {"id": identifier, "type": "subscribe", "payload": {"query": "subscription { forever }"}}
            # In one segment, so that the server reads both before it runs anything.
            socket.protocol.send_text(json.dumps(begin).encode())
            socket.protocol.send_text(json.dumps({"id": identifier, "type": "complete"}).encode())
            socket.transport.write(b"".join(socket.protocol.data_to_send()))
            await (await socket.ping())
        await ask(socket, "d", "{ hello }")
        assert (await hear(socket))["type"] == "next"


async def test_a_flood_of_subscriptions_is_answered_one_by_one(served: Served) -> None:
    async with connected(served) as socket:
        for number in range(1000):
            await ask(socket, str(number), "subscription { forever(seconds: 60) }")
        kinds = [(await hear(socket))["type"] for _ in range(1000)]
        assert (kinds.count("next"), kinds.count("error")) == (100, 900)
    await until(lambda: served.world.closed == 100)
