"""Filters: every comparison, alone and combined."""

import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from graphql_api.domain.statistics import trade_set
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.relational import page_query
from tests import factories
from tests.factories import NOW
from tests.graph import Graph, operator, trader

TRADES = "query ($filter: TradeFilter) { trades(filter: $filter) { totalCount nodes { symbol } } }"


LONG = "x" * 1_000_000


def negated(times: int) -> dict[str, Any]:
    """A filter within so many others."""
    given: dict[str, Any] = {"symbol": {"eq": "beta"}}
    for _ in range(times):
        given = {"not": given}
    return given


@pytest.fixture
async def desk(graph: Graph, connection: "asyncpg.Connection") -> Graph:
    """A trader with five trades, each named by its symbol."""
    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    strategy = await factories.strategy(connection)
    rows: list[dict[str, Any]] = [
        {
            "symbol": "Alpha",
            "direction": "long",
            "status": "filled",
            "exit_time": NOW,
            "pnl": Decimal("10.5"),
        },
        {"symbol": "beta", "direction": " SELL ", "status": "Filled", "pnl": Decimal(-3)},
        {"symbol": "BETA%", "status": "canceled", "pnl": Decimal("NaN"), "strategy_id": strategy},
        {"symbol": "gamma_", "direction": "??", "status": "odd", "entry_time": NOW - timedelta(days=9)},
        {"symbol": "delta", "direction": "s", "status": "new", "ai_confidence": Decimal("0.75")},
    ]
    for row in rows:
        await factories.trade(connection, session, **row)
    return graph.as_(trader(user))


@pytest.mark.parametrize(
    ("given", "symbols"),
    [
        ({}, "Alpha beta BETA% delta gamma_"),
        ({"symbol": None}, "Alpha beta BETA% delta gamma_"),
        ({"symbol": {"eq": "beta"}}, "beta"),
        ({"symbol": {"in": ["beta", "delta", "none"]}}, "beta delta"),
        ({"symbol": {"in": []}}, ""),
        ({"symbol": {"contains": "ETA"}}, "beta BETA%"),
        ({"symbol": {"contains": "%"}}, "BETA%"),
        ({"symbol": {"contains": "_"}}, "gamma_"),
        ({"symbol": {"startsWith": "be"}}, "beta BETA%"),
        ({"symbol": {"startsWith": "be", "contains": "%"}}, "BETA%"),
        ({"direction": ["BUY"]}, "Alpha BETA%"),
        ({"direction": ["SELL", "OTHER"]}, "beta delta gamma_"),
        ({"status": ["CLOSED"]}, "Alpha"),
        ({"status": ["OPEN"]}, "beta"),
        ({"status": ["CANCELLED", "PENDING"]}, "BETA% delta"),
        ({"status": ["OTHER"]}, "gamma_"),
        ({"statusRaw": {"eq": "Filled"}}, "beta"),
        ({"pnl": {"gt": "-3"}}, "Alpha"),
        ({"pnl": {"gte": "-3"}}, "Alpha beta"),
        ({"pnl": {"lt": "0", "gt": "-3.00000001"}}, "beta"),
        ({"pnl": {"lte": "10.5"}}, "Alpha beta"),
        ({"hasStrategy": True}, "BETA%"),
        ({"hasStrategy": False, "exitTime": {"isNull": True}}, "beta delta gamma_"),
        ({"exitTime": {"isNull": False}}, "Alpha"),
        ({"entryTime": {"lt": "2026-11-20T13:00:00+01:00"}}, "gamma_"),
        ({"entryTime": {"gte": "2026-11-20T13:00:00+01:00"}, "symbol": {"contains": "l"}}, "Alpha delta"),
        ({"aiConfidence": {"gte": "0.75"}}, "delta"),
        ({"or": [{"symbol": {"eq": "beta"}}, {"pnl": {"gt": "0"}}]}, "Alpha beta"),
        ({"or": []}, ""),
        ({"and": []}, "Alpha beta BETA% delta gamma_"),
        ({"and": [{"symbol": {"contains": "eta"}}, {"hasStrategy": True}]}, "BETA%"),
        ({"not": {"pnl": {"gt": "0"}}}, "beta BETA% delta gamma_"),
        ({"not": {"or": [{"direction": ["BUY"]}, {"not": {"direction": ["SELL"]}}]}}, "beta delta"),
        (negated(9), "Alpha BETA% delta gamma_"),
    ],
    ids=str,
)
async def test_a_filter_finds(desk: Graph, given: dict[str, Any], symbols: str) -> None:
    answer = (await desk.ask(TRADES, {"filter": given})).data["trades"]

    assert sorted((row["symbol"] for row in answer["nodes"]), key=str.lower) == symbols.split()
    assert answer["totalCount"] == len(symbols.split())


async def test_statements_under_many_conditions_are_built_beside_the_event_loop(
    desk: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_in: list[str] = []

    def build(*arguments: Any, **options: Any) -> Statement:
        built_in.append(threading.current_thread().name)
        return compile_statement(*arguments, **options)

    for module in (page_query, trade_set):
        monkeypatch.setattr(module, "compile_statement", build)
    query = """query ($filter: TradeFilter) {
      trades(filter: $filter) { totalCount nodes { symbol } stats { tradesCount maxDrawdown } }
      again: trades(filter: $filter, orderBy: {field: PNL}) { nodes { symbol } }
    }"""
    few = {"or": [{"symbol": {"eq": symbol}} for symbol in ("beta", "delta")]}
    many = {"or": [{"symbol": {"eq": symbol}} for symbol in ("beta", "delta", *["none"] * 40)]}
    answer = await desk.ask(query, {"filter": many})
    counts_apart = desk.services.settings.engine == "stock"
    assert len(built_in) == (5 if counts_apart else 4)
    assert threading.current_thread().name not in built_in
    assert answer.data == (await desk.ask(query, {"filter": few})).data


async def test_a_filter_by_account_leaves_out_no_trade_without_one(
    desk: Graph, connection: "asyncpg.Connection"
) -> None:
    account = str(await connection.fetchval("SELECT id FROM tradelocker_accounts"))
    await factories.trade(connection, None, symbol="orphan")
    every = desk.as_(operator())

    either = {"or": [{"accountId": account}, {"symbol": {"eq": "orphan"}}]}
    assert (await every.ask(TRADES, {"filter": {"not": {"accountId": account}}})).data["trades"][
        "totalCount"
    ] == 1
    assert (await every.ask(TRADES, {"filter": either})).data["trades"]["totalCount"] == 6


async def test_a_filter_by_account_reaches_over_sessions(
    desk: Graph, connection: "asyncpg.Connection"
) -> None:
    account = str(await connection.fetchval("SELECT id FROM tradelocker_accounts"))
    other = "00000000-0000-0000-0000-000000000009"

    assert (await desk.ask(TRADES, {"filter": {"accountId": account}})).data["trades"]["totalCount"] == 5
    assert (await desk.ask(TRADES, {"filter": {"accountId": other}})).data["trades"]["totalCount"] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"accountId": "7"}, "filter.accountId: must be a UUID"),
        ({"symbol": {"eq": "a\0"}}, "filter.symbol.eq: has a character that no stored text has"),
        ({"or": [{}, {"pnl": {"gt": "NaN"}}]}, "filter.or.1.pnl.gt: must be finite"),
        ({"symbol": {"eq": "x" * 21}}, "filter.symbol.eq: has more than 20 characters"),
        ({"symbol": {"in": ["x" * 20, "x" * 21]}}, "filter.symbol.in: has more than 20 characters"),
        (
            {"or": [{"statusRaw": {"contains": "x" * 21}}]},
            "filter.or.0.statusRaw.contains: has more than 20 characters",
        ),
        (
            {"symbol": {"startsWith": "x" * 1_000_000}},
            "filter.symbol.startsWith: has more than 20 characters",
        ),
        ({"symbol": {"in": ["x"] * 1001}}, "filter.symbol.in: lists more than 1000 values"),
        ({"and": [{"symbol": {"eq": "x"}}] * 51}, "filter: has more than 100 conditions"),
        ({"or": [{"hasStrategy": True}] * 51}, "filter: has more than 100 conditions"),
        ({"or": [{}] * 101}, "filter: has more than 100 conditions"),
        ({"not": {"not": {"accountId": "7"}}}, "filter.not.not.accountId: must be a UUID"),
        (negated(10), "filter: has more than 10 levels"),
        ({"or": [{}, {"and": [negated(8)]}]}, "filter: has more than 10 levels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_filter_is_named_with_its_rule(graph: Graph, given: Any, message: str) -> None:
    answer = await graph.as_(trader("00000000-0000-0000-0000-000000000001")).ask(TRADES, {"filter": given})

    assert answer.error["message"] == message
    assert answer.statements == 0
