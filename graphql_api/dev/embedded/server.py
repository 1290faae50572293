"""Starts an embedded server on demand, shares it among processes, and stops it after the last of them.

Four files in its folder serve only as locks. The kernel releases them however a process ends. A process id in
a file, in contrast, may be stale, or belong to another process by now.

- `clients.lock` is shared by all processes that use the server; an exclusive lock is needed to stop it.
- `start.lock` is held by the process that starts the server.
- `supervisor.lock` is held by the supervisor, the process that runs the server (`supervisor.py`).
- `server.lock` is held by every process of the server.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

from graphql_api.dev.embedded import supervisor
from graphql_api.dev.embedded.cluster import PORT, SOCKET, Cluster
from graphql_api.dev.embedded.programs import EmbeddedPostgresError, environment

_START_TIMEOUT = 120.0  # seconds; a server that was killed replays its log first
_SHUTDOWN_TIMEOUT = 30.0  # seconds; then the supervisor forces it
_PAUSE = 0.01


class EmbeddedPostgres:
    """A PostgreSQL server in a folder, behind a Unix socket that only its own user can use.

    Any number of processes may start the same folder: they share one server, which ends after the last
    of them, whether that one stops it, exits or is killed. The folder's parents aren't changed. For root, if
    no other user can enter the folder, the data is kept in `cluster.ROOT_DATA_FOLDER`, and the link
    `elsewhere` in the folder points there.
    """

    def __init__(
        self, base: Path, database: str = "graphql_api", settings: Mapping[str, str] | None = None
    ) -> None:
        """Does nothing before `start`. `settings` are PostgreSQL's; the first process to start it decides."""
        self._base = base.expanduser().resolve()
        self._database = database
        self._settings = dict(settings or {})
        self._clients: int | None = None
        self._cluster: Cluster | None = None

    def start(self) -> str:
        """Starts the server unless it runs, creates the database unless it exists, and returns its URL.

        Blocks for about a second the first time, a tenth of one later. Raises EmbeddedPostgresError.
        """
        if self._clients is not None:
            raise EmbeddedPostgresError("this server is started already")
        try:
            socket = self._join()
        except BaseException as error:
            self._release()
            if isinstance(error, OSError):
                raise EmbeddedPostgresError(
                    f"no PostgreSQL in {self._base}: {error}. "
                    "Choose another GRAPHQL_API_DATA_DIR, or set DATABASE_URL"
                ) from error
            raise
        query = urlencode({"host": socket, "port": PORT}, quote_via=quote, safe="/")
        return f"postgresql://postgres@/{quote(self._database)}?{query}"

    def stop(self) -> None:
        """Releases the server. The last process to do so waits until the server has shut down."""
        if self._clients is None:
            return
        try:
            fcntl.flock(self._clients, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # others use it
        else:  # new clients wait until the lock is released
            self._end_server()
        finally:
            self._release()

    def _join(self) -> Path:
        """Becomes a client of the server, starting it if needed, and returns the folder of its socket."""
        self._base.mkdir(parents=True, exist_ok=True)
        self._clients = self._open("clients.lock")
        fcntl.flock(self._clients, fcntl.LOCK_SH)  # waits for a server that is being shut down
        with self._lock("start.lock") as lock:
            sync = self._settings.get("fsync") != "off"
            self._cluster = Cluster.open(self._base, lock=lock, sync=sync)
            socket = self._run(self._cluster)
            self._cluster.create_database(self._database, socket)
        return socket

    def _run(self, cluster: Cluster) -> Path:
        """Makes sure that the server runs and has a supervisor, and returns the folder of its socket."""
        log = self._base / "log"
        log.touch(mode=0o600)
        before = log.stat().st_size
        launched = False
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline:
            with self._lock_if_free("supervisor.lock") as lock:
                if lock is None:
                    if socket := cluster.socket_of_running_server():
                        return socket
                elif launched:  # it has ended: it could not run the server
                    break
                else:
                    self._end_server()  # its supervisor was killed, so nothing would ever stop it
                    self._launch_supervisor(cluster, lock)
                    launched = True
            time.sleep(_PAUSE)
        said = log.read_bytes()[before:].decode(errors="replace").strip()
        raise EmbeddedPostgresError(f"PostgreSQL did not start in {self._base}: {said[-2000:]}")

    def _launch_supervisor(self, cluster: Cluster, lock: int) -> None:
        socket_folder = cluster.socket_folder()
        arguments = {
            "clients": str(self._base / "clients.lock"),
            "server": str(self._base / "server.lock"),
            "pid_file": str(cluster.pid_file),
            "socket_lock": str(socket_folder / SOCKET) + ".lock",
            "command": cluster.command(socket_folder, self._settings),
            "system_user": cluster.programs.system_user.popen_arguments(),
        }
        with (self._base / "log").open("ab") as log:
            subprocess.run(  # noqa: S603 - our own program; it goes to the background by itself
                (sys.executable, "-I", "-S", supervisor.__file__, json.dumps(arguments)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock],
                start_new_session=True,  # so that Ctrl-C at the terminal doesn't reach it
                cwd="/",
                env=environment(),
                check=False,  # what went wrong is in the log
            )

    def _end_server(self) -> None:
        """Shuts the server down if it runs, and waits. Nobody else may use or start it meanwhile."""
        # If nobody holds its lock it doesn't run, and its pid file may have another process's id by now.
        if self._cluster is None or not self._server_runs():
            return
        self._cluster.shut_down()
        deadline = time.monotonic() + _SHUTDOWN_TIMEOUT
        while self._server_runs() and time.monotonic() < deadline:
            time.sleep(_PAUSE)

    def _server_runs(self) -> bool:
        with self._lock_if_free("server.lock") as lock:
            return lock is None

    @contextmanager
    def _lock(self, name: str) -> Iterator[int]:
        """Locks a file for the block, and yields its descriptor."""
        descriptor = self._open(name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _lock_if_free(self, name: str) -> Iterator[int | None]:
        """The same without waiting: yields None if another process has locked it."""
        descriptor = self._open(name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            yield None
            return
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, name: str) -> int:
        return os.open(self._base / name, os.O_RDONLY | os.O_CREAT, 0o644)

    def _release(self) -> None:
        if self._clients is not None:
            os.close(self._clients)
            self._clients = None
