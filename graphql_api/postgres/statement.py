"""Statements: built once with SQLAlchemy Core, and run as SQL text by asyncpg."""

from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import asyncpg
from cachetools import LRUCache
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql import Executable
from sqlalchemy.sql.compiler import SQLCompiler

from graphql_api.postgres.type_codecs import as_text, is_sent_as_text
from graphql_api.quotas import current_usage, run_aside

MAX_LARGE_MEMORY: Final = 16 * 1024 * 1024
"""Bytes of large statements that are cached."""
_MEMORY_OF_CHARACTER = 4
"""Bytes that a statement takes for each character of its SQL, its key included: measured, and rounded up."""

_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False, slots=True)
class Statement:
    """SQL text with $1, $2, …, and the name of each of these parameters."""

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]
    may_batch: bool = False
    """Whether reads of several viewers may share a run (`BatchedReads`): it reads few rows for each key."""

    texts: tuple[int, ...] = ()
    """The indexes of parameters that have to be sent as text (`type_codecs.is_sent_as_text`)."""

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Returns the values in the order of the parameters. Raises KeyError for a name without a value."""
        constants = self.constants
        arguments = [values[name] if name in values else constants[name] for name in self.names]
        for index in self.texts:
            arguments[index] = as_text(arguments[index])
        return arguments


Fetch = Callable[..., Awaitable[list[asyncpg.Record]]]
"""Runs a Statement with named values: a Database's `fetch`, or one over a single connection."""


def fetch_on(connection: "asyncpg.Connection") -> Fetch:
    """Returns a function that runs statements on one connection."""

    async def fetch(statement: Statement, **values: Any) -> list[asyncpg.Record]:
        return await connection.fetch(statement.sql, *statement.arguments(values))

    return fetch


def compile_statement(query: Executable, *, may_batch: bool = False) -> Statement:
    """Compiles a SQLAlchemy Core statement. Takes up to a millisecond, so compile once and keep the result.

    A parameter with a value in the query is a constant; a `bindparam(name)` gets its value at each run.
    """
    current_usage().new_statements += 1
    compiled = query.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 - narrows what Core declares too widely
    names = tuple(compiled.positiontup or ())
    constants = {
        name: parameter.value
        for name, parameter in ((n, compiled.binds[n]) for n in names)
        if not parameter.required
    }
    texts = tuple(index for index, name in enumerate(names) if is_sent_as_text(compiled.binds[name].type))
    return Statement(str(compiled), names, constants, may_batch, texts)


_large: LRUCache[tuple[Any, ...], Statement] = LRUCache(
    MAX_LARGE_MEMORY, getsizeof=lambda statement: len(statement.sql) * _MEMORY_OF_CHARACTER
)
_builder = ThreadPoolExecutor(1, "statements")


async def build_aside(build: Callable[..., Statement], *arguments: Any) -> Statement:
    """Returns `build(*arguments)`, which may take a tenth of a second, without blocking the event loop.

    Statements are built one at a time in a thread, and cached up to MAX_LARGE_MEMORY. `arguments` are
    hashable.
    """
    key = (build, *arguments)
    kept = _large.get(key)
    if kept is not None:
        return kept
    statement = await run_aside(_builder, partial(build, *arguments))
    current_usage().new_statements += 1
    _large[key] = statement
    return statement
