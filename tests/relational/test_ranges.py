"""Ranges that end before they begin: refused wherever a client can give one."""

from decimal import Decimal
from itertools import product
from typing import Any

import asyncpg
import pytest
from graphql import GraphQLInputObjectType, get_named_type
from hypothesis import example, given
from hypothesis import strategies as st

from graphql_api.execution.operations import GraphQLRequest
from graphql_api.relational.context import Context
from graphql_api.relational.errors import BadInputError
from graphql_api.relational.filters import DecimalFilter, check_range
from graphql_api.schema import schema
from tests import factories
from tests.graph import Graph, operator

EIGHT, HALF_PAST_SEVEN = "2026-11-22T08:00:00Z", "2026-11-22T09:30:00+02:00"
MOMENTS = ({"gte": EIGHT, "lt": HALF_PAST_SEVEN}, "lt", "must not be before", "gte")
NUMBERS = ({"gt": "2", "lte": "1.99999999"}, "lte", "must not be less than", "gt")

# Every range of every filter: a query to refuse it in.
RANGES = {
    ("AccountFilter", "lastSync"): "query ($f: AccountFilter) { accounts(filter: $f) { totalCount } }",
    ("RiskEventFilter", "occurredAt"): (
        "query ($f: RiskEventFilter) { accounts { nodes { riskEvents(filter: $f) { totalCount } } } }"
    ),
    ("SessionFilter", "startedAt"): "query ($f: SessionFilter) { sessions(filter: $f) { totalCount } }",
    ("SessionFilter", "endedAt"): "query ($f: SessionFilter) { sessions(filter: $f) { totalCount } }",
    ("SessionFilter", "pnl"): "query ($f: SessionFilter) { sessions(filter: $f) { totalCount } }",
    ("StrategyFilter", "performanceScore"): (
        "query ($f: StrategyFilter) { strategies(filter: $f) { totalCount } }"
    ),
    ("StrategyPerformanceFilter", "timestamp"): (
        "query ($f: StrategyPerformanceFilter) {"
        " strategies { nodes { performance(filter: $f) { totalCount } } } }"
    ),
    ("SystemLogFilter", "timestamp"): "query ($f: SystemLogFilter) { systemLogs(filter: $f) { totalCount } }",
    ("TradeFilter", "entryTime"): "query ($f: TradeFilter) { trades(filter: $f) { totalCount } }",
    ("TradeFilter", "exitTime"): "query ($f: TradeFilter) { trades(filter: $f) { stats { netPnl } } }",
    ("TradeFilter", "pnl"): "query ($f: TradeFilter) { trades(filter: $f) { nodes { id } } }",
    ("TradeFilter", "aiConfidence"): "query ($f: TradeFilter) { trades(filter: $f) { totalCount } }",
}
TRADES = RANGES["TradeFilter", "entryTime"]


def kind_of(filter_: str, name: str) -> Any:
    """The type of a filter's field."""
    type_ = schema._schema.type_map[filter_]
    assert isinstance(type_, GraphQLInputObjectType)
    return get_named_type(type_.fields[name].type)


def test_every_range_of_the_schema_is_among_these() -> None:
    inputs = [each for each in schema._schema.type_map.values() if isinstance(each, GraphQLInputObjectType)]
    found = {
        (each.name, name)
        for each in inputs
        for name in each.fields
        if kind_of(each.name, name).name in ("DateTimeFilter", "DecimalFilter")
    }
    assert found == set(RANGES)


@pytest.mark.parametrize(("filter_", "name"), RANGES)
async def test_a_reversed_range_is_refused(
    graph: Graph, connection: "asyncpg.Connection", filter_: str, name: str
) -> None:
    await factories.strategy(connection)
    await factories.account(connection, await factories.user(connection))
    bounds, upper, rule, lower = MOMENTS if kind_of(filter_, name).name == "DateTimeFilter" else NUMBERS
    answer = await graph.as_(operator()).ask(RANGES[filter_, name], {"f": {name: bounds}})

    argument = f"filter.{name}.{upper}"
    assert answer.error["message"] == f"{argument}: {rule} filter.{name}.{lower}"
    assert answer.error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}


@pytest.mark.parametrize("path", ["or.1", "not.not", "and.0.not"])
async def test_it_is_refused_however_deep_it_stands(graph: Graph, path: str) -> None:
    filter_: Any = {"entryTime": MOMENTS[0]}
    for part in reversed(path.split(".")):
        filter_ = [{}] * int(part) + [filter_] if part.isdigit() else {part: filter_}
    answer = await graph.as_(operator()).ask(TRADES, {"f": filter_})

    lower, upper = (f"filter.{path}.entryTime.{bound}" for bound in ("gte", "lt"))
    assert answer.error["message"] == f"{upper}: must not be before {lower}"
    assert answer.statements == 0


@pytest.mark.parametrize(
    "query",
    [
        "query ($f: SystemLogFilter) { systemLogStats(filter: $f) { count } }",
        "subscription ($f: SystemLogFilter) { systemLogAdded(filter: $f) { cursor } }",
    ],
)
async def test_counts_of_logs_and_the_feed_refuse_it_too(graph: Graph, query: str) -> None:
    operator_ = graph.as_(operator())
    operation = graph.operations.prepare(GraphQLRequest(query, None, {"f": {"timestamp": MOMENTS[0]}}))

    def context() -> Context:
        return Context(operator_.viewer, graph.services)

    if query.startswith("query"):
        errors = (await graph.operations.execute(operation, context())).errors
    else:
        ((result,),) = [results async for results in graph.subscriptions.subscribe(operation, context)]
        errors = result.errors
    assert [error.message for error in errors] == [
        "filter.timestamp.lt: must not be before filter.timestamp.gte"
    ]


@pytest.mark.parametrize(
    "filter_",
    [
        {"entryTime": {"gte": EIGHT, "lt": "2026-11-22T10:00:00+02:00"}},
        {"pnl": {"gt": "2", "lt": "2.0"}},
        {"pnl": {"gte": "2", "lt": "2"}},
        {"pnl": {"gte": "2", "lt": None}, "entryTime": {"gte": EIGHT}},
    ],
    ids=str,
)
async def test_a_range_that_ends_where_it_begins_is_empty(graph: Graph, filter_: Any) -> None:
    answer = await graph.as_(operator()).ask(TRADES, {"f": filter_})

    assert answer.data == {"trades": {"totalCount": 0}}


bounds = st.none() | st.decimals(-2, 2, places=1)


@given(gt=bounds, gte=bounds, lt=bounds, lte=bounds)
@example(gt=Decimal(1), gte=None, lt=Decimal(2), lte=Decimal(0))
def test_numbers_are_refused_if_an_upper_bound_lies_below_a_lower(
    gt: Decimal | None, gte: Decimal | None, lt: Decimal | None, lte: Decimal | None
) -> None:
    below = any(
        lower is not None and upper is not None and upper < lower
        for lower, upper in product((gt, gte), (lt, lte))
    )
    try:
        check_range(DecimalFilter(gt=gt, gte=gte, lt=lt, lte=lte), "filter.pnl")
    except BadInputError:
        refused = True
    else:
        refused = False
    assert refused == below
