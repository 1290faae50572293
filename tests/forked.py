"""Runs `python -m graphql_api` without the second that its imports take.

For each worker of the run, one process imports the package with its libraries, and waits. Each process that a
test starts is a fork of it. It gets its own arguments, environment, folder and streams, and then runs like
`python -m graphql_api`.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import TimeoutExpired
from tempfile import TemporaryFile
from typing import IO, Any, NoReturn

_ROOT = Path(__file__).parents[1]
_NUMBER = struct.Struct("!i")


class Forked:
    """A process of `python -m graphql_api`, used like one of `subprocess`."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdout: IO[bytes],
        stderr: IO[bytes],
    ) -> None:
        self.arguments = arguments
        self.returncode: int | None = None
        self._status, theirs = socket.socketpair()
        asked = json.dumps({"arguments": arguments, "env": dict(env), "cwd": str(cwd)}).encode()
        with theirs:
            streams = [each.fileno() for each in (stdout, stderr, theirs)]
            socket.send_fds(_parent(), [_NUMBER.pack(len(asked))], streams)
            _parent().sendall(asked)
        self.pid = self._read()

    def wait(self, timeout: float | None = None) -> int:
        """Returns the exit code once it has ended; minus the signal's number where one has ended it."""
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                self.returncode = self._read()
            except (TimeoutError, BlockingIOError):
                raise TimeoutExpired(self.arguments, timeout or 0) from None
            self._status.close()
        return self.returncode

    def poll(self) -> int | None:
        """Returns the exit code, or None while it runs."""
        try:
            return self.wait(0)
        except TimeoutExpired:
            return None

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _read(self) -> int:
        if not (said := self._status.recv(_NUMBER.size)):
            self._status.close()
            raise RuntimeError("the process to fork from has ended")
        number: int
        (number,) = _NUMBER.unpack(said)
        return number


def run(arguments: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> tuple[int, str, str]:
    """Returns the exit code of a process, and what it has printed to its two streams."""
    with TemporaryFile() as out, TemporaryFile() as err:
        code = Forked(arguments, env=env, cwd=cwd, stdout=out, stderr=err).wait()
        for stream in (out, err):
            stream.seek(0)
        return code, out.read().decode(), err.read().decode()


@functools.cache
def _parent() -> socket.socket:
    """Starts the process to fork from, which ends with this one. Returns the address of its socket."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.set_inheritable(True)
        program = (sys.executable, "-c", f"from tests.forked import serve; serve({theirs.fileno()})")
        os.posix_spawn(sys.executable, program, os.environ | {"PYTHONPATH": str(_ROOT)})
    atexit.register(ours.close)
    return ours


def serve(number: int) -> None:
    """Forks for each request that comes over a socket, until the socket is closed."""
    for module in pkgutil.iter_modules([str(_ROOT / "graphql_api" / "cli")], "graphql_api.cli."):
        importlib.import_module(module.name)
    importlib.import_module("graphql_api.app")
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # is meant for the tests, which end this by their own end
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who watch
    with socket.socket(fileno=number) as asked:
        while True:
            length, streams, *_ = socket.recv_fds(asked, _NUMBER.size, 3)
            if not length:
                return
            request = asked.recv(_NUMBER.unpack(length)[0], socket.MSG_WAITALL)
            if os.fork() == 0:
                asked.close()
                _watch(json.loads(request), *streams)
            for each in streams:
                os.close(each)


def _watch(request: dict[str, Any], stdout: int, stderr: int, status: int) -> NoReturn:
    """Forks again, and sends the id of the new process, and its exit code once it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(status)
        _run(request, stdout, stderr)
    for number in (stdout, stderr):
        os.close(number)
    os.write(status, _NUMBER.pack(process))
    _, ended = os.waitpid(process, 0)
    os.write(status, _NUMBER.pack(os.waitstatus_to_exitcode(ended)))
    os._exit(0)


def _run(request: dict[str, Any], stdout: int, stderr: int) -> NoReturn:
    """Runs the requested command in this process."""
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[1:] = request["arguments"]
    sys.path[0] = ""
    runpy.run_module("graphql_api", run_name="__main__", alter_sys=True)
    sys.exit()
