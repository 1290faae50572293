"""No field at the root is open by oversight: each names who may ask for it."""

import pytest

from graphql_api.execution.fields import Check, DeclaredField
from graphql_api.identity.viewer import ANONYMOUS
from graphql_api.relational import permissions
from graphql_api.relational.context import Context
from graphql_api.relational.errors import UnauthenticatedError
from graphql_api.schema import schema
from tests.graph import Graph

CLOSED = (permissions.signed_in, permissions.reads_graph, permissions.reads_logs)
PERMISSIONS = {permissions.anyone, *CLOSED}
OPEN = {"Mutation.login", "Mutation.refreshToken", "Mutation.logout"}


def roots() -> dict[str, object]:
    """Every field at the root of an operation, as it was declared."""
    types = (schema._schema.query_type, schema._schema.mutation_type, schema._schema.subscription_type)
    return {
        f"{type_.name}.{name}": field.extensions["strawberry-definition"]
        for type_ in types
        if type_ is not None
        for name, field in type_.fields.items()
    }


def test_every_root_field_declares_a_permission() -> None:
    undeclared = [
        name
        for name, field in roots().items()
        if not isinstance(field, DeclaredField) or field.check not in PERMISSIONS
    ]
    assert undeclared == []


def test_only_signing_in_and_out_is_open_to_anyone() -> None:
    opened = {
        name
        for name, field in roots().items()
        if isinstance(field, DeclaredField) and field.check is permissions.anyone
    }
    assert opened == OPEN


@pytest.mark.parametrize("permission", CLOSED, ids=lambda each: each.__name__)
async def test_every_other_permission_refuses_nobody(graph: Graph, permission: Check) -> None:
    with pytest.raises(UnauthenticatedError):
        permission(Context(ANONYMOUS, graph.services))
