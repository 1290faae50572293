"""Runs the garbage collector so that it holds the event loop for some milliseconds at a time.

Long-lived objects (types and modules, then documents and plans in caches) are frozen: the collector doesn't
examine them again. Otherwise each full collection would examine everything, half a second with full caches.
"""

import asyncio
import gc
from collections.abc import Mapping
from time import thread_time
from typing import Final

_YOUNGEST: Final = 5_000
"""Objects allocated between collections of the youngest generation, each of which takes about 0.5 ms."""
_TIMES: Final = 4
"""Collections of the youngest generation after which all objects that aren't frozen are examined."""
_NEVER: Final = 1_000_000_000
_INTERVAL: Final = 3600.0
"""The least seconds between collections of everything."""
_LONGEST_INTERVAL: Final = 86_400.0
_QUIET: Final = 0.02
"""A second is quiet if the process uses at most this much CPU time in it, in seconds."""


class GarbageCollection:
    """Collects garbage between the steps of an event loop, among the objects made since the last collection.

    Between steps no operation is computing, so nearly all objects that are alive then live long, and are
    frozen. During a step, when much that is alive won't be for long, only the youngest are examined. Cycles
    of frozen objects that become garbage are freed by a collection of everything: once an hour, in a quiet
    second.
    """

    def __init__(self) -> None:
        self._collections = 0
        """Collections of the youngest generation since the last one of all that isn't frozen."""
        self._task: asyncio.Task[None] | None = None
        self._former_threshold: tuple[int, int, int]
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Starts in the running event loop.

        Call it when everything is loaded that lives as long as the process.
        """
        self._loop = asyncio.get_running_loop()
        self._former_threshold = gc.get_threshold()
        collect_and_freeze()
        gc.set_threshold(_YOUNGEST, _NEVER, _NEVER)
        gc.callbacks.append(self._notice)
        self._task = self._loop.create_task(self._collect_all_now_and_then(), name="garbage collection")

    def stop(self) -> None:
        """Restores the collector's settings; frozen objects stay frozen."""
        if self._task is not None:
            gc.set_threshold(*self._former_threshold)
            gc.callbacks.remove(self._notice)
            self._task.cancel()
            self._task = None

    def _notice(self, phase: str, info: Mapping[str, int]) -> None:
        """Called by the collector, in the thread that has allocated the last object."""
        if phase == "stop" and info["generation"] == 0:
            self._collections += 1
            if self._collections == _TIMES:
                self._loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        collect_and_freeze()
        self._collections = 0

    async def _collect_all_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            until = self._loop.time() + _LONGEST_INTERVAL - _INTERVAL
            while not await _is_quiet() and self._loop.time() < until:
                pass
            gc.unfreeze()
            collect_and_freeze()


def collect_and_freeze() -> None:
    """Collects garbage among the objects that aren't frozen, and freezes the others."""
    gc.collect()
    gc.freeze()


async def _is_quiet() -> bool:
    """Returns whether the thread has little to do in the next second."""
    worked = thread_time()
    await asyncio.sleep(1)
    return thread_time() - worked < _QUIET
