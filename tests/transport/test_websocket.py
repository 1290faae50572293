from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from graphql_api.transport.origins import Origins
from tests.transport.conftest import Serve, Served, until
from tests.transport.sockets import ask, close_of, connected, hear, opened, say


async def test_sockets_beyond_the_limit_are_closed_with_a_code_to_come_back_after(serve: Serve) -> None:
    served = serve(settings={"max_sockets": 1})
    async with connected(served), opened(served) as socket:
        assert await close_of(socket) == (1013, "too many connections are open: try again")


ADA = {"authorization": "Bearer ada"}
ELSEWHERE = {"X-Forwarded-For": "203.0.113.7"}


async def test_one_address_cannot_take_the_sockets_of_all_without_signing_in(serve: Serve) -> None:
    served = serve(settings={"max_sockets": 8})
    async with connected(served), opened(served):
        async with opened(served) as third:
            code, reason = await close_of(third)
            assert code == 1013
            assert reason == "too many connections of nobody signed in are open from your address"
        async with connected(served, ADA, additional_headers=ELSEWHERE):
            pass


async def test_who_has_signed_in_on_a_socket_makes_room_for_another(serve: Serve) -> None:
    served = serve(settings={"max_sockets": 8, "max_anonymous_sockets": 1})
    signed_in, nobody = connected(served, ADA), connected(served)
    async with signed_in, nobody, opened(served) as refused:
        assert (await close_of(refused))[0] == 1013


async def test_one_viewer_cannot_take_the_sockets_of_all(serve: Serve) -> None:
    served = serve(settings={"max_sockets": 8})
    async with AsyncExitStack() as open_ones:
        for _ in range(4):
            await open_ones.enter_async_context(connected(served, ADA))
        async with opened(served) as fifth:
            await say(fifth, type="connection_init", payload=ADA)
            assert await close_of(fifth) == (1013, "too many connections of yours are open")
        async with connected(served, {"authorization": "Bearer bob"}):
            pass


async def test_a_socket_that_nobody_uses_is_closed(serve: Serve) -> None:
    served = serve(settings={"anonymous_socket_timeout": 1.0})
    async with connected(served, ADA) as signed_in, connected(served) as used, connected(served) as idle:
        await ask(used, "1", "subscription { resting }")
        assert await close_of(idle) == (4401, "Nothing was run, and nobody has signed in")
        for socket in (signed_in, used):
            await ask(socket, "2", "{ hello }")
            assert (await hear(socket))["type"] == "next"


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
    served = serve(origins=Origins(["https://app.example"]))
    async with connected(served, origin="https://app.example"):
        pass


async def test_no_compression_is_agreed_on(served: Served) -> None:
    async with opened(served, compression="deflate") as socket:
        assert socket.response is not None
        assert "sec-websocket-extensions" not in socket.response.headers
