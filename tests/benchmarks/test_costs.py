"""The cost of each kind of work is measured: no field of the schema is forgotten."""

import pytest

from benchmarks.worst_request.costs import Kind, fields_with_cost, kinds, unseated
from graphql_api.app import build_operations
from graphql_api.execution.operations import GraphQLRequest
from graphql_api.schema import schema
from graphql_api.settings import Settings

NOBODY = "00000000-0000-4000-8000-000000000000"
TYPES = (
    "Account",
    "Session",
    "Trade",
    "Strategy",
    "User",
    "SystemLog",
    "StrategyPerformance",
    "RiskSettings",
)
KINDS = list(kinds(schema._schema, {key: [NOBODY] for key in TYPES}))
OPERATIONS = build_operations(Settings())


def test_each_type_has_a_place_where_its_fields_are_measured() -> None:
    # A type that is missing here wants a line in SEATS, or in NO_SEATS if none of its fields reads anything.
    assert unseated(schema._schema) == []


def test_each_field_that_reads_something_is_measured() -> None:
    names = [kind.name for kind in KINDS]
    fields = [f"`{owner}.{name}`" for owner, name, _ in fields_with_cost(schema._schema)]
    assert len(fields) > 40
    assert set(fields) <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.is_new], ids=lambda kind: kind.name)
def test_what_is_measured_is_within_the_limits(kind: Kind) -> None:
    variables = kind.variables(1) if "$" in kind.query else {}
    OPERATIONS.prepare(GraphQLRequest(kind.query, None, variables))
