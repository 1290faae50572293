"""Whose trades statistics are of, and how many statements they take."""

from decimal import Decimal

import asyncpg
import pytest

from tests import factories
from tests.domain.test_statistics import ALL, closed
from tests.graph import Graph, operator, trader


@pytest.fixture
async def user(connection: "asyncpg.Connection") -> str:
    return await factories.user(connection)


@pytest.fixture
async def session(connection: "asyncpg.Connection", user: str) -> str:
    return await factories.session(connection, await factories.account(connection, user))


async def test_another_tenants_trades_count_nowhere(
    graph: Graph, connection: "asyncpg.Connection", user: str, session: str
) -> None:
    strategy = await factories.strategy(connection)
    await closed(connection, session, "1", strategy_id=strategy)
    stranger = trader(await factories.user(connection))
    query = """query ($strategy: ID!, $session: ID!, $user: ID!) {
      trades { stats { tradesCount } } viewer { user { stats { tradesCount } } }
      strategy(id: $strategy) { stats { tradesCount maxDrawdown bestTrade { id } equityCurve { time } } }
      session(id: $session) { stats { tradesCount } } user(id: $user) { stats { tradesCount } }
    }"""
    variables = {"strategy": strategy, "session": session, "user": user}
    answer = await graph.as_(stranger).ask(query, variables)

    assert answer.data == {
        "trades": {"stats": {"tradesCount": 0}},
        "viewer": {"user": {"stats": {"tradesCount": 0}}},
        "strategy": {
            "stats": {"tradesCount": 0, "maxDrawdown": "0.00000000", "bestTrade": None, "equityCurve": []}
        },
        "session": None,
        "user": None,
    }


async def test_operators_see_the_statistics_of_every_tenant(
    graph: Graph, connection: "asyncpg.Connection", session: str
) -> None:
    await closed(connection, session, "1")
    answer = await graph.as_(operator()).ask("{ trades { stats { tradesCount } } }")

    assert answer.data["trades"]["stats"]["tradesCount"] == 1


@pytest.mark.parametrize(
    ("selection", "statements"),
    [
        ("tradesCount netPnl winRate averageDuration excludedTrades", 1),
        ("countByStatus { count }", 1),
        ("bestTrade { pnl }", 1),
        ("maxDrawdown maxDrawdownPct", 1),
        ("bySymbol { symbol } more: bySymbol(first: 3) { symbol }", 2),
        ("byStrategy { strategyId }", 1),
        ("exposure { symbol }", 1),
        ("a: equityCurve { time } b: equityCurve(interval: DAY) { equity }", 1),
    ],
)
async def test_only_what_is_selected_is_computed(
    graph: Graph, user: str, selection: str, statements: int
) -> None:
    page = await graph.as_(trader(user)).ask("{ trades { nodes { id } } }")
    answer = await graph.as_(trader(user)).ask(f"{{ trades {{ stats {{ {selection} }} }} }}")

    assert answer.statements - page.statements == statements


async def test_the_statistics_of_50_accounts_cost_as_many_statements_as_of_one(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    for _ in range(50):
        account = await factories.account(connection, await factories.user(connection))
        session = await factories.session(connection, account, initial_balance=Decimal(100))
        await closed(connection, session, "1", strategy_id=await factories.strategy(connection))
    query = f"""query ($first: Int!) {{
      users(first: $first) {{ nodes {{ stats {{ ...All }} accounts {{ nodes {{
        stats {{ ...All }}
        trades(filter: {{ symbol: {{ eq: "EURUSD" }} }}) {{ stats {{ ...All }} }}
        sessions {{ nodes {{ stats {{ ...All }} }} }}
      }} }} }} }}
      strategies(first: $first) {{ nodes {{ stats {{ ...All }} }} }}
    }} {ALL}"""
    one = await graph.as_(operator()).ask(query, {"first": 1})
    fifty = await graph.as_(operator()).ask(query, {"first": 50})

    assert len(fifty.data["users"]["nodes"]) == 50
    assert all(node["stats"]["tradesCount"] == 1 for node in fifty.data["users"]["nodes"])
    assert one.statements == fifty.statements
