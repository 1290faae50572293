"""Converts a database of a version before the first release, which had other revisions.

Its rows stay, and so do roles, logins, tokens and idempotency keys. The log feed is created again: it used a
column of system_logs, which is dropped; subscribers get an error that tells them to start again. Indexes are
left to `postgres.indexes`, which drops those that are no longer needed.
"""

from dataclasses import dataclass

import asyncpg
from sqlalchemy import Connection, text

from graphql_api.postgres.tables.base import SERVICE_SCHEMA

_VERSION_TABLE = "graphql_api_version"


@dataclass(frozen=True, slots=True)
class CarryOver:
    """The step that converts such a database to today's `revision`."""

    former: str
    revision: str
    locks: str = "system_logs: reads and writes wait for moments"

    def __str__(self) -> str:
        return f"carry over the database of a version before the first release (its revision {self.former})"

    def run(self, connection: Connection) -> None:
        """Changes the database, in the connection's transaction."""
        for statement in _FEED:
            connection.execute(text(statement))
        for table in connection.scalars(text(_IDENTITY_TABLES)).all():
            connection.execute(text(f"ALTER TABLE api_auth.{table} SET SCHEMA {SERVICE_SCHEMA}"))
        connection.execute(text("DROP SCHEMA IF EXISTS api_auth"))
        connection.execute(text(f"DROP TABLE {_VERSION_TABLE}"))


async def find(connection: "asyncpg.Connection") -> CarryOver | None:
    """Returns the step that the database needs; None if it isn't of such a version."""
    if not await connection.fetchval("SELECT to_regclass($1)", _VERSION_TABLE):
        return None
    former: str | None = await connection.fetchval(f"SELECT version_num FROM {_VERSION_TABLE}")  # noqa: S608
    if former is None:
        return None
    return CarryOver(former, _REACHED.get(former, "0003"))


# By former revision, the newest of today's revisions whose tables such a database has. Later ones also had
# idempotency keys, the tables of 0003.
_REACHED = {"0001": "0001", "0002": "0001", "0003": "0001", "0004": "0002", "0005": "0002"}
_IDENTITY_TABLES = (
    "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('api_auth') AND relkind = 'r'"
)
_FEED = (
    "DROP TRIGGER IF EXISTS log_feed_wake ON system_logs",
    "DROP TRIGGER IF EXISTS log_feed_deleted ON system_logs",
    "DROP TRIGGER IF EXISTS log_feed_truncated ON system_logs",
    "DROP SCHEMA IF EXISTS log_feed CASCADE",
    "ALTER TABLE system_logs DROP COLUMN IF EXISTS feed_xid",
)
