"""What fields cost, in points: a point is what it takes to read one row and send it, about 6 µs.

Measured over 5,000 to 25,000 trades for each user, PostgreSQL's time included. What adds up trades takes as
long as its parent has trades, which no price can foresee: these are a session's, and a small account's.
"""

from typing import Final

from graphql_api.domain import account, performance
from graphql_api.domain.statistics.equity import MAX_POINTS
from graphql_api.domain.system_log import MAX_BACKFILL, MAX_BUCKETS
from graphql_api.execution.cost_rules import PAGES, Price, Prices

_COUNT = 10
_ALL_TRADES = 200  # those of every session are sorted for one page
_TOTALS = 200
_TOTALS_OF_SESSION = 20
_MEASURE = 50  # one more look at the same trades
_CHANGE = 10
_PASSWORD = 1_000  # less than a verification takes, which has a queue of its own

PRICES: Final[Prices] = {
    "totalCount": Price(_COUNT),
    "Query.node": Price(_ALL_TRADES),  # looks into every table
    "Query.nodes": Price(_ALL_TRADES, counted_by=("ids",)),
    "Query.trades": Price(_ALL_TRADES, counted_by=PAGES.counted_by),
    "Account.trades": Price(_ALL_TRADES, counted_by=PAGES.counted_by),
    "Query.activeStrategiesPerformance": Price(counted_by=("first",), most=performance.MAX_ROWS),
    "Query.accountPerformance": Price(counted_by=("first",), most=account.MAX_PERFORMANCE_ROWS),
    "Query.systemLogStats": Price(_TOTALS, rows=100, most=MAX_BUCKETS),
    "SystemLog.details": Price(2),
    "stats": Price(_TOTALS),
    "Session.stats": Price(_TOTALS_OF_SESSION),
    "TradeStats.countByStatus": Price(_MEASURE, rows=6),
    "TradeStats.bestTrade": Price(_MEASURE),
    "TradeStats.worstTrade": Price(_MEASURE),
    "TradeStats.bySymbol": Price(_MEASURE, counted_by=("first",)),
    "TradeStats.byStrategy": Price(_MEASURE, counted_by=("first",)),
    "TradeStats.exposure": Price(_MEASURE),
    "TradeStats.equityCurve": Price(_MEASURE, counted_by=("maxPoints",), most=MAX_POINTS),
    "TradeStats.maxDrawdown": Price(_MEASURE),
    "TradeStats.maxDrawdownPct": Price(_MEASURE),
    "Account.riskStatus": Price(_TOTALS),
    "Mutation.login": Price(_PASSWORD),
    "Mutation.refreshToken": Price(_CHANGE),
    "Mutation.logout": Price(_CHANGE),
    "Mutation.setRiskSettings": Price(_CHANGE),
    "Mutation.updateRiskSettings": Price(_CHANGE),
    "Mutation.resetRiskSettings": Price(_CHANGE),
    "Subscription.systemLogAdded": Price(counted_by=("backfill",), rows=1, most=MAX_BACKFILL),
    "userErrors": Price(0, rows=1),
}
