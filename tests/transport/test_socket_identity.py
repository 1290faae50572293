from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from graphql_api.identity.viewer import CLOCK_SKEW
from tests.transport.conftest import Serve, Served, until
from tests.transport.sockets import ask, close_of, connected, hear, opened, say


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
    served.world.expires_at = datetime.now(UTC) - CLOCK_SKEW + timedelta(seconds=1.5)
    async with connected(served, {"Authorization": "Bearer ada"}) as socket:
        await ask(socket, "a", "subscription { forever }")
        code, reason = await close_of(socket)
        assert (code, reason[:21]) == (4403, "the token has expired")
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


async def test_a_subscription_ends_when_its_viewer_loses_the_right_to_it(serve: Serve) -> None:
    served = serve(settings={"identity_recheck": 0.05})
    async with connected(served, {"Authorization": "Bearer ada"}) as socket:
        await ask(socket, "guarded", "subscription { guarded }")
        await ask(socket, "open", "subscription { forever(seconds: 3600) }")
        assert [(await hear(socket))["type"] for _ in range(2)] == ["next", "next"]
        served.world.forbidden.add("ada")
        message = await hear(socket)
        assert (message["id"], message["type"]) == ("guarded", "error")
        assert message["payload"][0]["extensions"]["code"] == "REFUSED"
        await until(lambda: served.world.closed)
        await ask(socket, "guarded", "{ whoami }")  # its name is free again
        assert (await hear(socket))["payload"] == {"data": {"whoami": "ada"}}
