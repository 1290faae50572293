"""Chooses the queries that a replica answers: those of viewers whose last change it has replayed.

The LSN of a viewer's last change is kept for as long as a replica may lag: in Redis if there are several
processes, since a viewer's next request may come to another one; else in this process.
"""

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from cachetools import TTLCache
from pydantic import SecretStr

from graphql_api.postgres.database import Database
from graphql_api.postgres.errors import DatabaseUnavailableError
from graphql_api.postgres.replica import Replica

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

KEPT: Final = 300
"""Seconds for which a change is remembered: longer than a replica may lag."""
_OWNERS: Final = 100_000
_HIGHEST_LSN: Final = 2**63 - 1
"""An LSN that no replica replays: the primary is read."""
_TIMEOUT: Final = 0.5  # seconds for Redis; then the primary is read


class ReplicaReads:
    """Chooses the database of each query."""

    def __init__(self, replica: Replica, redis_url: SecretStr | None = None) -> None:
        self.replica = replica
        self._lsns: TTLCache[str, int] = TTLCache(_OWNERS, KEPT)
        self._redis = _redis(redis_url.get_secret_value()) if redis_url else None
        self.chosen = 0
        """Queries that were sent to the replica."""

    async def choose(self, owner: str) -> Database | None:
        """Returns the replica if it has all that the owner has written; else None, for the primary."""
        if not self.replica.is_usable():
            return None
        lsn = self._lsns.get(owner, 0)
        if self._redis is not None and lsn != _HIGHEST_LSN:
            try:
                lsn = max(lsn, int(await self._redis.get(_key(owner)) or 0))
            except Exception as error:  # noqa: BLE001 - whatever it is, the primary is right
                log.debug("Redis doesn't answer, so the primary is read: %r", error)
                return None
        if not self.replica.is_usable(lsn):
            return None
        self.chosen += 1
        return self.replica.database

    async def note_change(self, owner: str) -> None:
        """Remembers that the owner has changed something. Call it before the response is sent."""
        try:
            lsn = await self.replica.primary_lsn()
        except (DatabaseUnavailableError, TimeoutError):
            lsn = _HIGHEST_LSN
        self._lsns[owner] = lsn
        if self._redis is not None:
            try:
                await self._redis.set(_key(owner), lsn, ex=KEPT)
            except Exception as error:  # noqa: BLE001 - others may read an older state until it answers
                log.warning("other processes don't know of a change, since Redis doesn't answer: %r", error)

    async def close(self) -> None:
        """Closes the connections."""
        await self.replica.close()
        if self._redis is not None:
            with suppress(Exception):
                await self._redis.aclose()


def _key(owner: str) -> str:
    return f"graphql-api:written:{owner}"


def _redis(url: str) -> "Redis":
    from redis.asyncio import Redis  # noqa: PLC0415 - an optional dependency

    return Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT)
