"""Clients of docs/clients.md keep their sockets through renewed tokens, and their place through restarts."""

import asyncio
import importlib
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport

from graphql_api.identity.viewer import Role
from graphql_api.postgres.address import Address
from tests import factories
from tests.clients.page import FOLDER, modules, prepared_node
from tests.examples.conftest import measured
from tests.http_client import http_client
from tests.service.conftest import PASSWORD, Service, served_from

pytestmark = pytest.mark.slow

CLIENTS = ("apollo", "urql", "relay", "graphql-ws")
EMAIL = "operator@example.org"
SHORT = {
    "GRAPHQL_API_ACCESS_TOKEN_LIFETIME": "60",  # so that every heartbeat says that it expires
    "GRAPHQL_API_HEARTBEAT": "0.5",
    "GRAPHQL_API_SECRET_KEY": "the key that all processes of the test share",
}


@pytest.fixture
async def service(address: Address, tmp_path: Path) -> AsyncIterator[Service]:
    async with served_from(address, tmp_path, **SHORT) as service:
        await service.user(EMAIL, role=Role.OPERATOR)
        yield service


@asynccontextmanager
async def following(service: Service, client: str) -> AsyncIterator[Process]:
    """The script with a client, which has asked a query, and listens."""
    process = await asyncio.create_subprocess_exec(
        *(prepared_node(), "follow.mjs", client, service.url, EMAIL, PASSWORD), cwd=FOLDER, stdout=PIPE
    )
    try:
        assert (await said(process, "roles"))[0] == ["operator", "user"]
        await said(process, "listening")
        yield process
    finally:
        process.kill()
        await process.wait()


async def said(process: Process, kind: str) -> list[Any]:
    """The rest of the script's next line of a kind."""
    assert process.stdout is not None
    while True:
        line = await process.stdout.readline()
        assert line, "it ended"
        what, *rest = json.loads(line)
        if what == kind:
            return list(rest)


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_socket_is_renewed_and_goes_on_after_a_crash(
    service: Service, connection: "asyncpg.Connection", client: str
) -> None:
    async with following(service, client) as process:
        [renewed] = await said(process, "pong")
        assert renewed["tokenExpiresAt"]
        await factories.system_log(connection, message="before")
        assert await said(process, "line") == ["before"]
        service.kill()
        await factories.system_log(connection, message="meanwhile")
        await service.start()
        assert await said(process, "line") == ["meanwhile"]
        await factories.system_log(connection, message="after")
        assert await said(process, "line") == ["after"]


async def test_gql_keeps_a_socket_signed_in(service: Service) -> None:
    scope: dict[str, Any] = {}
    exec(modules()["renewing.py"], scope)
    login = gql(f'mutation {{ login(email: "{EMAIL}", password: "{PASSWORD}") {{ accessToken expiresAt }} }}')
    transport = WebsocketsTransport(url=service.socket_url)
    async with Client(transport=transport) as session:
        first = (await session.execute(login))["login"]  # signs the socket in

        async def token() -> str:
            return str((await session.execute(login))["login"]["accessToken"])

        renewing = asyncio.create_task(scope["keep_signed_in"](transport, token))
        await asyncio.wait_for(transport.pong_received.wait(), 30)
        assert transport.payloads["pong"]["tokenExpiresAt"] >= first["expiresAt"]
        assert (await session.execute(gql("{ viewer { roles } }")))["viewer"]["roles"] == ["operator", "user"]
        renewing.cancel()


async def test_gql_follows_the_log_through_a_crash(
    service: Service, connection: "asyncpg.Connection", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("renewing.py", "following.py"):
        (tmp_path / name).write_text(modules()[name], "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    lines = importlib.import_module("following").follow(service.socket_url, lambda: signed_in(service))
    first = asyncio.ensure_future(anext(lines))
    while await measured(service, "log_feed_subscribers") < 1:
        await asyncio.sleep(0.05)
    await factories.system_log(connection, message="before")
    assert (await first)["log"]["message"] == "before"
    service.kill()
    await factories.system_log(connection, message="meanwhile")
    await service.start()
    assert (await anext(lines))["log"]["message"] == "meanwhile"
    await factories.system_log(connection, message="after")
    assert (await anext(lines))["log"]["message"] == "after"
    await lines.aclose()


async def signed_in(service: Service) -> str:
    """An operator's new access token."""
    login = f'mutation {{ login(email: "{EMAIL}", password: "{PASSWORD}") {{ accessToken }} }}'
    try:
        async with http_client() as client:
            answer = (await client.post(service.url, json={"query": login})).json()
    except httpx.TransportError as error:
        raise ConnectionError from error
    return str(answer["data"]["login"]["accessToken"])
