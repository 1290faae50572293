"""Rate limits and failed logins counted in Redis, for all processes together."""

from typing import TYPE_CHECKING, Final

from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from pydantic import SecretStr

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool

_TIMEOUT: Final = 1.0  # the most seconds that a request waits for a count


class RedisLimiter:
    """A limiter over Redis or Valkey.

    Raises StorageError, of the package limits, while that can't be reached.
    """

    def __init__(self, url: SecretStr) -> None:
        self._connections = _pool(url.get_secret_value())
        storage = RedisStorage(
            "redis://",
            wrap_exceptions=True,
            implementation="redispy",
            connection_pool=self._connections,  # type: ignore[arg-type]  # declared too narrowly
        )
        self.limiter = SlidingWindowCounterRateLimiter(storage)

    async def close(self) -> None:
        """Closes the connections."""
        await self._connections.aclose()


def _pool(url: str) -> "ConnectionPool":
    try:
        from redis.asyncio import ConnectionPool  # noqa: PLC0415 - an optional dependency
    except ImportError:
        raise RuntimeError("GRAPHQL_API_REDIS_URL needs the package redis: pip install redis") from None
    return ConnectionPool.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)
