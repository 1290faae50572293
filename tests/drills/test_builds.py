"""Two builds of the service over one database: what rolling deploys and rollbacks are made of.

The other build is the repository as it was before its newest revision; it is taken from git.
"""

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from graphql_api.identity import service_tokens
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.migrate import current_revision, migrations_folder, newest_revision
from tests import factories
from tests.drills.servers import Server
from tests.drills.traffic import Traffic, traffic
from tests.scratch import scratch_folder
from tests.service.conftest import Service, served_from

pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PRESENT = {"PYTHONPATH": str(ROOT)}
SETTINGS = {"GRAPHQL_API_SECRET_KEY": "one key for all processes" * 2}
FOLLOW = "subscription ($after: String) { systemLogAdded(after: $after) { cursor log { message } } }"
FIRST_LINES = [f"first {number}" for number in range(200)]
LAST_LINE = "last"


async def write(server: Server, prefix: str) -> None:
    """Writes a line fifty times a second until cancelled."""
    connection = await server.address.connect_plain()
    try:
        for number in itertools.count():
            await factories.system_log(connection, message=f"{prefix} {number}")
            await asyncio.sleep(0.02)
    finally:
        connection.terminate()


def git(*arguments: str) -> bytes:
    return subprocess.run(("git", *arguments), cwd=ROOT, check=True, capture_output=True).stdout


@pytest.fixture(scope="module")
def former() -> Iterator[dict[str, str]]:
    """The environment in which Python runs the build before the newest revision."""
    (newest,) = migrations_folder().glob(f"versions/*_{newest_revision()}_*.py")
    try:
        added = git("log", "--diff-filter=A", "--format=%H", "-1", "--", str(newest)).decode().strip()
        archive = git("archive", f"{added}^")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no git history to take the other build from")
    folder = scratch_folder()
    subprocess.run(("tar", "-x"), cwd=folder, input=archive, check=True)
    yield {"PYTHONPATH": str(folder)}
    shutil.rmtree(folder)


async def run(build: dict[str, str], server: Server, *arguments: str) -> str:
    """Runs a command of a build, and returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "graphql_api", *arguments),
        env={**os.environ, **SETTINGS, **build, "DATABASE_URL": server.address.dsn},
        cwd=server.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


@dataclass
class Follower:
    """A subscriber over a WebSocket, which reconnects with its last cursor to any process that serves."""

    url: str
    token: str
    cursor: str | None = None
    messages: list[str] = field(default_factory=list)
    connections: int = 0
    errors: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Follows until cancelled."""
        while True:
            try:
                await self._connect()
            except (OSError, ConnectionClosed):
                await asyncio.sleep(0.05)

    async def _connect(self) -> None:
        protocol = Subprotocol("graphql-transport-ws")
        async with connect(self.url, subprotocols=[protocol], close_timeout=1) as socket:
            payload = {"Authorization": f"Bearer {self.token}"}
            await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
            await socket.recv()
            self.connections += 1
            operation = {"query": FOLLOW, "variables": {"after": self.cursor}}
            await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": operation}))
            async for text in socket:
                self._take(json.loads(text))

    def _take(self, message: dict[str, object]) -> None:
        if message["type"] != "next":
            if message["type"] not in ("ping", "pong"):
                self.errors.append(json.dumps(message))
            return
        event = message["payload"]["data"]["systemLogAdded"]  # type: ignore[index]
        self.cursor = event["cursor"]
        if event["log"] is not None:
            self.messages.append(event["log"]["message"])


class Deployment:
    """Processes behind a balancer, which sends everybody to the one that was started last."""

    def __init__(self, server: Server, folder: Path, stack: AsyncExitStack) -> None:
        self._server = server
        self._folder = folder
        self._stack = stack
        self.serving: Service | None = None
        self.followers: list[Follower] = []
        self.traffic: Traffic | None = None
        self.writers: list[asyncio.Task[None]] = []

    async def roll_to(self, build: dict[str, str]) -> None:
        """Starts a process of a build, sends everybody to it, and ends the one before."""
        served = served_from(self._server.address, self._folder, **SETTINGS, **build)
        before, self.serving = self.serving, await self._stack.enter_async_context(served)
        for follower in self.followers:
            follower.url = self.serving.socket_url
        if self.traffic is not None:
            for client in self.traffic.clients:
                client.url = self.serving.url
            self.traffic.probe.url = self.serving.url.removesuffix("/graphql")
        if before is not None:
            await asyncio.sleep(0.3)  # until the balancer's last request to it has arrived
            assert await asyncio.to_thread(before.stop) == 0
        await self.goes_on()

    async def goes_on(self) -> None:
        """Waits until each client is answered, and goes on for some time."""
        assert not any(task.done() for task in self.writers)
        if self.traffic is not None:
            await self.traffic.everybody_is_served()
            await asyncio.sleep(1)


@asynccontextmanager
async def followed(
    deployment: Deployment, connection: "asyncpg.Connection", count: int
) -> AsyncIterator[None]:
    """Followers, each of whom has had a line."""
    service = deployment.serving
    assert service is not None
    token = await service_tokens.create(service.database, "follower", [Scope.LOGS_READ], lifetime=None)
    deployment.followers = [Follower(service.socket_url, token.text) for _ in range(count)]
    tasks = [asyncio.create_task(follower.run()) for follower in deployment.followers]
    try:
        for line in FIRST_LINES:
            await factories.system_log(connection, message=line)
            await asyncio.sleep(0.1)
            if all(follower.messages for follower in deployment.followers):
                break
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_builds_are_swapped_under_requests_and_feeds(
    server: Server, former: dict[str, str], tmp_path: Path
) -> None:
    """Deployed and rolled back: no request fails, no change is lost, each line comes once."""
    connection = await server.address.connect_plain()
    await connection.execute("DROP SCHEMA graphql_api, log_feed, activity CASCADE")
    await run(former, server, "migrate")
    before = await current_revision(server.address)
    assert before != newest_revision()

    async with AsyncExitStack() as stack:
        deployment = Deployment(server, tmp_path, stack)
        await deployment.roll_to(former)
        assert deployment.serving is not None
        await stack.enter_async_context(followed(deployment, connection, 3))
        deployment.traffic = await stack.enter_async_context(traffic(deployment.serving, connection, 6))
        deployment.writers = [asyncio.create_task(write(server, f"w{n}")) for n in range(2)]
        await deployment.goes_on()

        await run(PRESENT, server, "migrate")  # the former build serves on,
        assert await current_revision(server.address) == newest_revision()
        await deployment.goes_on()
        await deployment.roll_to(former)  # and starts on the newer database,
        await deployment.roll_to(PRESENT)  # the present one takes its place,
        await deployment.roll_to(former)  # it is taken back,
        await deployment.roll_to(PRESENT)  # and deployed again.

        for task in deployment.writers:
            task.cancel()
        await asyncio.gather(*deployment.writers, return_exceptions=True)
        for task in deployment.traffic.tasks:
            task.cancel()
        await asyncio.gather(*deployment.traffic.tasks, return_exceptions=True)
        await asyncio.sleep(1)  # a request that was given up may still be carried out
        await factories.system_log(connection, message=LAST_LINE)
        stored = [row["message"] for row in await connection.fetch("SELECT message FROM system_logs")]
        while any(LAST_LINE not in follower.messages for follower in deployment.followers):
            assert not any(follower.errors for follower in deployment.followers)
            await asyncio.sleep(0.1)
        for client in deployment.traffic.clients:
            assert await client.lost_or_repeated(connection) == (set(), set())
            assert client.refused == 0
        for follower in deployment.followers:
            assert follower.errors == []
            assert follower.connections >= 5
            lines = Counter(line for line in follower.messages if line not in FIRST_LINES)
            assert lines == Counter(line for line in stored if line not in FIRST_LINES)
        assert "incident" not in deployment.serving.log.read_text()
    await connection.close()


async def test_a_former_build_refuses_a_database_that_would_break_it(
    server: Server, former: dict[str, str], tmp_path: Path
) -> None:
    connection = await server.address.connect_plain()
    await connection.execute("INSERT INTO graphql_api.breaking_revisions VALUES ($1)", newest_revision())
    await connection.close()
    with pytest.raises(AssertionError, match="install a newer one"):
        await run(former, server, "serve", "--port", "0")
    assert "fault  schema: " not in await run(PRESENT, server, "doctor")
