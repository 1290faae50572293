"""The README's tour runs as it is printed: each of its blocks is tried, in its order, beside two services."""

import asyncio
import contextlib
import json
import os
import re
import shlex
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport
from playwright.async_api import expect

from graphql_api.postgres.address import Address
from tests.browser import chromium
from tests.http_client import http_client
from tests.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+) ?(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PASSWORD = "a long enough password"


@dataclass
class Block:
    """A fenced block: its language, the word after it, and its text."""

    language: str
    kind: str
    text: str


def blocks() -> Iterator[Block]:
    for language, kind, text in BLOCK.findall((ROOT / "README.md").read_text("utf-8")):
        yield Block(language, kind, text)


@dataclass
class Tour:
    """The service of `make serve`, on a free port in place of 8000."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/graphql"

    def here(self, text: str) -> str:
        """What a block says, with this test's port and interpreter."""
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        return text.replace(".venv/bin/python", shlex.quote(sys.executable)).replace("5173", str(free_port()))

    async def token(self, email: str) -> str:
        query = f'mutation {{ login(email: "{email}", password: "demo-password") {{ accessToken }} }}'
        async with http_client() as client:
            answer = (await client.post(self.url, json={"query": query})).json()
        return str(answer["data"]["login"]["accessToken"])

    async def ask(self, query: str, variables: dict[str, Any] | None = None) -> Any:
        """What the trader of the demo is answered."""
        headers = {"authorization": f"Bearer {await self.token('trader@example.com')}"}
        async with http_client(headers=headers) as client:
            body = {"query": query, "variables": variables}
            answer = (await client.post(self.url, json=body)).json()
        assert "errors" not in answer, answer
        return answer["data"]


@asynccontextmanager
async def shell(text: str, **environment: str) -> AsyncIterator[Process]:
    """A shell that runs a block at the root of the checkout, ended with all it has started."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", text),
        cwd=ROOT,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        await process.wait()


async def output(text: str, **environment: str) -> str:
    """What a block prints, which must succeed."""
    async with shell(text, **environment) as process:
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
    return out.decode()


async def listening(url: str, process: Process) -> None:
    async with http_client() as client:
        while True:
            assert process.returncode is None, (await process.communicate())[0].decode()
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(url.replace("/graphql", "/readyz"))).status_code == 200:
                    return
            await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tour's embedded PostgreSQL."""
    return tmp_path_factory.mktemp("tour")


async def test_the_tour(data: Path) -> None:
    tried = 0
    tour = Tour(free_port())
    serve = f"{shlex.quote(sys.executable)} -m graphql_api serve --port {tour.port}"
    async with shell(serve, GRAPHQL_API_DATA_DIR=str(data)) as service:
        await listening(tour.url, service)
        for block in blocks():
            match block.language, block.kind:
                case "graphql", "":
                    answer = await tour.ask(block.text)
                    assert all(answer.values())
                    if "updateRiskSettings" in block.text:
                        await try_versions(tour, block.text, answer["updateRiskSettings"])
                case "graphql", "operator":
                    await try_subscription(tour, block.text)
                case "sh", "follow":
                    async with shell(tour.here(block.text)) as follower:
                        assert follower.stdout is not None
                        lines = [json.loads(await follower.stdout.readline()) for _ in range(3)]
                        assert set(lines[0]) == {"cursor"}
                        assert lines[2]
                case "sh", "page":
                    await try_page(tour, tour.here(block.text))
                case "sh", "" if "curl" in block.text:
                    login = json.loads(await output(tour.here(block.text)))["data"]["login"]
                    assert login["accessToken"]
                case _:
                    continue
            tried += 1
        service.send_signal(signal.SIGINT)
        screen, _ = await service.communicate()
    assert tried == 7
    assert b"the simulated bot" not in screen  # it ends before the database does, and complains of nothing
    assert b"Traceback" not in screen


async def try_versions(tour: Tour, query: str, payload: dict[str, Any]) -> None:
    """A version that was read lets a change through, and not a second one."""
    assert payload["userErrors"] == []
    version = {"version": payload["riskSettings"]["version"]}
    assert (await tour.ask(query, version))["updateRiskSettings"]["userErrors"] == []
    conflict = (await tour.ask(query, version))["updateRiskSettings"]
    assert [error["code"] for error in conflict["userErrors"]] == ["CONFLICT"]
    assert conflict["riskSettings"]["version"] != version["version"]


async def try_subscription(tour: Tour, query: str) -> None:
    """Ten lines of before, then live ones."""
    transport = WebsocketsTransport(
        url=tour.url.replace("http", "ws"),
        init_payload={"Authorization": f"Bearer {await tour.token('operator@example.com')}"},
    )
    async with Client(transport=transport) as client:
        seen = 0
        async for event in client.subscribe(gql(query)):
            assert event["systemLogAdded"]["log"]["message"]
            seen += 1
            if seen == 11:
                return


async def try_page(tour: Tour, command: str) -> None:
    """The page follows the log from an origin of its own."""
    [pages] = re.findall(r"http.server (\d+)", command)
    async with shell(command), chromium() as browser:
        page = await browser.new_page()
        await page.goto(f"http://localhost:{pages}/log.html?port={tour.port}")
        await expect(page.locator("#state")).to_have_text("following", timeout=30_000)
        await expect(page.locator("#lines li").nth(10)).to_be_visible(timeout=60_000)


async def test_a_database_of_ones_own(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    [production] = [block.text for block in blocks() if block.kind == "production"]
    [lines] = [block.text for block in blocks() if block.kind == "lines"]
    [bot] = [block.text for block in blocks() if block.language == "sql"]
    port = free_port()
    setup, serve = production.split("graphql-api serve")
    setup = setup.replace("postgresql://…", address.dsn).replace(". .venv/bin/activate\n", "")
    environment = {
        "GRAPHQL_API_USER_PASSWORD": PASSWORD,
        "GRAPHQL_API_PORT": str(port),
        "GRAPHQL_API_DATA_DIR": str(tmp_path),
    }
    async with shell(f"{setup}\ngraphql-api serve{serve}", **environment) as service:
        url = f"http://127.0.0.1:{port}/graphql"
        await listening(url, service)
        assert await connection.execute(bot.replace("you@example.com", "nobody@example.com")) == "INSERT 0 0"
        assert not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM system_logs WHERE component = 'bot')"
        )
        assert await connection.execute(bot) == "INSERT 0 1"
        query = """
          mutation ($password: String!) { login(email: "you@example.com", password: $password) {
            viewer { roles user { accounts { nodes { sessions { nodes {
              trades { nodes { symbol direction } } } } } } } }
          } }"""
        async with http_client(headers={"origin": "https://admin.example"}) as client:
            answer = await client.post(url, json={"query": query, "variables": {"password": PASSWORD}})
        assert answer.headers["access-control-allow-origin"] == "https://admin.example"
        viewer = answer.json()["data"]["login"]["viewer"]
        assert "admin" in viewer["roles"]
        [account] = viewer["user"]["accounts"]["nodes"]
        [session] = account["sessions"]["nodes"]
        assert session["trades"]["nodes"] == [{"symbol": "EURUSD", "direction": "BUY"}]
    exports = "".join(line for line in setup.splitlines(keepends=True) if line.startswith("export"))
    printed = await output(exports + lines)
    assert "bought 0.1 EURUSD at 1.0842" in printed


def test_every_block_of_the_tour_is_tried() -> None:
    kinds = [(block.language, block.kind) for block in blocks()]
    assert kinds == [
        ("sh", ""),  # make serve, which the tests of the command line run
        ("graphql", ""),
        ("sh", ""),
        ("graphql", "operator"),
        ("sh", "follow"),
        ("graphql", ""),
        ("graphql", ""),
        ("sh", "page"),
        ("sh", "production"),
        ("sql", ""),
        ("sh", "lines"),
    ]
