"""The graph over one database, asked in this process, and what an answer costs.

Without HTTP in between, so that nothing else is measured, and the statements can be explained as they ran.
"""

import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import psutil
from pydantic import SecretStr
from sqlalchemy import func, select

from graphql_api.app import build_operations, build_services, close_services
from graphql_api.execution.operations import GraphQLRequest, Operations
from graphql_api.identity.viewer import ANONYMOUS, LoginCredential, Role, Viewer, scopes_of
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.relational.context import Context, Services
from graphql_api.settings import Settings

PATIENCE = 600.0  # seconds for a statement: what takes so long shall be seen
_BACKEND = compile_statement(select(func.pg_backend_pid().label("pid")))
_BLOCKS = re.compile(r"(?:hit|read)=(\d+)")


@dataclass(frozen=True, slots=True)
class Question:
    """Something to ask, and by whom."""

    query: str
    variables: Mapping[str, Any]
    viewer: Viewer = ANONYMOUS

    def with_(self, **variables: Any) -> "Question":
        """The same, with more variables."""
        return replace(self, variables={**self.variables, **variables})


def viewer(user: str, *, operator: bool = False) -> Viewer:
    """A signed-in user."""
    roles = frozenset({Role.USER, Role.OPERATOR} if operator else {Role.USER})
    return Viewer(
        user_id=user, roles=roles, scopes=scopes_of(roles), credential=LoginCredential("benchmarks")
    )


class RefusedError(Exception):
    """Too much would have to be read for a list."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one answer took, in seconds."""

    cpu: float
    """This process and PostgreSQL, parallel workers included."""
    wall: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement's plan, as EXPLAIN shows it, and how many pages of 8 kB it read."""

    text: str
    pages: int


class _Recording(Database):
    """A database that remembers what it was asked."""

    asked: list[tuple[str, list[Any]]]

    async def fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        self.asked.append((statement.sql, statement.arguments(values)))
        return await super().fetch(statement, **values)


@dataclass(frozen=True, slots=True)
class Graph:
    """One database, by a pool of a single connection."""

    address: Address
    services: Services
    operations: Operations
    database: _Recording

    async def is_served(self, question: Question) -> bool:
        """Whether the list is within the limits of what may be read for it."""
        with suppress(RefusedError):
            await self.ask(question)
            return True
        return False

    async def ask(self, question: Question) -> Any:
        """The data of the answer. Raises RefusedError, or AssertionError if it has other errors."""
        operation = self.operations.prepare(GraphQLRequest(question.query, None, question.variables))
        result = await self.operations.execute(operation, Context(question.viewer, self.services))
        answer = orjson.loads(result.render())
        if any(error["extensions"]["code"] == "BAD_USER_INPUT" for error in answer.get("errors", ())):
            raise RefusedError
        assert "errors" not in answer, answer
        return answer["data"]

    async def cost(self, question: Question) -> Cost:
        """Ask once."""
        (row,) = await self.database.fetch(_BACKEND)  # another one every few minutes
        backend = psutil.Process(row["pid"])
        wall, cpu = time.monotonic(), time.process_time() + _used(backend)
        await self.ask(question)
        return Cost(time.process_time() + _used(backend) - cpu, time.monotonic() - wall)

    async def explain(self, question: Question) -> Sequence[Plan]:
        """The plans of a question's statements."""
        self.database.asked.clear()
        await self.ask(question)
        connection = await self.address.connect()
        try:
            return [await _explain(connection, *each) for each in self.database.asked]
        finally:
            await connection.close()


def _used(backend: psutil.Process) -> float:
    """The seconds of CPU of a backend, and of all that ended before."""
    # The kernel counts a process in nanoseconds here, where its clock ticks would be too coarse. Workers
    # that have ended are in their parent's ticks, and work for longer.
    nanoseconds = int(Path(f"/proc/{backend.pid}/schedstat").read_text().split(maxsplit=1)[0])
    parent = backend.parent()
    assert parent is not None
    ended = parent.cpu_times()
    return nanoseconds / 1e9 + ended.children_user + ended.children_system


async def _explain(connection: "asyncpg.Connection", sql: str, arguments: Sequence[Any]) -> Plan:
    explain = f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) {sql}"
    rows = await connection.fetch(explain, *arguments)
    lines = [row[0] for row in rows]
    # The first node's pages are those of the whole statement.
    first = next((line for line in lines if line.strip().startswith("Buffers: shared")), "")
    return Plan("\n".join(_quiet(lines)), sum(int(number) for number in _BLOCKS.findall(first)))


def _quiet(lines: Sequence[str]) -> Iterator[str]:
    """A plan without what the planner itself has read."""
    for line in lines:
        if line.startswith("Planning:"):
            return
        yield line


@asynccontextmanager
async def opened(address: Address) -> AsyncIterator[Graph]:
    """The graph over a database."""
    settings = Settings(
        database_url=SecretStr(address.dsn),
        secret_key=SecretStr("benchmarks" * 4),
        statement_timeout=PATIENCE,
        max_cost=10**9,
    )
    services = build_services(settings)
    recording = _Recording(address, pool_size=1, statement_timeout=PATIENCE)
    recording.asked = []
    try:
        yield Graph(address, replace(services, database=recording), build_operations(settings), recording)
    finally:
        await recording.close()
        await close_services(services)
