"""The cost rules of fields, in points: a point is the time to read one row and send it, about 3 µs.

Measured with 5,000 to 25,000 trades for each user, PostgreSQL's time included. A field that adds up trades
takes longer the more trades its parent has, which a rule can't know beforehand: the weights are those of a
session, and of a small account.
"""

from typing import Final

from graphql_api.domain import account, performance
from graphql_api.domain.risk.events import MAX_TRADES
from graphql_api.domain.statistics.equity import MAX_POINTS
from graphql_api.domain.system_log import MAX_BACKFILL, MAX_BUCKETS
from graphql_api.execution.costs import PAGE_RULE, BaseCost, CostRule, CostRules

_TOTAL_COUNT = 10
_MANY_SESSIONS = 250  # a page that is merged from those of many sessions
_NODE = 400  # a row that is looked for in every table
_OWN_LOG = 6  # a line whose owner is looked up
_STATS = 300
_STATS_OF_SESSION = 20
_STATEMENTS_OF_STATS = 8  # PostgreSQL's planning of a long statement, which may be about a single session
_STATISTIC = 50  # one more statement over the same trades
_CURVE = 200  # a statement that sorts the trades, and sums them up
_JSON = 80  # of 2 KB with a secret in it, which has to be parsed
_JSON_ALIAS = 4  # the same text once more
_VIEW = 500  # all records of active strategies are joined and sorted
_DURATION = 1
_MUTATION = 10
_PASSWORD = 1_000  # less than a verification takes, which has a queue of its own

BASE_COST: Final = BaseCost(operation=100, statement=60)

COST_RULES: Final[CostRules] = {
    "totalCount": CostRule(_TOTAL_COUNT),
    "Query.viewer": CostRule(statements=0),
    "Query.node": CostRule(_NODE),
    "Query.nodes": CostRule(_NODE, slicing_arguments=("ids",)),
    "Query.trades": CostRule(_MANY_SESSIONS, slicing_arguments=PAGE_RULE.slicing_arguments),
    "Account.trades": CostRule(_MANY_SESSIONS, slicing_arguments=PAGE_RULE.slicing_arguments),
    "Strategy.trades": CostRule(_MANY_SESSIONS, slicing_arguments=PAGE_RULE.slicing_arguments),
    "Account.logs": CostRule(slicing_arguments=PAGE_RULE.slicing_arguments, row_weight=_OWN_LOG),
    "Query.activeStrategiesPerformance": CostRule(
        _VIEW, slicing_arguments=("first",), max_size=performance.MAX_ROWS
    ),
    "Query.accountPerformance": CostRule(slicing_arguments=("first",), max_size=account.MAX_PERFORMANCE_ROWS),
    "Query.systemLogStats": CostRule(_STATS, assumed_size=100, max_size=MAX_BUCKETS),
    "SystemLog.details": CostRule(_JSON, alias_weight=_JSON_ALIAS),
    "Strategy.parameters": CostRule(_JSON, alias_weight=_JSON_ALIAS),
    "duration": CostRule(_DURATION),
    "durationSeconds": CostRule(_DURATION),
    "stats": CostRule(_STATS),
    "Session.stats": CostRule(_STATS_OF_SESSION, statements=_STATEMENTS_OF_STATS),
    "TradeStats.countByStatus": CostRule(_STATISTIC, assumed_size=6),
    "TradeStats.bestTrade": CostRule(_STATISTIC),
    "TradeStats.worstTrade": CostRule(_STATISTIC),
    "TradeStats.bySymbol": CostRule(_STATISTIC, slicing_arguments=("first",)),
    "TradeStats.byStrategy": CostRule(_STATISTIC, slicing_arguments=("first",)),
    "TradeStats.exposure": CostRule(_STATISTIC),
    "TradeStats.equityCurve": CostRule(_CURVE, slicing_arguments=("maxPoints",), max_size=MAX_POINTS),
    "TradeStats.maxDrawdown": CostRule(_STATISTIC),
    "TradeStats.maxDrawdownPct": CostRule(_STATISTIC),
    "Account.riskStatus": CostRule(_STATS),
    "RiskEvent.before": CostRule(statements=0),
    "RiskEvent.after": CostRule(statements=0),
    "RiskEvent.trades": CostRule(assumed_size=10, max_size=MAX_TRADES),
    "Mutation.login": CostRule(_PASSWORD),
    "Mutation.refreshToken": CostRule(_MUTATION),
    "Mutation.logout": CostRule(_MUTATION),
    "Mutation.setRiskSettings": CostRule(_MUTATION),
    "Mutation.updateRiskSettings": CostRule(_MUTATION),
    "Mutation.resetRiskSettings": CostRule(_MUTATION),
    "Subscription.accountActivity": CostRule(assumed_size=1),
    "Subscription.riskStatusChanged": CostRule(assumed_size=1),
    "Subscription.systemLogAdded": CostRule(
        slicing_arguments=("backfill",), assumed_size=1, max_size=MAX_BACKFILL
    ),
    "userErrors": CostRule(0, assumed_size=1),
}
