import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.transport.conftest import Serve, Served, until
from tests.transport.sockets import close_of, connected, opened


async def test_sockets_beyond_the_limit_are_closed_with_a_code_to_come_back_after(serve: Serve) -> None:
    served = serve(settings={"max_sockets": 1})
    async with connected(served), opened(served) as socket:
        assert await close_of(socket) == (1013, "too many connections are open: try again")


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
