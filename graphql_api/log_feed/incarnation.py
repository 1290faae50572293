"""Incarnations of a database: finds crashes, failovers and restores after which an offset isn't valid.

An offset consists of transaction ids, which are comparable only within one history of the server. An
incarnation is the time between two interruptions of it, and has a random id. Interruptions are a crash, a
promotion, a restore, and a time without the trigger that records lines. The unlogged table
log_feed.incarnation has the present incarnation: PostgreSQL empties it in a crash, a promotion or a restore.
The ordinary table log_feed.incarnations has all of them, except those that a restore has undone, and those
from before a reset: a transaction that has changed rows without entries (log_feed.resets).
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
"""Entries that one statement deletes: the role's statement timeout may be short."""

_NOT_MIGRATED = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedColumnError)

# Which server and database it is, which timeline (failovers and restores begin new ones), and since when it
# has the trigger that records lines; null where the trigger is missing or disabled.
_IDENTITY = """
    SELECT pg_is_in_recovery() AS standby,
           (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
           (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
           CASE WHEN NOT pg_is_in_recovery()
                THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END AS timeline,
           (SELECT version FROM {schema}.trigger_version) AS trigger_version
"""

_PRESENT = """
    SELECT id FROM {schema}.current_incarnation WHERE (system_identifier, timeline, database) = ($1, $2, $3)
"""

_NOTED_RESETS = "SELECT array_agg(xid::text) FROM {schema}.resets WHERE NOT is_pending"
# A snapshot lists the transactions in progress up to the newest one that has ended. Once this has, a snapshot
# lists all that were in progress before.
_END_ONE = "SELECT pg_current_xact_id()"
# Ends all former incarnations if a reset is due: $1 are the noted ones. Transactions that are in progress may
# then record what isn't true any more. Clients read again before these commit, so they are pending, and each
# ends all incarnations once more if it commits such entries.
_END_AT_RESETS = """
    WITH due AS (
        DELETE FROM {schema}.resets
        WHERE (xid, is_pending) IN (SELECT xid, is_pending FROM {schema}.due_resets)
          AND (is_pending OR xid::text = ANY ($1::text[]))
        RETURNING is_pending
    ), ended AS (
        DELETE FROM {schema}.resets
        WHERE is_pending AND pg_visible_in_snapshot(xid, pg_current_snapshot())
          AND (xid, is_pending) NOT IN (SELECT xid, is_pending FROM {schema}.due_resets)
    ), pending AS (
        INSERT INTO {schema}.resets (xid, is_pending)
        SELECT xid, true FROM pg_snapshot_xip(pg_current_snapshot()) AS xid
        WHERE EXISTS (SELECT FROM due WHERE NOT is_pending)
        ON CONFLICT DO NOTHING
    )
    DELETE FROM {schema}.incarnations WHERE EXISTS (SELECT FROM due)
"""

# Replication doesn't include sequences, and a dump of the data may leave them out, so the next number is
# computed here, under the lock.
_BEGIN = """
    WITH present AS (
        INSERT INTO {schema}.incarnation (id) VALUES ($5) ON CONFLICT (single) DO UPDATE SET id = $5)
    INSERT INTO {schema}.incarnations
        (id, number, system_identifier, timeline, database, trigger_version, began)
    OVERRIDING SYSTEM VALUE
    SELECT $5, (SELECT coalesce(max(number), 0) + 1 FROM {schema}.incarnations), $1, $2, $3, $4,
           pg_current_wal_insert_lsn()
"""
# If lines have been written since the interruption, the first of them has recorded it.
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

# Transaction ids that this server has not assigned yet: they come from a restored dump.
_FROM_THE_FUTURE = """
    SELECT pg_snapshot_xmax(pg_current_snapshot()) AS xid WHERE
        EXISTS (SELECT FROM {schema}.entries WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))
        OR EXISTS (SELECT FROM {schema}.horizon WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))
        OR EXISTS (SELECT FROM {schema}.watermarks WHERE xid > pg_snapshot_xmax(pg_current_snapshot()))
        OR EXISTS (SELECT FROM {schema}.resets WHERE xid > pg_snapshot_xmax(pg_current_snapshot()))
"""
_MEND = """
    DELETE FROM {schema}.horizon WHERE xid >= pg_snapshot_xmax(pg_current_snapshot());
    DELETE FROM {schema}.watermarks WHERE xid > pg_snapshot_xmax(pg_current_snapshot());
    DELETE FROM {schema}.resets WHERE xid > pg_snapshot_xmax(pg_current_snapshot())
"""
# While this runs, transactions from $1 on write entries of their own. They differ from those of the dump in
# that the transaction that wrote the row, whose lower half is xmin, did not begin before $1.
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

# How a past incarnation compares with the present one, and where the one after it began.
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
    """Returns the id of the present incarnation of a connection's database; its first reader creates it.

    Every reader calls this before it reads, since it also deletes entries that a restored dump has left.
    Raises UnfitDatabaseError for a standby, and for a database without the feed's schema or privileges.
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
    key = tuple(identity[name] for name in ("system_identifier", "timeline", "database"))
    present: int | None = await connection.fetchval(_PRESENT.format(schema=name), *key)
    if present is not None:
        return present
    resets = await connection.fetchval(_NOTED_RESETS.format(schema=name))
    await connection.execute(_END_ONE)
    async with connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = on")
        await connection.execute(f"LOCK TABLE {name}.incarnation IN SHARE ROW EXCLUSIVE MODE")
        present = await connection.fetchval(_PRESENT.format(schema=name), *key)
        if present is None:
            present = secrets.randbits(63)
            await connection.execute(_END_AT_RESETS.format(schema=name), resets)
            await connection.execute(_NOTE.format(schema=name), present)
            await connection.execute(_BEGIN.format(schema=name), *key, identity["trigger_version"], present)
    return present


async def _mend(connection: "asyncpg.Connection", schema: str) -> None:
    """Deletes entries whose transactions are in the future: they come from a dump of another server.

    Otherwise their lines would come again as new ones, once this server assigns those ids.
    """
    future = await connection.fetchval(_FROM_THE_FUTURE.format(schema=schema))
    if future is None:
        return
    log.warning("the log feed was restored from another server: its lines become history")
    await connection.execute(_MEND.format(schema=schema))
    await delete_entries_from(connection, future, schema)


async def delete_entries_from(connection: "asyncpg.Connection", xid: int, schema: str = LOGS.name) -> None:
    """Deletes entries of `xid` and above that were written before this server assigned `xid`."""
    after = (
        xid - 1,
        LOWEST_ID,
    )  # otherwise each statement would scan the entries that the ones before have deleted
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
        raise FeedResetError("FEED_RESET_RESTORE", schema)
    if not rows[0]["same_timeline"]:
        raise FeedResetError("FEED_RESET_FAILOVER", schema)
    if rows[0]["snapshot"] is not None and not _is_before(cursor.offset, rows[0]["snapshot"]):
        raise FeedResetError("FEED_RESET_RESTORE", schema)


def _is_before(offset: FeedOffset, snapshot: tuple[int, int, Sequence[int]]) -> bool:
    """Whether an offset has read no transaction that ended after a snapshot."""
    _, xmax, in_progress = snapshot
    return offset.next_xid <= xmax and all(
        xid in offset.in_progress for xid in in_progress if xid < offset.next_xid
    )
