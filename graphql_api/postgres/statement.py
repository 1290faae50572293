"""Statements: built once with SQLAlchemy Core, and run as SQL text by asyncpg."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql import Executable
from sqlalchemy.sql.compiler import SQLCompiler

_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False, slots=True)
class Statement:
    """SQL text with $1, $2, …, and the name of each of these parameters."""

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]
    is_shared: bool = False
    """Whether reads of it for several viewers may go out as one: it reads few rows for each key."""

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Returns the values in the order of the parameters. Raises KeyError for a name without a value."""
        constants = self.constants
        return [values[name] if name in values else constants[name] for name in self.names]


Fetch = Callable[..., Awaitable[list[asyncpg.Record]]]
"""Runs a Statement with named values: a Database's `fetch`, or one over a single connection."""


def compile_statement(query: Executable, *, is_shared: bool = False) -> Statement:
    """Compiles a SQLAlchemy Core statement. Takes up to a millisecond: do it once and keep the result.

    Parameters that have a value in the query are constants; a `bindparam(name)` gets its value at each run.
    """
    compiled = query.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 - narrows what Core declares too widely
    names = tuple(compiled.positiontup or ())
    constants = {
        name: parameter.value
        for name, parameter in ((n, compiled.binds[n]) for n in names)
        if not parameter.required
    }
    return Statement(str(compiled), names, constants, is_shared)
