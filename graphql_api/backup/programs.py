"""Runs PostgreSQL's programs from an event loop."""

import asyncio
import ctypes
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from graphql_api.backup.errors import BackupError
from graphql_api.dev.embedded.programs import Programs, SystemUser, environment

Progress = Callable[[str, int, int], None]
"""Called with a description of the work, the bytes done, and its size in bytes; 0 if that is unknown."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_KEPT_LINES = 20


def quiet(_what: str, _done: int, _total: int) -> None:
    """Reports no progress."""


def programs_of(version: int) -> Programs:
    """Returns the programs of a major version of PostgreSQL. Raises EmbeddedPostgresError."""
    return Programs.find(SystemUser(), version)


async def launch(
    programs: Programs,
    name: str,
    *arguments: str | Path,
    variables: Mapping[str, str] | None = None,
) -> asyncio.subprocess.Process:
    """Starts a program that ends with this process; its whole output comes through its `stdout`.

    Raises BackupError if this PostgreSQL has no such program.
    """
    path = programs.folder / name
    if not path.is_file():
        raise BackupError(f"PostgreSQL's {name} is missing in {programs.folder}: install all of its programs")
    popen_arguments: dict[str, Any] = programs.system_user.popen_arguments()
    return await asyncio.create_subprocess_exec(
        path,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd="/",
        env=environment() | dict(variables or {}),
        start_new_session=True,  # Ctrl-C at the terminal reaches only this process, which ends it
        preexec_fn=_end_with_parent,
        **popen_arguments,
    )


async def run(
    programs: Programs, name: str, *arguments: str | Path, variables: Mapping[str, str] | None = None
) -> str:
    """Runs a program to its end, and returns its output. Raises BackupError if it fails.

    If the task is cancelled, the program is ended.
    """
    process = await launch(programs, name, *arguments, variables=variables)
    try:
        printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = printed.decode(errors="replace").strip()
    if process.returncode != 0:
        raise BackupError(f"{name} failed: {last_lines(text)}")
    return text


def last_lines(text: str) -> str:
    """Returns the last lines of a program's output as one line, without the program's name before each."""
    lines = [line.partition(": ")[2] or line for line in text.splitlines()[-_KEPT_LINES:] if line.strip()]
    return "; ".join(lines) or "it printed nothing"


def _end_with_parent() -> None:
    """Makes Linux end the program with the thread that has started it."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
