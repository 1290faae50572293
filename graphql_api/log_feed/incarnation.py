"""Which life of which database a position belongs to.

A position is made of transaction ids, and they go on only while the server's history does. Each life
between two interruptions (a crash, a promotion, a restore) has a random number, an incarnation: an unlogged
table holds the present one and loses it when the life ends; an ordinary table remembers them all, and
forgets with whatever a restore undoes.
"""

import logging
import secrets

import asyncpg

from graphql_api.log_feed import statements
from graphql_api.log_feed.cursor import Origin
from graphql_api.log_feed.errors import FeedResetError, UnfitDatabaseError
from graphql_api.log_feed.source import Fetch

log = logging.getLogger(__name__)

# Seconds: a large table takes its time.
_RENUMBERING = 1800.0

_NOT_MIGRATED = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedColumnError)


async def enter(connection: "asyncpg.Connection") -> int:
    """The incarnation of the database behind a connection; whoever comes first names it.

    Raises UnfitDatabaseError for a standby, and for a database that lacks what the feed needs.
    """
    try:
        return await _enter(connection)
    except _NOT_MIGRATED as error:
        raise UnfitDatabaseError("the database lacks the log feed: run `graphql-api migrate`") from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise UnfitDatabaseError(
            "the database's role may not use the schema log_feed: serve as the role that migrates"
        ) from error


async def _enter(connection: "asyncpg.Connection") -> int:
    identity = await connection.fetchrow(statements.IDENTITY)
    assert identity is not None  # noqa: S101 - narrows: the statement always has one row
    if identity["standby"]:
        raise UnfitDatabaseError(
            "the log feed reads from the primary, and this server is a standby:"
            " set DATABASE_DIRECT_URL (or DATABASE_URL) to the primary"
        )
    key = (identity["system_identifier"], identity["timeline"], identity["database"])
    known: int | None = await connection.fetchval(statements.CURRENT_INCARNATION, *key)
    if known is not None:
        return known
    async with connection.transaction():
        await connection.execute("SET LOCAL synchronous_commit = on")
        await connection.execute("LOCK TABLE log_feed.incarnation IN SHARE ROW EXCLUSIVE MODE")
        known = await connection.fetchval(statements.CURRENT_INCARNATION, *key)
        if known is None:
            await _renumber(connection)
            known = secrets.randbits(63)
            await connection.execute(statements.NEW_INCARNATION, *key, known)
    return known


async def _renumber(connection: "asyncpg.Connection") -> None:
    """Make rows part of the past that carry transaction ids of the future: a dump brings those along.

    Else a new transaction that is given such an id would seem to have written them.
    """
    if await connection.fetchval(statements.FROM_THE_FUTURE):
        log.warning("system_logs was restored from another server: renumbering its rows")
        await connection.execute(statements.RENUMBER, timeout=_RENUMBERING)


async def verify(fetch: Fetch, origin: Origin, present: int) -> None:
    """Raise FeedResetError unless what was read in `origin` is the past of the incarnation `present`."""
    if origin.incarnation == present:
        return
    rows = await fetch(statements.LINEAGE, past=origin.incarnation, present=present)
    if not rows or not rows[0]["same"] or (rows[0]["ended"] or 0) < origin.lsn:
        raise FeedResetError("FEED_RESET_RESTORE")
    if not rows[0]["same_timeline"]:
        raise FeedResetError("FEED_RESET_FAILOVER")
