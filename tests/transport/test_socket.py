import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.transport.conftest import Serve, Served, until
from tests.transport.sockets import PROTOCOL, ask, connected, hear, say


async def test_a_subscription_sends_each_event_and_its_end(served: Served) -> None:
    async with connected(served) as socket:
        await ask(socket, "a", "subscription { count(to: 2) }")
        assert await hear(socket) == {"id": "a", "type": "next", "payload": {"data": {"count": "0"}}}
        assert await hear(socket) == {"id": "a", "type": "next", "payload": {"data": {"count": "1"}}}
        assert await hear(socket) == {"id": "a", "type": "complete"}


async def test_a_server_that_knows_no_frames_is_sent_messages(serve: Serve) -> None:
    async with connected(serve(stock_protocols=True)) as socket:
        await ask(socket, 'a"ü', "subscription { count(to: 2) }")
        assert [(await hear(socket)).get("payload") for _ in range(3)] == [
            {"data": {"count": "0"}},
            {"data": {"count": "1"}},
            None,
        ]


async def test_progress_is_a_ping_between_the_events(serve: Serve, served: Served) -> None:
    for server in (served, serve(stock_protocols=True)):
        async with connected(server) as socket:
            await ask(socket, "a", "subscription { resting }")
            first, progress, second = [await hear(socket) for _ in range(3)]
        assert progress == {"type": "ping", "payload": {"id": "a", "cursor": "there"}}
        assert [event["payload"]["data"]["resting"] for event in (first, second)] == [0, 1]


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


@pytest.mark.parametrize(
    "query", ["subscription ($n: Int) { count(to: $n) }", "query ($n: String) { hello(name: $n) }"]
)
async def test_what_only_execution_finds_wrong_has_a_code_too(served: Served, query: str) -> None:
    async with connected(served) as socket:
        await ask(socket, "a", query, variables={"n": None})
        message = await hear(socket)
        errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
        assert [error["extensions"]["code"] for error in errors] == ["BAD_USER_INPUT"]


async def test_an_answer_that_is_no_json_is_told_as_an_unexpected_error(served: Served) -> None:
    async with connected(served) as socket:
        await ask(socket, "a", "{ surrogate }")
        message = await hear(socket)
    assert message["payload"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"


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
