"""The two views, served with the ids that they leave out."""

import asyncpg

from tests import factories
from tests.asking import Graph, operator, trader


async def test_account_performance_is_the_views_rows(graph: Graph, connection: "asyncpg.Connection") -> None:
    user = await factories.user(connection)
    for number in ("1", "2"):
        account = await factories.account(connection, user, account_number=number)
        for trades_count in (3, None):
            await factories.session(connection, account, trades_count=trades_count)
    view = await connection.fetch("SELECT account_number, trades_count FROM account_performance")
    answer = await graph.as_(trader(user)).ask("{ accountPerformance { accountNumber tradesCount } }")

    def key(row: dict[str, object]) -> str:
        return str(sorted(map(str, row.values())))

    served = answer.data["accountPerformance"]
    stored = [{"accountNumber": row[0], "tradesCount": row[1]} for row in view]
    assert sorted(served, key=key) == sorted(stored, key=key)


async def test_active_strategies_performance_is_the_views_rows(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    active = await factories.strategy(connection, name="Active")
    retired = await factories.strategy(connection, is_active=False)
    for strategy in (active, active, retired):
        await factories.performance(connection, strategy)
    answer = await graph.as_(operator()).ask(
        "{ activeStrategiesPerformance { id name winRate strategy { id } } }"
    )

    row = {"id": active, "name": "Active", "winRate": "0.5000", "strategy": {"id": active}}
    assert answer.data["activeStrategiesPerformance"] == [row, row]
