"""Helpers for tests of the embedded server: other processes that use it, and how they end."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from graphql_api.postgres.address import Address

SETTINGS = {"fsync": "off"}

PROGRAM = """
import sys
from pathlib import Path
from graphql_api.dev.embedded import EmbeddedPostgres

postgres = EmbeddedPostgres(Path(sys.argv[1]), settings={"fsync": "off"})
print(postgres.start(), flush=True)
sys.stdin.read()
postgres.stop()
"""


class Client:
    """Another process that starts the server of a folder, and uses it until it is stopped."""

    def __init__(self, folder: Path, python: str = sys.executable, **process: Any) -> None:
        self.process: subprocess.Popen[str] = subprocess.Popen(
            (python, "-c", PROGRAM, str(folder)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
            **process,
        )

    def url(self) -> str:
        """What `start` returned in that process."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def finish(self) -> int:
        """Let it stop the server and end."""
        self.process.communicate()
        return self.process.returncode

    def end_by(self, signal: int) -> None:
        """Send a signal as a terminal does, to the whole group, and wait for the end."""
        os.killpg(self.process.pid, signal)
        self.process.communicate()


def copy(made: Path, folder: Path) -> Path:
    """A stopped server's folder once more, owners and all."""
    subprocess.run(("cp", "-a", made, folder), check=True)
    return folder


def run(url: str, *statements: str) -> Any:
    """Run SQL statements there; the last one's value."""
    return asyncio.run(_run(url, statements))


async def _run(url: str, statements: tuple[str, ...]) -> Any:
    connection = await Address.parse(url).connect_plain()
    try:
        for statement in statements:
            value = await connection.fetchval(statement)
        return value
    finally:
        await connection.close()


def run_eventually(url: str, statement: str) -> Any:
    """Run a SQL statement as soon as the server lets us; pytest's timeout is the limit."""
    while True:
        try:
            return run(url, statement)
        except (OSError, asyncpg.PostgresError):
            time.sleep(0.02)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition; pytest's timeout is the limit."""
    while not condition():
        time.sleep(0.02)


def supervisors(folder: Path) -> list[psutil.Process]:
    """The supervisors of a folder's server."""
    return [
        process
        for process, command in _processes()
        if any("supervisor.py" in word for word in command) and any(str(folder) in word for word in command)
    ]


def servers(folder: Path) -> list[psutil.Process]:
    """All of PostgreSQL's processes in a folder, postmaster, backends and all."""
    data = (
        (folder / "elsewhere" / "data").resolve() if (folder / "elsewhere").is_symlink() else folder / "data"
    )
    return [process for process, _ in _processes() if _is_postgres_in(process, data)]


def postmaster(folder: Path) -> psutil.Process:
    """The server's first process."""
    return psutil.Process(int((folder / "data" / "postmaster.pid").read_text().split("\n")[0]))


def kill(*processes: psutil.Process) -> None:
    """Kill processes, some of which may be ending already."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _processes() -> Iterator[tuple[psutil.Process, list[str]]]:
    for process in psutil.process_iter():
        try:
            yield process, process.cmdline()
        except psutil.Error:
            continue


def _is_postgres_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.name() == "postgres" and process.cwd() == str(folder)
    except psutil.Error:  # it may have ended meanwhile
        return False
