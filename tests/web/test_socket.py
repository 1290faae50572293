import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.web.conftest import Serve, Served, until

PROTOCOL = Subprotocol("graphql-transport-ws")


@asynccontextmanager
async def opened(served: Served, **options: Any) -> AsyncIterator[ClientConnection]:
    """A socket that has said nothing yet."""
    async with connect(served.socket_url, subprotocols=[PROTOCOL], **options) as socket:
        yield socket


@asynccontextmanager
async def connected(
    served: Served, payload: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[ClientConnection]:
    """A socket after its connection_ack."""
    async with opened(served, **options) as socket:
        await say(socket, type="connection_init", payload=payload)
        assert await hear(socket) == {"type": "connection_ack"}
        yield socket


async def say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def ask(socket: ClientConnection, identifier: str, query: str, **parameters: Any) -> None:
    await say(socket, id=identifier, type="subscribe", payload={"query": query, **parameters})


async def hear(socket: ClientConnection) -> Any:
    message = await socket.recv()
    assert isinstance(message, str), "browsers' clients read text frames only"
    return json.loads(message)


async def close_of(socket: ClientConnection) -> tuple[int, str]:
    with suppress(ConnectionClosed):
        while True:
            await socket.recv()
    assert socket.close_code is not None
    return socket.close_code, socket.close_reason or ""


async def test_a_subscription_sends_each_event_and_its_end(served: Served) -> None:
    async with connected(served) as socket:
        await ask(socket, "a", "subscription { count(to: 2) }")
        assert await hear(socket) == {"id": "a", "type": "next", "payload": {"data": {"count": "0"}}}
        assert await hear(socket) == {"id": "a", "type": "next", "payload": {"data": {"count": "1"}}}
        assert await hear(socket) == {"id": "a", "type": "complete"}


async def test_a_query_is_answered_once_and_completes(served: Served) -> None:
    async with connected(served) as socket:
        await ask(socket, 'a"b', "query ($n: String!) { hello(name: $n) }", variables={"n": "Ada"})
        assert await hear(socket) == {
            "id": 'a"b',
            "type": "next",
            "payload": {"data": {"hello": "hello Ada"}},
        }
        assert await hear(socket) == {"id": 'a"b', "type": "complete"}


async def test_operations_run_beside_each_other(served: Served) -> None:
    async with connected(served) as socket:
        await ask(socket, "slow", "{ slow(seconds: 0.2) }")
        await ask(socket, "fast", "{ hello }")
        assert [(await hear(socket))["id"] for _ in range(4)] == ["fast", "fast", "slow", "slow"]


async def test_an_identifier_is_free_again_after_its_operation(served: Served) -> None:
    async with connected(served) as socket:
        for _ in range(2):
            await ask(socket, "a", "{ hello }")
            assert [(await hear(socket))["type"] for _ in range(2)] == ["next", "complete"]


async def test_each_event_has_a_context_of_its_own(served: Served) -> None:
    async with connected(served) as socket:
        await ask(socket, "a", "subscription { contexts { number } }")
        numbers = [(await hear(socket))["payload"]["data"]["contexts"]["number"] for _ in range(3)]
    assert len(set(numbers)) == 3


async def test_a_refused_document_is_an_error_of_its_operation_alone(served: Served) -> None:
    async with connected(served) as socket:
        await ask(socket, "a", "{ nothing }")
        message = await hear(socket)
        assert (message["id"], message["type"]) == ("a", "error")
        assert message["payload"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        await ask(socket, "a", "{ hello }")
        assert (await hear(socket))["type"] == "next"


async def test_a_refused_subscription_is_an_error(served: Served) -> None:
    async with connected(served) as socket:
        await ask(socket, "a", "subscription { forbidden }")
        message = await hear(socket)
        assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "REFUSED")


@pytest.mark.parametrize(("kind", "code"), [("refused", "REFUSED"), ("broken", "INTERNAL_SERVER_ERROR")])
async def test_a_subscription_whose_source_fails_ends_in_an_error(
    served: Served, kind: str, code: str
) -> None:
    async with connected(served) as socket:
        await ask(socket, "a", f'subscription {{ failing(kind: "{kind}") }}')
        assert (await hear(socket))["type"] == "next"
        message = await hear(socket)
        assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", code)


async def test_a_client_ends_a_subscription_with_complete(served: Served) -> None:
    async with connected(served) as socket:
        await ask(socket, "a", "subscription { forever }")
        await hear(socket)
        await say(socket, id="a", type="complete")
        await until(lambda: served.world.closed)
        await ask(socket, "b", "{ hello }")
        while (message := await hear(socket))["id"] == "a":
            assert message["type"] == "next"  # sent before our complete arrived; never a complete
        assert message["id"] == "b"


async def test_a_complete_for_nothing_is_ignored(served: Served) -> None:
    async with connected(served) as socket:
        await say(socket, id="unknown", type="complete")
        await ask(socket, "a", "{ hello }")
        assert (await hear(socket))["type"] == "next"


async def test_a_hangup_ends_what_the_socket_had_under_way(served: Served) -> None:
    async with connected(served) as socket:
        await ask(socket, "a", "subscription { forever }")
        await ask(socket, "b", "{ slow }")
        await until(lambda: served.world.started == 2)
    await until(lambda: served.world.closed == 1 and served.world.cancelled == 1)


async def test_ping_is_answered_with_its_payload(served: Served) -> None:
    async with connected(served) as socket:
        await say(socket, type="ping", payload={"at": 1})
        assert await hear(socket) == {"type": "pong", "payload": {"at": 1}}


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


async def test_a_message_over_the_limit_closes_the_socket(served: Served) -> None:
    async with connected(served) as socket:
        await socket.send('{"type": "ping", "payload": "%s"}' % ("x" * 1024 * 1024))
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


async def test_a_flood_of_subscriptions_is_answered_one_by_one(served: Served) -> None:
    async with connected(served) as socket:
        for number in range(1000):
            await ask(socket, str(number), "subscription { forever(seconds: 60) }")
        kinds = [(await hear(socket))["type"] for _ in range(1000)]
        assert (kinds.count("next"), kinds.count("error")) == (100, 900)
    await until(lambda: served.world.closed == 100)


async def test_sockets_beyond_the_limit_are_refused_with_503(serve: Serve) -> None:
    served = serve(settings={"max_sockets": 1})
    async with connected(served):
        with pytest.raises(InvalidStatus) as refused:
            async with opened(served):
                pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["retry-after"] == "1"


async def test_a_closed_socket_makes_room(serve: Serve) -> None:
    served = serve(settings={"max_sockets": 1})
    for _ in range(3):
        async with connected(served):
            pass
        await until(lambda: not served.server.server_state.tasks)


async def test_another_subprotocol_is_not_acceptable(served: Served) -> None:
    async with connect(served.socket_url, subprotocols=[Subprotocol("graphql-ws")]) as socket:
        assert (await close_of(socket))[0] == 4406


async def test_a_page_of_another_origin_is_refused(served: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with opened(served, origin="https://evil.example"):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("origin", ["null", "http://[", "", "http://"])
async def test_an_odd_origin_is_refused(served: Served, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with opened(served, additional_headers={"Origin": origin}):
            pass
    assert refused.value.response.status_code == 403


async def test_our_own_page_may_connect(served: Served) -> None:
    async with connected(served, origin=f"http://{served.host}"):
        pass


async def test_an_allowed_origin_may_connect(serve: Serve) -> None:
    served = serve(allowed_origins=["https://app.example"])
    async with connected(served, origin="https://app.example"):
        pass


async def test_no_compression_is_agreed_on(served: Served) -> None:
    async with opened(served, compression="deflate") as socket:
        assert socket.response is not None
        assert "sec-websocket-extensions" not in socket.response.headers


@pytest.mark.parametrize(
    "payload",
    [
        {"Authorization": "Bearer ada"},
        {"authorization": "bearer ada"},
        {"AUTHORIZATION": "Bearer ada"},
        {"headers": {"Authorization": "Bearer ada"}},
        {"headers": {"authorization": "Bearer ada"}, "other": 1},
    ],
)
async def test_the_token_comes_with_init(served: Served, payload: dict[str, Any]) -> None:
    async with connected(served, payload) as socket:
        await ask(socket, "a", "{ whoami }")
        assert (await hear(socket))["payload"] == {"data": {"whoami": "ada"}}


async def test_the_token_may_come_with_the_handshake(served: Served) -> None:
    async with connected(served, additional_headers={"Authorization": "Bearer ada"}) as socket:
        await ask(socket, "a", "{ whoami }")
        assert (await hear(socket))["payload"] == {"data": {"whoami": "ada"}}


async def test_a_bad_token_is_forbidden(served: Served) -> None:
    async with opened(served) as socket:
        await say(socket, type="connection_init", payload={"Authorization": "Bearer forged"})
        assert (await close_of(socket))[0] == 4403


async def test_an_outage_at_init_asks_to_come_back(served: Served) -> None:
    served.world.down = True
    async with opened(served) as socket:
        await say(socket, type="connection_init", payload={"Authorization": "Bearer ada"})
        assert (await close_of(socket))[0] == 1013


async def test_the_socket_closes_when_the_token_expires(served: Served) -> None:
    served.world.expires_at = datetime.now(UTC) + timedelta(seconds=0.3)
    async with connected(served, {"Authorization": "Bearer ada"}) as socket:
        await ask(socket, "a", "subscription { forever }")
        assert await close_of(socket) == (4403, "the token has expired")
    assert served.world.closed == 1


async def test_the_socket_closes_when_the_token_is_revoked(serve: Serve) -> None:
    served = serve(settings={"identity_recheck": 0.05})
    async with connected(served, {"Authorization": "Bearer ada"}) as socket:
        await ask(socket, "a", "subscription { forever }")
        await hear(socket)
        served.world.revoked.add("ada")
        assert (await close_of(socket))[0] == 4403


async def test_an_outage_at_a_recheck_closes_nothing(serve: Serve) -> None:
    served = serve(settings={"identity_recheck": 0.02})
    async with connected(served, {"Authorization": "Bearer ada"}) as socket:
        served.world.down = True
        await ask(socket, "a", "subscription { forever(seconds: 0.02) }")
        for _ in range(10):
            assert (await hear(socket))["type"] == "next"


async def test_a_client_that_reads_nothing_holds_up_its_own_subscription_only(served: Served) -> None:
    async with connected(served, max_queue=1) as stalled, connected(served) as socket:
        await ask(stalled, "a", "subscription { count(to: 100000, size: 10000) }")
        await ask(socket, "a", "subscription { count(to: 3) }")
        assert [(await hear(socket))["type"] for _ in range(4)] == ["next", "next", "next", "complete"]
        assert served.world.closed == 1  # a gigabyte is not produced ahead of its reader
        stalled.transport.abort()


async def test_a_hangup_ends_a_source_that_never_waits(served: Served) -> None:
    async with connected(served, max_queue=1) as socket:
        await ask(socket, "a", "subscription { count(to: 1000000000, size: 1000) }")
        await hear(socket)
        socket.transport.abort()
    await until(lambda: served.world.closed)


async def test_a_client_that_reads_nothing_is_cut_off_in_the_end(serve: Serve) -> None:
    served = serve(settings={"send_timeout": 0.2})
    async with connected(served, max_queue=1, close_timeout=0) as stalled:
        await ask(stalled, "a", "subscription { count(to: 100000, size: 10000) }")
        await until(lambda: served.world.closed)
        stalled.transport.abort()


async def test_a_process_that_stops_closes_its_sockets_with_a_code_to_come_back_after(serve: Serve) -> None:
    served = serve(settings={"drain_time": 0.2})
    async with connected(served) as socket:
        await ask(socket, "a", "subscription { forever(seconds: 60) }")
        await hear(socket)
        served.stop()
        with pytest.raises(ConnectionClosed) as closed:
            await hear(socket)  # nothing else comes before: above all no complete
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012


async def test_a_process_that_stops_spreads_the_closing(serve: Serve) -> None:
    served = serve(settings={"drain_time": 1.0})
    sockets = [await connect(served.socket_url, subprotocols=[PROTOCOL]) for _ in range(20)]
    ends = [asyncio.create_task(socket.wait_closed()) for socket in sockets]
    served.stop()
    _, open_still = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    assert open_still
    await asyncio.wait(ends)
    assert {socket.close_code for socket in sockets} == {1012}
