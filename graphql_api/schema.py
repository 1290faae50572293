"""The schema, merged from the types of the domain modules."""

from typing import Final

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types
from strawberry.types.base import get_object_definition

from graphql_api.domain import (
    account,
    activity,
    login,
    node,
    performance,
    session,
    strategy,
    system_log,
    trade,
    user,
)
from graphql_api.domain.risk import mutations
from graphql_api.execution.fields import DeclaredField
from graphql_api.relational.permissions import anyone
from graphql_api.relational.scalars import SCALARS

Query = merge_types(
    "Query",
    (
        login.Query,
        node.Query,
        user.Query,
        account.Query,
        session.Query,
        trade.Query,
        strategy.Query,
        performance.Query,
        system_log.Query,
        activity.Query,
    ),
)
Subscription = merge_types("Subscription", (system_log.Subscription, activity.Subscription))
Mutation = merge_types("Mutation", (login.Mutation, mutations.Mutation))

_DESCRIPTIONS: Final = {
    Query: "What can be read. Lists are connections, newest first unless they say otherwise.",
    Mutation: "What can be changed. Payloads have the rows as they are afterwards, and userErrors.",
    Subscription: "What can be followed live.",
}
for _root, _description in _DESCRIPTIONS.items():
    get_object_definition(_root, strict=True).description = _description

schema = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    subscription=Subscription,
    config=StrawberryConfig(scalar_map=SCALARS),
)

OPEN_MUTATIONS: Final = frozenset(
    schema.config.name_converter.get_graphql_name(field)
    for field in get_object_definition(Mutation, strict=True).fields
    if isinstance(field, DeclaredField) and field.check is anyone
)
"""The mutations that need no signed-in viewer."""


def schema_text() -> str:
    """Returns the schema in GraphQL's own language: what schema.graphql holds."""
    return f"{schema.as_str().rstrip()}\n"
