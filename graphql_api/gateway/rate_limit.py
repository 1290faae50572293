"""Rate limits: the points that a viewer may spend on operations in a minute, as a token bucket.

A bucket holds the points of a minute, and refills continuously: a sixtieth of them in each second.
"""

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from pydantic import SecretStr

from graphql_api.identity.redis_limiter import RedisLimiter

log = logging.getLogger(__name__)

_MINUTE: Final = 60.0
_RETRY_REDIS_AFTER: Final = 10.0
"""Seconds after a failure of Redis until it is asked again."""


class RateLimitExceededError(Exception):
    """Too few points are left: `remaining`. `retry_after` is the time to wait, 1 second at least."""

    def __init__(self, retry_after: int, remaining: int) -> None:
        super().__init__(f"the points of this minute are spent: try again in {retry_after} s")
        self.retry_after = retry_after
        self.remaining = remaining


class RateLimiter:
    """Limits every owner, a viewer or a network address of anonymous requests, to `points_per_minute`.

    With Redis, all processes count together; without it, and while it can't be reached, each counts for
    itself.
    """

    def __init__(
        self,
        points_per_minute: int,
        redis_url: SecretStr | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` returns the seconds by which the buckets of this process refill."""
        self._points_per_minute = points_per_minute
        self._buckets = TokenBuckets(points_per_minute, clock)
        self._redis = RedisLimiter(redis_url) if redis_url is not None else None
        self._item = RateLimitItemPerMinute(points_per_minute, 1, "points")
        self._ask_redis_from = 0.0

    async def take(self, owner: str, points: int, budget: str = "") -> int:
        """Takes points, at least one, and returns how many are left.

        Each `budget` of an owner has `points_per_minute` of its own. If too few are left, raises
        RateLimitExceededError and takes none.
        """
        if budget:
            owner = f"{budget} of {owner}"
        points = max(points, 1)
        if self._redis is not None and time.monotonic() >= self._ask_redis_from:
            try:
                return await self._take_in_redis(self._redis, owner, points)
            except StorageError as error:
                self._ask_redis_from = time.monotonic() + _RETRY_REDIS_AFTER
                log.warning("Redis can't be reached, this process counts points for itself: %s", error)
        return self._buckets.take(owner, points)

    def take_here(self, owner: str, points: int) -> None:
        """Takes points that only this process counts. If too few are left, raises RateLimitExceededError."""
        self._buckets.take(owner, points)

    async def charge(self, owner: str, points: int, budget: str = "") -> int:
        """Takes points for work that was done already; if fewer are left, takes those.

        Returns the seconds until the missing points will have refilled, at most a minute.
        """
        try:
            await self.take(owner, points, budget)
        except RateLimitExceededError as error:
            if error.remaining > 0:
                with suppress(RateLimitExceededError):
                    await self.take(owner, error.remaining, budget)
            return min(error.retry_after, int(_MINUTE))
        return 0

    async def close(self) -> None:
        """Closes the connections to Redis."""
        if self._redis is not None:
            await self._redis.close()

    async def _take_in_redis(self, redis: RedisLimiter, owner: str, points: int) -> int:
        taken = await redis.limiter.hit(self._item, owner, cost=points)
        remaining = (await redis.limiter.get_window_stats(self._item, owner)).remaining
        if not taken:
            wait = _seconds_to_refill(points - remaining, self._points_per_minute)
            raise RateLimitExceededError(wait, remaining)
        return remaining


class TokenBuckets:
    """One process's buckets, by owner.

    The package `limits` has one, too, but its memory storage goes through the counts of all owners at each
    request.
    """

    def __init__(self, points_per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._points_per_minute = points_per_minute
        self._clock = clock
        self._missing: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """How many points each bucket lacked at its last use, and when; the least recently used first."""

    def __len__(self) -> int:
        return len(self._missing)

    def take(self, owner: str, points: int) -> int:
        """Takes points, and returns how many are left. If too few are left, raises RateLimitExceededError."""
        now = self._clock()
        self._forget_full_ones(now)
        missing, since = self._missing.get(owner, (0.0, now))
        missing = max(0.0, missing - (now - since) * self._points_per_minute / _MINUTE) + points
        if missing > self._points_per_minute:
            lacking = missing - self._points_per_minute
            wait = _seconds_to_refill(lacking, self._points_per_minute)
            raise RateLimitExceededError(wait, math.floor(points - lacking))
        self._missing[owner] = missing, now
        self._missing.move_to_end(owner)
        return math.floor(self._points_per_minute - missing)

    def _forget_full_ones(self, now: float) -> None:
        """Drops the buckets that were last used a minute ago or earlier: they are full again."""
        while self._missing:
            _, since = next(iter(self._missing.values()))
            if now - since < _MINUTE:
                return
            self._missing.popitem(last=False)


def _seconds_to_refill(lacking: float, points_per_minute: int) -> int:
    return max(1, math.ceil(lacking * _MINUTE / points_per_minute))
