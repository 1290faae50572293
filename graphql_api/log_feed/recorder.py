"""Recorders: follow committed changes and write rows that are derived from them, in one process at a time.

A recording reads a feed from an offset, which it stores in the transaction that writes the derived rows. So
each change counts once, whichever process reads it, and even if that process is killed. An advisory lock
chooses the process. It reads and writes only on the connection that holds the lock: when the lock is lost, so
is that connection, and the process can't write any more.
"""

import asyncio
import logging
import math
import random
import time
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg
import orjson
from sqlalchemy import text

from graphql_api.log_feed.errors import FeedResetError, InvalidCursorError, UnfitDatabaseError
from graphql_api.log_feed.feed_offset import Cursor, CursorCodec, FeedOffset
from graphql_api.log_feed.incarnation import check_lineage
from graphql_api.log_feed.polling import INTERRUPTIONS, PollIntervals, PollTimer
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.pooler import is_transaction_pooled
from graphql_api.postgres.statement import Fetch, compile_statement

log = logging.getLogger(__name__)

# Seconds. After these, PostgreSQL ends a connection whose process is stopped or out of reach, and with it the
# lock.
_SESSION_TIMEOUT = 15
_STATEMENT_TIMEOUT = 120.0

_SESSION_SETTINGS = f"""
    SET idle_session_timeout = '{_SESSION_TIMEOUT}s';
    SET idle_in_transaction_session_timeout = '{_SESSION_TIMEOUT}s';
    SET tcp_keepalives_idle = {_SESSION_TIMEOUT // 3};
    SET tcp_keepalives_interval = {_SESSION_TIMEOUT // 3};
    SET tcp_keepalives_count = 2
"""

_VACANT = compile_statement(
    text("""
        SELECT NOT EXISTS (
            SELECT FROM pg_locks
            WHERE locktype = 'advisory' AND objsubid = 1
              AND (CAST(classid AS bigint) << 32) + CAST(objid AS bigint) = CAST(:lock AS bigint)
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        ) AS vacant
    """)
)

# The key needn't be secret: these cursors are stored in the database, and clients never see them.
_CODEC = CursorCodec(b"recorder")
_LOAD = compile_statement(
    text("SELECT cursor, state FROM graphql_api.recorders WHERE name = CAST(:name AS text)")
)
_SAVE = compile_statement(
    text("""
        INSERT INTO graphql_api.recorders (name, cursor, state)
        VALUES (CAST(:name AS text), CAST(:cursor AS text), CAST(:state AS jsonb))
        ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor, state = excluded.state
    """)
)


@dataclass(frozen=True, slots=True)
class PollResult:
    """The result of a poll."""

    found: bool
    """Whether anything new was found: more is likely to follow soon."""
    due: float = math.inf
    """The most seconds until the next poll; 0 if there is more to read."""


class Recording(Protocol):
    """What a recorder records. The recorder calls it on one connection at a time."""

    name: str
    """Its name in metrics, in the log, and in graphql_api.recorders."""
    lock: int
    """The key of its advisory lock."""

    async def begin(self, connection: "asyncpg.Connection") -> None:
        """Continues where the last process stopped.

        State in memory from an earlier connection is out of date.
        """

    async def poll(self, connection: "asyncpg.Connection") -> PollResult:
        """Reads new changes, and records what follows from them in one transaction."""


@dataclass(frozen=True, slots=True)
class RecorderOptions(PollIntervals):
    """How often a recorder polls, in seconds."""

    busy_pause: float = 0.2
    """The pause after a poll that has found something, even if there is a notification."""
    pause_factor: float = 2.0
    """The pause after a poll is at least so many times as long as the poll took, but at most a second."""
    retry_interval: float = 1.0
    """The interval between two attempts to take over from a process that has stopped."""


class Recorder:
    """The task in which a process records, or waits to take over from the process that does."""

    def __init__(
        self,
        database: Database,
        direct: Address,
        recording: Recording,
        options: RecorderOptions | None = None,
    ) -> None:
        """`direct` is the primary without a pooler."""
        self._database = database
        self._direct = direct
        self._recording = recording
        self._options = options or RecorderOptions()
        self.name = recording.name
        self.is_active = False
        """Whether this is the process that records."""
        self.polls = 0
        self.polled_at = 0.0
        """When the last poll ended, on `time.monotonic`'s clock."""
        self._warned = ""
        self._timer = PollTimer(self._options)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the task, which records or waits until the recorder is closed."""
        self._task = asyncio.create_task(self._run(), name=f"recorder of {self.name}")

    async def close(self) -> None:
        """Stops recording."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                if await self._is_vacant():
                    await self._connect_and_record()
            except INTERRUPTIONS as error:
                self._warn(f"{type(error).__name__}: {error}")
            except Exception:
                log.exception("the recorder of %s has failed, and begins again", self.name)
            await asyncio.sleep(self._options.retry_interval * random.uniform(0.5, 1.5))  # noqa: S311 - jitter

    def _warn(self, reason: str) -> None:
        """Logs why nothing is recorded: once for each reason, not at every attempt."""
        if reason != self._warned:
            log.warning("the recorder of %s begins again: %s", self.name, reason)
        self._warned = reason

    async def _is_vacant(self) -> bool:
        """Whether no process records.

        Asked through the pool, so that waiting processes hold no connection.
        """
        rows = await self._database.fetch(_VACANT, lock=self._recording.lock)
        return bool(rows[0]["vacant"])

    async def _connect_and_record(self) -> None:
        if self._direct.pooled or await is_transaction_pooled(self._direct):
            raise UnfitDatabaseError(
                "a pooler gives each transaction another session: set DATABASE_DIRECT_URL to the database's"
                " address without it"
            )
        try:
            async with self._direct.open(
                application="graphql-api recorder", command_timeout=_STATEMENT_TIMEOUT
            ) as connection:
                await connection.execute(_SESSION_SETTINGS)
                if await connection.fetchval("SELECT pg_try_advisory_lock($1)", self._recording.lock):
                    connection.add_termination_listener(self._timer.wake)
                    await self._record(connection)
        finally:
            self.is_active = False

    async def _record(self, connection: "asyncpg.Connection") -> None:
        log.info("this process records %s", self.name)
        options = self._options
        # Before the first poll: what is committed from here on is seen by a poll, or notifies.
        await self._timer.listen(connection, self._timer.wake)
        await self._recording.begin(connection)
        while True:
            self._timer.begin()
            started = time.monotonic()
            result = await self._recording.poll(connection)
            ended, self._warned = time.monotonic(), ""
            self.is_active, self.polled_at = True, ended
            self.polls += 1
            pause = options.busy_pause if result.found and result.due != 0 else 0.0
            pause = max(pause, min(1.0, (ended - started) * options.pause_factor))
            await self._timer.wait(pause, found=result.found, due=result.due)


async def load_progress(fetch: Fetch, name: str, incarnation: int) -> tuple[FeedOffset, Any] | None:
    """Returns the offset and the state that the recording `name` stored last.

    None where nothing is stored, or where the database was restored from a dump, in which the offset means
    nothing. After a crash, a failover or the restore of a base backup the stored offset is valid, since it
    returns to the same time as all other rows.
    """
    rows = await fetch(_LOAD, name=name)
    if not rows:
        return None
    try:
        cursor = _CODEC.decode(rows[0]["cursor"])
        await check_lineage(fetch, Cursor(cursor.offset, cursor.incarnation, 0), incarnation)
    except InvalidCursorError:
        return None
    except FeedResetError as error:
        if error.code != "FEED_RESET_FAILOVER":
            return None
    return cursor.offset, orjson.loads(rows[0]["state"])


async def save_progress(fetch: Fetch, name: str, offset: FeedOffset, incarnation: int, state: Any) -> None:
    """Stores the offset and the state of the recording `name`."""
    cursor = _CODEC.encode(Cursor(offset, incarnation, 0))
    await fetch(_SAVE, name=name, cursor=cursor, state=orjson.dumps(state).decode())
