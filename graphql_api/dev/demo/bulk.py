"""Fills a large table fast: without its indexes, which are built once at the end."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

Progress = Callable[[str, int, int], None]
"""Called with what is being written, how many are written so far, and how many there will be."""

_CONSTRAINTS = """
    SELECT quote_ident(conname) AS name, pg_get_constraintdef(oid) AS definition
    FROM pg_constraint
    WHERE conrelid = $1::text::regclass AND contype IN ('p', 'u', 'f')
    ORDER BY contype DESC, conname
"""
_INDEXES = """
    SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition
    FROM pg_index
    WHERE indrelid = $1::text::regclass
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
    ORDER BY 1
"""


@asynccontextmanager
async def without_indexes(
    connection: "asyncpg.Connection", table: str, progress: Progress
) -> AsyncIterator[None]:
    """Drops a table's indexes and keys for the block, and builds them again after it, as they were.

    Inside a transaction only: if anything fails, its rollback restores them. Nobody else can read the
    table until it ends.
    """
    await connection.execute("SET LOCAL maintenance_work_mem = '512MB'")
    constraints = await connection.fetch(_CONSTRAINTS, table)
    indexes = await connection.fetch(_INDEXES, table)
    for constraint in constraints:
        await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint['name']}")
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['name']}")
    yield
    rebuilding = [
        *(index["definition"] for index in indexes),
        *(f"ALTER TABLE {table} ADD CONSTRAINT {each['name']} {each['definition']}" for each in constraints),
    ]
    for done, statement in enumerate(rebuilding):
        progress("indexes", done, len(rebuilding))
        await connection.execute(statement)
    progress("indexes", len(rebuilding), len(rebuilding))
