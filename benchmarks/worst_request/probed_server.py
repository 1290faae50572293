"""Our server with a probe: how long its event loop was held, what it took of CPU and memory since `begin`.

The holds are counted in CPU time of the event loop's thread, which is the same however busy the machine is.
"""

import asyncio
import ctypes
import gc
import time
from contextlib import suppress
from pathlib import Path

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from graphql_api.app import create_app
from graphql_api.settings import Settings
from graphql_api.transport.uvicorn_server import bind, serve

_BEAT = 0.002
_PAGE = 4096


class Probe:
    """Beats on the event loop, and keeps the largest gap between two beats."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        self._task: asyncio.Task[None] | None = None
        self._hold = self._hold_wall = 0.0
        self._cpu = 0.0
        self._memory = 0

    def begin(self) -> None:
        """Gives unused memory back to the system, and begins to measure."""
        gc.collect(1)
        self._libc.malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is the present size again
        self._memory = _status("VmRSS")
        self._hold = self._hold_wall = 0.0
        self._cpu = time.process_time()
        self._task = asyncio.get_running_loop().create_task(self._beat())

    def end(self) -> dict[str, float]:
        """Returns what was measured since `begin`: seconds and bytes."""
        if self._task is not None:
            self._task.cancel()
        peak, kept = _status("VmHWM"), _status("VmRSS")
        return {
            "hold": self._hold,
            "hold_wall": self._hold_wall,
            "cpu": time.process_time() - self._cpu,
            "memory": peak - self._memory,
            "kept": kept - self._memory,
        }

    async def _beat(self) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(_BEAT)
            now_wall, now_cpu = time.perf_counter(), time.thread_time()
            self._hold = max(self._hold, now_cpu - cpu)
            self._hold_wall = max(self._hold_wall, now_wall - wall - _BEAT)
            wall, cpu = now_wall, now_cpu


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


class Probed:
    """The application, and two paths for the probe."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._probe = Probe()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if not path.startswith("/probe/"):
            await self._app(scope, receive, send)
            return
        measured: dict[str, float] = {}
        if path == "/probe/begin":
            self._probe.begin()
        else:
            await asyncio.sleep(2 * _BEAT)  # so that a beat comes after the last work
            measured = self._probe.end()
        body = orjson.dumps(measured)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serves as the environment describes."""
    settings = Settings()
    with bind(settings) as listening, suppress(KeyboardInterrupt):
        serve(lambda: Probed(create_app(settings)), settings, listening)


if __name__ == "__main__":
    main()
