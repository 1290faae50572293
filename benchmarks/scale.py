"""Scale: the same questions at a hundred thousand trades and at many more, and the plans that answer them.

They are asked in this process, without HTTP in between, so that the statements can be explained as they ran.
"""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import orjson
from pydantic import SecretStr
from sqlalchemy import func, select

from benchmarks.cpu import cpu_seconds
from benchmarks.postgres import Server as Postgres
from benchmarks.report import table
from benchmarks.scale_data import SMALL, USER, prepare
from graphql_api.app import build_operations, build_services, close_services
from graphql_api.auth.viewer import Login, Role, Viewer, scopes_of
from graphql_api.db import tables
from graphql_api.db.address import Address
from graphql_api.db.database import Database
from graphql_api.db.statements import Statement, compile_statement
from graphql_api.db.tables import sort_key
from graphql_api.engine.operations import GraphQLRequest, Operations
from graphql_api.features.entities import TRADES
from graphql_api.features.trades import TRADE_LIST, TradeOrderField
from graphql_api.graph.context import Context, Services
from graphql_api.graph.page import Order, Page
from graphql_api.settings import Settings

PLANS = Path(__file__).parent / "plans.md"

_PAGE = """query ($order: TradeOrderField!, $after: String, $filter: TradeFilter) {
  trades(first: 100, after: $after, filter: $filter, orderBy: { field: $order }) {
    nodes { id symbol direction entryPrice size entryTime pnl status }
  }
}"""
_STATISTICS = """query ($account: ID!) {
  account(id: $account) {
    stats {
      tradesCount wins losses winRate netPnl profitFactor expectancy maxDrawdown
      bySymbol { symbol netPnl }
    }
  }
}"""
_HUNDREDTH = 99 * 100  # rows before it
_LONGEST, _MOST = 4.0, 40  # seconds and runs for one question


@dataclass(frozen=True, slots=True)
class Question:
    """Something to ask, and by whom."""

    name: str
    viewer: Viewer
    query: str
    variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a question cost, in seconds of CPU: this process and PostgreSQL."""

    cpu: float
    plans: Sequence[str]


class _Recording(Database):
    """A database that remembers what it was asked."""

    asked: list[tuple[str, list[Any]]]

    async def fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        self.asked.append((statement.sql, statement.arguments(values)))
        return await super().fetch(statement, **values)


@dataclass(frozen=True, slots=True)
class _Graph:
    """The graph over one database."""

    address: Address
    services: Services
    operations: Operations
    database: _Recording
    postgres: int

    async def ask(self, question: Question) -> None:
        operation = self.operations.prepare(GraphQLRequest(question.query, None, question.variables))
        result = await self.operations.execute(operation, Context(question.viewer, self.services))
        answer = orjson.loads(result.render())
        assert "errors" not in answer, answer

    async def measure(self, question: Question) -> Answered:
        """Ask as often as the time allows, and explain the statements of the last time."""
        await self.ask(question)
        before = time.process_time() + cpu_seconds(self.postgres)
        end, runs = time.monotonic() + _LONGEST, 0
        while runs < _MOST and (time.monotonic() < end or runs < 2):
            self.database.asked.clear()
            await self.ask(question)
            runs += 1
        after = time.process_time() + cpu_seconds(self.postgres)
        return Answered((after - before) / runs, [await self._explain(*each) for each in self.database.asked])

    async def _explain(self, sql: str, arguments: Sequence[Any]) -> str:
        connection = await self.address.connect()
        try:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {sql}"
            return "\n".join(row[0] for row in await connection.fetch(explain, *arguments))
        finally:
            await connection.close()


@asynccontextmanager
async def _opened(address: Address, postgres: int) -> AsyncIterator[_Graph]:
    settings = Settings(
        database_url=SecretStr(address.dsn), secret_key=SecretStr("benchmarks" * 4), statement_timeout=300
    )
    services = build_services(settings)
    recording = _Recording(address, statement_timeout=300)
    recording.asked = []
    graph = _Graph(
        address, replace(services, database=recording), build_operations(settings), recording, postgres
    )
    try:
        yield graph
    finally:
        await recording.close()
        await close_services(services)


async def _questions(graph: _Graph) -> AsyncIterator[Question]:
    connection = await graph.address.connect()
    try:
        user = await connection.fetchval("SELECT id FROM users WHERE email = $1", USER)
        accounts = "SELECT id FROM tradelocker_accounts WHERE user_id = $1 ORDER BY account_number LIMIT 1"
        account = await connection.fetchval(accounts, user)
    finally:
        await connection.close()
    trader = _viewer(user, Role.USER)
    operator = _viewer(user, Role.USER, Role.OPERATOR)
    for who, viewer in (("a trader", trader), ("an operator", operator)):
        for order in TradeOrderField:
            name = f"{who}, by {order.name.lower().replace('_', ' ')}"
            variables = {"order": order.name}
            yield Question(f"{name}, first page", viewer, _PAGE, variables)
            after = await _cursor(graph, viewer, order)
            yield Question(f"{name}, hundredth page", viewer, _PAGE, {**variables, "after": after})
    wanted = {"symbol": {"eq": "EURUSD"}, "status": ["CLOSED"], "pnl": {"gt": "0"}}
    yield Question("a trader, filtered, by pnl", trader, _PAGE, {"order": "PNL", "filter": wanted})
    yield Question("statistics of an account", trader, _STATISTICS, {"account": account})


def _viewer(user: str, *roles: Role) -> Viewer:
    return Viewer(
        user_id=user, roles=frozenset(roles), scopes=scopes_of(roles), credential=Login("benchmarks")
    )


async def _cursor(graph: _Graph, viewer: Viewer, field: TradeOrderField) -> str:
    """The cursor of the last row before the hundredth page."""
    assert TRADE_LIST.orders is not None
    order = Order(TRADE_LIST.orders[field])
    query = select(*TRADES.columns).order_by(sort_key(order.column).desc(), tables.trades.c.id.desc())
    query = TRADES.only_tenants(query.offset(_HUNDREDTH - 1).limit(1), scoped=viewer.tenant is not None)
    (row,) = await graph.database.fetch(compile_statement(query), tenant=viewer.tenant)
    return Page(order).cursor(row)


async def _own_trades(graph: _Graph, account: str) -> int:
    query = select(func.count().label("count")).select_from(tables.trades.join(tables.sessions))
    query = query.where(tables.sessions.c.account_id == account)
    (row,) = await graph.database.fetch(compile_statement(query))
    return int(row["count"])


Costs = Mapping[str, Answered]


async def measure(postgres: Postgres, trades: int) -> Sequence[tuple[int, Costs, int]]:
    """For each database its trades, what each question cost, and the trades of the account it asked about."""
    process = await postgres.process()
    results = []
    for size in (SMALL, trades):
        async with _opened(await prepare(postgres, size), process) as graph:
            costs: dict[str, Answered] = {}
            own = 0
            async for question in _questions(graph):
                costs[question.name] = await graph.measure(question)
                print(f"{size:,} trades: {question.name} {costs[question.name].cpu * 1e3:.1f} ms", flush=True)
                if "account" in question.variables:
                    own = await _own_trades(graph, question.variables["account"])
            results.append((size, costs, own))
    return results


def scale_table(results: Sequence[tuple[int, Costs, int]]) -> str:
    """What each question costs at both sizes, and by how much the large one is dearer."""
    (small, few, own_few), (large, many, own_many) = results
    rows = []
    for name, cost in few.items():
        statistics = name.startswith("statistics")
        goal = own_many / own_few if statistics else 1.5
        ratio = many[name].cpu / cost.cpu
        rows.append(
            (
                name,
                "",
                f"{cost.cpu * 1e3:.1f}",
                f"{many[name].cpu * 1e3:.1f}",
                f"{ratio:.2f}",
                f"≤ {goal:.2f}",
            )
        )
    head = ("CPU per question, in ms", "", f"{small:,} trades", f"{large:,} trades", "ratio", "goal")
    return table(head, rows)


def plans_page(results: Sequence[tuple[int, Costs, int]]) -> str:
    """The plans at the larger size, as Markdown."""
    size, costs, _ = results[-1]
    parts = [f"# Plans at {size:,} trades\n\nWritten by `python -m benchmarks --scale {size}`.\n"]
    for name, cost in costs.items():
        plans = "\n\n".join(f"```\n{plan}\n```" for plan in cost.plans)
        parts.append(f"## {name[0].upper()}{name[1:]}\n\n{plans}\n")
    return "\n".join(parts)
