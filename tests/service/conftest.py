"""The service as its users have it: a process of its own, asked over the network."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from graphql_api.auth import roles, users
from graphql_api.auth.passwords import Passwords
from graphql_api.auth.viewer import Role
from graphql_api.db.address import Address
from graphql_api.db.database import Database

PASSWORD = "a long enough password"
LOGIN = """
mutation ($email: String!, $password: String!) {
  login(email: $email, password: $password) {
    accessToken refreshToken expiresAt
    viewer { roles user { email } }
    userErrors { code message }
  }
}
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@dataclass
class Service:
    """A running service and the database behind it."""

    port: int
    process: subprocess.Popen[bytes]
    database: Database
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/graphql"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/graphql"

    async def ask(
        self, query: str, variables: Mapping[str, Any] | None = None, *, token: str | None = None
    ) -> httpx.Response:
        """One POST, as any client would send it."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient() as client:
            return await client.post(
                self.url, json={"query": query, "variables": variables}, headers=headers, timeout=30
            )

    async def user(self, email: str, *, role: Role | None = None) -> str:
        """Create a user, sign in, and return the access token."""
        passwords = Passwords(threads=1)
        user_id = await users.create(self.database, passwords, email, PASSWORD)
        passwords.close()
        if role is not None:
            await roles.grant(self.database, user_id, role)
        response = await self.ask(LOGIN, {"email": email, "password": PASSWORD})
        return str(response.json()["data"]["login"]["accessToken"])

    def stop(self) -> int:
        """Ask the process to end, and wait for it."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
async def service(
    address: Address, database: Database, connection: "asyncpg.Connection", tmp_path: Path
) -> AsyncIterator[Service]:
    """`graphql-api serve` on a database of the test's own."""
    log = tmp_path / "log"
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": address.dsn,
        "GRAPHQL_API_DATA_DIR": str(tmp_path / "data"),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "graphql_api", "serve", "--port", str(port)],
            env=environment,
            stdout=output,
            stderr=output,
            cwd=tmp_path,
        )
    service = Service(port, process, database, log)
    try:
        await _ready(service)
        yield service
    finally:
        process.kill()
        process.wait()


async def _ready(service: Service) -> None:
    async with httpx.AsyncClient() as client:
        while True:
            assert service.process.poll() is None, service.log.read_text()
            try:
                if (await client.get(f"http://127.0.0.1:{service.port}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
