"""Checks and repairs the service's triggers, functions, feed tables and sequences, as revisions declare them.

A restored dump of data alone, `ALTER TABLE … ENABLE TRIGGER ALL` or a clean-up can change when a trigger
fires, or drop it. Nothing fails then, but rows aren't recorded. So revisions declare their objects in
DECLARED_TABLES and similar constants, of which the latest declaration counts. `migrate` creates again what
differs, and `doctor` reports it.

In `alembic/versions`, revision 0004 (log_feed) declares the triggers on system_logs, and revision 0007
(activity) those on trades, sessions, accounts and risk settings.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Final

import asyncpg

from graphql_api.postgres.tables.base import SERVICE_SCHEMA, metadata

_FIRES: Final[Mapping[bytes, str]] = {b"O": "ORIGIN", b"R": "REPLICA", b"A": "ALWAYS", b"D": "DISABLED"}
_MEANING: Final[Mapping[str, str]] = {
    "ORIGIN": "for what programs write",
    "REPLICA": "for what replication writes",
    "ALWAYS": "always",
    "DISABLED": "never, since it is disabled",
}


@dataclass(frozen=True, slots=True)
class Repair:
    """A step of `migrate`: an object that is missing or was changed, and how to create it again."""

    fault: str
    statements: tuple[str, ...]
    locks: str

    def __str__(self) -> str:
        return f"make again: {self.fault}"


async def find_repairs(connection: "asyncpg.Connection", revisions: Iterable[ModuleType]) -> list[Repair]:
    """Returns repairs of the objects that `revisions`, the oldest first, declare."""
    tables: dict[str, str] = {}
    functions: dict[str, str] = {}
    views: dict[str, str] = {}
    triggers: dict[tuple[str, str], tuple[str, str]] = {}
    counters: dict[str, str] = {}
    for module in revisions:
        tables |= getattr(module, "DECLARED_TABLES", {})
        functions |= getattr(module, "DECLARED_FUNCTIONS", {})
        views |= getattr(module, "DECLARED_VIEWS", {})
        triggers |= getattr(module, "DECLARED_TRIGGERS", {})
        counters |= getattr(module, "DECLARED_COUNTERS", {})
    return [
        *await _tables(connection, tables),
        *await _functions(connection, functions),
        *await _triggers(connection, triggers),
        *await _views(connection, views),
        *await _counters(connection, counters),
    ]


async def find_missing_tables(connection: "asyncpg.Connection") -> list[str]:
    """Returns the missing tables of the service's own schema, whose rows can't be created again."""
    service_tables = sorted(
        str(table) for table in metadata.tables.values() if table.schema == SERVICE_SCHEMA
    )
    found = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL"
    return [row["name"] for row in await connection.fetch(found, service_tables)]


async def _tables(connection: "asyncpg.Connection", declared: Mapping[str, str]) -> list[Repair]:
    repairs = []
    for name, statement in declared.items():
        if await connection.fetchval("SELECT to_regclass($1)", name) is None:
            schema = f"CREATE SCHEMA IF NOT EXISTS {name.partition('.')[0]}"
            repairs.append(Repair(f"the table {name} is missing", (schema, statement), "nothing"))
    return repairs


async def _views(connection: "asyncpg.Connection", declared: Mapping[str, str]) -> list[Repair]:
    read_only = await connection.fetchval("SHOW transaction_read_only") == "on"
    repairs = []
    for name, statement in declared.items():
        if await connection.fetchval("SELECT to_regclass($1)", name) is None:
            repairs.append(Repair(f"the view {name} is missing", (statement,), "nothing"))
        elif not read_only and not await _is_view(connection, name, statement):
            repairs.append(Repair(f"the view {name} was changed", (statement,), "nothing"))
    return repairs


async def _is_view(connection: "asyncpg.Connection", name: str, statement: str) -> bool:
    """Whether a view is the one that a statement creates: PostgreSQL prints equal views as equal text."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement.replace(name, "pg_temp.declared"))
        same = "SELECT pg_get_viewdef(to_regclass($1)) = pg_get_viewdef('pg_temp.declared'::regclass)"
        return bool(await connection.fetchval(same, name))
    finally:
        await transaction.rollback()


async def _counters(connection: "asyncpg.Connection", declared: Mapping[str, str]) -> list[Repair]:
    """Returns repairs of sequences below their rows, which logical replication copies without them."""
    repairs = []
    for table, column in declared.items():
        if await connection.fetchval("SELECT to_regclass($1)", table) is None:
            continue
        sequence = await connection.fetchval("SELECT pg_get_serial_sequence($1, $2)", table, column)
        if not await connection.fetchval("SELECT has_sequence_privilege($1, 'SELECT')", sequence):
            continue  # only its owner's `migrate` and `doctor` can tell
        newest = f"SELECT max({column}) FROM {table}"  # noqa: S608 - our own names
        is_below = f"SELECT ({newest}) > last_value - (NOT is_called)::integer FROM {sequence}"  # noqa: S608
        if await connection.fetchval(is_below):
            fault = f"the sequence {sequence} is below the newest {column} of {table}"
            repairs.append(Repair(fault, (f"SELECT setval('{sequence}', ({newest}))",), "nothing"))
    return repairs


async def _functions(connection: "asyncpg.Connection", declared: Mapping[str, str]) -> list[Repair]:
    found = {row["name"]: row for row in await connection.fetch(_FUNCTIONS, list(declared))}
    repairs = []
    for name, statement in declared.items():
        head, body, _ = statement.split("$$")
        row = found.get(name)
        if row is None:
            repairs.append(Repair(f"the function {name}() is missing", (statement,), "nothing"))
        elif (row["body"], row["is_definer"], set(row["settings"])) != (
            body,
            "SECURITY DEFINER" in head,
            {f"{setting}={value}" for setting, value in _SETTING.findall(head)},
        ):
            repairs.append(Repair(f"the function {name}() was changed", (statement,), "nothing"))
    return repairs


async def _triggers(
    connection: "asyncpg.Connection", declared: Mapping[tuple[str, str], tuple[str, str]]
) -> list[Repair]:
    found = {
        (row["table"], row["name"]): row
        for row in await connection.fetch(
            _TRIGGERS, [table for table, _ in declared], [name for _, name in declared]
        )
    }
    repairs = []
    for (table, name), (fires, definition) in declared.items():
        enable = f"ALTER TABLE {table} ENABLE {'' if fires == 'ORIGIN' else fires} TRIGGER {name}"
        locks = f"{table}: reads and writes wait for moments"
        row = found.get((table, name))
        if row is None or row["function"] != _function(definition):
            fault = f"the trigger {name} of {table} {'is missing' if row is None else 'was changed'}"
            drop = f"DROP TRIGGER IF EXISTS {name} ON {table}"
            repairs.append(Repair(fault, (drop, f"CREATE TRIGGER {name} {definition}", enable), locks))
        elif (state := _FIRES[row["enabled"]]) != fires:
            fault = f"the trigger {name} of {table} fires {_MEANING[state]}, and not {_MEANING[fires]}"
            repairs.append(Repair(fault, (enable,), locks))
    return repairs


def _function(definition: str) -> str:
    return definition.rpartition("EXECUTE FUNCTION ")[2].partition("(")[0]


# In a function's declaration: SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms'
_SETTING = re.compile(r"\bSET (\w+) = '?(.+?)'?(?= SET | AS )")
_FUNCTIONS = """
    SELECT name, prosrc AS body, prosecdef AS is_definer, coalesce(proconfig, '{}') AS settings
    FROM unnest($1::text[]) AS name
    JOIN pg_proc ON pg_proc.oid = to_regproc(name)
"""
_TRIGGERS = """
    SELECT wanted.table, wanted.name, tgenabled AS enabled, nspname || '.' || proname AS function
    FROM unnest($1::text[], $2::text[]) AS wanted("table", name)
    JOIN pg_trigger ON tgrelid = to_regclass(wanted.table) AND tgname = wanted.name
    JOIN pg_proc ON pg_proc.oid = tgfoid
    JOIN pg_namespace ON pg_namespace.oid = pronamespace
"""
