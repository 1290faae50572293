"""Sockets opened to knock the service over: each ends by the protocol, and others are served meanwhile."""

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from graphql_api.identity.viewer import Role
from graphql_api.postgres.address import Address
from tests.http_client import http_client
from tests.service.conftest import LOGIN, PASSWORD, Service, served_from

pytestmark = pytest.mark.slow

PROTOCOL = Subprotocol("graphql-transport-ws")
FOLLOW = {"query": "subscription { systemLogAdded { cursor } }"}


def opened(service: Service) -> Any:
    return connect(service.socket_url, subprotocols=[PROTOCOL], open_timeout=30)


async def say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def hear(socket: ClientConnection) -> Any:
    return json.loads(await socket.recv())


async def end_of(socket: ClientConnection) -> int | None:
    """The code with which the service closes a socket."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed:
        return socket.close_code


async def initialised(socket: ClientConnection, token: str) -> None:
    await say(socket, type="connection_init", payload={"Authorization": f"Bearer {token}"})
    assert await hear(socket) == {"type": "connection_ack"}


async def is_served(service: Service) -> bool:
    return bool((await service.ask("{ __typename }")).json() == {"data": {"__typename": "Query"}})


async def test_a_flood_of_passwords_is_answered_and_leaves_others_what_they_need(
    address: Address, tmp_path: Path
) -> None:
    async with served_from(address, tmp_path, GRAPHQL_API_TRUSTED_PROXIES='["127.0.0.1"]') as service:
        token = await service.user("ada@example.org")

        async def guess(client: httpx.AsyncClient, number: int) -> str:
            email = "ada@example.org" if number % 2 else f"{number}@example.org"
            body = {"query": LOGIN, "variables": {"email": email, "password": "wrong"}}
            headers = {"x-forwarded-for": f"203.0.113.{number}"}
            answer = await client.post(service.url, json=body, headers=headers)
            return str(answer.json()["data"]["login"]["userErrors"][0]["code"])

        async with http_client() as client:
            guesses = [asyncio.create_task(guess(client, number)) for number in range(100)]
            while not all(each.done() for each in guesses):
                assert "errors" not in (await service.ask("{ viewer { roles } }", token=token)).json()
            assert {each.result() for each in guesses} == {"INVALID_CREDENTIALS", "RATE_LIMITED"}
        answer = await service.ask(LOGIN, {"email": "ada@example.org", "password": PASSWORD})
        assert answer.json()["data"]["login"]["accessToken"]


async def test_sockets_that_say_nothing_are_closed(service: Service) -> None:
    async with AsyncExitStack() as stack:
        sockets = await asyncio.gather(*(stack.enter_async_context(opened(service)) for _ in range(200)))
        assert await is_served(service)
        assert await asyncio.gather(*(end_of(socket) for socket in sockets)) == [4408] * 200
    assert await is_served(service)


async def test_a_flood_of_inits_ends_the_socket(service: Service) -> None:
    async with opened(service) as socket:
        for _ in range(500):
            await say(socket, type="connection_init")
        assert await end_of(socket) == 4429
    assert await is_served(service)


async def test_a_flood_before_the_init_ends_the_socket(service: Service) -> None:
    async with opened(service) as socket:
        for number in range(500):
            await say(socket, id=str(number), type="subscribe", payload=FOLLOW)
        assert await end_of(socket) == 4401
    assert await is_served(service)


async def test_of_a_flood_of_subscriptions_a_hundred_are_served(service: Service) -> None:
    token = await service.user("operator@example.org", role=Role.OPERATOR)
    async with opened(service) as socket:
        await initialised(socket, token)
        for number in range(1_000):
            await say(socket, id=str(number), type="subscribe", payload=FOLLOW)
        refused: list[Any] = []
        while len(refused) < 900:
            message = await hear(socket)
            if message["type"] != "ping":  # how far those that are served have come
                refused.append(message)
        assert {message["type"] for message in refused} == {"error"}
        assert {message["payload"][0]["extensions"]["code"] for message in refused} == {"SERVICE_UNAVAILABLE"}
        assert await is_served(service)


async def test_a_flood_of_refused_subscriptions_holds_no_places(service: Service) -> None:
    token = await service.user("trader@example.org")
    async with opened(service) as socket:
        await initialised(socket, token)
        for number in range(300):
            await say(socket, id=str(number), type="subscribe", payload=FOLLOW)
            assert (await hear(socket))["payload"][0]["extensions"]["code"] == "FORBIDDEN"
    assert await is_served(service)


MESSAGES: list[str | bytes] = [
    "[" * 100_000,
    '{"type":' * 1_000,
    "null",
    "[]",
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ a }", "variables": {"n": 1e999999}}}',
    '{"type": "ping", "payload": "\\ud800"}',
    b"{}",
]


async def test_messages_that_are_none_end_their_sockets(service: Service) -> None:
    for message in MESSAGES:
        async with opened(service) as socket:
            await socket.send(message)
            assert await end_of(socket) == 4400
    async with opened(service) as socket:
        await socket.send(b"\xff", text=True)
        assert await end_of(socket) == 1007
    assert await is_served(service)
    assert "Traceback" not in service.log.read_text()


async def test_a_message_that_goes_on_ends_the_socket(service: Service) -> None:
    async with opened(service) as socket:
        with suppress(ConnectionClosed):
            await socket.send(["x" * 65_536] * 100)
        # The close frame may be lost behind what the client has still to send.
        assert await end_of(socket) in (1009, 1006)
    assert await is_served(service)
