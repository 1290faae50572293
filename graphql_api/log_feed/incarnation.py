"""Incarnations of a database: finds crashes, failovers and restores after which an offset isn't valid.

An offset is made of transaction ids, and they continue only while the server's history does. The time
between two interruptions is an incarnation, and has a random number. Interruptions are a crash, a promotion,
a restore, and an absence of the trigger that records lines. The unlogged table log_feed.incarnation holds the
present one, and PostgreSQL empties it with a crash, a promotion or a restore; the ordinary table
log_feed.incarnations remembers them all, except for what a restore undoes.
"""

import functools
import logging
import secrets
from collections.abc import Sequence

import asyncpg
from sqlalchemy import text

from graphql_api.log_feed.errors import FeedResetError, StandbyError, UnfitDatabaseError
from graphql_api.log_feed.feed_offset import LOWEST_ID, Cursor, FeedOffset
from graphql_api.log_feed.feed_schema import LOGS, FeedSchema
from graphql_api.postgres.statement import Fetch, Statement, compile_statement

log = logging.getLogger(__name__)

_MEND_ROWS = 10_000
"""Entries that one statement deletes: a role's statement timeout may be short."""

_NOT_MIGRATED = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedColumnError)

# Which server, which database, which of the timelines that failovers and restores begin, and since when the
# trigger that records lines is there; null where it is missing or disabled.
_IDENTITY = """
    SELECT pg_is_in_recovery() AS standby,
           (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
           (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
           CASE WHEN NOT pg_is_in_recovery()
                THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END AS timeline,
           (SELECT version FROM {schema}.trigger_version) AS trigger_version
"""

_PRESENT = """
    SELECT id FROM {schema}.incarnation JOIN {schema}.incarnations USING (id)
    WHERE (system_identifier, timeline, database, trigger_version) = ($1, $2, $3, $4)
"""

# Nothing replicates sequences, and a dump of data alone may leave them behind: numbers are counted here,
# under the lock.
_BEGIN = """
    WITH present AS (
        INSERT INTO {schema}.incarnation (id) VALUES ($5) ON CONFLICT (single) DO UPDATE SET id = $5)
    INSERT INTO {schema}.incarnations
        (id, number, system_identifier, timeline, database, trigger_version, began)
    OVERRIDING SYSTEM VALUE
    SELECT $5, (SELECT coalesce(max(number), 0) + 1 FROM {schema}.incarnations), $1, $2, $3, $4,
           pg_current_wal_insert_lsn()
"""
# Since the interruption, lines may have been written: then the first of them has noted it.
_NOTE = """
    WITH noted AS (
        DELETE FROM {schema}.interruptions WHERE incarnation IS NULL RETURNING lsn, snapshot)
    INSERT INTO {schema}.interruptions (lsn, snapshot, incarnation)
    (SELECT lsn, snapshot, $1::bigint FROM noted
     WHERE lsn >= (SELECT coalesce(max(began), '0/0') FROM {schema}.incarnations)
     UNION ALL
     SELECT pg_current_wal_insert_lsn(), pg_current_snapshot(), $1)
    ORDER BY lsn LIMIT 1
"""

# Transaction ids that this server has not given out yet: a dump has brought them.
_FROM_THE_FUTURE = """
    SELECT pg_snapshot_xmax(pg_current_snapshot()) AS xid WHERE
        EXISTS (SELECT FROM {schema}.entries WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))
        OR EXISTS (SELECT FROM {schema}.horizon WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))
        OR EXISTS (SELECT FROM {schema}.watermarks WHERE xid > pg_snapshot_xmax(pg_current_snapshot()))
"""
_MEND = """
    DELETE FROM {schema}.horizon WHERE xid >= pg_snapshot_xmax(pg_current_snapshot());
    DELETE FROM {schema}.watermarks WHERE xid > pg_snapshot_xmax(pg_current_snapshot())
"""
# Meanwhile transactions from $1 on begin and write entries of their own. These differ from a dump's in that
# the transaction that wrote the row, whose lower half is xmin, did not begin before $1.
_MEND_ENTRIES = """
    WITH foreign_rows AS MATERIALIZED (
        SELECT xid, id FROM {schema}.entries
        WHERE xid >= $1
          AND ((xmin::text::bigint - $1::text::numeric % 4294967296 + 6442450944) % 4294967296) < 2147483648
          AND (xid, id) > ($3, $4)
        ORDER BY xid, id LIMIT $2 FOR UPDATE
    ),
    deleted AS (
        DELETE FROM {schema}.entries USING foreign_rows
        WHERE (entries.xid, entries.id) = (foreign_rows.xid, foreign_rows.id)
    )
    SELECT xid, id FROM foreign_rows ORDER BY xid DESC, id DESC LIMIT 1
"""

# What is known of a past incarnation, and where the one after it began.
_LINEAGE = """
    SELECT (past.system_identifier, past.database, past.trigger_version)
               = (present.system_identifier, present.database, present.trigger_version) AS same_database,
           past.timeline = present.timeline AS same_timeline,
           coalesce(interruption.lsn, next.began) AS ended,
           interruption.snapshot
    FROM {schema}.incarnations past
    CROSS JOIN {schema}.incarnations present
    CROSS JOIN LATERAL (SELECT id, began FROM {schema}.incarnations WHERE number > past.number
                        ORDER BY number LIMIT 1) AS next
    LEFT JOIN {schema}.interruptions AS interruption ON interruption.incarnation = next.id
    WHERE past.id = CAST(:past AS bigint) AND present.id = CAST(:present AS bigint)
"""


@functools.cache
def _lineage_statement(schema: FeedSchema) -> Statement:
    return compile_statement(text(_LINEAGE.format(schema=schema.name)))


async def enter_incarnation(connection: "asyncpg.Connection", schema: FeedSchema = LOGS) -> int:
    """Returns the present incarnation of the database behind a connection; the first reader begins it.

    Every reader calls this before it reads, since it also mends what a restore may have left behind. Raises
    UnfitDatabaseError for a standby, and for a database that lacks what the feed needs.
    """
    try:
        return await _enter(connection, schema)
    except _NOT_MIGRATED as error:
        raise UnfitDatabaseError(
            f"the database lacks the schema {schema.name}: run `graphql-api migrate`"
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise UnfitDatabaseError(
            f"the database's role may not use the schema {schema.name}: as the owner, run what"
            " `graphql-api grants ROLE` prints"
        ) from error


async def _enter(connection: "asyncpg.Connection", schema: FeedSchema) -> int:
    name = schema.name
    identity = await connection.fetchrow(_IDENTITY.format(schema=name))
    assert identity is not None  # noqa: S101 - narrows: the statement always has one row
    if identity["standby"]:
        raise StandbyError
    if identity["trigger_version"] is None:
        raise UnfitDatabaseError(
            f"a trigger is missing or disabled, so not all {schema.rows} are recorded:"
            " run `graphql-api migrate`"
        )
    await _mend(connection, name)
    key = tuple(identity[name] for name in ("system_identifier", "timeline", "database", "trigger_version"))
    present: int | None = await connection.fetchval(_PRESENT.format(schema=name), *key)
    if present is not None:
        return present
    async with connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = on")
        await connection.execute(f"LOCK TABLE {name}.incarnation IN SHARE ROW EXCLUSIVE MODE")
        present = await connection.fetchval(_PRESENT.format(schema=name), *key)
        if present is None:
            present = secrets.randbits(63)
            await connection.execute(_NOTE.format(schema=name), present)
            await connection.execute(_BEGIN.format(schema=name), *key, present)
    return present


async def _mend(connection: "asyncpg.Connection", schema: str) -> None:
    """Deletes entries whose transactions lie in the future: a dump of another server has brought them.

    Otherwise their lines would come again as new ones, once the server gives those ids to new transactions.
    """
    future = await connection.fetchval(_FROM_THE_FUTURE.format(schema=schema))
    if future is None:
        return
    log.warning("the log feed was restored from another server: its lines become history")
    await connection.execute(_MEND.format(schema=schema))
    await delete_entries_from(connection, future, schema)


async def delete_entries_from(connection: "asyncpg.Connection", xid: int, schema: str = LOGS.name) -> None:
    """Deletes entries of `xid` and above that were there before this server gave out `xid`."""
    after = (xid - 1, LOWEST_ID)  # without it, each statement would pass those deleted before
    while (
        last := await connection.fetchrow(_MEND_ENTRIES.format(schema=schema), xid, _MEND_ROWS, *after)
    ) is not None:
        after = (last["xid"], last["id"])


async def check_lineage(fetch: Fetch, cursor: Cursor, present: int, schema: FeedSchema = LOGS) -> None:
    """Raises FeedResetError unless what `cursor` has read is in the past of the incarnation `present`."""
    if cursor.incarnation == present:
        return
    rows = await fetch(_lineage_statement(schema), past=cursor.incarnation, present=present)
    if not rows or not rows[0]["same_database"] or (rows[0]["ended"] or 0) < cursor.lsn:
        raise FeedResetError("FEED_RESET_RESTORE")
    if not rows[0]["same_timeline"]:
        raise FeedResetError("FEED_RESET_FAILOVER")
    if rows[0]["snapshot"] is not None and not _is_before(cursor.offset, rows[0]["snapshot"]):
        raise FeedResetError("FEED_RESET_RESTORE")


def _is_before(offset: FeedOffset, snapshot: tuple[int, int, Sequence[int]]) -> bool:
    """Returns whether all transactions that end after a snapshot are yet to be read at an offset."""
    _, xmax, in_progress = snapshot
    return offset.next_xid <= xmax and all(
        xid in offset.in_progress for xid in in_progress if xid < offset.next_xid
    )
