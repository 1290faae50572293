"""Which incarnation of which database a position belongs to.

A position is made of transaction ids, and they continue only while the server's history does. The time
between two interruptions (a crash, a promotion, a restore) is an incarnation, and has a random number. The
unlogged table log_feed.incarnation holds the present one, and PostgreSQL empties it with each interruption;
the ordinary table log_feed.incarnations remembers them all, except for what a restore undoes.
"""

import logging
import secrets

import asyncpg
from sqlalchemy import text

from graphql_api.log_feed.errors import FeedResetError, UnfitDatabaseError
from graphql_api.log_feed.feed_position import Cursor
from graphql_api.postgres.statement import Fetch, compile_statement

log = logging.getLogger(__name__)

# Seconds: renumbering a large table takes long.
_RENUMBER_TIMEOUT = 1800.0

_NOT_MIGRATED = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedColumnError)

# Which server, which database, and which of the timelines that failovers and restores begin.
_IDENTITY = """
    SELECT pg_is_in_recovery() AS standby,
           (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
           (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
           CASE WHEN NOT pg_is_in_recovery()
                THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END AS timeline
"""

_PRESENT_INCARNATION = """
    SELECT id FROM log_feed.incarnation JOIN log_feed.incarnations USING (id)
    WHERE (system_identifier, timeline, database) = ($1, $2, $3)
"""

_BEGIN_INCARNATION = """
    WITH present AS (
        INSERT INTO log_feed.incarnation (id) VALUES ($4) ON CONFLICT (single) DO UPDATE SET id = $4)
    INSERT INTO log_feed.incarnations (id, system_identifier, timeline, database, began)
    VALUES ($4, $1, $2, $3, pg_current_wal_insert_lsn())
"""

_FUTURE = "feed_xid >= pg_snapshot_xmax(pg_current_snapshot())"
_HAS_FUTURE_ROWS = f"SELECT EXISTS (SELECT FROM system_logs WHERE {_FUTURE})"  # noqa: S608 - our own text
_RENUMBER = f"UPDATE system_logs SET feed_xid = pg_current_xact_id() WHERE {_FUTURE}"  # noqa: S608 - as above

# What is known of a past incarnation, and where the one after it began.
_LINEAGE = compile_statement(
    text("""
        SELECT past.system_identifier = present.system_identifier AND past.database = present.database
                   AS same_database,
               past.timeline = present.timeline AS same_timeline,
               (SELECT began FROM log_feed.incarnations WHERE number > past.number
                ORDER BY number LIMIT 1) AS ended
        FROM log_feed.incarnations past, log_feed.incarnations present
        WHERE past.id = CAST(:past AS bigint) AND present.id = CAST(:present AS bigint)
    """)
)


async def present_incarnation(connection: "asyncpg.Connection") -> int:
    """Return the present incarnation of the database behind a connection; the first to ask begins it.

    Raises UnfitDatabaseError for a standby, and for a database that lacks what the feed needs.
    """
    try:
        return await _present_incarnation(connection)
    except _NOT_MIGRATED as error:
        raise UnfitDatabaseError("the database lacks the log feed: run `graphql-api migrate`") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise UnfitDatabaseError(
            "the database's role may not use the schema log_feed: serve as the role that migrates"
        ) from error


async def _present_incarnation(connection: "asyncpg.Connection") -> int:
    identity = await connection.fetchrow(_IDENTITY)
    assert identity is not None  # noqa: S101 - narrows: the statement always has one row
    if identity["standby"]:
        raise UnfitDatabaseError(
            "the log feed reads from the primary, and this server is a standby:"
            " set DATABASE_DIRECT_URL (or DATABASE_URL) to the primary"
        )
    key = (identity["system_identifier"], identity["timeline"], identity["database"])
    known: int | None = await connection.fetchval(_PRESENT_INCARNATION, *key)
    if known is not None:
        return known
    async with connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = on")
        await connection.execute("LOCK TABLE log_feed.incarnation IN SHARE ROW EXCLUSIVE MODE")
        known = await connection.fetchval(_PRESENT_INCARNATION, *key)
        if known is None:
            await _renumber_future_rows(connection)
            known = secrets.randbits(63)
            await connection.execute(_BEGIN_INCARNATION, *key, known)
    return known


async def _renumber_future_rows(connection: "asyncpg.Connection") -> None:
    """Move rows whose transaction ids lie in the future to the past: a dump of another server has such rows.

    Otherwise a new transaction that is given such an id would seem to have written them.
    """
    if await connection.fetchval(_HAS_FUTURE_ROWS):
        log.warning("system_logs was restored from another server: renumbering its rows")
        await connection.execute(_RENUMBER, timeout=_RENUMBER_TIMEOUT)


async def check_lineage(fetch: Fetch, cursor: Cursor, present: int) -> None:
    """Raise FeedResetError unless what `cursor` has read is part of the past of the incarnation `present`."""
    if cursor.incarnation == present:
        return
    rows = await fetch(_LINEAGE, past=cursor.incarnation, present=present)
    if not rows or not rows[0]["same_database"] or (rows[0]["ended"] or 0) < cursor.lsn:
        raise FeedResetError("FEED_RESET_RESTORE")
    if not rows[0]["same_timeline"]:
        raise FeedResetError("FEED_RESET_FAILOVER")
