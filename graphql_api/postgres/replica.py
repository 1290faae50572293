"""A streaming replica that answers reads in place of the primary, while it isn't too far behind.

Every half second its LSN, how far it has replayed the write-ahead log, is compared with the primary's. A
viewer's change is on the replica once that has replayed up to the LSN of the change.
"""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Any

import asyncpg
from sqlalchemy import literal_column, select

from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.errors import CONNECTION_ERRORS, DatabaseUnavailableError
from graphql_api.postgres.statement import compile_statement

log = logging.getLogger(__name__)

_INTERVAL = 0.5  # seconds between two checks
_TIMEOUT = 2.0  # seconds for an answer; then the replica is left out
_UNFIT = (DatabaseUnavailableError, asyncpg.SerializationError, asyncpg.InvalidCatalogNameError)
"""Errors of a replica's read after which the primary is asked: it is unreachable, or its replay has cancelled
the read."""

_STATE = """
    SELECT pg_is_in_recovery() AS standby, (SELECT system_identifier FROM pg_control_system()) AS server,
           CASE WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')
           ELSE pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') END::bigint AS lsn
"""

_PRIMARY_LSN = compile_statement(
    select(literal_column("pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint").label("lsn"))
)


class UnfitReplicaError(Exception):
    """DATABASE_REPLICA_URL is not a replica of the primary; the message says what it is."""


class ReplicaDatabase(Database):
    """The replica's pool. The primary answers the reads at which the replica fails."""

    def __init__(self, address: Address, primary: Database, **options: Any) -> None:
        super().__init__(address, **options)
        self._primary = primary
        self.repeated = 0
        """Reads that the primary answered instead."""

    async def _fetch(self, sql: str, arguments: list[Any]) -> list[asyncpg.Record]:
        try:
            return await super()._fetch(sql, arguments)
        except _UNFIT as error:
            self.repeated += 1
            log.debug("a read of the replica is repeated at the primary: %r", error)
            return await self._primary._fetch(sql, arguments)  # noqa: SLF001 - a pool of the same kind


class Replica:
    """Checks whether the replica may be read, and what it has replayed."""

    def __init__(self, primary: Database, database: ReplicaDatabase, *, max_lag: float) -> None:
        self.database = database
        self._primary = primary
        self._max_lag = max_lag
        self._lsns: deque[tuple[float, int]] = deque(maxlen=1000)
        """Times, each with the primary's LSN then, the oldest first.

        The replica has replayed only the first.
        """
        self._replayed = -1
        self._checked_at = 0.0
        self._unfit_because = "it has not been looked at yet"
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to check the replica."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stops checking, and closes the pool."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.database.close()

    @property
    def lag(self) -> float:
        """How many seconds ago the primary's LSN was the replica's; infinite if that isn't known."""
        return monotonic() - self._lsns[0][0] if self._replayed >= 0 and self._lsns else float("inf")

    def is_usable(self, lsn: int = 0) -> bool:
        """Whether it may be read by a viewer whose last change is at `lsn`."""
        fresh = monotonic() - self._checked_at < _INTERVAL + 2 * _TIMEOUT
        return fresh and not self._unfit_because and lsn <= self._replayed

    async def primary_lsn(self) -> int:
        """Returns the primary's LSN: at or after every change that has been acknowledged."""
        return int((await self._primary.fetch(_PRIMARY_LSN))[0]["lsn"])

    async def _run(self) -> None:
        while True:
            connections: list[asyncpg.Connection] = []
            try:
                for address in (self._primary.address, self.database.address):
                    connection = await address.connect_plain(
                        application="graphql-api replica", command_timeout=_TIMEOUT
                    )
                    connections.append(connection)
                while True:
                    await self._check(*connections)
                    await asyncio.sleep(_INTERVAL)
            except CONNECTION_ERRORS as error:
                self._set_unfit(f"it can't be looked at: {error or type(error).__name__}")
            finally:
                for connection in connections:
                    with suppress(Exception):
                        connection.terminate()
            await asyncio.sleep(_INTERVAL)

    async def _check(self, primary: "asyncpg.Connection", replica: "asyncpg.Connection") -> None:
        [primary_state] = await primary.fetch(_STATE)
        [replica_state] = await replica.fetch(_STATE)
        if fault := unfit(primary_state, replica_state):
            self._set_unfit(fault)
            return
        now = monotonic()
        self._lsns.append((now, primary_state["lsn"]))
        while len(self._lsns) > 1 and self._lsns[1][1] <= replica_state["lsn"]:
            self._lsns.popleft()
        self._replayed, self._checked_at = replica_state["lsn"], now
        if self._lsns[0][1] > replica_state["lsn"]:
            self._set_unfit("it has not caught up yet")
        elif self.lag > self._max_lag:
            self._set_unfit(f"it is more than {self._max_lag:g} s behind")
        else:
            self._set_unfit("")

    def _set_unfit(self, reason: str) -> None:
        """Sets why the replica isn't read, empty if it is; logs a change of that."""
        if bool(reason) != bool(self._unfit_because):
            if reason:
                log.warning("the replica is left out: %s", reason)
            else:
                log.info("the replica takes reads")
        self._unfit_because = reason


def unfit(primary: Any, replica: Any) -> str:
    """Returns why a server is no replica of another, as their states show; empty if it is one."""
    if not replica["standby"]:
        return "DATABASE_REPLICA_URL is no standby: it takes changes itself"
    if primary["server"] != replica["server"]:
        return "DATABASE_REPLICA_URL is a standby of another server than DATABASE_URL"
    return ""


async def refuse_unfit(primary: Address, replica: Address) -> None:
    """Raises UnfitReplicaError if it is no replica of the primary; OSError or asyncpg's if unreachable."""
    states = []
    for address in (primary, replica):
        connection = await address.connect_plain(application="graphql-api replica")
        try:
            states += await connection.fetch(_STATE)
        finally:
            await connection.close()
    if fault := unfit(*states):
        raise UnfitReplicaError(fault)
