"""Getting a new token with a client that sends its old one with every request."""

import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.service.conftest import LOGIN, PASSWORD, Service
from tests.service.sockets import socket_of

pytestmark = pytest.mark.slow

RENEW = """
mutation ($token: String!) {
  refreshToken(refreshToken: $token) { accessToken viewer { user { email } } userErrors { code } }
}
"""
BAD = "not.a.token"


@pytest.fixture
async def refresh_token(service: Service) -> str:
    await service.user("trader@example.org")
    answer = await service.ask(LOGIN, {"email": "trader@example.org", "password": PASSWORD}, token=BAD)
    return str(answer.json()["data"]["login"]["refreshToken"])


async def test_a_token_that_has_ended_hinders_neither_login_nor_renewal(
    service: Service, refresh_token: str
) -> None:
    answer = (await service.ask(RENEW, {"token": refresh_token}, token=BAD)).json()["data"]["refreshToken"]

    assert answer["userErrors"] == []
    assert answer["viewer"]["user"]["email"] == "trader@example.org"


async def test_it_hinders_whatever_else_is_asked_along_with_them(service: Service) -> None:
    reset = 'resetRiskSettings(accountId: "7") { userErrors { code } }'
    both = f"mutation {{ logout {{ userErrors {{ code }} }} {reset} }}"
    for query in (both, "{ viewer { roles } }"):
        answer = await service.ask(query, token=BAD)
        assert answer.status_code == 401
        assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def say(socket: ClientConnection, **message: Any) -> Any:
    """Sends a message, and returns the payload of the next one that is no heartbeat."""
    await socket.send(json.dumps(message))
    while (answer := json.loads(await socket.recv()))["type"] in ("ping", "complete"):
        pass
    return answer.get("payload")


async def run(socket: ClientConnection, query: str, **variables: Any) -> Any:
    payload = {"query": query, "variables": variables}
    return (await say(socket, id="1", type="subscribe", payload=payload))["data"]


async def test_a_ping_renews_the_token_of_a_socket(service: Service) -> None:
    token = await service.user("trader@example.org")
    async with socket_of(service, token) as socket:
        login = (await service.ask(LOGIN, {"email": "trader@example.org", "password": PASSWORD})).json()
        newer = login["data"]["login"]

        answer = await say(socket, type="ping", payload={"Authorization": f"Bearer {newer['accessToken']}"})

        assert answer == {"tokenExpiresAt": newer["expiresAt"]}


async def test_another_users_token_is_not_taken(service: Service) -> None:
    token = await service.user("trader@example.org")
    other = await service.user("other@example.org")
    async with socket_of(service, token) as socket:
        answer = await say(socket, type="ping", payload={"Authorization": f"Bearer {other}"})
        assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        viewer = (await run(socket, "{ viewer { user { email } } }"))["viewer"]
        assert viewer == {"user": {"email": "trader@example.org"}}


async def test_mutations_on_a_socket_sign_in_and_renew(service: Service) -> None:
    await service.user("trader@example.org")
    async with connect(service.socket_url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        assert await say(socket, type="connection_init") is None
        login = (await run(socket, LOGIN, email="trader@example.org", password=PASSWORD))["login"]
        assert (await run(socket, "{ viewer { user { email } } }"))["viewer"]["user"] is not None

        renewed = (await run(socket, RENEW, token=login["refreshToken"]))["refreshToken"]
        await run(socket, "mutation { logout { userErrors { code } } }")

        assert renewed["userErrors"] == []
        answer = await say(socket, type="ping", payload={"Authorization": f"Bearer {renewed['accessToken']}"})
        assert answer["errors"][0]["message"] == "the token is not valid: log in again"  # the login has ended
