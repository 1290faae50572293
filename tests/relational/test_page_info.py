"""pageInfo says whether there are rows before and behind the page, with any arguments."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from graphql_api.domain.policy import ACCOUNTS, SESSIONS, STRATEGIES, TRADES
from graphql_api.domain.trade import TRADE_LIST
from graphql_api.postgres import tables
from graphql_api.postgres.address import Address
from graphql_api.postgres.statement import Statement
from graphql_api.relational.page_query import PageShape, page_statement
from graphql_api.relational.relation import RelationReader
from tests import factories
from tests.factories import NOW
from tests.graph import Graph, opened, operator, settings_for, trader

HEAD = (
    "$id: ID!, $first: Int, $after: String, $last: Int, $before: String, $order: TradeOrder,"
    " $filter: TradeFilter"
)
PAGE = """
trades(first: $first, after: $after, last: $last, before: $before, orderBy: $order, filter: $filter) {
  edges { cursor node { id } } pageInfo { hasPreviousPage hasNextPage }
}"""
# Rows are read from an index, or merged from sessions; at the root, and below parents.
LISTS = {
    "a tenant's": ("user", f"query ({HEAD}) {{ {PAGE} user(id: $id) {{ id }} }}"),
    "an account's": ("account", f"query ({HEAD}) {{ account(id: $id) {{ {PAGE} }} }}"),
    "a session's": ("session", f"query ({HEAD}) {{ session(id: $id) {{ {PAGE} }} }}"),
    "a strategy's": ("strategy", f"query ({HEAD}) {{ strategy(id: $id) {{ {PAGE} }} }}"),
}


@pytest.fixture(params=["compiled", "stock"])
async def either(request: pytest.FixtureRequest, address: Address, tmp_path: Path) -> AsyncIterator[Graph]:
    """The graph, run by each of the executors."""
    async with opened(settings_for(address, tmp_path, max_cost=10**9, engine=request.param)) as graph:
        yield graph


@pytest.fixture
async def desk(connection: "asyncpg.Connection") -> dict[str, str]:
    """Ten trades of one strategy, whose times come in pairs, in two sessions; and one of somebody else."""
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    sessions = [await factories.session(connection, account) for _ in range(2)]
    strategy = await factories.strategy(connection)
    for number in range(10):
        await factories.trade(
            connection,
            sessions[number == 4],
            strategy_id=strategy,
            symbol="EURUSD" if number % 3 else "XAUUSD",
            entry_time=NOW + timedelta(minutes=number // 2),
        )
    other = await factories.session(
        connection, await factories.account(connection, await factories.user(connection))
    )
    await factories.trade(connection, other, strategy_id=strategy, entry_time=NOW - timedelta(days=1))
    return {"user": user, "account": account, "session": sessions[0], "strategy": strategy}


def page_of(data: dict[str, Any]) -> Any:
    return data["trades"] if "trades" in data else next(iter(data.values()))["trades"]


def expected(
    whole: Sequence[str], lower: int, upper: int, first: int | None, last: int | None
) -> tuple[list[str], bool, bool]:
    """A page of `whole[lower:upper]`, and whether rows precede it and follow it."""
    between = whole[lower:upper]
    page = between[:first] if last is None else between[-last:]
    left_out = len(page) < len(between)
    precedes = lower > 0 or (last is not None and left_out)
    follows = upper < len(whole) or (last is None and left_out)
    return list(page), precedes, follows


@pytest.mark.slow
@pytest.mark.parametrize("list_", LISTS)
@pytest.mark.parametrize(("direction", "symbol"), [("ASC", None), ("DESC", "EURUSD")])
async def test_page_info_is_the_truth(
    either: Graph,
    connection: "asyncpg.Connection",
    desk: dict[str, str],
    list_: str,
    direction: str,
    symbol: str | None,
) -> None:
    parent, query = LISTS[list_]
    viewer = either.as_(trader(desk["user"]))
    common = {
        "id": desk[parent],
        "order": {"field": "ENTRY_TIME", "direction": direction},
        "filter": {"symbol": {"eq": symbol}},
    }
    edges = page_of((await viewer.ask(query, {**common, "first": 100})).data)["edges"]
    # Two rows are gone by now: their cursors are places like any other.
    gone = {edges[0]["node"]["id"], edges[3]["node"]["id"]}
    await connection.execute("DELETE FROM trades WHERE id = ANY($1::uuid[])", list(gone))
    whole = [edge["node"]["id"] for edge in edges if edge["node"]["id"] not in gone]

    def passed(index: int, *, itself: bool) -> int:
        """How many of the rows that are left lie before an edge's place, or at it."""
        return sum(edge["node"]["id"] not in gone for edge in edges[: index + itself])

    places = (None, 0, 3, len(edges) - 1)
    sizes: list[tuple[int | None, int | None]] = [(1, None), (3, None), (100, None), (None, 2), (None, 100)]
    for after, before, (first, last) in product(places, places, sizes):
        arguments = {
            **common,
            "first": first,
            "last": last,
            "after": None if after is None else edges[after]["cursor"],
            "before": None if before is None else edges[before]["cursor"],
        }
        answer = await viewer.ask(query, arguments)
        page = page_of(answer.data)
        lower = 0 if after is None else passed(after, itself=True)
        upper = len(whole) if before is None else passed(before, itself=False)
        found = (
            [edge["node"]["id"] for edge in page["edges"]],
            page["pageInfo"]["hasPreviousPage"],
            page["pageInfo"]["hasNextPage"],
        )
        assert found == expected(whole, lower, upper, first, last), arguments
        assert answer.statements <= 2  # the list's, and its parent's


async def test_what_lies_around_the_pages_of_many_parents_is_one_statement(
    either: Graph, connection: "asyncpg.Connection", desk: dict[str, str]
) -> None:
    query = """query ($after: String, $before: String, $first: Int) { sessions { nodes { id
      trades(after: $after, before: $before, first: $first) {
        nodes { id } pageInfo { hasNextPage hasPreviousPage }
      }
    } } }"""
    for _ in range(5):
        await factories.session(connection, desk["account"])
    viewer = either.as_(trader(desk["user"]))
    cursors = [
        edge["cursor"]
        for edge in (await viewer.ask("{ trades { edges { cursor } } }")).data["trades"]["edges"]
    ]
    answer = await viewer.ask(query, {"after": cursors[2], "before": cursors[7], "first": 10})
    assert answer.statements == 2
    pages = {node["id"]: node["trades"] for node in answer.data["sessions"]["nodes"]}
    large = pages.pop(desk["session"])
    assert (len(large["nodes"]), large["pageInfo"]) == (
        *(3,),
        {"hasNextPage": True, "hasPreviousPage": True},
    )
    single = [page for page in pages.values() if page["nodes"]]
    assert [page["pageInfo"] for page in single] == [{"hasNextPage": False, "hasPreviousPage": False}]
    assert sum(not page["nodes"] for page in pages.values()) == 5
    assert all(not any(page["pageInfo"].values()) for page in pages.values())


async def test_an_empty_list_has_nothing_around_it(either: Graph, desk: dict[str, str]) -> None:
    parent, query = LISTS["an account's"]
    viewer = either.as_(trader(desk["user"]))
    edges = page_of((await viewer.ask(query, {"id": desk[parent]})).data)["edges"]
    arguments = {
        "id": desk[parent],
        "after": edges[2]["cursor"],
        "before": edges[4]["cursor"],
        "filter": {"symbol": {"eq": "none"}},
    }
    page = page_of((await viewer.ask(query, arguments)).data)
    assert page == {"edges": [], "pageInfo": {"hasPreviousPage": False, "hasNextPage": False}}


async def test_nothing_is_told_of_other_tenants_rows(either: Graph, desk: dict[str, str]) -> None:
    """Somebody else's trade of the strategy is the earliest; an operator sees that it is there."""
    parent, query = LISTS["a strategy's"]
    own, all_ = either.as_(trader(desk["user"])), either.as_(operator())
    edges = page_of((await own.ask(query, {"id": desk[parent], "last": 2})).data)["edges"]
    arguments = {"id": desk[parent], "before": edges[-1]["cursor"], "first": 1}
    assert page_of((await own.ask(query, arguments)).data)["pageInfo"]["hasNextPage"] is True
    latest = {"id": desk[parent], "after": edges[-1]["cursor"]}
    assert page_of((await own.ask(query, latest)).data)["edges"] == []
    assert len(page_of((await all_.ask(query, latest)).data)["edges"]) == 1


RELATIONS = {
    "all": RelationReader(TRADES),
    "an account's": RelationReader(TRADES, ACCOUNTS, tables.sessions.c.account_id),
    "a session's": RelationReader(TRADES, SESSIONS, tables.trades.c.session_id),
    "a strategy's": RelationReader(TRADES, STRATEGIES, tables.trades.c.strategy_id),
}


@pytest.mark.parametrize("relation", RELATIONS.values(), ids=RELATIONS)
def test_what_nobody_asks_for_is_not_looked_for(relation: RelationReader) -> None:
    shape = PageShape(TRADE_LIST.default_order, after=True, before=True)
    assert "_has_" not in page_statement(relation, shape, True).sql


# One trade in three is of the session and its strategy.
FILL = """
    INSERT INTO trades (session_id, strategy_id, symbol, direction, entry_price, size, status, entry_time)
    SELECT
        CASE n % 3 WHEN 0 THEN $1::uuid END, CASE n % 3 WHEN 0 THEN $2::uuid END, 'EURUSD', 'buy', 1, 1,
        'closed', now() - n * interval '1 minute'
    FROM generate_series(1, 20000) AS n
"""


@pytest.mark.parametrize("for_tenant", [False, True])
@pytest.mark.parametrize("relation", RELATIONS.values(), ids=RELATIONS)
async def test_looking_around_a_page_reads_a_row_on_either_side(
    connection: "asyncpg.Connection", desk: dict[str, str], relation: RelationReader, for_tenant: bool
) -> None:
    await connection.execute(FILL, desk["session"], desk["strategy"])
    await connection.execute("ANALYZE")
    places = await connection.fetch("SELECT entry_time, id FROM trades ORDER BY entry_time DESC, id DESC")
    after, before = places[9990], places[10_090]
    parents = {None: "user", ACCOUNTS: "account", SESSIONS: "session", STRATEGIES: "strategy"}
    values = {
        "keys": [desk[parents[relation.parent]]],
        "tenant": desk["user"],
        "tenants": [desk["user"]],
        "fetch": 11,
        "after_key": after["entry_time"],
        "after_id": after["id"],
        "before_key": before["entry_time"],
        "before_id": before["id"],
    }
    alone, looking = [
        page_statement(
            relation,
            PageShape(
                TRADE_LIST.default_order, after=True, before=True, with_previous=around, with_next=around
            ),
            for_tenant,
        )
        for around in (False, True)
    ]
    assert await rows_read(connection, looking, values) <= await rows_read(connection, alone, values) + 4


async def rows_read(connection: "asyncpg.Connection", statement: Statement, values: Any) -> float:
    """How many rows of trades a statement looks at."""
    # As statements send their moments.
    await connection.set_builtin_type_codec(
        "timestamptz", schema="pg_catalog", codec_name="text", format="text"
    )
    explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}"
    plan = json.loads(await connection.fetchval(explain, *statement.arguments(values)))[0]["Plan"]

    def read(plan: dict[str, Any]) -> float:
        own = 0.0
        if plan.get("Relation Name") == "trades":
            own = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
        return own + sum(read(child) for child in plan.get("Plans", ()))

    return read(plan)
