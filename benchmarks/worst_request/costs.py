"""Compares the points that each kind of work pays with those that it uses: each field that reads, and others.

Every field that leads to objects or has a cost rule of its own is asked for where its type is in `SEATS`. So
a new field is measured by itself, and a new type needs a seat.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from graphql import (
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
    is_non_null_type,
)

from benchmarks.worst_request.attacks import filters
from graphql_api.domain.query_costs import COST_RULES

SEATS: Final[Mapping[str, str]] = {
    "Query": "{%s}",
    "Viewer": "{viewer {%s}}",
    "User": "{viewer {user {%s}}}",
    "Account": "{accounts(first: 20) {nodes {%s}}}",
    "AccountPerformance": "{accountPerformance(first: 100) {%s}}",
    "ActiveStrategyPerformance": "{activeStrategiesPerformance(first: 100) {%s}}",
    "RiskSettings": "{accounts(first: 20) {nodes {riskSettings {%s}}}}",
    "RiskEvent": "{accounts(first: 20) {nodes {riskEvents(first: 10) {nodes {%s}}}}}",
    "Session": "{accounts(first: 20) {nodes {sessions(first: 5) {nodes {%s}}}}}",
    "Strategy": "{strategies(first: 100) {nodes {%s}}}",
    "StrategyPerformance": "{strategies(first: 10) {nodes {performance(first: 10) {nodes {%s}}}}}",
    "StrategyStats": "{accounts(first: 20) {nodes {stats {byStrategy(first: 5) {%s}}}}}",
    "SystemLog": "{systemLogs(first: 100) {nodes {%s}}}",
    "Trade": "{trades(first: 100) {nodes {%s}}}",
    "TradeStats": "{accounts(first: 20) {nodes {stats {%s}}}}",
}
"""A selection that leads to objects of each type, of which there are many."""
FORMS: Final = ("Connection", "Edge", "Payload", "Event")
"""Endings of the names of types that are parts of another's field."""
NO_SEATS: Final = frozenset(
    {"Mutation", "Subscription", "PageInfo", "UserError", "RiskStatus", "RiskLimits", "EquityPoint"}
    | {"StatusCount", "SymbolStats", "SymbolExposure", "SystemLogBucket"}
    | {"AccountActivity", "RiskStatusChange"}
)
"""Types of which no field reads anything, and those of a subscription's events."""


class Kind(NamedTuple):
    """A kind of work: a request that consists of it for the most part."""

    name: str
    query: str
    variables: Callable[[int], Mapping[str, Any]] = lambda _: {}
    is_operators: bool = False
    is_new: bool = False
    """Whether each request has a document that the process has never seen."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a kind of work has paid, and what it has used, both in points."""

    kind: Kind
    paid: float
    used: float

    @property
    def ratio(self) -> float:
        """What it has used by what it has paid."""
        return self.used / self.paid


def kinds(schema: GraphQLSchema, ids: Mapping[str, list[str]]) -> Iterator[Kind]:
    """Returns all of them."""
    yield Kind("an operation", "{__typename}")
    for owner, name, field in fields_with_cost(schema):
        selection = _selection(schema, owner, name, field, ids)
        yield Kind(f"`{owner}.{name}`", SEATS[owner] % selection, is_operators=_is_operators(owner, name))
    leaves = "id symbol direction entryPrice exitPrice size entryTime pnl status"
    yield Kind("rows of trades", f"{{trades(first: 100) {{nodes {{{leaves}}}}}}}")
    aliases = " ".join(f"a{n}: symbol" for n in range(30))
    yield Kind("a text under 30 aliases", f"{{trades(first: 100) {{nodes {{{aliases}}}}}}}")
    aliases = " ".join(f"a{n}: parameters" for n in range(10))
    yield Kind("JSON under 10 aliases", f"{{strategies(first: 100) {{nodes {{{aliases}}}}}}}")
    yield Kind(
        "a tenant's trades in another order",
        f"{{trades(first: 100, orderBy: {{field: PNL}}) {{nodes {{{leaves}}}}}}}",
    )
    search = 'filter: {symbol: {contains: "nowhere"}}'
    yield Kind("a filter that nothing fits", f"{{trades(first: 100, {search}) {{nodes {{{leaves}}}}}}}")
    yield Kind("a total under a filter", f"{{trades(first: 1, {search}) {{totalCount}}}}")
    listed = {"f": {"symbol": {"in": [f"{n:020}" for n in range(1000)]}}}
    yield Kind(
        "a thousand texts to compare",
        "query ($f: TradeFilter) {trades(first: 100, filter: $f) {nodes {id}}}",
        lambda _: listed,
    )
    yield Kind(
        "a filter of 80 conditions in a new shape",
        "query ($f: TradeFilter) {trades(first: 1, filter: $f) {nodes {id}}}",
        lambda number: {"f": filters(random.Random(number), 80)},
    )
    yield Kind("a document that is new", "{viewer {roles scopes a%d: roles}}", is_new=True)
    wrong = " ".join(f"wrong{n}" for n in range(300))
    yield Kind("a document that is refused", f"{{viewer {{a%d: roles {wrong}}}}}", is_new=True)
    yield Kind("a long text in variables", "{__typename}", lambda _: {"unused": "x" * 1_000_000})
    yield Kind("20,000 numbers in variables", "{__typename}", lambda _: {"unused": [1.5] * 19_000})


def fields_with_cost(schema: GraphQLSchema) -> Iterator[tuple[str, str, GraphQLField]]:
    """Returns the fields that lead to objects or have a cost rule, each with its type's name and its own."""
    for type_ in schema.type_map.values():
        if not isinstance(type_, GraphQLObjectType) or type_.name not in SEATS:
            continue
        for name, field in type_.fields.items():
            has_rule = f"{type_.name}.{name}" in COST_RULES or name in COST_RULES
            if has_rule or not is_leaf_type(get_named_type(field.type)):
                yield type_.name, name, field


def unseated(schema: GraphQLSchema) -> list[str]:
    """Returns the object types for which there is no seat, though their fields may read something."""
    return sorted(
        type_.name
        for type_ in schema.type_map.values()
        if isinstance(type_, GraphQLObjectType)
        and not type_.name.startswith("__")
        and not type_.name.endswith(FORMS)
        and type_.name not in SEATS
        and type_.name not in NO_SEATS
    )


def _is_operators(owner: str, name: str) -> bool:
    return owner == "SystemLog" or name.startswith(("systemLog", "users"))


def _selection(
    schema: GraphQLSchema, owner: str, name: str, field: GraphQLField, ids: Mapping[str, list[str]]
) -> str:
    arguments = []
    for key, argument in field.args.items():
        if key == "first":
            arguments.append("first: 20")
        elif key == "ids":
            arguments.append("ids: [" + " ".join(f'"{each}"' for each in ids["Trade"][:100]) + "]")
        elif key == "id":
            kind = name.capitalize() if name.capitalize() in ids else "Trade"
            arguments.append(f'id: "{ids[kind][0]}"')
        elif is_non_null_type(argument.type) and argument.default_value is None:
            raise LookupError(f"{owner}.{name}({key}:) needs a value")
    given = f"({', '.join(arguments)})" if arguments else ""
    return f"{name}{given}{_below(schema, field, 2)}"


def _below(schema: GraphQLSchema, field: GraphQLField, levels: int) -> str:
    type_ = get_named_type(field.type)
    if is_leaf_type(type_):
        return ""
    fields: Mapping[str, GraphQLField] = getattr(type_, "fields", {})
    if "nodes" in fields:
        return f" {{nodes{_below(schema, fields['nodes'], levels)}}}"
    leaves = [name for name, each in fields.items() if is_leaf_type(get_named_type(each.type))]
    plain = [name for name in leaves if f"{type_.name}.{name}" not in COST_RULES and name not in COST_RULES]
    return " {" + " ".join(plain or ["__typename"]) + "}"
