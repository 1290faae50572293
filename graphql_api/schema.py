"""The schema: a table of contents of the features."""

import strawberry
from strawberry.schema.config import StrawberryConfig
from strawberry.tools import merge_types

from graphql_api.features import accounts, performance, sessions, strategies, trades, users
from graphql_api.graph.scalars import SCALARS

Query = merge_types(
    "Query",
    (
        users.Query,
        accounts.Query,
        sessions.Query,
        trades.Query,
        strategies.Query,
        performance.Query,
    ),
)

schema = strawberry.Schema(query=Query, config=StrawberryConfig(scalar_map=SCALARS))
