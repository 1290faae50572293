"""Points that a viewer may spend in a minute.

A budget fills up all the time, at a sixtieth of its size a second, and holds a minute's worth at most.
"""

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from pydantic import SecretStr

from graphql_api.identity.login_throttle import network_of
from graphql_api.identity.redis_limiter import SharedCounts
from graphql_api.identity.viewer import Viewer

log = logging.getLogger(__name__)

_MINUTE: Final = 60.0
_PAUSE: Final = 10.0  # seconds for which Redis isn't asked after it has failed


class BudgetSpentError(Exception):
    """Not enough points are left. `retry_after` is the time to wait in whole seconds, 1 at least."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the points of this minute are spent: try again in {retry_after} s")
        self.retry_after = retry_after


class Budget:
    """Of every viewer, and of every network address that nobody has signed in from.

    Kept by each process for itself, or by all together in Redis; while that can't be reached, by each again.
    """

    def __init__(self, points: int, redis_url: SecretStr | None = None) -> None:
        self.points = points
        self._own = Buckets(points)
        self._shared = SharedCounts(redis_url) if redis_url is not None else None
        self._item = RateLimitItemPerMinute(points, 1, "points")
        self._ask_again = 0.0

    async def spend(self, viewer: Viewer, address: str, points: int) -> int:
        """Take points, one at least, and tell how many are left. Raises BudgetSpentError, and takes none."""
        owner = _owner(viewer, address)
        points = max(points, 1)
        if self._shared is not None and time.monotonic() >= self._ask_again:
            try:
                return await self._spend_shared(self._shared, owner, points)
            except StorageError as error:
                self._ask_again = time.monotonic() + _PAUSE
                log.warning("Redis can't be reached, this process keeps budgets for itself: %s", error)
        return self._own.spend(owner, points)

    async def close(self) -> None:
        """Close the connections to Redis."""
        if self._shared is not None:
            await self._shared.close()

    async def _spend_shared(self, shared: SharedCounts, owner: str, points: int) -> int:
        taken = await shared.limiter.hit(self._item, owner, cost=points)
        left = (await shared.limiter.get_window_stats(self._item, owner)).remaining
        if not taken:
            raise BudgetSpentError(_wait(points - left, self.points))
        return left


class Buckets:
    """One process's budgets, by owner.

    Not limits' memory storage, which goes through every owner's count at each request.
    """

    def __init__(self, points: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._points = points
        self._clock = clock
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """How many points are missing, and when that was so; the longest untouched first."""

    def __len__(self) -> int:
        return len(self._spent)

    def spend(self, owner: str, points: int) -> int:
        """Take points, and tell how many are left. Raises BudgetSpentError, and takes none."""
        now = self._clock()
        self._forget(now)
        missing, since = self._spent.get(owner, (0.0, now))
        missing = max(0.0, missing - (now - since) * self._points / _MINUTE) + points
        if missing > self._points:
            raise BudgetSpentError(_wait(missing - self._points, self._points))
        self._spent[owner] = missing, now
        self._spent.move_to_end(owner)
        return math.floor(self._points - missing)

    def _forget(self, now: float) -> None:
        """Drop those that are full again whatever was spent of them."""
        while self._spent:
            _, since = next(iter(self._spent.values()))
            if now - since < _MINUTE:
                return
            self._spent.popitem(last=False)


def _wait(lacking: float, points: int) -> int:
    """Whole seconds until so many points have come in."""
    return max(1, math.ceil(lacking * _MINUTE / points))


def _owner(viewer: Viewer, address: str) -> str:
    return viewer.principal or f"address {network_of(address) if address else 'unknown'}"
