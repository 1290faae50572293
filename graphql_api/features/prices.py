"""What fields cost, in points: a point is about what it takes to read one row and send it."""

from typing import Final

from graphql_api.engine.prices import Price, Prices
from graphql_api.features.log_stats import MAX_BUCKETS
from graphql_api.features.logs import MAX_BACKFILL
from graphql_api.features.performance import MAX_VIEW_ROWS
from graphql_api.features.stats.curve import MAX_POINTS

_COUNT = 5
_STATISTICS = 20
_CHANGE = 10
_LOGIN = 100

PRICES: Final[Prices] = {
    "totalCount": Price(_COUNT),
    "Query.nodes": Price(counted_by=("ids",)),
    "Query.activeStrategiesPerformance": Price(counted_by=("first",), most=MAX_VIEW_ROWS),
    "Query.accountPerformance": Price(counted_by=("first",), most=MAX_VIEW_ROWS),
    "Query.systemLogStats": Price(_STATISTICS, rows=100, most=MAX_BUCKETS),
    "stats": Price(_STATISTICS),
    "TradeStats.countByStatus": Price(_STATISTICS, rows=6),
    "TradeStats.bestTrade": Price(_STATISTICS),
    "TradeStats.worstTrade": Price(_STATISTICS),
    "TradeStats.bySymbol": Price(_STATISTICS, counted_by=("first",)),
    "TradeStats.byStrategy": Price(_STATISTICS, counted_by=("first",)),
    "TradeStats.exposure": Price(_STATISTICS),
    "TradeStats.equityCurve": Price(_STATISTICS, counted_by=("maxPoints",), most=MAX_POINTS),
    "TradeStats.maxDrawdown": Price(_STATISTICS),
    "TradeStats.maxDrawdownPct": Price(_STATISTICS),
    "Account.riskStatus": Price(_STATISTICS),
    "Mutation.login": Price(_LOGIN),
    "Mutation.refreshToken": Price(_CHANGE),
    "Mutation.logout": Price(_CHANGE),
    "Mutation.setRiskSettings": Price(_CHANGE),
    "Mutation.updateRiskSettings": Price(_CHANGE),
    "Mutation.resetRiskSettings": Price(_CHANGE),
    "Subscription.systemLogAdded": Price(counted_by=("backfill",), rows=1, most=MAX_BACKFILL),
    "userErrors": Price(0, rows=1),
}
