"""The conventions of statistics, one by one."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg

from tests import factories
from tests.factories import NOW
from tests.graph import Graph, trader

ALL = """
fragment All on TradeStats {
  tradesCount wins losses breakeven excludedTrades winRate netPnl grossProfit grossLoss profitFactor
  expectancy averageWin averageLoss volume averageDuration averageDurationSeconds maxDrawdown maxDrawdownPct
  bestTrade { id } worstTrade { id } countByStatus { count } bySymbol { symbol } byStrategy { strategyId }
  exposure { symbol } equityCurve { time }
}
"""
NOTHING: dict[str, Any] = {
    **dict.fromkeys(("tradesCount", "wins", "losses", "breakeven", "excludedTrades"), 0),
    **dict.fromkeys(("netPnl", "grossProfit", "grossLoss", "volume", "maxDrawdown"), "0.00000000"),
    **dict.fromkeys(
        (
            "winRate",
            "profitFactor",
            "expectancy",
            "averageWin",
            "averageLoss",
            "averageDuration",
            "averageDurationSeconds",
        )
    ),
    **dict.fromkeys(("maxDrawdownPct", "bestTrade", "worstTrade")),
    **{name: [] for name in ("countByStatus", "bySymbol", "byStrategy", "exposure", "equityCurve")},
}


async def closed(connection: "asyncpg.Connection", session: str, pnl: Any, **values: Any) -> str:
    """A closed trade."""
    given = None if pnl is None else Decimal(pnl)
    defaults = {"status": "closed", "exit_time": NOW + timedelta(hours=1)}
    return await factories.trade(connection, session, pnl=given, **defaults | values)


async def stats(graph: Graph, user: str, selection: str) -> Any:
    answer = await graph.as_(trader(user)).ask(f"{{ trades {{ stats {{ {selection} }} }} }}")
    return answer.data["trades"]["stats"]


async def test_of_no_trades_sums_are_zero_and_quotients_null(graph: Graph, user: str, session: str) -> None:
    query = f"""query ($id: ID!) {{
      session(id: $id) {{ stats {{ ...All }} }} trades {{ stats {{ ...All }} }}
    }} {ALL}"""
    answer = await graph.as_(trader(user)).ask(query, {"id": session})

    assert answer.data["session"]["stats"] == answer.data["trades"]["stats"] == NOTHING


async def test_an_open_trade_is_in_exposure_and_status_alone(
    graph: Graph, connection: "asyncpg.Connection", user: str, session: str
) -> None:
    await factories.trade(connection, session)
    answer = await graph.as_(trader(user)).ask(f"{{ trades {{ stats {{ ...All }} }} }} {ALL}")

    expected = NOTHING | {"exposure": [{"symbol": "EURUSD"}], "countByStatus": [{"count": 1}]}
    assert answer.data["trades"]["stats"] == expected


async def test_nan_and_missing_pnl_are_counted_and_left_out_of_sums(
    graph: Graph, connection: "asyncpg.Connection", user: str, session: str
) -> None:
    for pnl in ("10", "NaN", None):
        await closed(connection, session, pnl)
    found = await stats(
        graph, user, "tradesCount excludedTrades winRate netPnl expectancy volume averageDuration"
    )

    assert found == {
        "tradesCount": 3,
        "excludedTrades": 2,
        "winRate": "0.33333333",
        "netPnl": "10.00000000",
        "expectancy": "10.00000000",
        "volume": "0.10000000",
        "averageDuration": "PT1H",
    }


async def test_the_profit_factor_is_null_where_nothing_was_lost(
    graph: Graph, connection: "asyncpg.Connection", user: str, session: str
) -> None:
    await closed(connection, session, "10")
    found = await stats(graph, user, "profitFactor averageLoss grossLoss")

    assert found == {"profitFactor": None, "averageLoss": None, "grossLoss": "0.00000000"}


async def test_a_zero_is_neither_won_nor_lost(
    graph: Graph, connection: "asyncpg.Connection", user: str, session: str
) -> None:
    await closed(connection, session, "0")
    found = await stats(graph, user, "wins losses breakeven winRate")

    assert found == {"wins": 0, "losses": 0, "breakeven": 1, "winRate": "0.00000000"}


async def test_filled_is_closed_only_with_an_exit(
    graph: Graph, connection: "asyncpg.Connection", user: str, session: str
) -> None:
    await closed(connection, session, "1", status="filled")
    await factories.trade(connection, session, status="filled")
    found = await stats(graph, user, "tradesCount countByStatus { status count } exposure { openTrades }")

    assert found == {
        "tradesCount": 1,
        "countByStatus": [{"status": "CLOSED", "count": 1}, {"status": "OPEN", "count": 1}],
        "exposure": [{"openTrades": 1}],
    }


async def test_a_quotient_is_rounded_once_and_a_half_away_from_zero(
    graph: Graph, connection: "asyncpg.Connection", user: str, session: str
) -> None:
    # -0.00000001 over 2 is -0.000000005: a half. PostgreSQL's own division would be as far from zero.
    await closed(connection, session, "-0.00000001")
    await closed(connection, session, "0")
    assert (await stats(graph, user, "expectancy"))["expectancy"] == "-0.00000001"


async def test_sums_keep_every_digit(
    graph: Graph, connection: "asyncpg.Connection", user: str, session: str
) -> None:
    await closed(connection, session, "999999999999.99999999")
    await closed(connection, session, "999999999999.99999999")
    await closed(connection, session, "-0.00000001")
    assert (await stats(graph, user, "netPnl"))["netPnl"] == "1999999999999.99999997"


async def test_a_gone_strategy_reads_as_null_beside_one_that_stands(
    graph: Graph, connection: "asyncpg.Connection", user: str, session: str
) -> None:
    gone = "00000000-0000-0000-0000-000000000001"
    standing = await factories.strategy(connection, name="Breakout")
    for strategy in (standing, standing, gone):
        await closed(connection, session, "1", strategy_id=strategy)
    found = await stats(graph, user, "byStrategy { strategyId strategy { name } }")

    assert found["byStrategy"] == [
        {"strategyId": standing, "strategy": {"name": "Breakout"}},
        {"strategyId": gone, "strategy": None},
    ]


async def test_the_starting_balance_is_the_sum_of_what_accounts_began_with(
    graph: Graph, connection: "asyncpg.Connection", user: str, account: str, session: str
) -> None:
    later = await factories.session(connection, account, initial_balance=Decimal(7777))
    other = await factories.session(
        connection, await factories.account(connection, user), initial_balance=Decimal(500)
    )
    await closed(connection, session, "-150", exit_time=NOW)
    await closed(connection, later, "10", exit_time=NOW + timedelta(hours=1))
    await closed(connection, other, "10", exit_time=NOW + timedelta(hours=2))
    found = await stats(graph, user, "maxDrawdownPct equityCurve { equity }")

    assert found == {"maxDrawdownPct": "10.00000000", "equityCurve": [{"equity": "1370.00000000"}]}
