"""One call that wakes everybody who waits."""

import asyncio

_AT_A_TIME = 200


class Bell:
    """Like a condition without a lock: who waits hears the next ring, and nothing is remembered."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake all who wait: thousands of them by and by, so that others get their turns in between."""
        waiting, self._waiting = self._waiting, set()
        _wake(list(waiting))

    async def heard(self, timeout: float | None = None) -> None:
        """Return at the next ring, or after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = None if timeout is None else loop.call_later(timeout, _resolve, future)
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)
            if timer is not None:
                timer.cancel()


def _wake(waiting: "list[asyncio.Future[None]]") -> None:
    for future in waiting[-_AT_A_TIME:]:
        _resolve(future)
    del waiting[-_AT_A_TIME:]
    if waiting:
        asyncio.get_running_loop().call_soon(_wake, waiting)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
