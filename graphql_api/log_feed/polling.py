"""Polling: when a task that reads new entries polls again, and what interrupts it."""

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass
from typing import Final

from graphql_api.log_feed.errors import FeedError
from graphql_api.postgres.errors import CONNECTION_ERRORS, DatabaseUnavailableError

INTERRUPTIONS: Final = (*CONNECTION_ERRORS, DatabaseUnavailableError, FeedError)
"""What a poll may raise after which its task goes on, on another connection."""


_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.05
"""Seconds after a notification for which nothing was found, and after many: they are another feed's.

All feeds share a channel, so that programs notify once of a transaction, and each task hears of the others'.
"""


@dataclass(frozen=True, slots=True)
class PollIntervals:
    """Seconds between two polls, unless there is a notification."""

    idle_interval: float = 0.5
    """While nothing is found."""
    busy_interval: float = 0.025
    """Just after something was found: of writers at the same time only one notifies.

    Then as long as nothing has been, up to `idle_interval`: so few polls find nothing, and what isn't
    notified waits no longer than it came after the last that was found.
    """


class PollTimer:
    """Waits between the polls of one task."""

    __slots__ = ("_found_at", "_fruitless_pause", "_intervals", "_wake", "_was_woken")

    def __init__(self, intervals: PollIntervals) -> None:
        self._intervals = intervals
        self._wake = asyncio.Event()
        self._found_at = -math.inf
        self._was_woken = False
        self._fruitless_pause = 0.0

    def wake(self, *_: object) -> None:
        """Makes the task poll without waiting for its interval, if it has paused long enough."""
        self._wake.set()

    def begin(self) -> None:
        """Called before each poll: a wake-up from here on causes another one."""
        self._wake.clear()

    async def wait(self, pause: float, *, found: bool, due: float = math.inf) -> None:
        """Returns when the next poll is due: after `pause` seconds, and `due` more at the latest.

        `found` is whether the last poll has found something.
        """
        if found:
            self._found_at = time.monotonic()
        for_nothing = self._was_woken and not found
        doubled = min(self._fruitless_pause * 2 or _FIRST_PAUSE, _LONGEST_PAUSE)
        self._fruitless_pause = doubled if for_nothing else 0.0
        await asyncio.sleep(max(pause, self._fruitless_pause))
        self._was_woken = self._wake.is_set()
        if self._was_woken:
            return
        intervals = self._intervals
        since = time.monotonic() - self._found_at
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(
                min(max(intervals.busy_interval, since), intervals.idle_interval, due)
            ):
                self._was_woken = await self._wake.wait()
