"""A browser, and a service that it visits: one of each for all tests of this folder."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from graphql_api.identity import users
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.identity.viewer import Role
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from tests import factories
from tests.browser import chromium
from tests.conftest import database_of
from tests.http_client import http_client
from tests.ports import free_port
from tests.transport.graphiql.visit import OPERATOR, PASSWORD, TRADER, Visit

expect.set_options(timeout=30_000)  # milliseconds; machines that run tests are busy


@dataclass
class Site:
    """A service in a process of its own, and its database."""

    url: str
    log: Path
    process: "subprocess.Popen[bytes]"
    address: Address
    connection: "asyncpg.Connection"
    account_id: str

    async def restart(self) -> None:
        """Kills the process, and starts another at the same address."""
        self.process.kill()
        self.process.wait()
        self.process = start(self.address, int(self.url.split(":")[2].split("/")[0]), self.log)
        await self.ready()

    async def ready(self) -> None:
        async with http_client() as client:
            while True:
                assert self.process.poll() is None, self.log.read_text()
                try:
                    if (await client.get(self.url, headers={"accept": "text/html"})).is_success:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)

    async def ask(self, query: str, token: str) -> httpx.Response:
        """Sends a request with a user's token, as another client."""
        async with http_client(headers={"authorization": f"Bearer {token}"}) as client:
            return await client.post(self.url, json={"query": query})


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def site(
    browser: Browser, server: Address, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """Depends on `browser`, so that tests are skipped before a service is started."""
    name = f"test_{uuid4().hex}"
    admin = await server.connect_plain()
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    address = database_of(server, name)
    connection = await address.connect_plain(application="another program")
    account_id = await fill(address, connection)
    port, log = free_port(), tmp_path_factory.mktemp("site") / "log"
    process = start(address, port, log)
    site = Site(f"http://127.0.0.1:{port}/graphql", log, process, address, connection, account_id)
    try:
        await site.ready()
        yield site
    finally:
        site.process.kill()
        site.process.wait()
        await connection.close()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


Open = Callable[..., Any]


@pytest_asyncio.fixture(loop_scope="package")
async def visit_with(browser: Browser, site: Site) -> AsyncIterator[Open]:
    """Opens the page with options of `Visit.begin`."""
    async with AsyncExitStack() as visits:

        async def begin(**options: Any) -> Visit:
            visit = await Visit.begin(browser, site.url, **options)
            visits.push_async_callback(visit.end)
            return visit

        yield begin


@pytest_asyncio.fixture(loop_scope="package")
async def visit(visit_with: Open) -> Visit:
    visit: Visit = await visit_with()
    return visit


async def fill(address: Address, connection: "asyncpg.Connection") -> str:
    """Inserts a trader with a closed trade, and an operator. Returns the trader's account."""
    database, passwords = Database(address, pool_size=1), PasswordHasher(threads=1)
    trader = await users.create(database, passwords, TRADER, PASSWORD)
    operator = await users.create(database, passwords, OPERATOR, PASSWORD)
    await users.grant_role(database, operator, Role.OPERATOR)
    passwords.close()
    await database.close()
    account = await factories.account(connection, trader, account_number="L#000042")
    session = await factories.session(connection, account)
    await factories.trade(connection, session, symbol="XAUUSD", status="closed")
    return account


def start(address: Address, port: int, log: Path) -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ,
        "DATABASE_URL": address.dsn,
        "GRAPHQL_API_DATA_DIR": str(log.parent),
        "GRAPHQL_API_HEARTBEAT": "0.5",
        "GRAPHQL_API_IDENTITY_RECHECK": "0.2",
        "GRAPHQL_API_DEMO_LOGINS": json.dumps(dict.fromkeys((TRADER, OPERATOR), PASSWORD)),
    }
    command = [sys.executable, "-m", "graphql_api", "serve", "--port", str(port)]
    with log.open("wb") as output:
        return subprocess.Popen(command, env=environment, cwd=log.parent, stdout=output, stderr=output)
