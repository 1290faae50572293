"""Long work on the event loop, cut into turns: one of them at a time, and everything else in between."""

import asyncio
from collections import deque


class Turns:
    """Lets operations with much to compute take turns.

    An operation that has worked for a while pauses. Those that have paused go on one by one, with a round of
    the event loop for each: so however many there are, others wait for one turn, and not for one of each.
    """

    def __init__(self) -> None:
        self._paused: deque[asyncio.Future[None]] = deque()
        self.taken = 0
        """Turns taken so far."""

    async def pause(self) -> None:
        """Returns when it is the caller's turn again."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._paused.append(turn)
        if len(self._paused) == 1:
            loop.call_soon(self._next, loop)
        await turn

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        turn = self._paused.popleft()
        if not turn.done():  # it was cancelled meanwhile
            turn.set_result(None)
            self.taken += 1
        if self._paused:
            loop.call_soon(self._next, loop)
