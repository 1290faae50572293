"""The two views, served with the ids that they leave out."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import asyncpg
import pytest

from graphql_api.identity.viewer import Viewer
from tests import factories
from tests.factories import NOW
from tests.graph import Graph, operator, trader


@pytest.mark.parametrize("viewer", [trader, operator])
async def test_account_performance_is_the_views_rows(
    graph: Graph, connection: "asyncpg.Connection", viewer: Callable[[str], Viewer]
) -> None:
    user = await factories.user(connection)
    for number in ("1", "2"):
        account = await factories.account(connection, user, account_number=number)
        for trades_count in (3, None):
            await factories.session(connection, account, trades_count=trades_count)
    await factories.session(connection, None)  # has no account to be reported with
    view = await connection.fetch("SELECT account_number, trades_count FROM account_performance")
    answer = await graph.as_(viewer(user)).ask("{ accountPerformance { accountNumber tradesCount } }")

    def key(row: dict[str, object]) -> str:
        return str(sorted(map(str, row.values())))

    served = answer.data["accountPerformance"]
    stored = [{"accountNumber": row[0], "tradesCount": row[1]} for row in view]
    assert sorted(served, key=key) == sorted(stored, key=key)


@pytest.mark.parametrize("view", ["accountPerformance", "activeStrategiesPerformance"])
@pytest.mark.parametrize("first", [0, 5001])
async def test_a_view_has_a_bound(graph: Graph, view: str, first: int) -> None:
    answer = await graph.as_(operator()).ask(f"{{ {view}(first: {first}) {{ tradesCount }} }}")

    assert answer.error["message"] == "first: must be between 1 and 5000"


async def test_a_view_gives_no_more_rows_than_asked_for(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    account = await factories.account(connection, await factories.user(connection))
    for _ in range(3):
        await factories.session(connection, account)
    answer = await graph.as_(operator()).ask("{ accountPerformance(first: 2) { pnl } }")

    assert len(answer.data["accountPerformance"]) == 2


async def test_active_strategies_performance_is_the_views_rows_with_their_own_ids(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    active = await factories.strategy(connection, name="Active")
    others = [await factories.strategy(connection, is_active=is_active) for is_active in (False, None)]
    begin, end = NOW - timedelta(days=1), NOW
    old = await factories.performance(connection, active, timestamp=begin, win_rate=Decimal("0.25"))
    new = await factories.performance(connection, active, period_start=begin, period_end=end)
    undated = await factories.performance(connection, active, timestamp=None, trades_count=7)
    for strategy in others:
        await factories.performance(connection, strategy)
    view = await connection.fetch(
        "SELECT id, name, win_rate, trades_count FROM active_strategies_performance"
    )
    answer = await graph.as_(operator()).ask(
        """{ activeStrategiesPerformance {
            id strategyId name winRate tradesCount timestamp periodStart periodEnd strategy { id }
        } }"""
    )

    rows = answer.data["activeStrategiesPerformance"]
    assert [row["id"] for row in rows] == [new, old, undated]
    assert rows[0] == {
        "id": new,
        "strategyId": active,
        "name": "Active",
        "winRate": "0.5000",
        "tradesCount": None,
        "timestamp": "2026-11-20T12:00:00.000000Z",
        "periodStart": "2026-11-19T12:00:00.000000Z",
        "periodEnd": "2026-11-20T12:00:00.000000Z",
        "strategy": {"id": active},
    }

    served = [(row["strategyId"], row["name"], row["winRate"], row["tradesCount"]) for row in rows]
    stored = [(str(row[0]), row[1], f"{row[2]:f}", row[3]) for row in view]
    assert sorted(served, key=str) == sorted(stored, key=str)
