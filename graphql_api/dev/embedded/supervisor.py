"""Runs a PostgreSQL server as long as any process uses it, and restarts it if it crashes.

This is a program of its own, apart from the package, since it outlives the process that starts it. Every
client holds a shared lock on one file, which the kernel releases however the client ends; when nobody holds
it any more, the server is shut down. The one argument is JSON: the arguments of `supervise`.
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

_PAUSE = 0.1  # seconds between two checks of the server and its clients
_FAST_SHUTDOWN_TIMEOUT = 30.0  # seconds for a fast shutdown, before an immediate one
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
    """Runs `command`, the server, until nobody holds the lock on `clients` or the server is stopped.

    The server's processes hold a lock on `server` until the last of them has ended. It writes its process id
    to `pid_file` and `socket_lock`. `system_user`: arguments of `subprocess.Popen` for the user it runs as.
    """
    stale_files = (Path(pid_file), Path(socket_lock))
    with Path(clients).open() as clients_lock:
        process = _launch(Path(server), stale_files, command, system_user)
        while not _locked(clients_lock):
            if process.poll() is not None:
                if not lines_if_ready(Path(pid_file)):
                    break  # it could not start, or it was stopped and removed the file
                process = _launch(Path(server), stale_files, command, system_user)
            time.sleep(_PAUSE)
        else:  # nobody uses it, and new clients wait until this process has ended
            _shut_down(process)
    with suppress(OSError):  # empty only if it is not the data folder, but a short path in its place
        Path(socket_lock).parent.rmdir()


def lines_if_ready(pid_file: Path) -> list[str]:
    """Returns the lines of a server's pid file once it accepts connections; before that, an empty list.

    A server that crashed leaves the file behind.
    """
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return []
    return lines if len(lines) > 7 and lines[7].strip() == "ready" else []


def _launch(
    server: Path, stale_files: tuple[Path, ...], command: list[str], system_user: dict[str, Any]
) -> "subprocess.Popen[bytes]":
    with server.open() as lock:
        # Processes of a server that was killed end soon, not at once, and hold the lock until then.
        fcntl.flock(lock, fcntl.LOCK_EX)
        # PostgreSQL would take the process id in them for a running server, although it may be another's.
        for file in stale_files:
            file.unlink(missing_ok=True)
        return subprocess.Popen(  # noqa: S603 - the command is our own
            command,
            pass_fds=[lock.fileno()],
            preexec_fn=_end_with_supervisor,  # noqa: PLW1509 - there are no threads here
            **system_user,
        )


def _end_with_supervisor() -> None:
    """Makes Linux shut the server down if this supervisor is killed."""
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
        process.wait(_FAST_SHUTDOWN_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)  # nothing is lost: the next start replays the log
        process.wait()


if __name__ == "__main__":
    if os.fork() == 0:  # the parent ends at once, and this process goes on in the background
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)  # it ends after its clients, not with them
        supervise(**json.loads(sys.argv[1]))
