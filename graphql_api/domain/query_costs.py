"""What fields cost, in points: a point is what it takes to read one row and send it, about 6 µs.

Measured over 5,000 to 25,000 trades for each user, PostgreSQL's time included. What adds up trades takes as
long as its parent has trades, which no price can foresee: these are a session's, and a small account's.
"""

from typing import Final

from graphql_api.domain import account, performance
from graphql_api.domain.statistics.equity import MAX_POINTS
from graphql_api.domain.system_log import MAX_BACKFILL, MAX_BUCKETS
from graphql_api.execution.costs import PAGE_RULE, CostRule, CostRules

_COUNT = 10
_ALL_TRADES = 200  # those of every session are sorted for one page
_TOTALS = 200
_TOTALS_OF_SESSION = 20
_MEASURE = 50  # one more look at the same trades
_CHANGE = 10
_PASSWORD = 1_000  # less than a verification takes, which has a queue of its own

COST_RULES: Final[CostRules] = {
    "totalCount": CostRule(_COUNT),
    "Query.node": CostRule(_ALL_TRADES),  # looks into every table
    "Query.nodes": CostRule(_ALL_TRADES, slicing_arguments=("ids",)),
    "Query.trades": CostRule(_ALL_TRADES, slicing_arguments=PAGE_RULE.slicing_arguments),
    "Account.trades": CostRule(_ALL_TRADES, slicing_arguments=PAGE_RULE.slicing_arguments),
    "Query.activeStrategiesPerformance": CostRule(
        slicing_arguments=("first",), max_size=performance.MAX_ROWS
    ),
    "Query.accountPerformance": CostRule(slicing_arguments=("first",), max_size=account.MAX_PERFORMANCE_ROWS),
    "Query.systemLogStats": CostRule(_TOTALS, assumed_size=100, max_size=MAX_BUCKETS),
    "SystemLog.details": CostRule(2),
    "stats": CostRule(_TOTALS),
    "Session.stats": CostRule(_TOTALS_OF_SESSION),
    "TradeStats.countByStatus": CostRule(_MEASURE, assumed_size=6),
    "TradeStats.bestTrade": CostRule(_MEASURE),
    "TradeStats.worstTrade": CostRule(_MEASURE),
    "TradeStats.bySymbol": CostRule(_MEASURE, slicing_arguments=("first",)),
    "TradeStats.byStrategy": CostRule(_MEASURE, slicing_arguments=("first",)),
    "TradeStats.exposure": CostRule(_MEASURE),
    "TradeStats.equityCurve": CostRule(_MEASURE, slicing_arguments=("maxPoints",), max_size=MAX_POINTS),
    "TradeStats.maxDrawdown": CostRule(_MEASURE),
    "TradeStats.maxDrawdownPct": CostRule(_MEASURE),
    "Account.riskStatus": CostRule(_TOTALS),
    "Mutation.login": CostRule(_PASSWORD),
    "Mutation.refreshToken": CostRule(_CHANGE),
    "Mutation.logout": CostRule(_CHANGE),
    "Mutation.setRiskSettings": CostRule(_CHANGE),
    "Mutation.updateRiskSettings": CostRule(_CHANGE),
    "Mutation.resetRiskSettings": CostRule(_CHANGE),
    "Subscription.systemLogAdded": CostRule(
        slicing_arguments=("backfill",), assumed_size=1, max_size=MAX_BACKFILL
    ),
    "userErrors": CostRule(0, assumed_size=1),
}
