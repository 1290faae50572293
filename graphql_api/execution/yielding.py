"""Pauses of long work, in which the event loop runs other tasks."""

import asyncio
from collections import deque


class YieldScheduler:
    """Resumes tasks that have paused one by one, each in an iteration of the event loop of its own.

    A task that has computed for a while pauses. However many tasks pause, each iteration of the event loop
    runs the next piece of only one, so that other tasks never wait for a piece of each.
    """

    def __init__(self) -> None:
        self._paused: deque[asyncio.Future[None]] = deque()
        self.pauses = 0
        """How many pauses have ended."""

    @property
    def is_idle(self) -> bool:
        """Whether nobody has paused."""
        return not self._paused

    async def pause(self) -> None:
        """Returns when the caller may go on, after other tasks have run."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._paused.append(waiter)
        if len(self._paused) == 1:
            loop.call_soon(self._next, loop)
        await waiter

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        waiter = self._paused.popleft()
        if not waiter.done():  # it was cancelled meanwhile
            waiter.set_result(None)
            self.pauses += 1
        if self._paused:
            loop.call_soon(self._next, loop)
