"""The tail of a feed: the statement that fetches new rows, and the task that runs it for a process.

One task and one connection serve all subscribers of a process. Subscribers that are behind the task fetch
pages by the same statement, through the pool.
"""

import asyncio
import functools
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.base import PGDialect

from graphql_api.log_feed.errors import (
    CursorExpiredError,
    FeedError,
    FeedResetError,
    FeedUnavailableError,
    StandbyError,
    UnfitDatabaseError,
)
from graphql_api.log_feed.feed_offset import LOWEST_ID, MAX_IN_PROGRESS, Cursor, FeedOffset, FeedPage
from graphql_api.log_feed.feed_schema import LOGS, FeedSchema
from graphql_api.log_feed.filter import EVERYTHING, FilterShape
from graphql_api.log_feed.hub import EventFilter, Hub
from graphql_api.log_feed.incarnation import check_lineage, enter_incarnation
from graphql_api.log_feed.polling import GENERIC_PLANS, INTERRUPTIONS, PollIntervals, PollTimer
from graphql_api.postgres.address import Address
from graphql_api.postgres.documented_schema import Severity, find_differences
from graphql_api.postgres.errors import AFTER_REPAIR, CONNECTION_ERRORS, DatabaseUnavailableError, state_of
from graphql_api.postgres.statement import Fetch, Statement, compile_statement, fetch_on
from graphql_api.postgres.tables import system_logs
from graphql_api.quotas import create_own_task

log = logging.getLogger(__name__)

# Statements in a row that the database refuses, without a table having changed, until subscriptions end.
_MOST_REFUSALS = 3
# Seconds between two checks of a database that refuses the feed's statement: the first time, and at most.
_FIRST_RECHECK, _LONGEST_RECHECK = 1.0, 60.0

# Bytes of text in a page. It may exceed this by one row, and has at least one row.
_PAGE_BYTES = 4 * 1024 * 1024

# Every statement of the feed begins with this, which describes the snapshot that its rows are read in.
#
# On a standby this fails, and must: its snapshots don't list the transactions in progress. The rows that the
# snapshot sees are in the write-ahead log before `insert_lsn`, since that is read after the snapshot was
# taken. The incarnation is null if a trigger that writes entries has been missing or disabled since it began,
# or if rows have changed without entries.
SNAPSHOT = """
    SELECT pg_current_snapshot() AS snapshot,
           pg_current_wal_insert_lsn() AS insert_lsn,
           pg_current_wal_flush_lsn() AS flush_lsn,
           (SELECT id FROM {schema}.current_incarnation) AS incarnation,
           (SELECT xid FROM {schema}.horizon) AS horizon
"""

# The newest transaction that has entries, of those that a snapshot `seen` sees. It is searched in the gaps
# between the transactions in progress: one of these may have a hundred thousand uncommitted entries, which a
# search over all transactions would examine.
NEWEST = """
    (SELECT entry.xid
     FROM (SELECT xid AS above, lead(xid, 1, pg_snapshot_xmax(seen.snapshot)) OVER (ORDER BY xid) AS below
           FROM unnest(ARRAY(SELECT pg_snapshot_xip(seen.snapshot)) || CAST('0' AS xid8)) AS xid) AS gaps
     CROSS JOIN LATERAL (SELECT xid FROM {schema}.entries WHERE xid > above AND xid < below
                         ORDER BY xid DESC LIMIT 1) AS entry
     ORDER BY entry.xid DESC LIMIT 1) AS newest
"""

_END = f"WITH seen AS MATERIALIZED ({SNAPSHOT}) SELECT seen.*, {NEWEST} FROM seen"  # noqa: S608 - our own text

# The next rows after an offset: of those that the statement's own snapshot sees, or with `until_xid`, of
# those that a reader with that offset has read. In this order: the rest of the partly read transaction; the
# transactions that were in progress before and aren't now; new transactions.
#
# New transactions are read in the gaps between the transactions in progress: otherwise every fetch would
# examine each entry of a writer with a hundred thousand uncommitted rows. For the same reason the partly read
# transaction bounds a gap, too.
#
# Of the `rows` that are examined, the statement returns those that are wanted, until they are `max_wanted` or
# fill `bytes`; and the last one, wanted or not, from which the offset behind the page is computed. OFFSET
# keeps the planner from reading the whole table for them.
_PAGE = """
    WITH seen AS MATERIALIZED ({snapshot}),
    bounds AS MATERIALIZED (
        SELECT coalesce(CAST(:until_xid AS xid8), pg_snapshot_xmax(snapshot)) AS until,
               coalesce(CAST(:until_in_progress AS xid8[]), ARRAY(SELECT pg_snapshot_xip(snapshot))) AS unseen
        FROM seen
    ),
    gaps AS (
        SELECT xid AS above, lead(xid, 1, until) OVER (ORDER BY xid) AS below
        FROM bounds
        CROSS JOIN LATERAL unnest(unseen || CAST(:partial_xid AS xid8) || CAST(:floor AS xid8)) AS xid
        WHERE xid >= CAST(:floor AS xid8) AND xid < until
    ),
    page AS (
        (SELECT true AS continued, entry.* FROM {schema}.entries AS entry
         WHERE xid = CAST(:partial_xid AS xid8) AND id > CAST(:partial_id AS uuid)
         ORDER BY id LIMIT CAST(:rows AS integer))
        UNION ALL
        (SELECT false, entry.* FROM {schema}.entries AS entry
         WHERE xid = ANY (ARRAY(
             SELECT xid FROM bounds CROSS JOIN LATERAL unnest(CAST(:in_progress AS xid8[])) AS xid
             WHERE xid <> ALL (unseen)))
         ORDER BY xid, id LIMIT CAST(:rows AS integer))
        UNION ALL
        (SELECT false, entry.* FROM gaps CROSS JOIN LATERAL (
             SELECT * FROM {schema}.entries WHERE xid > above AND xid < below
             ORDER BY xid, id LIMIT CAST(:rows AS integer)) AS entry
         ORDER BY xid, id LIMIT CAST(:rows AS integer))
    ),
    examined AS (
        SELECT page.continued, page.xid, page.id, coalesce({wanted}, false) AS wanted, {selected}
        FROM (SELECT * FROM page ORDER BY continued DESC, xid, id LIMIT CAST(:rows AS integer)) AS page
        {joins}
    ),
    counted AS (
        SELECT *, row_number() OVER feed AS number, lead(xid) OVER feed AS following_xid,
               count(*) FILTER (WHERE wanted) OVER (feed ROWS UNBOUNDED PRECEDING) AS found,
               sum(size) FILTER (WHERE wanted)
                   OVER (feed ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before,
               bool_or(missing) OVER () AS some_missing
        FROM examined WINDOW feed AS (ORDER BY continued DESC, xid, id)
    )
    SELECT seen.*, line.some_missing, line.number, line.following_xid, line.found, line.wanted,
           line.xid, line.id, {columns}
    FROM seen LEFT JOIN counted AS line
        ON line.following_xid IS NULL OR (line.wanted AND line.found <= CAST(:max_wanted AS integer)
                                          AND coalesce(line.bytes_before, 0) < CAST(:bytes AS bigint))
    ORDER BY line.number
"""
_NAMED = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]

# The end of the write-ahead log, and how far it is flushed to disk: at once if that is all of it, else after
# a delay in which another commit may flush it. Waiting in the statement takes one round trip in place of two.
_LSNS = compile_statement(
    text("""
        WITH seen AS MATERIALIZED (
            SELECT coalesce(CAST(:insert_lsn AS pg_lsn), pg_current_wal_insert_lsn()) AS insert_lsn,
                   pg_current_wal_flush_lsn() AS flush_lsn
        )
        SELECT insert_lsn, CASE WHEN flush_lsn >= insert_lsn THEN flush_lsn ELSE (
            SELECT pg_current_wal_flush_lsn()
            FROM (SELECT pg_sleep(CAST(:delay AS double precision)) OFFSET 0) AS slept) END AS flush_lsn
        FROM seen
    """)
)
# A commit that waits for the disk of this server, not for its standbys. Writing a message makes it a commit;
# no program reads it.
_FLUSH = compile_statement(
    text(
        "SELECT set_config('synchronous_commit', 'local', true),"
        " pg_logical_emit_message(true, 'log_feed', '')"
    )
)


@functools.cache
def _end_statement(schema: FeedSchema) -> Statement:
    return compile_statement(text(_END.format(schema=schema.name)))


@functools.cache
def _page_statement(schema: FeedSchema, shape: FilterShape | None) -> Statement:
    statement = _PAGE.format(
        schema=schema.name,
        snapshot=SNAPSHOT.format(schema=schema.name),
        selected=schema.selected,
        joins=schema.joins.format(schema=schema.name),
        columns=", ".join(f"line.{name}" for name in schema.columns),
        wanted=condition_text(shape),
    )
    return compile_statement(text(statement))


def condition_text(shape: FilterShape | None) -> str:
    """Returns a filter's condition on the columns of `log`, with named parameters; true for None."""
    if shape is None:
        return "true"
    return str(shape.where(system_logs.alias("log")).compile(dialect=_NAMED))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the database in the snapshot of a statement, as its rows describe it."""

    in_progress: tuple[int, ...]
    """The transactions in progress, ascending."""
    insert_lsn: int
    flush_lsn: int
    incarnation: int | None
    horizon: int | None
    """The newest transaction of which entries have been trimmed."""

    @classmethod
    def of(cls, row: asyncpg.Record) -> "Snapshot":
        """Reads it from the first columns of a row, which all rows of a statement have."""
        in_progress = tuple(sorted(row["snapshot"][2]))
        return cls(in_progress, row["insert_lsn"], row["flush_lsn"], row["incarnation"], row["horizon"])

    def end(self, newest: int | None) -> FeedOffset:
        """Returns the offset of a reader that has read everything that the snapshot sees, up to `newest`.

        Raises FeedUnavailableError.
        """
        next_xid = max(newest or 0, self.horizon or 0) + 1
        in_progress = tuple(xid for xid in self.in_progress if xid < next_xid)
        if len(in_progress) > MAX_IN_PROGRESS:
            raise FeedUnavailableError("too many transactions are in progress")
        return FeedOffset(next_xid, in_progress)

    def check_continuity(self, page: FeedPage) -> None:
        """Raises CursorExpiredError if rows were deleted that the page's `base` had not read."""
        offset = page.base
        unread = [offset.next_xid, *(xid for xid in offset.in_progress if xid not in self.in_progress)]
        if offset.partial is not None:
            unread.append(offset.partial[0])
        if page.missing or min(unread) <= (self.horizon or 0):
            raise CursorExpiredError


async def fetch_end(fetch: Fetch, schema: FeedSchema = LOGS) -> tuple[FeedOffset, Snapshot]:
    """Returns the offset of a reader that has read all that is committed. Raises FeedUnavailableError."""
    (row,) = await fetch(_end_statement(schema))
    snapshot = Snapshot.of(row)
    return snapshot.end(row["newest"]), snapshot


async def fetch_page(
    fetch: Fetch,
    base: FeedOffset,
    rows: int,
    *,
    schema: FeedSchema = LOGS,
    wanted: EventFilter = EVERYTHING,
    max_wanted: int | None = None,
    until: FeedOffset | None = None,
) -> tuple[FeedPage, Snapshot]:
    """Returns the next rows after `base` that match, of those that are committed or that `until` has read.

    At most `rows` are examined. A page ends earlier once `max_wanted` rows match, or with 4 MiB of text.
    """
    partial_xid, partial_id = base.partial or (None, LOWEST_ID)
    max_wanted = rows if max_wanted is None else max_wanted
    found = await fetch(
        _page_statement(schema, wanted.shape),
        **wanted.values(),
        floor=base.next_xid - 1,
        in_progress=base.in_progress,
        partial_xid=partial_xid,
        partial_id=partial_id,
        until_xid=until and until.next_xid,
        until_in_progress=until and until.in_progress,
        rows=rows,
        max_wanted=max_wanted,
        bytes=_PAGE_BYTES,
    )
    snapshot = Snapshot.of(found[0])
    in_progress = snapshot.in_progress if until is None else until.in_progress
    last = found[-1]
    if last["number"] is None:
        return FeedPage(base, [], in_progress, complete=True), snapshot
    before = found[-2]["found"] if len(found) > 1 else 0
    complete, missing = last["number"] < rows, last["some_missing"]
    if (
        last["found"] > before + last["wanted"]
    ):  # some rows between the two matched, but didn't fit into the page
        found, complete = found[:-1], False
    return FeedPage(base, found, in_progress, complete=complete, missing=missing), snapshot


async def wait_for_flush(fetch: Fetch, snapshot: Snapshot, delay: float = 0.0) -> None:
    """Returns when PostgreSQL has on its disk all that `snapshot` saw.

    Rows of asynchronous commits are visible earlier, and a crash would undo rows that were delivered. Most
    often another commit flushes them within `delay` seconds; otherwise a commit of ours does.
    """
    if snapshot.flush_lsn < snapshot.insert_lsn:
        await wait_until_flushed(fetch, delay, snapshot.insert_lsn)


async def wait_until_flushed(fetch: Fetch, delay: float = 0.0, insert_lsn: int | None = None) -> None:
    """Returns when PostgreSQL has on its disk all up to `insert_lsn`; without it, all that is visible now."""
    (lsns,) = await fetch(_LSNS, insert_lsn=insert_lsn, delay=delay)
    if lsns["flush_lsn"] < lsns["insert_lsn"]:
        await fetch(_FLUSH)


@dataclass(frozen=True, slots=True)
class TailOptions(PollIntervals):
    """How often a tail fetches, in seconds, and how much."""

    min_interval: float = 0.005
    """The least time between two fetches, even if there is a notification."""
    rest_per_subscriber: float = 0.000_2
    """Added to `min_interval` for each subscriber after a fetch that has found rows."""
    longest_rest: float = 0.2
    """The most that is added: one statement and one execution then serve all rows of that time."""
    flush_delay: float = 0.005
    """How long to wait until another commit has flushed what was read, before committing for that purpose."""
    timeout: float = 5.0
    """How long to wait for the answer to a statement before the connection is closed."""
    max_backoff: float = 5.0
    """The time between two attempts to connect."""
    page_rows: int = 1000


class Tail:
    """The task of a process that reads a feed while there are subscribers, and publishes to the hub."""

    def __init__(
        self,
        address: Address,
        hub: Hub,
        options: TailOptions,
        on_failure: Callable[[FeedError], None],
        schema: FeedSchema = LOGS,
    ) -> None:
        """`on_failure` is called with an error that ends every subscription: rows may have been missed."""
        self._address = address
        self._hub = hub
        self._stats = hub.stats
        self._options = options
        self._on_failure = on_failure
        self._schema = schema
        self._timer = PollTimer(options)
        self._task: asyncio.Task[None] | None = None
        self._incarnation = 0
        self._failures = 0
        """Connections in a row over which no page was read."""
        self._refusals = 0
        """Of those, how often the database refused a statement."""
        self._unfit: UnfitDatabaseError | None = None
        """Why the database can't be read, as the last check found; None if it can."""
        self._recheck_at = 0.0
        self._recheck_interval = 0.0

    def start(self) -> None:
        """Begins to read from the hub's cursor on. Does nothing if the task already runs."""
        if self._task is None or self._task.done():
            self._task = create_own_task(self._run(), f"tail of {self._schema.name}")

    async def stop(self) -> None:
        """Stops reading."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def fetch_now(self) -> None:
        """Fetches without waiting for the next notification or interval."""
        self._timer.wake()

    async def _run(self) -> None:
        if self._unfit is not None and time.monotonic() < self._recheck_at:
            self._on_failure(self._unfit)
            return
        while True:
            try:
                async with self._address.open(
                    application="graphql-api feed",
                    command_timeout=self._options.timeout,
                    settings=GENERIC_PLANS,
                ) as connection:
                    connection.add_termination_listener(self._timer.wake)
                    await self._begin(connection)
                    self._stats.connected = True
                    await self._follow(connection)
            except UnfitDatabaseError as error:
                # If a primary was read before, the standby may be about to be promoted.
                if self._hub.read_up_to is None or not isinstance(error, StandbyError):
                    self._hub.clear()
                    self._on_failure(error)
                    return
                log.warning("the feed waits for a primary: %s", error)
            except (FeedResetError, CursorExpiredError) as error:
                log.warning(
                    "the feed of %s starts again, and ends all subscriptions: %s", self._schema.rows, error
                )
                self._stats.resets += 1
                self._hub.clear()
                self._on_failure(error)
            except INTERRUPTIONS as error:
                log.warning("the feed has lost its connection: %s: %s", type(error).__name__, error)
                if _is_refusal(error) and await self._end_if_unfit():
                    return
            except Exception:
                log.exception("the feed has failed")
                self._hub.clear()
                self._on_failure(
                    FeedUnavailableError("the feed has failed: subscribe again, with the last cursor")
                )
            finally:
                self._stats.connected = False
            self._failures = min(self._failures + 1, 10)
            self._stats.reconnects += 1
            backoff = min(self._options.max_backoff, 0.05 * 2**self._failures)
            await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311 - jitter

    async def _end_if_unfit(self) -> bool:
        """Ends all subscriptions if the database keeps refusing the statements; returns whether it has.

        A table may have changed since it was adopted. Until somebody mends it, the database is checked at
        longer and longer intervals, and subscribers who come meanwhile get the same error.
        """
        self._refusals += 1
        reason = await self._describe_difference()
        if not reason and self._refusals < _MOST_REFUSALS:
            return False
        reason = reason or "the database refuses what the feed reads: the log of this process says why"
        self._recheck_interval = min(_LONGEST_RECHECK, self._recheck_interval * 2 or _FIRST_RECHECK)
        self._recheck_at = time.monotonic() + self._recheck_interval
        self._unfit = UnfitDatabaseError(reason)
        log.error("the feed ends all subscriptions: %s", reason)
        self._hub.clear()
        self._on_failure(self._unfit)
        return True

    async def _describe_difference(self) -> str:
        """Returns how the database differs from what can be served; "" if it doesn't, or can't be asked."""
        try:
            async with self._address.open(
                application="graphql-api feed", command_timeout=self._options.timeout
            ) as connection:
                differences = await find_differences(connection)
        except (*CONNECTION_ERRORS, DatabaseUnavailableError):
            return ""
        return "; ".join(str(each) for each in differences if each.severity is Severity.REFUSED)

    def _notified(self, *_: object) -> None:
        self._stats.notifications += 1
        self._timer.wake()

    async def _begin(self, connection: "asyncpg.Connection") -> None:
        incarnation = await enter_incarnation(connection, self._schema)
        # Before the first fetch: what is committed from here on is seen by a fetch, or notifies.
        await self._timer.listen(connection, self._notified)
        fetch = fetch_on(connection)
        cursor = self._hub.read_up_to
        if cursor is None:
            offset, snapshot = await fetch_end(fetch, self._schema)
            await wait_for_flush(fetch, snapshot, self._options.flush_delay)
            self._hub.move_to(Cursor(offset, incarnation, snapshot.insert_lsn))
        elif cursor.incarnation != incarnation:
            await check_lineage(fetch, cursor, incarnation, self._schema)
            # `check_lineage` has proved that the rows are continuous: it is a cursor of the present
            # incarnation now.
            self._hub.move_to(Cursor(cursor.offset, incarnation, cursor.lsn))
        self._incarnation = incarnation

    async def _follow(self, connection: "asyncpg.Connection") -> None:
        options, fetch = self._options, fetch_on(connection)
        while True:
            self._timer.begin()
            complete, found = await self._publish_page(fetch)
            self._failures = self._refusals = 0
            self._recheck_interval, self._unfit = 0.0, None
            if not complete:
                continue
            rest = min(options.rest_per_subscriber * self._stats.subscribers, options.longest_rest)
            await self._timer.wait(options.min_interval + (rest if found else 0.0), found=found)

    async def _publish_page(self, fetch: Fetch) -> tuple[bool, bool]:
        """Fetches and publishes the next page. Returns whether it was the last, and whether it had rows."""
        hub, stats = self._hub, self._stats
        cursor = hub.read_up_to
        assert cursor is not None  # noqa: S101 - narrows: `_begin` has moved the hub
        page, snapshot = await fetch_page(fetch, cursor.offset, self._options.page_rows, schema=self._schema)
        if snapshot.incarnation != self._incarnation:
            raise FeedUnavailableError("the database's incarnation has changed")
        snapshot.check_continuity(page)
        page.drop_partial_transaction()  # so that new subscribers begin between two transactions
        page.limit_in_progress(MAX_IN_PROGRESS)
        stats.fetches += 1
        stats.rows += len(page.rows)
        if page.rows:
            await wait_for_flush(fetch, snapshot, self._options.flush_delay)
        await hub.publish(page, self._incarnation, snapshot.insert_lsn if page.rows else cursor.lsn)
        if page.complete:
            stats.current_at = time.monotonic()
        return page.complete or not page.rows, bool(page.rows)


def _is_refusal(error: BaseException) -> bool:
    """Whether an error will recur until somebody mends the database, or the statement that failed."""
    if not isinstance(error, asyncpg.PostgresError):
        return False
    state = state_of(error)
    return state is None or (
        isinstance(state, DatabaseUnavailableError) and state.retry_after >= AFTER_REPAIR
    )
