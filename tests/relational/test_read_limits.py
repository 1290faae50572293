"""Lists of several tenants' rows: what looks at too many is refused, with what would make it fewer."""

from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import Options, migrate
from graphql_api.relational import page_query
from tests import factories
from tests.factories import NOW
from tests.graph import Graph, opened, operator, settings_for, trader

pytestmark = pytest.mark.slow

QUERY = """
query ($first: Int, $after: String, $last: Int, $before: String, $orderBy: TradeOrder, $filter: TradeFilter) {
  trades(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy, filter: $filter) {
    edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage }
  }
}
"""
BY_PNL = {"field": "PNL", "direction": "ASC"}
NARROWED_BY = "filter by accountId, sessionId, a strategyId or a shorter range of entryTime"


@pytest.fixture(params=["compiled", "stock"])
async def graph(request: pytest.FixtureRequest, address: Address, tmp_path: Path) -> AsyncIterator[Graph]:
    """The graph, run by each of the executors."""
    async with opened(settings_for(address, tmp_path, max_cost=10**9, engine=request.param)) as graph:
        yield graph


@pytest.fixture
async def desk(connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """30 trades of two users, the oldest the one in XAUUSD; 10 may be looked at and 20 counted."""
    monkeypatch.setattr(page_query, "MAX_EXAMINED", 10)
    monkeypatch.setattr(page_query, "MAX_COUNTED", 20)
    users = [await factories.user(connection) for _ in range(2)]
    accounts = [await factories.account(connection, user) for user in users]
    sessions = [await factories.session(connection, account) for account in accounts]
    rare, frequent = [await factories.strategy(connection) for _ in range(2)]
    ids = [
        await factories.trade(
            connection,
            sessions[number % 2],
            symbol="EURUSD" if number else "XAUUSD",
            pnl=number,
            strategy_id=rare if number % 10 == 0 else frequent,
            entry_time=NOW + timedelta(minutes=number),
        )
        for number in range(30)
    ]
    return {
        "users": users,
        "accounts": accounts,
        "sessions": sessions,
        "rare": rare,
        "frequent": frequent,
        "ids": ids,
    }


def ids(answer: Any) -> list[str]:
    return [edge["node"]["id"] for edge in answer.data["trades"]["edges"]]


async def test_an_order_without_index_is_refused_over_everybodys_rows(
    graph: Graph, desk: Mapping[str, Any]
) -> None:
    answer = await graph.as_(operator()).ask(QUERY, {"orderBy": BY_PNL})

    assert answer.error["message"] == (
        f"orderBy: more than 10 rows would have to be sorted in this order; {NARROWED_BY}"
    )
    assert answer.error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "orderBy"}
    assert answer.error["path"] == ["trades"]


def narrowed(desk: Mapping[str, Any]) -> dict[str, tuple[dict[str, Any], slice]]:
    """Filters that bound the rows, and which of all trades they let through."""
    moment = {"gte": (NOW + timedelta(minutes=3)).isoformat(), "lt": (NOW + timedelta(minutes=8)).isoformat()}
    return {
        "account": ({"accountId": desk["accounts"][1]}, slice(1, None, 2)),
        "strategy": ({"strategyId": desk["rare"]}, slice(0, None, 10)),
        "range": ({"entryTime": moment}, slice(3, 8)),
        "both": ({"and": [{"strategyId": desk["frequent"]}, {"entryTime": moment}]}, slice(3, 8)),
        "with others": ({"entryTime": moment, "symbol": {"eq": "EURUSD"}}, slice(3, 8)),
    }


@pytest.mark.parametrize("name", ["account", "strategy", "range", "both", "with others"])
async def test_a_filter_that_bounds_the_rows_lets_any_order_through(
    graph: Graph, desk: Mapping[str, Any], name: str
) -> None:
    filter_, chosen = narrowed(desk)[name]
    viewer = graph.as_(operator())

    answer = await viewer.ask(QUERY, {"orderBy": BY_PNL, "filter": filter_})
    assert ids(answer) == desk["ids"][chosen]
    assert answer.data["trades"]["pageInfo"]["hasNextPage"] is False
    second = answer.data["trades"]["edges"][1]["cursor"]
    rest = await viewer.ask(QUERY, {"orderBy": BY_PNL, "filter": filter_, "after": second})
    assert ids(rest) == desk["ids"][chosen][2:]
    assert rest.data["trades"]["pageInfo"]["hasPreviousPage"] is True


async def test_a_tenant_is_refused_nothing(graph: Graph, desk: Mapping[str, Any]) -> None:
    own = graph.as_(trader(desk["users"][0]))
    for filter_ in ({}, {"symbol": {"eq": "EURUSD"}}, {"strategyId": desk["frequent"]}):
        answer = await own.ask(
            "query ($filter: TradeFilter) {"
            " trades(orderBy: { field: PNL }, filter: $filter) { totalCount nodes { id } } }",
            {"filter": filter_},
        )
        assert answer.data["trades"]["totalCount"] == len(answer.data["trades"]["nodes"]) > 10


async def test_the_operators_indexes_serve_their_orders(
    address: Address, graph: Graph, desk: Mapping[str, Any]
) -> None:
    await migrate(address, options=Options(operator_indexes=True))
    viewer = graph.as_(operator())

    first = await viewer.ask(QUERY, {"orderBy": BY_PNL, "first": 8})
    assert ids(first) == desk["ids"][:8]
    last = first.data["trades"]["edges"][-1]["cursor"]
    assert ids(await viewer.ask(QUERY, {"orderBy": BY_PNL, "first": 8, "after": last})) == desk["ids"][8:16]
    common = await viewer.ask(QUERY, {"orderBy": BY_PNL, "first": 8, "filter": {"symbol": {"eq": "EURUSD"}}})
    assert ids(common) == desk["ids"][1:9]
    narrow = await viewer.ask(QUERY, {"orderBy": BY_PNL, "filter": {"strategyId": desk["rare"]}})
    assert ids(narrow) == desk["ids"][::10]
    backward = {"orderBy": BY_PNL, "last": 8, "filter": {"symbol": {"eq": "XAUUSD"}}}
    assert (await viewer.ask(QUERY, backward)).error["message"] == (
        f"filter: fewer rows than a page has fit among the first 10; {NARROWED_BY}"
    )


async def test_few_rows_are_sorted_whatever_is_asked(graph: Graph, connection: "asyncpg.Connection") -> None:
    session = await factories.session(
        connection, await factories.account(connection, await factories.user(connection))
    )
    found = [await factories.trade(connection, session, pnl=number) for number in range(4)]

    answer = await graph.as_(operator()).ask(QUERY, {"orderBy": BY_PNL})
    assert ids(answer) == found


async def test_a_rare_filter_without_index_is_refused(graph: Graph, desk: Mapping[str, Any]) -> None:
    viewer = graph.as_(operator())
    rare = {"symbol": {"eq": "XAUUSD"}}

    # The newest eight are found among the first ten; a page of 25 isn't full by then.
    assert (
        ids(await viewer.ask(QUERY, {"first": 8, "filter": {"symbol": {"eq": "EURUSD"}}}))
        == (desk["ids"][:-9:-1])
    )
    for arguments in ({"filter": rare}, {"filter": {"symbol": {"eq": "EURUSD"}}}):
        answer = await viewer.ask(QUERY, arguments)
        assert answer.error["extensions"]["argument"] == "filter"
        assert NARROWED_BY in answer.error["message"]
    # From the other end the rare one comes first, but whether there is another isn't known.
    assert (await viewer.ask(QUERY, {"last": 1, "filter": rare})).error["extensions"]["argument"] == "filter"
    within = {**rare, "entryTime": {"lt": (NOW + timedelta(minutes=9)).isoformat()}}
    assert ids(await viewer.ask(QUERY, {"filter": within})) == desk["ids"][:1]


async def test_without_a_filter_any_page_by_entry_time_is_served(
    graph: Graph, desk: Mapping[str, Any]
) -> None:
    answer = await graph.as_(operator()).ask(QUERY, {"first": 100})
    assert ids(answer) == desk["ids"][::-1]


async def test_what_lies_around_a_page_is_looked_for_in_as_few_rows(
    graph: Graph, connection: "asyncpg.Connection", desk: Mapping[str, Any]
) -> None:
    viewer = graph.as_(operator())
    page = {"orderBy": {"field": "ENTRY_TIME", "direction": "ASC"}, "filter": {"symbol": {"eq": "EURUSD"}}}
    edges = (await viewer.ask(QUERY, {**page, "first": 8})).data["trades"]["edges"]
    rest = {**page, "first": 8, "after": edges[7]["cursor"]}
    assert (await viewer.ask(QUERY, rest)).data["trades"]["pageInfo"]["hasPreviousPage"] is True
    await connection.execute(
        "UPDATE trades SET symbol = 'XAUUSD' WHERE id = ANY ($1::uuid[])", desk["ids"][:20]
    )
    far = {
        **rest,
        "after": (await viewer.ask(QUERY, {**page, "last": 8})).data["trades"]["edges"][0]["cursor"],
    }
    await connection.execute(
        "UPDATE trades SET symbol = 'XAUUSD' WHERE id = ANY ($1::uuid[])", desk["ids"][:23]
    )
    answer = await viewer.ask(QUERY, {**far, "first": 5})
    assert answer.error["extensions"]["argument"] == "filter"


async def test_a_total_is_refused_by_itself(graph: Graph, desk: Mapping[str, Any]) -> None:
    viewer = graph.as_(operator())
    counted = "query ($filter: TradeFilter) { trades(filter: $filter, first: 5) { totalCount } }"

    answer = await viewer.ask(counted)
    assert answer.error["path"] == ["trades", "totalCount"]
    assert answer.error["message"] == f"filter: more than 20 rows would have to be counted; {NARROWED_BY}"
    assert len(ids(await viewer.ask(QUERY, {"first": 5}))) == 5
    moment = {"entryTime": {"lt": (NOW + timedelta(minutes=15)).isoformat()}}
    within = await viewer.ask(counted, {"filter": {**moment, "symbol": {"eq": "EURUSD"}}})
    assert within.data["trades"]["totalCount"] == 14


async def test_strategies_share_what_may_be_looked_at(graph: Graph, desk: Mapping[str, Any]) -> None:
    """Two strategies with half of the limit each: one has 3 trades, the other 27."""
    query = """{ strategies { edges { node {
      id trades(first: 2, orderBy: { field: PNL, direction: ASC }) { nodes { id } }
    } } } }"""
    answer = await graph.as_(operator()).ask(query)

    (error,) = answer.errors
    assert error["message"].startswith("orderBy: more than 5 rows would have to be sorted")
    one = await graph.as_(operator()).ask(
        "query ($id: ID!) { strategy(id: $id) { trades(orderBy: { field: PNL, direction: ASC })"
        " { nodes { id } } } }",
        {"id": desk["rare"]},
    )
    assert [node["id"] for node in one.data["strategy"]["trades"]["nodes"]] == desk["ids"][::10]


@pytest.mark.parametrize("strategies", [1, 12])
async def test_many_parents_take_as_many_statements_as_one(
    graph: Graph, connection: "asyncpg.Connection", strategies: int
) -> None:
    for _ in range(strategies):
        strategy = await factories.strategy(connection)
        await factories.trade(connection, None, strategy_id=strategy)
    query = "{ strategies { nodes { trades(orderBy: { field: PNL }) { nodes { id } } } } }"
    answer = await graph.as_(operator()).ask(query)

    assert all(len(each["trades"]["nodes"]) == 1 for each in answer.data["strategies"]["nodes"])
    assert answer.statements == 3  # the strategies, how many rows there are to sort, and the rows


async def test_each_parent_that_is_refused_says_so_in_its_place(
    graph: Graph, connection: "asyncpg.Connection", desk: Mapping[str, Any]
) -> None:
    await connection.execute(
        "UPDATE trades SET strategy_id = $1 WHERE strategy_id <> $1 AND pnl < 15", desk["rare"]
    )
    query = """query ($a: ID!, $b: ID!) {
      a: strategy(id: $a) { trades(orderBy: { field: PNL }) { nodes { id } } }
      b: strategy(id: $b) { trades(orderBy: { field: PNL }) { nodes { id } } }
    }"""
    answer = await graph.as_(operator()).ask(query, {"a": desk["rare"], "b": desk["frequent"]})

    assert sorted(error["path"] for error in answer.errors) == [["a", "trades"], ["b", "trades"]]
