"""Which life of which database a position belongs to.

A position is made of transaction ids, and they go on only while the server's history does. Each life
between two interruptions (a crash, a promotion, a restore) has a random number, an incarnation: an unlogged
table holds the present one and loses it when the life ends; an ordinary table remembers them all, and
forgets with whatever a restore undoes.
"""

import secrets

import asyncpg

from graphql_api.feed import statements
from graphql_api.feed.cursor import Origin
from graphql_api.feed.errors import FeedResetError, UnfitDatabaseError
from graphql_api.feed.source import Fetch


async def enter(connection: "asyncpg.Connection") -> int:
    """The incarnation of the database behind a connection; whoever comes first names it.

    Raises UnfitDatabaseError for a standby.
    """
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
            known = secrets.randbits(63)
            await connection.execute(statements.NEW_INCARNATION, *key, known)
    return known


async def verify(fetch: Fetch, origin: Origin, present: int) -> None:
    """Raise FeedResetError unless what was read in `origin` is the past of the incarnation `present`."""
    if origin.incarnation == present:
        return
    rows = await fetch(statements.LINEAGE, past=origin.incarnation, present=present)
    if not rows or not rows[0]["same"] or (rows[0]["ended"] or 0) < origin.lsn:
        raise FeedResetError("FEED_RESET_RESTORE")
    if not rows[0]["same_timeline"]:
        raise FeedResetError("FEED_RESET_FAILOVER")
    if not origin.flushed:
        raise FeedResetError("FEED_RESET_CRASH")
