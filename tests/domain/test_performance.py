"""The two views, served with the ids that they leave out."""

from collections.abc import Callable

import asyncpg
import pytest

from graphql_api.identity.viewer import Viewer
from tests import factories
from tests.asking import Graph, operator, trader


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
