"""Compares a database with the documented schema, which other programs own.

The service reads and writes tables that other programs have created. Differences from
`docs/database-schema.md` are reported by `graphql-api migrate`, which refuses a database that can't be served
before it changes anything, and by `graphql-api doctor`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import asyncpg
from sqlalchemy import Column, ForeignKeyConstraint, Table, UniqueConstraint
from sqlalchemy.dialects import postgresql

from graphql_api.postgres.tables import metadata, views
from graphql_api.postgres.tables.indexes import ADDED_INDEXES, OPERATOR_INDEXES

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]

# Types that read and compare like the documented one, by PostgreSQL's names without length and precision. Not
# `character`, whose values end with blanks, nor `json`, which has no equality and may hold what jsonb can't.
_INTERCHANGEABLE = (
    {"character varying", "text", "citext"},
    {"smallint", "integer", "bigint"},
    {"numeric"},
    {"uuid"},
    {"boolean"},
    {"jsonb"},
    {"timestamp with time zone"},
)
_SORTED_TEXTS = ("account_number", "name", "symbol")
# Documented integers are Int in GraphQL.
_INTEGER_BYTES = {"smallint": 2, "integer": 4, "bigint": 8}
MISSING = "is missing"
"""The `difference` of a table, view or column that doesn't exist."""

_INSERTED_BY_US = ("risk_settings", "system_logs", "users")
_JOINED_BY_TRIGGERS = ("risk_settings", "tradelocker_accounts", "trades", "trading_sessions")
_MODIFIERS = re.compile(r"\d+")


class Severity(Enum):
    """What a difference means for the service."""

    HARMLESS = "harmless"
    DEGRADED = "works, with a loss"
    REFUSED = "can't be served"


@dataclass(frozen=True, slots=True)
class Difference:
    """A place where a database differs from the documented schema."""

    severity: Severity
    place: str
    """A table, a view, or `table.column`."""
    difference: str
    consequence: str
    """What it means, and what to do about it."""

    def __str__(self) -> str:
        return f"{self.place} {self.difference}: {self.consequence}"


@dataclass(frozen=True, slots=True)
class _Found:
    """A table or view as the catalog describes it."""

    kind: str
    columns: Mapping[str, Mapping[str, Any]]
    unique: frozenset[tuple[str, ...]]
    """Columns of primary keys and unique constraints."""
    foreign_keys: frozenset[tuple[str, ...]]
    indexed: frozenset[tuple[str, ...]]
    """The columns of valid indexes, in their order."""
    schema: str
    rules: tuple[str, ...]
    """Names of rewrite rules, a view's own aside."""
    relatives: tuple[str, ...]
    """Tables that inherit from it or that it inherits from, partitions aside."""
    hidden: tuple[str, ...]
    """Commands for which row-level security may hide rows from this role, or refuse them."""


async def find_differences(connection: "asyncpg.Connection") -> list[Difference]:
    """Returns what differs in the tables and views that the search path finds, the worst first."""
    found: list[Difference] = []
    schemas: set[str] = set()
    for table in metadata.tables.values():
        if table.schema is None:
            described = await _describe(connection, table.name)
            if described is not None and table.name in _JOINED_BY_TRIGGERS:
                schemas.add(described.schema)
            found += _in_table(table, described)
    for view in views.tables.values():
        found += _in_view(view, await _describe(connection, view.name))
    if len(schemas) > 1:
        found.append(
            Difference(
                Severity.REFUSED,
                ", ".join(_JOINED_BY_TRIGGERS),
                f"are in the schemas {' and '.join(sorted(schemas))}",
                "the triggers look for them in one schema; ALTER TABLE … SET SCHEMA",
            )
        )
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        found.append(
            Difference(
                Severity.DEGRADED,
                "the database",
                f"has the encoding {encoding}",
                "texts with characters that it lacks are refused, and texts that aren't UTF-8 can't be read;"
                " move the tables to a database of ENCODING 'UTF8'",
            )
        )
    return sorted(found, key=lambda each: -list(Severity).index(each.severity))


def _in_table(table: Table, found: _Found | None) -> Iterator[Difference]:
    if found is None:
        yield Difference(Severity.REFUSED, table.name, MISSING, "the service reads it; create it")
        return
    if found.kind not in ("r", "p"):
        yield Difference(
            Severity.DEGRADED, table.name, "is no table", "it can be read, but the service adds nothing to it"
        )
    for column in table.columns:
        yield from _in_column(table, column, found)
    known = {column.name for column in table.columns}
    for name in found.columns.keys() - known:
        yield _undocumented(table, name, found.columns[name])
    yield from _in_constraints(table, found)
    yield from _in_indexes(table, found)
    yield from _in_access(table, found)


def _undocumented(table: Table, name: str, actual: Mapping[str, Any]) -> Difference:
    place, said = f"{table.name}.{name}", "is not documented"
    if table.name in _INSERTED_BY_US and actual["not_null"] and not actual["has_default"]:
        return Difference(
            Severity.DEGRADED,
            place,
            f"{said}, and may not be null",
            "the service can't add rows here; give it a default",
        )
    return Difference(Severity.HARMLESS, place, said, "the service ignores it")


def _in_access(table: Table, found: _Found) -> Iterator[Difference]:
    """Yields what keeps the service from rows, or rows from its triggers."""
    if found.rules and found.kind in ("r", "p"):
        yield Difference(
            Severity.DEGRADED,
            table.name,
            f"has the rule {', '.join(found.rules)}",
            "PostgreSQL refuses changes of the service where it rewrites them, and rows that it writes to"
            " another table reach no subscriber; replace it by a trigger",
        )
    if found.relatives:
        yield Difference(
            Severity.DEGRADED,
            table.name,
            f"shares rows by inheritance with {', '.join(found.relatives)}",
            "rows that are written by that name reach no subscriber; make it a partitioned table",
        )
    if found.hidden:
        yield Difference(
            Severity.DEGRADED,
            table.name,
            f"has row-level security that applies to this role for {', '.join(found.hidden)}",
            "rows that its policies hide are missing in answers and events, and changes that they refuse"
            " fail; ALTER ROLE … BYPASSRLS, or add a policy for this role with USING (true)",
        )


def _in_column(table: Table, column: Column[Any], found: _Found) -> Iterator[Difference]:
    place = f"{table.name}.{column.name}"
    actual = found.columns.get(column.name)
    if actual is None:
        yield Difference(Severity.REFUSED, place, MISSING, "the service reads it; add it")
        return
    documented = _type_name(column)
    if not _is_interchangeable(actual["type"], documented):
        yield Difference(
            Severity.REFUSED,
            place,
            f"is of type {actual['type']}",
            f"it would be read wrong; it is documented as {documented}",
        )
    elif actual["type"] != documented:
        loss = _loss(actual["type"], documented, column, is_written=table.name in _INSERTED_BY_US)
        yield Difference(
            Severity.DEGRADED if loss else Severity.HARMLESS,
            place,
            f"is of type {actual['type']}",
            f"documented is {documented}, {loss or 'values fit'}",
        )
    if not column.nullable and not actual["not_null"]:
        yield Difference(
            Severity.DEGRADED,
            place,
            "may be null",
            "a row where it is null can't be shown; SET NOT NULL if other programs allow it",
        )
    if column.primary_key and not actual["has_default"]:
        needed = table.name in _INSERTED_BY_US
        yield Difference(
            Severity.REFUSED if needed else Severity.HARMLESS,
            place,
            "has no default",
            "the service inserts rows here and leaves the id to it" if needed else "only others insert here",
        )


def _in_constraints(table: Table, found: _Found) -> Iterator[Difference]:
    if found.kind == "p" and not any(columns[:1] == ("id",) for columns in found.indexed):
        yield Difference(  # the key of a partitioned table has to contain what it is partitioned by
            Severity.DEGRADED,
            table.name,
            "has no valid index on id",
            f"rows are found by it; CREATE INDEX ON {table.name} (id)",
        )
    elif found.kind != "p" and ("id",) not in found.unique:
        yield Difference(
            Severity.REFUSED, table.name, "has no primary key on id", "rows are found and paged by it; add it"
        )
    for constraint in table.constraints:
        if not isinstance(constraint, UniqueConstraint | ForeignKeyConstraint):
            continue
        columns = tuple(sorted(column.name for column in constraint.columns))
        if isinstance(constraint, UniqueConstraint) and columns not in found.unique:
            yield Difference(
                Severity.DEGRADED,
                table.name,
                f"may hold the same {' and '.join(columns)} twice",
                "the service takes the one it finds first",
            )
        if isinstance(constraint, ForeignKeyConstraint) and columns not in found.foreign_keys:
            yield Difference(
                Severity.HARMLESS,
                f"{table.name}.{columns[0]}",
                "has no foreign key",
                "rows whose parent is gone belong to nobody, and only operators see them",
            )


def _in_indexes(table: Table, found: _Found) -> Iterator[Difference]:
    for index in sorted(
        table.indexes - {*ADDED_INDEXES, *OPERATOR_INDEXES}, key=lambda index: str(index.name)
    ):
        columns = tuple(column.name for column in index.columns)
        if any(each[: len(columns)] == columns for each in found.indexed):
            continue
        names = ", ".join(columns)
        yield Difference(
            Severity.DEGRADED,
            table.name,
            f"has no valid index on {names}",
            f"lists by it are slow; CREATE INDEX CONCURRENTLY {index.name} ON {table.name} ({names})",
        )


def _in_view(view: Table, found: _Found | None) -> Iterator[Difference]:
    if found is None:
        yield Difference(Severity.REFUSED, view.name, MISSING, "the service reads it; create it")
        return
    for column in view.columns:
        place = f"{view.name}.{column.name}"
        actual = found.columns.get(column.name)
        if actual is None:
            yield Difference(Severity.REFUSED, place, MISSING, "the service reads it; add it")
        elif not _is_interchangeable(actual["type"], _type_name(column)):
            yield Difference(
                Severity.REFUSED,
                place,
                f"is of type {actual['type']}",
                f"it would be read wrong; it is documented as {_type_name(column)}",
            )


def _type_name(column: Column[Any]) -> str:
    """Returns a declared type as PostgreSQL's format_type writes it."""
    written = column.type.compile(dialect=_DIALECT).lower()
    return written.replace("varchar", "character varying").replace(", ", ",")


def _is_interchangeable(actual: str, documented: str) -> bool:
    bare = [name.partition("(")[0].strip() for name in (actual, documented)]
    return any(bare[0] in group and bare[1] in group for group in _INTERCHANGEABLE)


def _loss(actual: str, documented: str, column: Column[Any], *, is_written: bool) -> str:
    """Returns what is lost by a type that is interchangeable with the documented one; "" if nothing is.

    A narrower type matters only in what the service writes.
    """
    if actual == "citext" and column.name in _SORTED_TEXTS:
        return "and lists sorted by it may skip rows, since pages are cut with regard to case"
    if actual == "numeric":
        return "but this one may hold Infinity, whose field is an error; declare its precision"
    if actual == "bigint":
        return "and numbers beyond 32 bits can't be shown"
    if is_written and _is_narrower(actual, documented):
        return "and the service may write values that don't fit"
    return ""


def _is_narrower(actual: str, documented: str) -> bool:
    if actual in _INTEGER_BYTES:
        return _INTEGER_BYTES[actual] < _INTEGER_BYTES[documented]
    has, wants = ([int(number) for number in _MODIFIERS.findall(name)] for name in (actual, documented))
    if not has:
        return False
    if documented.startswith("numeric"):
        return has[0] - has[1] < wants[0] - wants[1] or has[1] < wants[1]
    return not wants or has[0] < wants[0]


async def _describe(connection: "asyncpg.Connection", name: str) -> _Found | None:
    """Returns what the catalog says of a table or view that the search path finds; None if there is none."""
    table = await connection.fetchrow(_TABLE, name)
    if table is None:
        return None
    columns = {row["name"]: dict(row) for row in await connection.fetch(_COLUMNS, name)}
    keys = await connection.fetch(_KEYS, name)
    indexes = await connection.fetch(_INDEXES, name)
    hidden = await connection.fetch(_HIDDEN, name, _COMMANDS.get(name, "r"))
    return _Found(
        table["kind"].decode(),
        columns,
        frozenset(tuple(row["columns"]) for row in keys if row["kind"] != b"f"),
        frozenset(tuple(row["columns"]) for row in keys if row["kind"] == b"f"),
        frozenset(tuple(row["columns"]) for row in indexes),
        table["schema"],
        tuple(table["rules"]),
        tuple(table["relatives"]),
        tuple(row["command"] for row in hidden),
    )


# The commands of the service besides SELECT, by their letters in pg_policy. A row that is locked needs the
# policies of UPDATE.
_COMMANDS = {"risk_settings": "raw", "system_logs": "ra", "tradelocker_accounts": "rw", "users": "raw"}
_TABLE = """
    SELECT relkind AS kind, nspname::text AS schema,
           ARRAY(SELECT rulename::text FROM pg_rewrite
                 WHERE ev_class = c.oid AND rulename <> '_RETURN' ORDER BY 1) AS rules,
           ARRAY(SELECT other::regclass::text
                 FROM pg_inherits CROSS JOIN LATERAL (
                     SELECT CASE c.oid WHEN inhrelid THEN inhparent ELSE inhrelid END AS other) AS of_it
                 JOIN pg_class AS related ON related.oid = other
                 WHERE c.oid IN (inhrelid, inhparent) AND NOT (related.relispartition OR c.relispartition)
                 ORDER BY 1) AS relatives
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace WHERE c.oid = to_regclass($1)
"""
# Commands without a policy that lets this role have all rows, or with one that restricts it further.
_HIDDEN = """
    WITH applied AS (
        SELECT * FROM pg_policy
        WHERE polrelid = to_regclass($1)
          AND EXISTS (SELECT FROM unnest(polroles) AS role
                      WHERE role = 0 OR pg_has_role(current_user, role, 'USAGE'))
    )
    SELECT CASE letter WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' ELSE 'UPDATE' END AS command
    FROM string_to_table($2, NULL) AS letter
    WHERE row_security_active(to_regclass($1))
      AND (EXISTS (SELECT FROM applied WHERE polcmd IN (letter::"char", '*') AND NOT polpermissive)
           OR NOT EXISTS (
               SELECT FROM applied
               WHERE polcmd IN (letter::"char", '*') AND polpermissive
                 AND coalesce(pg_get_expr(polqual, polrelid), 'true') = 'true'
                 AND coalesce(pg_get_expr(polwithcheck, polrelid), 'true') = 'true'))
"""
# A domain's values are read and compared as those of its type. With quote_all_identifiers, PostgreSQL quotes
# the names of types, too.
_COLUMNS = """
    WITH RECURSIVE types AS (
        SELECT attnum, atttypid AS type, atttypmod AS modifiers, false AS not_null FROM pg_attribute
        WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT attnum, typbasetype, typtypmod, not_null OR typnotnull
        FROM types JOIN pg_type ON pg_type.oid = type AND typtype = 'd'
    )
    SELECT attname AS name, replace(format_type(type, modifiers), '"', '') AS type,
           attnotnull OR not_null AS not_null,
           atthasdef OR attidentity <> '' OR EXISTS (
               SELECT FROM pg_type AS domain WHERE domain.oid = atttypid AND typdefault IS NOT NULL
           ) AS has_default
    FROM pg_attribute JOIN types USING (attnum) JOIN pg_type ON pg_type.oid = type AND typtype <> 'd'
    WHERE attrelid = to_regclass($1)
"""
# A unique index that isn't a constraint ensures the same.
_KEYS = """
    SELECT contype AS kind, ARRAY(SELECT attname::text FROM pg_attribute
                                  WHERE attrelid = conrelid AND attnum = ANY (conkey) ORDER BY 1) AS columns
    FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype IN ('p', 'u', 'f')
    UNION ALL
    SELECT 'u', ARRAY(SELECT attname::text FROM pg_attribute
                      WHERE attrelid = indrelid AND attnum = ANY (indkey) ORDER BY 1)
    FROM pg_index
    WHERE indrelid = to_regclass($1) AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL
"""
_INDEXES = """
    SELECT ARRAY(SELECT coalesce(attname::text, '')
                 FROM unnest(indkey::smallint[]) WITH ORDINALITY AS key (number, place)
                 LEFT JOIN pg_attribute ON attrelid = indrelid AND attnum = key.number
                 ORDER BY place) AS columns
    FROM pg_index WHERE indrelid = to_regclass($1) AND indisvalid AND indpred IS NULL
"""
