"""What is taken from a viewer while they are connected."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from graphql_api.identity import users
from graphql_api.identity.signing_keys import derive_key
from graphql_api.identity.tokens import AccessTokens
from graphql_api.identity.viewer import CLOCK_SKEW, Role
from tests.http_client import http_client
from tests.service.conftest import Service
from tests.service.sockets import socket_of

pytestmark = pytest.mark.slow

FOLLOW = "subscription { systemLogAdded(backfill: 1) { log { message } } }"
KEY = "revocation" * 4
RESUME = """
subscription ($after: String, $backfill: Int!) {
  systemLogAdded(after: $after, backfill: $backfill) { cursor log { message } }
}
"""
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
    await users.revoke_role(service.database, answer.json()["data"]["viewer"]["user"]["id"], Role.OPERATOR)


async def test_an_operator_who_is_none_any_more_gets_no_further_log_line(
    watchful: Service, connection: Any
) -> None:
    token = await watchful.user("operator@example.org", role=Role.OPERATOR)
    async with socket_of(watchful, token) as socket:
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": FOLLOW}}))
        assert [json.loads(await socket.recv())["type"] for _ in range(2)] == ["ping", "next"]
        await revoke(watchful, token)
        while (message := json.loads(await socket.recv()))["type"] == "ping":
            pass  # progress, since the backlog is through
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
        http_client() as client,
        client.stream("POST", watchful.url, json={"query": FOLLOW}, headers=headers) as response,
    ):
        chunks = response.aiter_text()
        while "before" not in await anext(chunks):
            pass
        await revoke(watchful, token)
        rest = "".join([chunk async for chunk in chunks])

    assert '"code":"FORBIDDEN"' in rest
    assert rest.endswith("event: complete\ndata: \n\n")


async def test_a_token_that_expires_costs_no_line_who_comes_back_with_another(
    service: Service, connection: Any
) -> None:
    service.stop()
    service.environment["GRAPHQL_API_SECRET_KEY"] = KEY
    await service.start()
    access = AccessTokens(derive_key(KEY.encode(), "identity"), lifetime=900)
    login = access.verify(await service.user("operator@example.org", role=Role.OPERATOR))
    await connection.execute(INSERT, "0")
    seen: list[str] = []
    after = None
    for number in range(1, 4):
        until = datetime.now(UTC) - CLOCK_SKEW + timedelta(seconds=3)
        token, _ = access.issue(login.user_id, login.login_id, until=until)
        async with socket_of(service, token) as socket:
            payload = {"query": RESUME, "variables": {"after": after, "backfill": 1}}
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            with suppress(ConnectionClosed):
                while True:
                    message = json.loads(await socket.recv())
                    if message["type"] == "next":
                        event = message["payload"]["data"]["systemLogAdded"]
                        after = event["cursor"]
                        seen.append(event["log"]["message"])
                        if len(seen) == 2 * number - 1:
                            await connection.execute(INSERT, f"{number} live")
            assert socket.close_code == 4403
        await connection.execute(INSERT, f"{number} away")

    assert seen == ["0", "1 live", "1 away", "2 live", "2 away", "3 live"]
