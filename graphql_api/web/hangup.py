"""A client that hangs up ends what it asked for."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

_GRACE = 0.05
"""Seconds before anyone listens for a hang-up: most operations are over by then, and pay nothing for it."""


class ClientGoneError(Exception):
    """The client closed its connection before it had its answer."""


class UntilHangup:
    """Cancels what runs in the block when the client disconnects, and raises ClientGoneError instead."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._gone = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - narrows; a coroutine runs in a task
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(_GRACE, self._start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and isinstance(error, asyncio.CancelledError) and not self._task.uncancel():
            raise ClientGoneError from None

    def _start(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()
