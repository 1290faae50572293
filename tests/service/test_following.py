"""Following the log: from which moment on a client gets every line."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from graphql_api.identity.viewer import Role
from tests import factories
from tests.http_client import http_client
from tests.service.conftest import Service
from tests.service.sockets import socket_of

pytestmark = pytest.mark.slow

FOLLOW = """
subscription ($after: String, $backfill: Int!) {
  systemLogAdded(after: $after, backfill: $backfill) { cursor replayed log { message } }
}
"""

Said = AsyncIterator[dict[str, Any]]
"""What a server says to a subscription: progress, which has nothing but a cursor, and events."""
Follow = Callable[..., AbstractAsyncContextManager[Said]]


@asynccontextmanager
async def over_websocket(service: Service, token: str, **variables: Any) -> AsyncIterator[Said]:
    async with socket_of(service, token) as socket:

        async def said() -> Said:
            async for text in socket:
                match json.loads(text):
                    case {"type": "ping", "payload": {"id": "it", "cursor": cursor}}:
                        yield {"cursor": cursor}
                    case {"type": "next", "payload": {"data": data}}:
                        yield data["systemLogAdded"]

        payload = {"query": FOLLOW, "variables": {"backfill": 0, **variables}}
        await socket.send(json.dumps({"id": "it", "type": "subscribe", "payload": payload}))
        yield said()


@asynccontextmanager
async def over_sse(service: Service, token: str, **variables: Any) -> AsyncIterator[Said]:
    headers = {"accept": "text/event-stream", "authorization": f"Bearer {token}"}
    body = {"query": FOLLOW, "variables": {"backfill": 0, **variables}}
    async with (
        http_client() as client,
        client.stream("POST", service.url, json=body, headers=headers) as response,
    ):

        async def said() -> Said:
            async for line in response.aiter_lines():
                if line.startswith(": {"):
                    yield json.loads(line[1:])
                elif line.startswith("data: {"):
                    yield json.loads(line.removeprefix("data: "))["data"]["systemLogAdded"]

        yield said()


@pytest.fixture
async def token(service: Service) -> str:
    return await service.user("operator@example.org", role=Role.OPERATOR)


@pytest.mark.parametrize("follow", [over_websocket, over_sse])
async def test_a_line_that_is_written_after_the_first_progress_arrives(
    service: Service, connection: "asyncpg.Connection", token: str, follow: Follow
) -> None:
    async def follow_and_write(message: str) -> None:
        async with follow(service, token) as said:
            assert "cursor" in await anext(said)
            await factories.system_log(connection, message=message)
            event = await anext(said)
            assert (event["log"]["message"], event["replayed"]) == (message, False)

    for number in range(25):
        await follow_and_write(f"to a subscription alone {number}")
    async with follow(service, token) as other:
        await anext(other)
        for number in range(25):
            await follow_and_write(f"to one beside another {number}")


@pytest.mark.parametrize("follow", [over_websocket, over_sse])
async def test_a_client_that_is_cut_off_before_its_first_event_resumes_from_its_first_progress(
    service: Service, connection: "asyncpg.Connection", token: str, follow: Follow
) -> None:
    await factories.system_log(connection, message="before")
    first = []
    for backfill in (0, 1):
        async with follow(service, token, backfill=backfill) as said:
            first.append((await anext(said))["cursor"])
    await factories.system_log(connection, message="meanwhile")
    for after, expected in zip(first, (["meanwhile"], ["before", "meanwhile"]), strict=True):
        async with follow(service, token, after=after) as said:
            await anext(said)
            assert [(await anext(said))["log"]["message"] for _ in expected] == expected


async def test_progress_says_when_all_that_was_there_has_been_sent(
    service: Service, connection: "asyncpg.Connection", token: str
) -> None:
    await factories.system_log(connection, message="before")
    async with over_sse(service, token, backfill=5) as said:
        assert set(await anext(said)) == {"cursor"}
        assert (await anext(said))["replayed"]
        assert (await anext(said))["upToDate"] is True
    async with over_sse(service, token) as said:
        assert (await anext(said))["upToDate"] is True
