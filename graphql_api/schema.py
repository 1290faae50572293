"""The schema: a table of contents of the features."""

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types

from graphql_api.features import (
    accounts,
    log_stats,
    login,
    logs,
    nodes,
    performance,
    risk,
    sessions,
    strategies,
    trades,
    users,
)
from graphql_api.graph.scalars import SCALARS

Query = merge_types(
    "Query",
    (
        login.Query,
        nodes.Query,
        users.Query,
        accounts.Query,
        sessions.Query,
        trades.Query,
        strategies.Query,
        performance.Query,
        logs.Query,
        log_stats.Query,
    ),
)
Mutation = merge_types("Mutation", (login.Mutation, risk.Mutation))

schema = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    subscription=logs.Subscription,
    config=StrawberryConfig(scalar_map=SCALARS),
)


def schema_text() -> str:
    """The schema in GraphQL's own language: what schema.graphql holds."""
    return f"{schema.as_str().rstrip()}\n"
