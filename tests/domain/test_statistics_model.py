"""Every number of TradeStats, compared with plain Python over generated trades."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from fractions import Fraction
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.domain import statistics_model as model
from tests.domain.generated_trades import (
    ACCOUNTS,
    ANCHORS,
    STRATEGIES,
    TENANT,
    TradingData,
    store,
    trading_data,
)
from tests.domain.statistics_model import Trade
from tests.graph import Graph, operator, trader

pytestmark = pytest.mark.slow

ALL_FIELDS = """
fragment Everything on TradeStats {
  tradesCount wins losses breakeven excludedTrades winRate netPnl grossProfit grossLoss profitFactor
  expectancy averageWin averageLoss volume averageDuration averageDurationSeconds maxDrawdown maxDrawdownPct
  bestTrade { id } worstTrade { id } countByStatus { status count }
  bySymbol(first: $groups) { symbol tradesCount netPnl winRate }
  byStrategy(first: $groups) { strategyId tradesCount netPnl winRate }
  exposure { symbol openTrades buySize sellSize netSize entryNotional }
  equityCurve(interval: $interval, timezone: $zone, maxPoints: $most) {
    time netPnl cumulativePnl equity drawdown tradesCount
  }
}
"""
HEAD = "$groups: Int, $interval: Interval, $zone: String, $most: Int"

generated = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
options = st.fixed_dictionaries(
    {
        "interval": st.sampled_from(["HOUR", "DAY", "WEEK", "MONTH"]),
        "zone": st.sampled_from(
            ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Atlantic/Azores", "America/Havana"]
        ),
        "most": st.integers(1, 8) | st.just(500),
        "groups": st.integers(1, 4),
    }
)


def expected(trades: Sequence[Trade], chosen: dict[str, Any]) -> dict[str, Any]:
    return model.everything(
        trades,
        interval=chosen["interval"],
        zone=chosen["zone"],
        most=chosen["most"],
        first=chosen["groups"],
    )


def comparable(stats: dict[str, Any]) -> dict[str, Any]:
    """An answer, in the units of the model."""
    for open_ in stats["exposure"]:
        open_["entryNotional"] = Fraction(open_["entryNotional"])
    duration = model.microseconds(stats["averageDuration"])
    seconds = stats.pop("averageDurationSeconds")
    assert seconds == (None if duration is None else duration / 1_000_000)
    return stats | {"averageDuration": duration}


@given(data=trading_data(), chosen=options)
@generated
async def test_the_whole_tenant_agrees_with_the_model(
    graph: Graph, connection: "asyncpg.Connection", data: TradingData, chosen: dict[str, Any]
) -> None:
    await store(connection, data)
    query = f"query ({HEAD}) {{ viewer {{ user {{ stats {{ ...Everything }} }} }} }} {ALL_FIELDS}"
    answer = await graph.as_(trader(str(TENANT))).ask(query, chosen)

    assert comparable(answer.data["viewer"]["user"]["stats"]) == expected(data.trades, chosen)


@given(data=trading_data(), chosen=options)
@generated
async def test_accounts_and_sessions_agree_with_the_model(
    graph: Graph, connection: "asyncpg.Connection", data: TradingData, chosen: dict[str, Any]
) -> None:
    await store(connection, data)
    query = f"""query ({HEAD}) {{
      accounts {{ nodes {{
        id stats {{ ...Everything }}
        sessions {{ nodes {{ id stats {{ ...Everything }} }} }}
      }} }}
    }} {ALL_FIELDS}"""
    answer = await graph.as_(trader(str(TENANT))).ask(query, chosen)

    for account in answer.data["accounts"]["nodes"]:
        of_account = [t for t in data.trades if t.session and str(t.session.account) == account["id"]]
        assert comparable(account["stats"]) == expected(of_account, chosen)
        for session in account["sessions"]["nodes"]:
            of_session = [t for t in of_account if t.session and str(t.session.id) == session["id"]]
            assert comparable(session["stats"]) == expected(of_session, chosen)


@given(data=trading_data(), chosen=options)
@generated
async def test_strategies_agree_with_the_model(
    graph: Graph, connection: "asyncpg.Connection", data: TradingData, chosen: dict[str, Any]
) -> None:
    await store(connection, data)
    query = f"query ({HEAD}) {{ strategies {{ nodes {{ id stats {{ ...Everything }} }} }} }} {ALL_FIELDS}"
    answer = await graph.as_(trader(str(TENANT))).ask(query, chosen)

    assert len(answer.data["strategies"]["nodes"]) == len(STRATEGIES)
    for strategy in answer.data["strategies"]["nodes"]:
        by_it = [trade for trade in data.trades if str(trade.strategy) == strategy["id"]]
        assert comparable(strategy["stats"]) == expected(by_it, chosen)


@given(
    data=trading_data(),
    chosen=options,
    begin=st.none() | st.sampled_from(ANCHORS),
    length=st.none() | st.sampled_from([0, 1, 3 * 3600, 86_400, 400 * 86_400]),
)
@generated
async def test_a_range_takes_its_start_and_leaves_its_end(
    graph: Graph,
    connection: "asyncpg.Connection",
    data: TradingData,
    chosen: dict[str, Any],
    begin: Any,
    length: int | None,
) -> None:
    await store(connection, data)
    end = None if length is None else (begin or ANCHORS[0]) + timedelta(seconds=length)
    query = f"""query ({HEAD}, $range: TimeRange) {{
      accounts {{ nodes {{ id stats(range: $range) {{ ...Everything }} }} }}
    }} {ALL_FIELDS}"""
    range_ = {"from": begin and model.instant(begin), "to": end and model.instant(end)}
    answer = await graph.as_(trader(str(TENANT))).ask(query, chosen | {"range": range_})

    inside = [
        trade
        for trade in data.trades
        if (begin is None or trade.moment >= begin) and (end is None or trade.moment < end)
    ]
    assert len(answer.data["accounts"]["nodes"]) == len(ACCOUNTS)
    for account in answer.data["accounts"]["nodes"]:
        of_account = [t for t in inside if t.session and str(t.session.account) == account["id"]]
        assert comparable(account["stats"]) == expected(of_account, chosen)


FILTERS: list[tuple[dict[str, Any], Callable[[Trade], bool]]] = [
    ({"symbol": {"eq": "EURUSD"}}, lambda trade: trade.symbol == "EURUSD"),
    ({"hasStrategy": False}, lambda trade: trade.strategy is None),
    ({"pnl": {"lt": "0"}}, lambda trade: trade.result is not None and trade.result < 0),
    ({"status": ["OPEN", "OTHER"]}, lambda trade: trade.state in ("OPEN", "OTHER")),
    (
        {"not": {"or": [{"direction": ["OTHER"]}, {"accountId": str(ACCOUNTS[0])}]}},
        lambda trade: (
            trade.direction != "sideways"
            and trade.session is not None
            and trade.session.account != ACCOUNTS[0]
        ),
    ),
]


@pytest.mark.parametrize(("given_filter", "fits"), FILTERS)
@given(data=trading_data(), chosen=options)
@settings(generated, max_examples=10)
async def test_a_list_agrees_with_the_model_over_its_whole_filter(
    graph: Graph,
    connection: "asyncpg.Connection",
    given_filter: dict[str, Any],
    fits: Callable[[Trade], bool],
    data: TradingData,
    chosen: dict[str, Any],
) -> None:
    await store(connection, data)
    query = f"""query ({HEAD}, $filter: TradeFilter) {{
      trades(first: 1, filter: $filter) {{ stats {{ ...Everything }} }}
      accounts {{ nodes {{ id trades(first: 1, filter: $filter) {{ stats {{ ...Everything }} }} }} }}
    }} {ALL_FIELDS}"""
    answer = await graph.as_(trader(str(TENANT))).ask(query, chosen | {"filter": given_filter})

    fitting = [trade for trade in data.trades if fits(trade)]
    assert comparable(answer.data["trades"]["stats"]) == expected(fitting, chosen)
    for account in answer.data["accounts"]["nodes"]:
        of_account = [t for t in fitting if t.session and str(t.session.account) == account["id"]]
        assert comparable(account["trades"]["stats"]) == expected(of_account, chosen)


@given(data=trading_data(loose=True), chosen=options)
@generated
async def test_trades_of_no_session_and_sessions_of_no_account_count_for_operators(
    graph: Graph, connection: "asyncpg.Connection", data: TradingData, chosen: dict[str, Any]
) -> None:
    await store(connection, data)
    query = f"query ({HEAD}) {{ trades(first: 1) {{ stats {{ ...Everything }} }} }} {ALL_FIELDS}"
    answer = await graph.as_(operator()).ask(query, chosen)

    assert comparable(answer.data["trades"]["stats"]) == expected(data.trades, chosen)
