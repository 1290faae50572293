"""Runs one PostgreSQL for as long as somebody uses it, and starts it again should it crash.

A program of its own, apart from the package, for it outlives whoever starts it. Every client holds a
shared lock on one file, and the kernel lets go of it however the client ends; when nobody holds it any
more, the server is shut down. Its one argument is the JSON text of the arguments of `supervise`.
"""

import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_PAUSE = 0.1  # seconds between two looks at the server and its clients
_PATIENCE = 30.0  # seconds until a server that should shut down is told to drop everything
_PR_SET_PDEATHSIG = 1


def supervise(
    *,
    clients: str,
    server: str,
    pid_file: str,
    socket_lock: str,
    command: list[str],
    system_user: dict[str, Any],
) -> None:
    """Run `command` until nobody holds the lock on `clients`, or until it ends by intent.

    It holds a lock on `server` until the last of its processes has ended. In `pid_file` and `socket_lock`
    it writes its process id. `system_user` is what `subprocess.Popen` needs to know of the user it runs as.
    """
    traces = (Path(pid_file), Path(socket_lock))
    with Path(clients).open() as clients_lock:
        process = _launch(Path(server), traces, command, system_user)
        while not _locked(clients_lock):
            if process.poll() is not None:
                if not lines_if_ready(Path(pid_file)):
                    break  # it could not start, or it ended by intent and took the file with it
                process = _launch(Path(server), traces, command, system_user)
            time.sleep(_PAUSE)
        else:  # nobody uses it, and whoever comes now waits until we are gone
            _shut_down(process)
    with suppress(OSError):  # empty only if it is a short name in the place of the data folder's
        Path(socket_lock).parent.rmdir()


def lines_if_ready(pid_file: Path) -> list[str]:
    """What a server says of itself in its pid file, once it is ready to answer; before that, nothing.

    One that crashed leaves the file behind.
    """
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return []
    return lines if len(lines) > 7 and lines[7].strip() == "ready" else []


def _launch(
    server: Path, traces: tuple[Path, ...], command: list[str], system_user: dict[str, Any]
) -> "subprocess.Popen[bytes]":
    with server.open() as lock:
        # Processes of a killed server notice its end soon, but not at once, and hold the lock until then.
        fcntl.flock(lock, fcntl.LOCK_EX)
        # The process id in them may be another's by now, which PostgreSQL would take for a running server.
        for trace in traces:
            trace.unlink(missing_ok=True)
        return subprocess.Popen(  # noqa: S603 - the command is our own
            command,
            pass_fds=[lock.fileno()],
            preexec_fn=_end_with_supervisor,  # noqa: PLW1509 - there are no threads here
            **system_user,
        )


def _end_with_supervisor() -> None:
    """Should the supervisor itself be killed, Linux shuts the server down in its place."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _shut_down(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)  # loses nothing: the next start replays the log
        process.wait()


if __name__ == "__main__":
    if os.fork() == 0:  # the starter gets an end to wait for, and this goes on in the background
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)  # it ends after its clients, not with them
        supervise(**json.loads(sys.argv[1]))
