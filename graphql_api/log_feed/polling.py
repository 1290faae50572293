"""Polling: when a task that reads new entries polls again, and which errors interrupt it."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import asyncpg

from graphql_api.log_feed.errors import FeedError
from graphql_api.log_feed.feed_schema import CHANNEL
from graphql_api.postgres.errors import CONNECTION_ERRORS, DatabaseUnavailableError

INTERRUPTIONS: Final = (*CONNECTION_ERRORS, DatabaseUnavailableError, FeedError)
"""Errors of a poll after which its task continues on another connection."""


_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.05
"""Seconds to pause after a notification for which nothing was found, and after many of them.

All feeds share a channel, so that a transaction notifies only once. So tasks also receive notifications that
are about another feed.
"""


GENERIC_PLANS: Final = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
"""Settings of a connection whose statements PostgreSQL shall plan once.

Otherwise it would plan them for the parameters of each poll, which takes longer than running them. The plan
is the same for all parameters, since entries are read in the order of their key, with a limit, and their rows
one by one.
"""
_BURST: Final = 5
"""Polls in a row that have found something, after which the timer stops listening for notifications."""
_LONG_PAUSE: Final = 0.05
"""Seconds that a pause must have at least for the timer to stop listening."""


@dataclass(frozen=True, slots=True)
class PollIntervals:
    """Seconds between two polls, unless there is a notification."""

    idle_interval: float = 0.5
    """The interval while nothing is found."""
    busy_interval: float = 0.025
    """The interval just after something was found: of writers at the same time only one notifies.

    While nothing more is found, the interval grows to the time since then, up to `idle_interval`. So few
    polls find nothing, and an entry without a notification waits no longer than the time that had passed
    since the last entry.
    """


class PollTimer:
    """Waits between the polls of one task: for an interval, or until a notification if it listens.

    It stops listening while every poll finds something and is followed by a long pause. Otherwise each commit
    would wake the connection's process in PostgreSQL, and this process, although the next poll comes anyway.
    """

    __slots__ = (
        "_connection",
        "_finds",
        "_found_at",
        "_fruitless_pause",
        "_intervals",
        "_is_listening",
        "_notified",
        "_wake",
        "_was_woken",
    )

    def __init__(self, intervals: PollIntervals) -> None:
        self._intervals = intervals
        self._connection: asyncpg.Connection | None = None
        self._notified: Callable[..., None] = self.wake
        self._is_listening = False
        self._finds = 0
        """Polls in a row that have found something."""
        self._wake = asyncio.Event()
        self._found_at = -math.inf
        self._was_woken = False
        self._fruitless_pause = 0.0

    def wake(self, *_: object) -> None:
        """Makes the task poll at once, or as soon as its pause ends."""
        self._wake.set()

    def begin(self) -> None:
        """Call it before each poll: every `wake` from here on causes another poll."""
        self._wake.clear()

    async def listen(self, connection: "asyncpg.Connection", notified: Callable[..., None]) -> None:
        """Calls `notified`, which must call `wake`, at each notification on the connection.

        Everything that is committed after this returns is seen by the next poll, or causes a notification.
        """
        self._connection, self._notified, self._finds = connection, notified, 0
        await connection.add_listener(CHANNEL, notified)
        self._is_listening = True

    async def wait(self, pause: float, *, found: bool, due: float = math.inf) -> None:
        """Returns when the next poll is due: after `pause` seconds, and at most `due` seconds after that.

        `found`: the last poll has found something.
        """
        if found:
            self._found_at = time.monotonic()
        self._finds = self._finds + 1 if found else 0
        if self._connection is not None and not self._is_listening and not found:
            await self.listen(self._connection, self._notified)
            return  # so that a poll at once finds what was committed before it listened
        if self._connection is not None and self._finds >= _BURST and pause >= _LONG_PAUSE:
            if self._is_listening:
                self._is_listening = False
                await self._connection.remove_listener(CHANNEL, self._notified)
            await asyncio.sleep(pause)
            return
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
