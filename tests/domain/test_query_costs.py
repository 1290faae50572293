"""Every field that can be expensive has a cost rule, and every cost rule is for a field."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    GraphQLField,
    GraphQLObjectType,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)

from graphql_api.app import build_operations
from graphql_api.domain.query_costs import COST_RULES
from graphql_api.execution.operations import GraphQLRequest
from graphql_api.gateway.gateway import NEW_DOCUMENT
from graphql_api.schema import schema
from graphql_api.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "dashboards.md"
MINUTE = 20 * Settings().max_cost
"""The points of a minute in production."""


def fields() -> Iterator[tuple[str, str, GraphQLField]]:
    """Of all fields of the schema: the type's name, its own, and what it is."""
    for type_ in schema._schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                yield type_.name, name, field


def test_every_price_is_of_a_field_and_counts_by_its_arguments() -> None:
    found = {key: field for owner, name, field in fields() for key in (f"{owner}.{name}", name)}

    assert set(COST_RULES) <= set(found)
    for key, price in COST_RULES.items():
        assert set(price.slicing_arguments) <= set(found[key].args), key


SIZED = [
    ("activeStrategiesPerformance", "first", "{ name }"),
    ("accountPerformance", "first", "{ account { accountNumber } }"),
    ("trades", "first", "{ nodes { symbol } }"),
    ('account(id: "a") { stats { equityCurve', "maxPoints", "{ time } } }"),
    ('account(id: "a") { stats { bySymbol', "first", "{ symbol } } }"),
]


@pytest.mark.parametrize(("field", "argument", "selection"), SIZED)
def test_a_size_that_is_null_or_has_no_value_costs_what_the_default_does(
    field: str, argument: str, selection: str
) -> None:
    def cost(document: str, **variables: object) -> int:
        return operations.prepare(GraphQLRequest(document, variables=variables)).cost

    operations = build_operations(Settings(max_cost=10**9))
    default = cost(f"{{ {field} {selection} }}")
    by_variable = f"query ($n: Int) {{ {field}({argument}: $n) {selection} }}"
    assert cost(f"{{ {field}({argument}: null) {selection} }}") >= default
    assert cost(by_variable) >= default
    assert cost(by_variable, n=None) >= default
    assert cost(by_variable, n=2) < default


def test_every_list_of_objects_has_a_size() -> None:
    def is_sized(owner: str, name: str, field: GraphQLField) -> bool:
        is_list = is_list_type(get_nullable_type(field.type))
        is_form = owner.endswith("Connection") and name in ("edges", "nodes")
        return not is_list or is_form or f"{owner}.{name}" in COST_RULES or name in COST_RULES

    lists = (
        (owner, name, field)
        for owner, name, field in fields()
        if is_composite_type(get_named_type(field.type))
    )
    assert [f"{owner}.{name}" for owner, name, field in lists if not is_sized(owner, name, field)] == []


def test_every_mutation_and_subscription_has_a_price() -> None:
    roots = [f"{owner}.{name}" for owner, name, _ in fields() if owner in ("Mutation", "Subscription")]
    assert set(roots) <= set(COST_RULES)


TYPICAL = {
    "all of a user, by default pages": """{
      viewer { user { accounts { nodes { sessions { nodes { trades { nodes {
        id symbol pnl strategy { name latestPerformance { winRate } }
      } } } } } } } }
    }""",
    "the same, by edges": """{
      viewer { user { accounts { edges { node { sessions { edges { node { trades { edges { node {
        id strategy { performance(first: 1) { edges { node { winRate } } } }
      } } } } } } } } } } }
    }""",
    "a dashboard of accounts": """{
      accounts { nodes {
        accountNumber riskSettings { maxDailyLoss } riskStatus { dailyPnl } currentSession { startedAt }
        stats {
          netPnl winRate maxDrawdown maxDrawdownPct bestTrade { symbol } worstTrade { symbol }
          countByStatus { status count } bySymbol { symbol netPnl } byStrategy { netPnl }
          exposure { symbol } equityCurve { time equity }
        }
      } }
    }""",
    "statistics of sessions": """{
      accounts { nodes { sessions { nodes { stats { netPnl winRate } } } } }
    }""",
    "a long page of trades": """{
      trades(first: 100) { totalCount nodes { id session { account { user { email } } } strategy { name } } }
    }""",
}


@pytest.mark.parametrize("name", TYPICAL)
def test_what_clients_ask_for_is_within_the_default_limits(name: str) -> None:
    build_operations(Settings()).prepare(GraphQLRequest(TYPICAL[name]))


def dashboards() -> dict[str, str]:
    """The documents in docs/dashboards.md, by the heading that each stands below."""
    return dict(re.findall(r"^## (.+?)\n.*?```graphql\n(.+?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("name", dashboards())
def test_a_usual_dashboard_pays_less_than_a_twentieth_of_a_minute(name: str) -> None:
    operations = build_operations(Settings())
    text = dashboards()[name]
    cost = operations.prepare(GraphQLRequest(text)).cost
    assert cost < MINUTE / 20
    # The points of a client whose document and token the process doesn't know yet.
    assert cost + NEW_DOCUMENT + len(text) < MINUTE / 20


def test_the_page_tells_what_each_dashboard_costs() -> None:
    operations = build_operations(Settings())
    for name, text in dashboards().items():
        assert f"{operations.prepare(GraphQLRequest(text)).cost:,} points" in section(name), name


def section(name: str) -> str:
    return PAGE.read_text().partition(f"## {name}")[2].partition("## ")[0]
