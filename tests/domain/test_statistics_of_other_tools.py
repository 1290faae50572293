"""Figures that other tools report of the same trades.

Where a tool defines a figure differently, what is compared is said beside it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.domain.generated_trades import ACCOUNTS, TENANT, TradingData, store
from tests.domain.statistics_model import Session, Trade
from tests.graph import Graph, trader

STATS = """{ viewer { user { stats {
  tradesCount winRate netPnl profitFactor averageWin averageLoss averageDuration maxDrawdown maxDrawdownPct
  equityCurve(maxPoints: 1) { equity }
} } } }"""

# backtesting.py 0.6.6 on the prices of Google's share that it ships, selling and buying where the means of
# 30 and 60 days cross, from 10,000 and at a commission of 0.2 %: each trade's result, and the day of its
# exit, which is that of the next one's entry. The first entry is on day 209.
CROSSINGS = [
    ("-2441.1744", 252),
    ("2302.29436", 377),
    ("-667.75388", 406),
    ("1092.8737", 546),
    ("-2763.70406", 613),
    ("-906.1731", 658),
    ("-611.31456", 692),
    ("-522.43744", 728),
    ("-239.21212", 774),
    ("1295.83246", 881),
    ("489.38232", 907),
    ("-181.3827", 923),
    ("-443.2053", 980),
    ("466.8534", 1099),
    ("-691.158", 1135),
    ("390.0928", 1247),
    ("276.7666", 1351),
    ("-391.12282", 1421),
    ("2574.23606", 1618),
    ("1528.15036", 1687),
    ("-21.51278", 1692),
    ("152.2024", 1694),
    ("-92.72648", 1698),
    ("4347.57512", 1996),
    ("-1211.16016", 2056),
    ("-1383.76464", 2090),
    ("650.7781", 2188),
    ("178.55864", 2223),
    ("-985.96576", 2238),
    ("1642.41022", 2322),
    ("-936.28348", 2344),
    ("-1434.9968", 2398),
    ("-905.0023", 2532),
    ("-1501.9517", 2581),
    ("-1013.6032", 2623),
    ("208.39936", 2735),
    ("-488.49164", 2773),
    ("-426.4029", 2822),
    ("-353.6577", 2906),
    ("74.2", 3010),
    ("-820.9868", 3060),
    ("523.24576", 3116),
]

# What freqtrade's own tests take its drawdown from.
RECOVERING = ["0", "-500", "500", "10000", "-1000"]
RATIOS = (
    *("0.011580", "0.010048", "0.011340", "0.012161", "0.010416", "0.010009", "0.020024", "-0.024662"),
    *("-0.022350", "0.020496", "-0.029859", "-0.030511", "0.010041", "0.010872", "-0.025782", "0.010400"),
    *("0.012374", "0.012467", "0.114741", "0.010303", "0.010088", "-0.033961", "0.010680", "0.010886"),
    *("-0.029274", "0.011178", "0.010693", "0.010711"),
)

BEGIN = datetime(2004, 8, 19, tzinfo=UTC)


def in_turn(results: Sequence[tuple[str, int]], entry: int, balance: str) -> TradingData:
    """Trades of one session, each entered when the one before was left."""
    session = Session(UUID(int=1000), ACCOUNTS[0], Decimal(balance))
    example = Trade(
        UUID(int=1), session, "GOOG", "buy", "closed", Decimal(1), Decimal(1), BEGIN, BEGIN, None, None
    )
    entries = [entry, *(exit_ for _, exit_ in results)]
    return TradingData(
        [session],
        [
            replace(
                example,
                id=UUID(int=number),
                entry_time=BEGIN + timedelta(days=entered),
                exit_time=BEGIN + timedelta(days=left),
                pnl=Decimal(pnl),
            )
            for number, (entered, (pnl, left)) in enumerate(zip(entries, results, strict=False), start=1)
        ],
    )


async def stats(graph: Graph, connection: "asyncpg.Connection", data: TradingData) -> Any:
    await store(connection, data)
    return (await graph.as_(trader(str(TENANT))).ask(STATS)).data["viewer"]["user"]["stats"]


@pytest.fixture
async def crossings(graph: Graph, connection: "asyncpg.Connection") -> Any:
    return await stats(graph, connection, in_turn(CROSSINGS, 209, "10000"))


async def test_counts_and_results_are_those_of_backtesting_py(crossings: Any) -> None:
    # Its "# Trades", "Win Rate [%]" and "Equity Final [$]", and the mean of its trades' durations, 69 days
    # 05:08, of which it shows 70 days. Its profit factor is of percentages, and its drawdown of daily
    # prices.
    assert crossings["tradesCount"] == 42
    assert round(Decimal(crossings["winRate"]) * 100, 5) == Decimal("40.47619")
    assert crossings["equityCurve"] == [{"equity": "6758.70694000"}]
    assert crossings["netPnl"] == "-3241.29306000"
    assert crossings["averageDuration"] == f"PT{69 * 24 + 5}H8M34.285714S"


async def test_the_drawdown_in_percent_is_that_of_empyrical(crossings: Any) -> None:
    # empyrical-reloaded 0.7.1, max_drawdown of each trade's return on the equity before it: -0.582727577664.
    assert crossings["maxDrawdownPct"] == "58.27275777"


async def test_wins_and_losses_are_those_of_quantstats(crossings: Any) -> None:
    # quantstats 0.0.86, of the results over the balance: win_rate, profit_factor, avg_win, avg_loss. It
    # leaves out results of 0, of which there are none here.
    assert crossings["winRate"] == "0.40476190"
    assert crossings["profitFactor"] == "0.84878604"
    assert (crossings["averageWin"], crossings["averageLoss"]) == ("1070.22656824", "857.40578880")


@pytest.mark.parametrize(
    ("results", "balance", "drawdown", "percent"),
    [
        # freqtrade reports the percentage of the drawdown that is the largest in money, 9.1; or, asked for
        # it, the largest percentage, as here.
        (RECOVERING, "1000", "1000.00000000", "50.00000000"),
        (RATIOS, "0.2", "0.09175500", "32.12957581"),
    ],
)
async def test_drawdowns_are_those_of_freqtrade(
    graph: Graph,
    connection: "asyncpg.Connection",
    results: Sequence[str],
    balance: str,
    drawdown: str,
    percent: str,
) -> None:
    data = in_turn([(pnl, day) for day, pnl in enumerate(results, start=1)], 0, balance)
    found = await stats(graph, connection, data)

    assert (found["maxDrawdown"], found["maxDrawdownPct"]) == (drawdown, percent)
