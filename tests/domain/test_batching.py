"""However many parents a level has, a relation is one statement."""

import asyncpg

from tests import factories
from tests.graph import Graph, operator, trader

CHAIN = """
query ($first: Int!) {
  users(first: $first) { nodes { email
    accounts { totalCount nodes { accountNumber
      riskSettings { maxDailyLoss }
      currentSession { id }
      sessions { nodes { startedAt
        trades { totalCount nodes { pnl strategy { name latestPerformance { winRate } } session { id } } }
      } }
      user { email }
    } }
  } }
}
"""

STRATEGIES = """
query ($first: Int!) {
  strategies(first: $first) { nodes { name
    latestPerformance { winRate }
    performance { totalCount nodes { winRate strategy { name } } }
    trades(first: 2) { nodes { symbol } }
  } }
}
"""


async def fill(connection: "asyncpg.Connection", users: int) -> None:
    for _ in range(users):
        strategy = await factories.strategy(connection)
        for _ in range(2):
            await factories.performance(connection, strategy)
        account = await factories.account(connection, await factories.user(connection))
        await factories.risk_settings(connection, account)
        session = await factories.session(connection, account)
        for _ in range(2):
            await factories.trade(connection, session, strategy_id=strategy)


async def test_users_to_trades_cost_the_same_at_1_and_at_50_parents(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    await fill(connection, 50)
    one = await graph.as_(operator()).ask(CHAIN, {"first": 1})
    fifty = await graph.as_(operator()).ask(CHAIN, {"first": 50})

    assert len(one.data["users"]["nodes"]) == 1
    assert len(fifty.data["users"]["nodes"]) == 50
    assert fifty.data["users"]["nodes"][49]["accounts"]["nodes"][0]["sessions"]["nodes"][0]["trades"]["nodes"]
    assert one.statements == fifty.statements == 12


async def test_strategies_to_performance_cost_the_same_at_1_and_at_50_parents(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    await fill(connection, 50)
    one = await graph.as_(operator()).ask(STRATEGIES, {"first": 1})
    fifty = await graph.as_(operator()).ask(STRATEGIES, {"first": 50})

    assert len(fifty.data["strategies"]["nodes"]) == 50
    assert one.statements == fifty.statements == 6


async def test_aliases_and_fragments_share_a_batch(graph: Graph, connection: "asyncpg.Connection") -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    query = """
      query ($id: ID!) {
        a: account(id: $id) { sessions { nodes { id } } ...f }
        b: account(id: $id) { again: sessions { nodes { startedAt } } ...f }
      }
      fragment f on Account { user { email } }
    """
    answer = await graph.as_(trader(user)).ask(query, {"id": account})

    assert answer.data["a"]["user"] == answer.data["b"]["user"]
    assert answer.statements == 3


async def test_the_total_is_counted_only_when_asked_for(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    viewer = trader(await factories.user(connection))
    plain = await graph.as_(viewer).ask("{ trades { nodes { id } } }")
    counted = await graph.as_(viewer).ask("{ trades { totalCount nodes { id } } }")

    assert (plain.statements, counted.statements) == (1, 2)


async def test_two_pages_of_a_list_share_one_count(graph: Graph, connection: "asyncpg.Connection") -> None:
    viewer = trader(await factories.user(connection))
    answer = await graph.as_(viewer).ask(
        "{ a: trades(first: 1) { totalCount } b: trades(last: 2) { totalCount } }"
    )

    assert answer.statements == 3


async def test_node_finds_any_type_in_one_statement(graph: Graph, connection: "asyncpg.Connection") -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    session = await factories.session(connection, account)
    ids = [
        user,
        account,
        session,
        await factories.trade(connection, session),
        await factories.risk_settings(connection, account),
        strategy := await factories.strategy(connection),
        await factories.performance(connection, strategy),
        await factories.system_log(connection),
        "00000000-0000-0000-0000-000000000001",
    ]
    answer = await graph.as_(operator()).ask(
        "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }", {"ids": ids}
    )

    assert [node and node["__typename"] for node in answer.data["nodes"]] == [
        "User",
        "Account",
        "Session",
        "Trade",
        "RiskSettings",
        "Strategy",
        "StrategyPerformance",
        "SystemLog",
        None,
    ]
    assert answer.statements == 1
