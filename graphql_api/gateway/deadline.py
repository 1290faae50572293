"""Deadlines: operations are cancelled at a deadline or when their client disconnects; mutations go on."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from starlette.types import Receive

T = TypeVar("T")

_WATCH_AFTER = 0.05
"""Seconds before a Deadline starts its task: most operations end earlier, and only cost a timer."""


class ClientGoneError(Exception):
    """The client closed its connection before it had its response."""


class Deadline:
    """Cancels the block after `seconds`, or once `receive` reports that the client is gone.

    Then raises TimeoutError or ClientGoneError.
    """

    def __init__(self, seconds: float, receive: Receive | None = None) -> None:
        self._seconds = seconds
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._reason: Exception | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - narrows; a coroutine runs in a task
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(min(_WATCH_AFTER, self._seconds), self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = (
                None  # otherwise there is a reference cycle with the exception of its cancellation
            )
        if self._reason is not None and isinstance(error, asyncio.CancelledError):
            self._task.uncancel()
            raise self._reason from None

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        try:
            async with asyncio.timeout(max(0.0, self._seconds - _WATCH_AFTER)):
                await self._wait_for_disconnect()
        except TimeoutError as error:
            self._reason = error
        else:
            self._reason = ClientGoneError()
        self._task.cancel()

    async def _wait_for_disconnect(self) -> None:
        if self._receive is None:
            await asyncio.Event().wait()  # never returns: there is no connection to watch
        else:
            while (await self._receive())["type"] != "http.disconnect":
                pass


class BackgroundTasks:
    """Tasks that run to their end even if nobody waits for them, such as a mutation whose client has gone."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()  # the event loop only has weak references to tasks

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def finish(self, grace_period: float) -> None:
        """Waits until all tasks are done, and cancels those that aren't after `grace_period` seconds."""
        try:
            async with asyncio.timeout(grace_period):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            while self._tasks:
                for task in self._tasks:
                    task.cancel()
                await asyncio.wait(self._tasks)
