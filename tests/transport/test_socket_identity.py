import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from graphql_api.identity.viewer import CLOCK_SKEW
from graphql_api.relational.scalars import parse_datetime
from graphql_api.transport.graphql_transport_ws import EXPIRY_NOTICE
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
    await until(lambda: served.world.closed == 1)


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


ADA = {"Authorization": "Bearer ada"}
EXPIRED = -CLOCK_SKEW + timedelta(seconds=2.5)
"""Added to now: a token that stops counting in a moment."""


def expire_in(served: Served, wait: timedelta) -> datetime:
    served.world.expires_at = datetime.now(UTC) + wait
    return served.world.expires_at


async def test_a_ping_with_a_newer_token_keeps_the_socket(served: Served) -> None:
    first_end = expire_in(served, EXPIRED) + CLOCK_SKEW
    async with connected(served, ADA) as socket:
        expires_at = expire_in(served, timedelta(hours=1))
        await say(socket, type="ping", payload={"Authorization": "Bearer ada#2"})
        answer = await hear(socket)
        assert answer["type"] == "pong"
        assert parse_datetime(answer["payload"]["tokenExpiresAt"]) == expires_at
        await ask(socket, "a", "subscription { forever }")
        while datetime.now(UTC) < first_end + timedelta(seconds=0.2):
            assert (await hear(socket))["type"] == "next"


async def test_what_the_newer_token_loses_ends_the_socket(serve: Serve) -> None:
    served = serve(settings={"identity_recheck": 0.05})
    async with connected(served, ADA) as socket:
        await say(socket, type="ping", payload={"headers": {"authorization": "bearer ada#2"}})
        assert (await hear(socket))["payload"] == {"tokenExpiresAt": None}
        served.world.revoked.add("ada#2")
        assert (await close_of(socket))[0] == 4403


async def test_a_revoked_token_that_was_replaced_ends_nothing(serve: Serve) -> None:
    served = serve(settings={"identity_recheck": 0.02})
    async with connected(served, ADA) as socket:
        await say(socket, type="ping", payload={"Authorization": "Bearer ada#2"})
        await hear(socket)
        served.world.revoked.add("ada")
        await ask(socket, "a", "subscription { forever(seconds: 0.02) }")
        for _ in range(10):
            assert (await hear(socket))["type"] == "next"


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("Bearer forged", "the token is not valid"),
        ("Basic ada", "must be Bearer"),
        ("Bearer bob", "must be of the user"),
    ],
)
async def test_a_token_that_cannot_replace_the_former_changes_nothing(
    served: Served, token: str, says: str
) -> None:
    async with connected(served, ADA) as socket:
        await say(socket, type="ping", payload={"Authorization": token})
        [error] = (await hear(socket))["payload"]["errors"]
        assert error["extensions"]["code"] == "UNAUTHENTICATED"
        assert says in error["message"]
        await ask(socket, "a", "{ whoami }")
        assert (await hear(socket))["payload"] == {"data": {"whoami": "ada"}}


async def test_a_service_is_not_followed_by_another(served: Served) -> None:
    async with connected(served, {"Authorization": "Bearer service a"}) as socket:
        await say(socket, type="ping", payload={"Authorization": "Bearer service b"})
        [error] = (await hear(socket))["payload"]["errors"]
        assert "must be of the user" in error["message"]
        await say(socket, type="ping", payload={"Authorization": "Bearer service a"})
        assert (await hear(socket))["payload"] == {"tokenExpiresAt": None}


async def test_an_outage_at_a_renewal_asks_to_come_back(served: Served) -> None:
    async with connected(served, ADA) as socket:
        served.world.down = True
        await say(socket, type="ping", payload={"Authorization": "Bearer ada#2"})
        [error] = (await hear(socket))["payload"]["errors"]
        assert error["extensions"].items() >= {"code": "SERVICE_UNAVAILABLE", "retryAfter": 1}.items()


async def test_a_renewal_ends_what_the_newer_token_may_not_follow(served: Served) -> None:
    async with connected(served, ADA) as socket:
        await ask(socket, "guarded", "subscription { guarded }")
        assert (await hear(socket))["type"] == "next"
        served.world.forbidden.add("ada")
        await say(socket, type="ping", payload={"Authorization": "Bearer ada#2"})
        assert (await hear(socket))["type"] == "pong"
        assert (await hear(socket))["payload"][0]["extensions"]["code"] == "REFUSED"


async def test_a_mutation_on_the_socket_renews_its_token(served: Served) -> None:
    first_end = expire_in(served, EXPIRED) + CLOCK_SKEW
    async with connected(served, ADA) as socket:
        expire_in(served, timedelta(hours=1))
        await ask(socket, "renew", 'mutation { signIn(token: "ada#2") }')
        assert [(await hear(socket))["type"] for _ in range(2)] == ["next", "complete"]
        await ask(socket, "a", "subscription { forever }")
        while datetime.now(UTC) < first_end + timedelta(seconds=0.2):
            assert (await hear(socket))["type"] == "next"


async def test_another_users_login_on_the_socket_leaves_it_as_it_is(served: Served) -> None:
    async with connected(served, ADA) as socket:
        await ask(socket, "other", 'mutation { signIn(token: "bob") }')
        assert (await hear(socket))["payload"] == {"data": {"signIn": "bob"}}
        await hear(socket)
        await ask(socket, "a", "{ whoami }")
        assert (await hear(socket))["payload"] == {"data": {"whoami": "ada"}}


async def test_somebody_may_sign_in_on_an_open_socket(serve: Serve) -> None:
    served = serve(settings={"anonymous_socket_timeout": 1.0, "identity_recheck": 0.05})
    async with connected(served) as socket:
        await ask(socket, "in", 'mutation { signIn(token: "ada") }')
        assert [(await hear(socket))["type"] for _ in range(2)] == ["next", "complete"]
        await asyncio.sleep(1.2)  # for longer than nobody's socket lives
        await ask(socket, "a", "{ whoami }")
        assert (await hear(socket))["payload"] == {"data": {"whoami": "ada"}}
        await hear(socket)
        served.world.revoked.add("ada")
        assert (await close_of(socket))[0] == 4403


async def test_heartbeats_tell_of_a_token_that_is_about_to_expire(serve: Serve) -> None:
    served = serve(settings={"heartbeat": 0.05})
    expires_at = expire_in(served, EXPIRY_NOTICE - timedelta(seconds=1))
    async with connected(served, ADA) as socket:
        notice = await hear(socket)
        assert notice["type"] == "ping"
        assert parse_datetime(notice["payload"]["tokenExpiresAt"]) == expires_at
        expire_in(served, timedelta(hours=1))
        await say(socket, type="ping", payload={"Authorization": "Bearer ada#2"})
        while (await hear(socket))["type"] != "pong":
            pass
        assert await hear(socket) == {"type": "ping"}
