"""The equity curve: what its points stand for, and what thinning keeps."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import factories
from tests.domain import statistics_model as model
from tests.domain.generated_trades import ACCOUNTS, TENANT, TradingData, store
from tests.domain.statistics_model import Session, Trade
from tests.domain.test_statistics_model import generated
from tests.graph import Graph, trader

CURVE = """
query ($interval: Interval, $zone: String, $most: Int) {
  viewer { user { stats { maxDrawdown equityCurve(interval: $interval, timezone: $zone, maxPoints: $most) {
    time netPnl cumulativePnl equity drawdown tradesCount
  } } } }
}
"""
SESSION = Session(UUID(int=1000), ACCOUNTS[0], Decimal(100))
BEGIN = datetime(2026, 3, 28, 20, 30, tzinfo=UTC)
TRADE = Trade(
    UUID(int=0), SESSION, "EURUSD", "buy", "closed", Decimal(1), Decimal(1), BEGIN, BEGIN, Decimal(1), None
)


def one_an_hour(results: Sequence[int], begin: datetime = BEGIN) -> list[Trade]:
    """Trades that close an hour after each other."""
    return [
        replace(TRADE, id=UUID(int=hour), exit_time=begin + timedelta(hours=hour), pnl=Decimal(result))
        for hour, result in enumerate(results, start=1)
    ]


async def asked(graph: Graph, connection: "asyncpg.Connection", trades: Sequence[Trade], **given: Any) -> Any:
    await store(connection, TradingData([SESSION], trades))
    answer = await graph.as_(trader(str(TENANT))).ask(CURVE, given)
    return answer.data["viewer"]["user"]["stats"]


@given(results=st.lists(st.integers(-4, 4), min_size=1, max_size=80), most=st.integers(1, 20))
@generated
async def test_a_thinned_curve_adds_up_to_the_whole_one(
    graph: Graph, connection: "asyncpg.Connection", results: list[int], most: int
) -> None:
    trades = one_an_hour(results)
    whole = await asked(graph, connection, trades, interval="HOUR", most=500)
    thin = (await asked(graph, connection, trades, interval="HOUR", most=most))["equityCurve"]
    points = whole["equityCurve"]

    assert len(points) == len(results)
    assert len(thin) <= most
    assert thin[-1]["cumulativePnl"] == points[-1]["cumulativePnl"] == model.plain(sum(results))
    assert model.plain(max(Decimal(point["drawdown"]) for point in thin)) == whole["maxDrawdown"]
    assert sum(point["tradesCount"] for point in thin) == len(results)
    assert model.plain(sum((Decimal(point["netPnl"]) for point in thin), Decimal(0))) == model.plain(
        sum(results)
    )
    at = {point["time"]: point["cumulativePnl"] for point in points}
    assert all(at[point["time"]] == point["cumulativePnl"] for point in thin)
    assert thin == model.curve(trades, "HOUR", "UTC", most)


async def test_of_each_window_the_last_the_deepest_and_the_highest_point_stay(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    trades = one_an_hour([1, 1, -5, 1, 9, -1, 2, -7, 1, 1, 1, 1])
    stats = await asked(graph, connection, trades, interval="HOUR", most=6)

    kept = [point["cumulativePnl"].partition(".")[0] for point in stats["equityCurve"]]
    assert kept == ["-3", "7", "6", "8", "1", "5"]


async def test_a_single_point_takes_up_everything(graph: Graph, connection: "asyncpg.Connection") -> None:
    stats = await asked(graph, connection, one_an_hour([5, -8, 4]), interval="HOUR", most=1)

    assert stats["equityCurve"] == [
        {
            "time": "2026-03-28T23:00:00.000000Z",
            "netPnl": "1.00000000",
            "cumulativePnl": "1.00000000",
            "equity": "101.00000000",
            "drawdown": "8.00000000",
            "tradesCount": 3,
        }
    ]


@pytest.mark.parametrize(
    ("begin", "midnights"),
    [
        # Clocks go forward at 01:00 UTC: the 29th has 23 hours.
        (datetime(2026, 3, 28, 22, 30, tzinfo=UTC), ["2026-03-28T23:00", "2026-03-29T22:00"]),
        # Clocks go back at 01:00 UTC: the 25th has 25 hours.
        (datetime(2026, 10, 24, 21, 30, tzinfo=UTC), ["2026-10-24T22:00", "2026-10-25T23:00"]),
    ],
)
async def test_days_begin_at_local_midnight_when_clocks_change(
    graph: Graph, connection: "asyncpg.Connection", begin: datetime, midnights: list[str]
) -> None:
    stats = await asked(graph, connection, one_an_hour([1] * 26, begin), interval="DAY", zone="Europe/Berlin")

    assert [point["time"][:16] for point in stats["equityCurve"]] == midnights
    hours = datetime.fromisoformat(midnights[1]) - datetime.fromisoformat(midnights[0])
    assert [point["tradesCount"] for point in stats["equityCurve"]] == [
        hours // timedelta(hours=1),
        26 - hours // timedelta(hours=1),
    ]


async def test_the_hour_that_clocks_repeat_is_two_hours(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    begin = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)  # 01:30 in Berlin, then 02:30 twice
    stats = await asked(graph, connection, one_an_hour([1, 1], begin), interval="HOUR", zone="Europe/Berlin")

    assert [point["time"][11:16] for point in stats["equityCurve"]] == ["00:00", "01:00"]


async def test_weeks_begin_on_monday(graph: Graph, connection: "asyncpg.Connection") -> None:
    sunday = datetime(2026, 11, 22, 23, tzinfo=UTC)
    trades = [
        replace(TRADE, id=UUID(int=1), exit_time=sunday),
        replace(TRADE, id=UUID(int=2), exit_time=sunday + timedelta(hours=1)),
    ]
    stats = await asked(graph, connection, trades, interval="WEEK")

    assert [point["time"][:10] for point in stats["equityCurve"]] == ["2026-11-16", "2026-11-23"]


@pytest.mark.parametrize(("first", "percent", "equity"), [(1, "20.0", "800.0"), (2, "4.0", "4800.0")])
async def test_of_first_results_at_one_moment_the_smaller_trade_id_decides_the_starting_balance(
    graph: Graph, connection: "asyncpg.Connection", first: int, percent: str, equity: str
) -> None:
    small = replace(SESSION, initial_balance=Decimal(1000))
    large = replace(SESSION, id=UUID(int=1001), initial_balance=Decimal(5000))
    ids = (1, 2) if first == 1 else (2, 1)
    trades = [
        replace(TRADE, id=UUID(int=id_), session=session, pnl=Decimal(-100))
        for id_, session in zip(ids, (small, large), strict=True)
    ]
    await store(connection, TradingData([small, large], trades))
    answer = await graph.as_(trader(str(TENANT))).ask(
        "{ viewer { user { stats { maxDrawdownPct equityCurve { equity } } } } }"
    )

    stats = answer.data["viewer"]["user"]["stats"]
    assert Decimal(stats["maxDrawdownPct"]) == Decimal(percent)
    assert [Decimal(point["equity"]) for point in stats["equityCurve"]] == [Decimal(equity)]


async def test_no_result_lies_before_its_point_where_midnight_comes_twice(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    first_midnight = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)  # 00:00 in the Azores, and again an hour later
    trades = one_an_hour([1, 1, 1], first_midnight - timedelta(minutes=90))
    stats = await asked(graph, connection, trades, interval="DAY", zone="Atlantic/Azores")

    assert [(point["time"][:16], point["tradesCount"]) for point in stats["equityCurve"]] == [
        ("2026-10-24T00:00", 1),
        ("2026-10-25T00:00", 2),
    ]


async def test_results_of_one_moment_count_in_the_order_of_their_ids(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    together = [
        replace(TRADE, id=UUID(int=2), pnl=Decimal(-7)),
        replace(TRADE, id=UUID(int=1), pnl=Decimal(7)),
        replace(TRADE, id=UUID(int=3), pnl=Decimal(-7)),
    ]
    stats = await asked(graph, connection, together)

    assert stats["maxDrawdown"] == "14.00000000"


async def test_a_trade_without_an_exit_counts_at_its_entry(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    entered = datetime(2026, 11, 3, 8, tzinfo=UTC)
    stats = await asked(graph, connection, [replace(TRADE, entry_time=entered, exit_time=None)])

    assert [point["time"] for point in stats["equityCurve"]] == ["2026-11-03T00:00:00.000000Z"]


@pytest.mark.parametrize("balance", [None, Decimal("NaN"), Decimal(0), Decimal(-10)])
async def test_equity_is_null_where_the_starting_balance_is_no_amount(
    graph: Graph, connection: "asyncpg.Connection", balance: Decimal | None
) -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    session = await factories.session(connection, account, initial_balance=balance)
    await factories.trade(connection, session, status="closed", exit_time=BEGIN, pnl=Decimal(-1))
    answer = await graph.as_(trader(user)).ask(
        "{ trades { stats { maxDrawdown maxDrawdownPct equityCurve { equity cumulativePnl } } } }"
    )

    assert answer.data["trades"]["stats"] == {
        "maxDrawdown": "1.00000000",
        "maxDrawdownPct": None,
        "equityCurve": [{"equity": None, "cumulativePnl": "-1.00000000"}],
    }
