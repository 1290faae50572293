"""Statements: built once with SQLAlchemy Core, then run as plain SQL text."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql import Executable
from sqlalchemy.sql.compiler import SQLCompiler

_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text with $1, $2, … and the name of the value each stands for."""

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in the order of their places. Raises KeyError for a name without a value."""
        constants = self.constants
        return [values[name] if name in values else constants[name] for name in self.names]


Fetch = Callable[..., Awaitable[list[asyncpg.Record]]]
"""Runs a Statement with named values: a Database's `fetch`, or one over a single connection."""


def compile_statement(query: Executable) -> Statement:
    """Turn a SQLAlchemy Core statement into text. Costs up to a millisecond: do it once and keep the result.

    Parameters with a value in the query are its constants; `bindparam(name)` without one asks for it at
    each run.
    """
    compiled = query.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 - narrows what Core declares too widely
    names = tuple(compiled.positiontup or ())
    constants = {
        name: parameter.value
        for name, parameter in ((n, compiled.binds[n]) for n in names)
        if not parameter.required
    }
    return Statement(str(compiled), names, constants)
