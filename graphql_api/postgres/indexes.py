"""Builds the service's indexes on tables that other programs are using.

`CREATE INDEX CONCURRENTLY` blocks neither readers nor writers, but can't run in a transaction, and leaves an
INVALID index if it is interrupted. So indexes are not revisions: each `graphql-api migrate` compares the
indexes that `postgres.tables.indexes` declares with those that exist, and builds the difference. After an
interruption, the next run continues.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import asyncpg
from sqlalchemy import Index
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from graphql_api.postgres.tables.indexes import (
    ADDED_INDEXES,
    ADDED_STATISTICS,
    OPERATOR_INDEXES,
    RETIRED_INDEXES,
)

_POLL = 0.5
"""Seconds between two reports of a build's progress."""
_LONGEST_NAME = 63
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

Action = Literal["build", "rebuild", "drop"]


class IndexMismatchError(Exception):
    """An index has the name of one of the service's, and another definition. Nothing has been changed."""


@dataclass(frozen=True, slots=True)
class Definition:
    """A declared index, or declared planner statistics. `body` is the part of its DDL with the columns."""

    kind: Literal["index", "statistics"]
    name: str
    table: str
    body: str

    @classmethod
    def of_index(cls, index: Index) -> "Definition":
        """Returns the definition of an index of SQLAlchemy's metadata."""
        table = str(index.table)
        statement = str(CreateIndex(index).compile(dialect=_DIALECT))
        return cls("index", str(index.name), table, statement.partition(f" ON {table} ")[2])

    def create(self, name: str, table: str, *, concurrently: bool = False) -> str:
        """Returns the statement that creates it with this name, on this table."""
        if self.kind == "statistics":
            return f"CREATE STATISTICS {name} ON {self.body} FROM {table}"
        return f"CREATE INDEX {'CONCURRENTLY ' if concurrently else ''}{name} ON {table} {self.body}"


@dataclass(frozen=True, slots=True)
class IndexChange:
    """A step of `migrate`: builds an index or statistics, builds it again if INVALID, or drops it."""

    action: Action
    definition: Definition
    table_bytes: int

    def __str__(self) -> str:
        return f"{self.action} {self.definition.kind} {self.definition.name} on {self.definition.table}"

    @property
    def locks(self) -> str:
        """What other programs can't do while the step runs."""
        return f"reads and writes go on; DDL and VACUUM of {self.definition.table} wait"


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """A row of pg_stat_progress_create_index."""

    phase: str
    done: int
    total: int
    """Blocks or tuples of the phase; 0 where the phase has no measure."""
    waits_for: int | None
    """The process id of a transaction that has to end before the build can continue."""


ReportProgress = Callable[[IndexChange, BuildProgress], None]


def declared(*, operator_indexes: bool = False) -> list[Definition]:
    """Returns what the service adds to the documented tables, indexes first."""
    indexes = (*ADDED_INDEXES, *(OPERATOR_INDEXES if operator_indexes else ()))
    statistics = (
        Definition("statistics", name, table.name, f"({_written(expression)})")
        for name, (table, expression) in ADDED_STATISTICS.items()
    )
    return [*map(Definition.of_index, indexes), *statistics]


async def find_changes(connection: "asyncpg.Connection", wanted: Sequence[Definition]) -> list[IndexChange]:
    """Returns the changes that are needed in the tables that the search path finds, drops last.

    Raises IndexMismatchError before anything is changed.
    """
    names = [*(definition.name for definition in wanted), *RETIRED_INDEXES]
    existing = {row["name"]: row for row in await connection.fetch(_EXISTING, names)}
    tables = sorted({each.table for each in wanted})
    sizes = {row["name"]: row["size"] for row in await connection.fetch(_TABLE_SIZES, tables)}
    stored = await _as_stored(connection, [each for each in wanted if each.table in sizes])
    changes = []
    for definition in wanted:
        found = existing.get(definition.name)
        size = sizes.get(definition.table, 0)
        if found is None:
            changes.append(IndexChange("build", definition, size))
        elif (found["table"], found["body"]) == (definition.table, stored[definition.name]):
            if not found["valid"]:
                changes.append(IndexChange("rebuild", definition, size))
        elif definition.kind == "statistics":
            changes.append(IndexChange("rebuild", definition, size))
        else:
            raise IndexMismatchError(
                f"there is a {definition.name} on {found['table']} {found['body']}, where an index on"
                f" {definition.table} {stored[definition.name]} is needed: rename or drop it"
            )
    retired = [existing[name] for name in RETIRED_INDEXES if name in existing]
    return changes + [
        IndexChange("drop", Definition("index", row["name"], row["table"], row["body"]), 0) for row in retired
    ]


async def apply_change(
    connection: "asyncpg.Connection",
    observer: "asyncpg.Connection",
    change: IndexChange,
    report: ReportProgress,
) -> None:
    """Carries out a change on `connection`, which is in no transaction.

    `observer` is a second connection, over which a build's progress is read and reported. Raises asyncpg's
    errors; the next `find_changes` finds the INVALID index that is left then.
    """
    definition = change.definition
    if definition.kind == "statistics":
        async with connection.transaction():
            await connection.execute(f"DROP STATISTICS IF EXISTS {definition.name}")
            await connection.execute(definition.create(definition.name, definition.table))
    else:
        async with _reporting(connection, observer, change, report):
            partitions = await connection.fetch(_PARTITIONS, definition.table)
            if change.action == "drop":
                # PostgreSQL can't drop a partitioned index concurrently.
                how = "" if partitions else "CONCURRENTLY "
                await connection.execute(f"DROP INDEX {how}IF EXISTS {definition.name}")
                return
            if partitions:
                await _build_on_partitions(connection, definition, partitions)
            else:
                await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {definition.name}")
                await connection.execute(
                    definition.create(definition.name, definition.table, concurrently=True)
                )
    # Before ANALYZE, the planner has no statistics of an expression.
    await connection.execute(f"ANALYZE {definition.table}")


async def _build_on_partitions(
    connection: "asyncpg.Connection", index: Definition, partitions: Sequence["asyncpg.Record"]
) -> None:
    """Builds an index on each partition that lacks it: on the whole it can't be built concurrently.

    `partitions` may be partitioned themselves; parents come before their partitions.
    """
    if not await connection.fetchval("SELECT to_regclass($1)", index.name):
        await connection.execute(index.create(index.name, f"ONLY {index.table}"))
    indexes: dict[int, str] = {}
    for partition in partitions:
        parent = indexes.get(partition["parent"], index.name)
        found = await connection.fetchval(_ATTACHED, parent, partition["id"])
        if found is None:
            name = f'"{_partition_index(index.name, partition["name"])}"'
            found = f"{partition['schema']}.{name}"
            if partition["is_leaf"]:
                await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {found}")
                await connection.execute(index.create(name, partition["table"], concurrently=True))
            else:
                await connection.execute(f"DROP INDEX IF EXISTS {found}")
                await connection.execute(index.create(name, f"ONLY {partition['table']}"))
            await connection.execute(f"ALTER INDEX {parent} ATTACH PARTITION {found}")
        indexes[partition["id"]] = found


def _partition_index(index: str, partition: str) -> str:
    """Returns the name of an index's part on a partition; a name that is too long ends with a hash."""
    name = f"{index}_{partition}".replace('"', "")
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    return f"{index}_{sha256(partition.encode()).hexdigest()[:12]}"


@asynccontextmanager
async def _reporting(
    connection: "asyncpg.Connection",
    observer: "asyncpg.Connection",
    change: IndexChange,
    report: ReportProgress,
) -> AsyncIterator[None]:
    """Reports the progress of the index that `connection` builds in the block."""
    pid = connection.get_server_pid()

    async def watch() -> None:
        while True:
            await asyncio.sleep(_POLL)
            if row := await observer.fetchrow(_PROGRESS, pid):
                report(change, BuildProgress(**row))

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _as_stored(connection: "asyncpg.Connection", wanted: Sequence[Definition]) -> dict[str, str]:
    """Returns the bodies of definitions as PostgreSQL prints them, by name.

    PostgreSQL rewrites expressions when it stores them, each version in its own way. So each definition is
    created on an empty temporary copy of its table, read back, and rolled back.
    """
    bodies = {}
    transaction = connection.transaction()
    await transaction.start()
    try:
        for table in sorted({definition.table for definition in wanted}):
            await connection.execute(f"CREATE TEMPORARY TABLE copy_of_{table} (LIKE {table})")
        for definition in wanted:
            name = f"copy_of_{definition.name}"[:_LONGEST_NAME]
            temporary = name if definition.kind == "index" else f"pg_temp.{name}"
            await connection.execute(definition.create(temporary, f"pg_temp.copy_of_{definition.table}"))
            bodies[definition.name] = await connection.fetchval(_STORED_BODY[definition.kind], name)
    finally:
        await transaction.rollback()
    return bodies


def _written(expression: object) -> str:
    return str(
        expression.compile(dialect=_DIALECT, compile_kwargs={"include_table": False})  # type: ignore[attr-defined]
    )


_INDEX_BODY = "substring(pg_get_indexdef(c.oid) from ' (USING .*)$')"
_STATISTICS_BODY = "array_to_string(pg_get_statisticsobjdef_expressions(s.oid), ', ')"

# If two schemas have a table of that name, only the one that the search path finds is meant.
_EXISTING = f"""
    SELECT c.relname AS name, t.relname AS table, {_INDEX_BODY} AS body,
           i.indisvalid AND i.indisready AS valid
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
    WHERE c.relname = ANY ($1::text[]) AND pg_table_is_visible(t.oid) AND t.relpersistence <> 't'
    UNION ALL
    SELECT c.relname, c.relname, 'that is no index', true
    FROM pg_class c
    WHERE c.relname = ANY ($1::text[]) AND pg_table_is_visible(c.oid) AND c.relkind NOT IN ('i', 'I')
    UNION ALL
    SELECT s.stxname, t.relname, {_STATISTICS_BODY}, true
    FROM pg_statistic_ext s JOIN pg_class t ON t.oid = s.stxrelid
    WHERE s.stxname = ANY ($1::text[]) AND pg_table_is_visible(t.oid) AND t.relpersistence <> 't'
"""  # noqa: S608 - our own text
_STORED_BODY = {
    "index": f"SELECT {_INDEX_BODY} FROM pg_class c WHERE relname = $1 AND relpersistence = 't'",  # noqa: S608
    "statistics": f"""
        SELECT {_STATISTICS_BODY} FROM pg_statistic_ext s
        WHERE stxname = $1 AND stxnamespace = pg_my_temp_schema()
    """,  # noqa: S608 - our own text
}
_TABLE_SIZES = """
    SELECT name, pg_total_relation_size(to_regclass(name)) AS size FROM unnest($1::text[]) AS name
    WHERE to_regclass(name) IS NOT NULL
"""
_PARTITIONS = """
    SELECT relid::oid::bigint AS id, parentrelid::oid::bigint AS parent, isleaf AS is_leaf,
           relname::text AS name, quote_ident(nspname) AS schema, format('%I.%I', nspname, relname) AS table
    FROM pg_partition_tree(to_regclass($1))
    JOIN pg_class ON pg_class.oid = relid JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE level > 0 ORDER BY level, relid
"""
_ATTACHED = """
    SELECT format('%I.%I', nspname, relname)
    FROM pg_inherits JOIN pg_index ON indexrelid = inhrelid
    JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE inhparent = to_regclass($1) AND indrelid = $2::bigint::oid
"""
_PROGRESS = """
    SELECT phase,
           CASE WHEN blocks_total > 0 THEN blocks_done ELSE tuples_done END AS done,
           CASE WHEN blocks_total > 0 THEN blocks_total ELSE tuples_total END AS total,
           nullif(current_locker_pid, 0)::integer AS waits_for
    FROM pg_stat_progress_create_index WHERE pid = $1
"""
