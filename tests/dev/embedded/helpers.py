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
        """Returns what `start` returned in that process."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def finish(self) -> int:
        """Lets the process stop the server and end, and returns its exit code."""
        self.process.communicate()
        return self.process.returncode

    def end_by(self, signal: int) -> None:
        """Sends a signal to the whole process group, as a terminal does, and waits for the end."""
        os.killpg(self.process.pid, signal)
        self.process.communicate()


def copy(made: Path, folder: Path) -> Path:
    """Copies the folder of a stopped server, with the owners of its files, and returns the copy."""
    subprocess.run(("cp", "-a", made, folder), check=True)
    return folder


def run(url: str, *statements: str) -> Any:
    """Runs SQL statements, and returns the value of the last one."""
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
    """Runs a SQL statement as soon as the server allows it; pytest's timeout is the limit."""
    while True:
        try:
            return run(url, statement)
        except (OSError, asyncpg.PostgresError):
            time.sleep(0.02)


def eventually(condition: Callable[[], bool]) -> None:
    """Waits for a condition; pytest's timeout is the limit."""
    while not condition():
        time.sleep(0.02)


def supervisors(folder: Path) -> list[psutil.Process]:
    """Returns the supervisors of a folder's server."""
    return [
        process
        for process, command in _processes()
        if any("supervisor.py" in word for word in command) and any(str(folder) in word for word in command)
    ]


def servers(folder: Path) -> list[psutil.Process]:
    """Returns all PostgreSQL processes of a folder: the postmaster, the backends and the others."""
    data = (
        (folder / "elsewhere" / "data").resolve() if (folder / "elsewhere").is_symlink() else folder / "data"
    )
    return [process for process, _ in _processes() if _is_postgres_in(process, data)]


def postmaster(folder: Path) -> psutil.Process:
    """Returns the first process of the folder's server."""
    return psutil.Process(int((folder / "data" / "postmaster.pid").read_text().split("\n")[0]))


def kill(*processes: psutil.Process) -> None:
    """Kills processes, some of which may have ended already."""
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
