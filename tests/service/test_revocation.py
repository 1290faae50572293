"""What is taken from a viewer while they are connected."""

import json
from typing import Any

import httpx
import pytest

from graphql_api.auth import roles
from graphql_api.auth.viewer import Role
from tests.service.conftest import Service
from tests.service.sockets import socket_of

FOLLOW = "subscription { systemLogAdded(backfill: 1) { log { message } } }"
INSERT = "INSERT INTO system_logs (level, component, message) VALUES ('info', 'test', $1)"


@pytest.fixture
async def watchful(service: Service, connection: Any) -> Service:
    """A service that looks often, but trusts for long what it read of a token at first."""
    service.stop()
    service.environment |= {"GRAPHQL_API_IDENTITY_RECHECK": "0.1", "GRAPHQL_API_IDENTITY_CACHE": "30"}
    await service.start()
    await connection.execute(INSERT, "before")
    return service


async def revoke(service: Service, token: str) -> None:
    answer = await service.ask("{ viewer { user { id } } }", token=token)
    await roles.revoke(service.database, answer.json()["data"]["viewer"]["user"]["id"], Role.OPERATOR)


async def test_an_operator_who_is_none_any_more_gets_no_further_log_line(
    watchful: Service, connection: Any
) -> None:
    token = await watchful.user("operator@example.org", role=Role.OPERATOR)
    async with socket_of(watchful, token) as socket:
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": FOLLOW}}))
        assert json.loads(await socket.recv())["type"] == "next"
        await revoke(watchful, token)
        message = json.loads(await socket.recv())
        await connection.execute(INSERT, "secret")
        await socket.send('{"type":"ping"}')
        after = json.loads(await socket.recv())

    assert (message["id"], message["type"]) == ("1", "error")
    assert message["payload"][0]["extensions"]["code"] == "FORBIDDEN"
    assert after == {"type": "pong"}


async def test_their_event_stream_ends_too(watchful: Service) -> None:
    token = await watchful.user("operator@example.org", role=Role.OPERATOR)
    headers = {"accept": "text/event-stream", "authorization": f"Bearer {token}"}
    async with (
        httpx.AsyncClient(timeout=30) as client,
        client.stream("POST", watchful.url, json={"query": FOLLOW}, headers=headers) as response,
    ):
        chunks = response.aiter_text()
        assert "before" in await anext(chunks)
        await revoke(watchful, token)
        rest = "".join([chunk async for chunk in chunks])

    assert '"code":"FORBIDDEN"' in rest
    assert rest.endswith("event: complete\ndata: \n\n")
