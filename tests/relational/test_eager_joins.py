"""What a list at the root reads in the statement of its rows, and that it reads only what is selected."""

from collections.abc import Sequence

import asyncpg
import pytest

from graphql_api.domain.policy import ACCOUNTS, SESSIONS, TRADES
from graphql_api.domain.trade import TRADE_LIST
from graphql_api.execution.projection import Projection, Reference, RowSource
from graphql_api.postgres import tables
from graphql_api.relational.eager_joins import eager_joins_of
from graphql_api.relational.filters import MATCH_ALL, Comparison, Predicate
from graphql_api.relational.page_query import PageShape, page_statement
from graphql_api.relational.relation import RelationReader
from tests import factories
from tests.graph import Graph, operator, trader

pytestmark = pytest.mark.usefixtures("compiled")

TRADES_WITH_PARENTS = """
{ trades { nodes {
  symbol strategy { name } session { startedAt account { accountNumber user { email } } }
} } }
"""


async def test_a_list_and_what_its_rows_refer_to_are_one_statement(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection, email="ada@example.com")
    account = await factories.account(connection, user, account_number="L#1")
    strategy = await factories.strategy(connection, name="breakout")
    session = await factories.session(connection, account)
    for _ in range(3):
        await factories.trade(connection, session, strategy_id=strategy)

    answer = await graph.as_(trader(user)).ask(TRADES_WITH_PARENTS)

    assert answer.statements == 1
    for node in answer.data["trades"]["nodes"]:
        assert node["strategy"] == {"name": "breakout"}
        assert node["session"]["account"] == {"accountNumber": "L#1", "user": {"email": "ada@example.com"}}


async def test_what_is_gone_reads_as_null_beside_what_is_there(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    strategy = await factories.strategy(connection, name="breakout")
    session = await factories.session(connection, None)
    trades = [
        await factories.trade(connection, session, strategy_id=strategy),
        await factories.trade(connection, session, strategy_id="00000000-0000-4000-8000-000000000000"),
        await factories.trade(connection, None, strategy_id=None),
    ]
    answer = await graph.as_(operator()).ask(
        "{ trades { nodes { id strategy { name } session { id account { id } } } } }"
    )
    read = {node.pop("id"): node for node in answer.data["trades"]["nodes"]}
    of_session = {"id": session, "account": None}
    assert [read[trade] for trade in trades] == [
        {"strategy": {"name": "breakout"}, "session": of_session},
        {"strategy": None, "session": of_session},
        {"strategy": None, "session": None},
    ]
    assert answer.statements == 1


async def test_long_texts_are_loaded_once_for_all_rows(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    strategy = await factories.strategy(connection, description="long")
    session = await factories.session(connection, await factories.account(connection, user))
    await factories.trade(connection, session, strategy_id=strategy)
    answer = await graph.as_(trader(user)).ask("{ trades { nodes { strategy { description } } } }")
    assert answer.data["trades"]["nodes"] == [{"strategy": {"description": "long"}}]
    assert answer.statements == 2


async def test_lists_of_one_operation_share_what_their_rows_are_read_for(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    await factories.trade(connection, session, symbol="EURUSD", status="open")
    answer = await graph.as_(trader(user)).ask(
        "{ a: trades { nodes { symbol } } b: trades { nodes { statusRaw } edges { cursor } } }"
    )
    assert answer.data["a"]["nodes"] == [{"symbol": "EURUSD"}]
    assert answer.data["b"]["nodes"] == [{"statusRaw": "open"}]
    assert answer.statements == 1


async def test_a_list_and_its_total_are_one_statement(graph: Graph, connection: "asyncpg.Connection") -> None:
    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    for symbol in ("EURUSD", "EURUSD", "XAUUSD"):
        await factories.trade(connection, session, symbol=symbol)
    await factories.trade(connection, None, symbol="EURUSD")
    one = """
    query ($after: String, $symbol: String) {
    trades(first: 1, after: $after, filter: {symbol: {eq: $symbol}}) {
      totalCount pageInfo { endCursor } nodes { strategy { name } }
    } }"""
    me = graph.as_(trader(user))

    first = await me.ask(one, {"symbol": "EURUSD"})
    assert (first.data["trades"]["totalCount"], first.statements) == (2, 1)
    place = first.data["trades"]["pageInfo"]["endCursor"]
    second = await me.ask(one, {"symbol": "EURUSD", "after": place})
    assert (second.data["trades"]["totalCount"], second.statements) == (2, 1)
    place = second.data["trades"]["pageInfo"]["endCursor"]
    beyond = await me.ask(one, {"symbol": "EURUSD", "after": place})
    assert (beyond.data["trades"]["totalCount"], beyond.data["trades"]["nodes"]) == (2, [])


async def test_a_total_that_is_asked_for_elsewhere_is_not_counted_here(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    strategy = await factories.strategy(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    await factories.trade(connection, session, strategy_id=strategy)
    me = graph.as_(trader(user))
    without = await me.ask("""{
      trades { nodes { id } }
      strategies { nodes { trades { totalCount } } }
    }""")
    beside = await me.ask("""{
      trades { nodes { id } }
      strategies { nodes { trades { totalCount } } }
      a: trades { totalCount }
    }""")
    assert without.statements == 4
    assert (beside.data["a"], beside.statements) == ({"totalCount": 1}, 5)


def test_columns_that_nobody_reads_stay_in_the_database() -> None:
    shape = PageShape(TRADE_LIST.default_order, projection=frozenset({"symbol"}))
    statement = page_statement(RelationReader(TRADES), shape, False)
    columns, _, _ = statement.sql.partition("FROM")
    assert [name in columns for name in ("symbol", ".id", "entry_time", "pnl", "exit_price")] == [
        *(True, True, True),
        *(False, False),
    ]


@pytest.mark.parametrize(
    # To count twice, to scan, to probe and to merge; or to merge alone.
    ("few_parents", "times"),
    [(False, 5), (True, 1)],
)
def test_what_leads_to_the_tenant_is_joined_once_a_reading(few_parents: bool, times: int) -> None:
    columns: dict[RowSource, frozenset[str] | None] = {
        SESSIONS: frozenset({"account_id"}),
        ACCOUNTS: frozenset({"account_number"}),
    }
    references: dict[RowSource, Sequence[Reference]] = {
        TRADES: [Reference("session_id", SESSIONS)],
        SESSIONS: [Reference("account_id", ACCOUNTS)],
    }
    joins = eager_joins_of(Projection(columns, references), TRADES)
    shape = PageShape(
        TRADE_LIST.default_order, projection=frozenset(), eager_joins=joins, few_parents=few_parents
    )
    sql = page_statement(RelationReader(TRADES), shape, True).sql
    assert '"session_id.account_id.account_number"' in sql
    readings = sql.count("trading_sessions JOIN tradelocker_accounts")
    assert readings == sql.count(" JOIN tradelocker_accounts") == sql.count("user_id = ") == times


def test_few_rows_are_read_once_for_a_page_and_its_total() -> None:
    one_symbol = Comparison(tables.trades.c.symbol, "eq", "symbol")

    def reads(predicate: Predicate, *, after: bool = False, with_total: bool = True) -> int:
        shape = PageShape(TRADE_LIST.default_order, after=after, predicate=predicate, with_total=with_total)
        return page_statement(RelationReader(TRADES), shape, True).sql.count("FROM trades")

    assert reads(one_symbol) == 1
    # A page further on has other rows than the total, and all rows are too many to sort.
    assert reads(one_symbol, after=True) == reads(one_symbol, after=True, with_total=False) + 1
    assert reads(MATCH_ALL) == reads(MATCH_ALL, with_total=False) + 1
