"""Rows by id alone, of whatever type."""

from collections.abc import Mapping
from typing import Any

import strawberry

from graphql_api.engine.fields import FromLoader, declared
from graphql_api.features import entities
from graphql_api.graph.context import Context
from graphql_api.graph.errors import BadInputError
from graphql_api.graph.node import AnyById, Node
from graphql_api.graph.page import MAX_SIZE
from graphql_api.graph.permissions import signed_in
from graphql_api.graph.relations import argument
from graphql_api.graph.scalars import parse_id

any_by_id = AnyById(
    entities.USERS,
    entities.ACCOUNTS,
    entities.SESSIONS,
    entities.TRADES,
    entities.STRATEGIES,
    entities.STRATEGY_PERFORMANCE,
    entities.RISK_SETTINGS,
    entities.SYSTEM_LOGS,
)


def _node(context: Context, arguments: Mapping[str, Any]) -> Any:
    id_ = parse_id(arguments["id"], "id")
    return lambda _: context.loaders.of(any_by_id).load(id_)


def _nodes(context: Context, arguments: Mapping[str, Any]) -> Any:
    if len(arguments["ids"]) > MAX_SIZE:
        raise BadInputError("ids", f"must be at most {MAX_SIZE}")
    ids = [parse_id(id_, f"ids.{place}") for place, id_ in enumerate(arguments["ids"])]
    return lambda _: context.loaders.of(any_by_id).load_many(ids)


@strawberry.type
class Query:
    """Any row."""

    node: Node | None = declared(
        "The row with this id, whatever its type; null if there is none that the viewer may see.",
        FromLoader(_node),
        arguments=[argument("id", strawberry.ID, "The row's UUID.", required=True)],
        check=signed_in,
    )
    nodes: list[Node | None] = declared(
        f"The rows with these ids, in their order, null for each that is not to be seen. At most {MAX_SIZE}.",
        FromLoader(_nodes),
        arguments=[argument("ids", list[strawberry.ID], "The rows' UUIDs.", required=True)],
        check=signed_in,
    )
