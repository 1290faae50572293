"""How many of our own files a request passes through: those that one opens who follows it in a debugger.

The walks of README's "Work on it" are compared with what is visited, so that they name the way as it is.
"""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from starlette.types import Message
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import State
from websockets.uri import parse_uri

import graphql_api
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.address import Address
from graphql_api.transport.graphql_transport_ws import FRAMES
from tests import factories
from tests.app import App, served

PACKAGE = Path(graphql_api.__file__).parent

# The most files that each of these may visit once everything is cached.
DEEP_QUERY = 24
RISK_UPDATE = 25
SUBSCRIBING = 22
ONE_EVENT = 18

DEEP = """
{
  viewer { user { email accounts(first: 5) { nodes { accountNumber
    sessions(first: 5) { nodes { startedAt trades(first: 5) { nodes { symbol pnl entryTime } } } }
  } } } }
}
"""
UPDATE = """
mutation ($id: ID!, $input: UpdateRiskSettingsInput!) {
  updateRiskSettings(accountId: $id, input: $input) {
    riskSettings { maxDailyLoss version } userErrors { code message }
  }
}
"""
FOLLOW = "subscription { systemLogAdded(filter: {minLevel: WARNING}) { cursor log { level message } } }"


@contextmanager
def visited(*, tasks_before: bool = False) -> Iterator[dict[str, int]]:
    """The files under graphql_api whose functions this thread calls meanwhile, with the number of calls.

    What tasks do that were there before isn't counted unless `tasks_before`: they may poll at any time.
    """
    files: dict[str, int] = {}
    prefix = f"{PACKAGE}/"
    before = set() if tasks_before else asyncio.all_tasks() - {asyncio.current_task()}

    def count(frame: FrameType, event: str, _: Any) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(prefix) and asyncio.current_task() not in before:
            name = name.removeprefix(prefix)
            files[name] = files.get(name, 0) + 1

    sys.setprofile(count)
    try:
        yield files
    finally:
        sys.setprofile(None)


def readme_walk(name: str) -> list[str]:
    """Returns the files of README's walk for a kind of request, in its order."""
    readme = PACKAGE.with_name("README.md").read_text("utf-8")
    match = re.search(rf"^- \*\*{name}\*\*: (.*?`)\.\s", readme, re.MULTILINE | re.DOTALL)
    assert match, f"README has no walk for {name}"
    return re.findall(r"`([\w/]+\.py)`", match[1])


def hold(files: dict[str, int], most: int) -> None:
    """Fail with the list of files where there are more than `most`."""
    listed = "\n".join(f"{calls:6} {name}" for name, calls in files.items())
    assert len(files) <= most, f"{len(files)} files are visited, {most} at most:\n{listed}"
    assert len(files) > most // 2, f"the limit of {most} is far above what is visited:\n{listed}"


class Socket:
    """A graphql-transport-ws socket of the application, without a network in between."""

    def __init__(self) -> None:
        self._to_app: asyncio.Queue[Message] = asyncio.Queue()
        self._from_app: asyncio.Queue[Message] = asyncio.Queue()

    @classmethod
    @asynccontextmanager
    async def opened(cls, app: FastAPI, token: str) -> AsyncIterator["Socket"]:
        """A socket that is signed in."""
        socket = cls()
        scope = {
            "type": "websocket",
            "path": "/graphql",
            "headers": [(b"host", b"test")],
            "subprotocols": ["graphql-transport-ws"],
            "client": ("127.0.0.1", 1),
            "extensions": {FRAMES: {"write": socket._write, "beat": socket._write}},
        }
        serving = asyncio.create_task(app(scope, socket._to_app.get, socket._from_app.put))
        await socket._to_app.put({"type": "websocket.connect"})
        assert (await socket._from_app.get())["type"] == "websocket.accept"
        await socket.say(type="connection_init", payload={"Authorization": f"Bearer {token}"})
        await socket.hear("connection_ack")
        try:
            yield socket
        finally:
            await socket._to_app.put({"type": "websocket.disconnect", "code": 1000})
            await serving

    async def say(self, **message: Any) -> None:
        await self._to_app.put({"type": "websocket.receive", "text": json.dumps(message)})

    async def hear(self, kind: str) -> Any:
        """The payload of the next message of a type; those of other types are dropped."""
        while True:
            message = await self._from_app.get()
            if message["type"] == FRAMES:
                self._write(message["frames"])
                continue
            assert message["type"] == "websocket.send", message
            said = json.loads(message["text"])
            assert said["type"] != "error", said
            if said["type"] == kind:
                return said.get("payload")

    def _write(self, frames: bytes) -> bool:
        """Reads frames of text as a client does, and takes all that there is."""
        client = ClientProtocol(parse_uri("ws://test/graphql"), state=State.OPEN)
        client.receive_data(frames)
        for frame in client.events_received():
            assert isinstance(frame, Frame)
            self._from_app.put_nowait({"type": "websocket.send", "text": bytes(frame.data).decode()})
        return True

    async def subscribe(self, query: str) -> None:
        """Subscribe, and wait until the server says from where on events will come."""
        await self.say(id="1", type="subscribe", payload={"query": query})
        while not (await self.hear("ping") or {}).get("cursor"):
            pass


@pytest.fixture
async def account(connection: "asyncpg.Connection") -> tuple[str, str]:
    """A user and the account whose sessions have trades."""
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    for _ in range(3):
        session = await factories.session(connection, account)
        for _ in range(3):
            await factories.trade(connection, session)
    return user, account


async def warm_request(app: App, query: str, variables: dict[str, Any], token: str) -> dict[str, int]:
    """The files that a request visits when the process has answered its like before."""
    for _ in range(2):
        await app.ask(query, variables, token=token)
    with visited() as files:
        response = await app.ask(query, variables, token=token)
    body = response.json()
    assert response.status_code == 200, body
    assert "errors" not in body, body
    return files


@pytest.mark.usefixtures("compiled")
async def test_a_deep_query(app: App, account: tuple[str, str]) -> None:
    user, _ = account
    token = await app.token(Scope.GRAPH_READ, user_id=user)
    files = await warm_request(app, DEEP, {}, token)
    hold(files, DEEP_QUERY)
    walk = readme_walk("A query")
    assert len(walk) == 5
    assert [name for name in files if name in walk] == walk


async def test_a_change_of_risk_settings(app: App, account: tuple[str, str]) -> None:
    user, account_id = account
    token = await app.token(Scope.GRAPH_READ, Scope.RISK_WRITE, user_id=user)
    variables = {"id": account_id, "input": {"maxDailyLoss": "100"}}
    hold(await warm_request(app, UPDATE, variables, token), RISK_UPDATE)


async def test_subscribing_until_there_is_nothing_more_to_send(address: Address, tmp_path: Path) -> None:
    async with served(address, tmp_path, heartbeat=0.1) as app:
        token = await app.token(Scope.LOGS_READ)
        async with AsyncExitStack() as sockets:
            another = await sockets.enter_async_context(Socket.opened(app.asgi, token))
            await another.subscribe(FOLLOW)
            with visited() as files:
                socket = await sockets.enter_async_context(Socket.opened(app.asgi, token))
                await socket.subscribe(FOLLOW)
    hold(files, SUBSCRIBING)
    # Subscribing passes the same files, the transport and the execution first. Of the feed, its front door
    # comes first in both.
    walk = readme_walk("An event")
    assert len(walk) == 4
    assert [name for name in files if name in walk] == [*reversed(walk[2:]), *walk[:2]]


async def test_one_event_to_one_subscriber(
    address: Address, tmp_path: Path, connection: "asyncpg.Connection"
) -> None:
    # Without the recorder of risk events, which looks twice a second and has no part in it.
    async with served(address, tmp_path, heartbeat=1, risk_events=False) as app:
        token = await app.token(Scope.LOGS_READ)
        async with Socket.opened(app.asgi, token) as socket:
            await socket.subscribe(FOLLOW)
            for _ in range(2):
                await factories.system_log(connection, level="ERROR")
                await socket.hear("next")
            with visited(tasks_before=True) as files:
                await factories.system_log(connection, level="ERROR")
                event = await socket.hear("next")
    assert event["data"]["systemLogAdded"]["log"]["level"] == "ERROR"
    hold(files, ONE_EVENT)
    assert set(readme_walk("An event")[1:]) <= files.keys()
