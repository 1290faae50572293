"""The service as its users have it: in a process of its own, over the network."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from graphql_api.identity import users
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.identity.viewer import Role
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from tests.forked import Forked
from tests.http_client import http_client
from tests.ports import free_port

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


@dataclass
class Service:
    """A running service and the database behind it."""

    port: int
    database: Database
    environment: dict[str, str]
    folder: Path
    python: str = sys.executable
    """The interpreter of the environment that the service is installed in."""
    module: str = "graphql_api"
    """What the interpreter runs."""
    process: subprocess.Popen[bytes] | Forked = field(init=False)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    async def start(self) -> None:
        """Starts the process, and waits until it is ready."""
        arguments = ("serve", "--port", str(self.port))
        with self.log.open("ab") as output:
            streams: Any = {"env": self.environment, "cwd": self.folder, "stdout": output, "stderr": output}
            usual = (self.python, self.module) == (sys.executable, "graphql_api")
            # A fork has loaded its libraries and imported the package before.
            if usual and not {"LD_PRELOAD", "PYTHONPATH"} & self.environment.keys():
                self.process = Forked(arguments, **streams)
            else:
                self.process = subprocess.Popen([self.python, "-m", self.module, *arguments], **streams)
        async with http_client() as client:
            while True:
                assert self.process.poll() is None, self.log.read_text()
                try:
                    if (await client.get(f"http://127.0.0.1:{self.port}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """Kills the process."""
        self.process.kill()
        self.process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/graphql"

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/graphql"

    async def ask(
        self, query: str, variables: Mapping[str, Any] | None = None, *, token: str | None = None
    ) -> httpx.Response:
        """Sends one POST, as any client would."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with http_client() as client:
            return await client.post(self.url, json={"query": query, "variables": variables}, headers=headers)

    async def user(self, email: str, *, role: Role | None = None) -> str:
        """Creates a user, signs in, and returns the access token."""
        passwords = PasswordHasher(threads=1)
        user_id = await users.create(self.database, passwords, email, PASSWORD)
        passwords.close()
        if role is not None:
            await users.grant_role(self.database, user_id, role)
        response = await self.ask(LOGIN, {"email": email, "password": PASSWORD})
        return str(response.json()["data"]["login"]["accessToken"])

    def stop(self) -> int:
        """Sends SIGTERM, waits for the end, and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(100)


@asynccontextmanager
async def served_from(
    address: Address,
    folder: Path,
    *,
    python: str = sys.executable,
    module: str = "graphql_api",
    **settings: str,
) -> AsyncIterator[Service]:
    """Runs `graphql-api serve` on a database."""
    environment = {
        **os.environ,
        "DATABASE_URL": address.dsn,
        "GRAPHQL_API_DATA_DIR": str(folder / "data"),
        # On a busy machine a login takes long: threads that hash passwords give way to all others.
        "GRAPHQL_API_OPERATION_TIMEOUT": "90",
        **settings,
    }
    database = Database(address)
    service = Service(free_port(), database, environment, folder, python, module)
    try:
        await service.start()
        yield service
    finally:
        service.kill()
        await database.close()


@pytest.fixture
async def service(address: Address, tmp_path: Path) -> AsyncIterator[Service]:
    """`graphql-api serve` on a database of the test's own."""
    async with served_from(address, tmp_path) as service:
        yield service
