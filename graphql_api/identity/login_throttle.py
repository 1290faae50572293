"""Limits failed logins, by e-mail and by network address."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from graphql_api.identity.errors import InvalidCredentialsError, RateLimitedError
from graphql_api.identity.redis_limiter import RedisLimiter
from graphql_api.identity.tokens import digest
from graphql_api.quotas import ConcurrencyQuota, QuotaFullError, client_network
from graphql_api.settings import Settings

log = logging.getLogger(__name__)

MAX_WAITING: Final = 5
"""Attempts with one e-mail that may wait for each other; further ones are refused at once."""
_MAX_WAIT = 0.3
"""The most seconds that an attempt waits for others with the same e-mail."""

T = TypeVar("T")
Count = tuple[RateLimitItem, str]


class LoginThrottle:
    """Counts only failed logins, so that successful ones from one office's address are never refused.

    Guesses of one user's password from one address are stopped for that address only, and the user can log in
    from another. The limit for an e-mail over all addresses stops guesses from many addresses. That makes the
    user wait, too, so the limit is far above the number of times that anyone mistypes a password.

    Counts are kept in memory, or in Redis for all processes together; in memory while Redis is unreachable.
    """

    def __init__(self, settings: Settings) -> None:
        window = settings.login_failures_window
        self._per_pair = RateLimitItemPerSecond(
            settings.login_failures_per_email_and_address, window, "login-email-address"
        )
        self._per_email = RateLimitItemPerSecond(settings.login_failures_per_email, window, "login-email")
        self._per_address = RateLimitItemPerSecond(
            settings.login_failures_per_address, window, "login-address"
        )
        self._local = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared = RedisLimiter(settings.redis_url) if settings.redis_url is not None else None
        self._quota = ConcurrencyQuota(1, waiting=MAX_WAITING)
        """One attempt at a time for each e-mail."""

    @asynccontextmanager
    async def attempt(self, email: str, address: str) -> AsyncIterator[bool]:
        """Allows one attempt to log in, made in the block; InvalidCredentialsError counts as a failure.

        Yields whether no attempt with the e-mail, and none from the address, has failed lately.

        Attempts with one e-mail wait for each other, so that guesses sent together can't all pass before the
        first has failed. `address` is the client's, or empty if unknown. Raises RateLimitedError, also if
        other attempts with the same e-mail take too long, since each waiting one counts as an operation.
        """
        who = digest(email).hex()
        network = client_network(address) if address else ""
        counts = [(self._per_pair, f"{who}/{network}"), (self._per_email, who)]
        if network:
            counts.append((self._per_address, network))
        try:
            async with asyncio.timeout(_MAX_WAIT):
                await self._quota.enter(who)
        except (QuotaFullError, TimeoutError):
            raise RateLimitedError(retry_after=1) from None
        try:
            unfailed = [await self._check(count) for count in counts]
            try:
                yield all(unfailed)
            except InvalidCredentialsError:
                for count in counts:
                    await self._add(count)
                raise
        finally:
            self._quota.leave(who)

    async def close(self) -> None:
        """Closes the connections to Redis."""
        if self._shared is not None:
            await self._shared.close()

    async def _check(self, count: Count) -> bool:
        """Returns whether no attempt has failed lately. Raises RateLimitedError if too many have."""
        item, who = count
        window = await self._ask(lambda limiter: limiter.get_window_stats(item, who))
        if window.remaining < 1:
            raise RateLimitedError(max(1, math.ceil(window.reset_time - time.time())))
        return window.remaining >= item.amount

    async def _add(self, count: Count) -> None:
        item, who = count
        await self._ask(lambda limiter: limiter.hit(item, who))

    async def _ask(self, question: Callable[[SlidingWindowCounterRateLimiter], Awaitable[T]]) -> T:
        if self._shared is not None:
            try:
                return await question(self._shared.limiter)
            except StorageError as error:
                log.warning("Redis can't be reached, this process counts for itself: %s", error)
        return await question(self._local)
