"""`node` and `nodes`: rows of any type by id alone, as Relay's object identification has them."""

from collections.abc import Mapping
from typing import Any

import strawberry

from graphql_api.domain import policy
from graphql_api.execution.fields import FromLoader, declared
from graphql_api.relational.context import Context
from graphql_api.relational.errors import BadInputError
from graphql_api.relational.node import AnyById, Node
from graphql_api.relational.pagination import MAX_SIZE
from graphql_api.relational.permissions import signed_in
from graphql_api.relational.relation import argument
from graphql_api.relational.scalars import parse_id

any_by_id = AnyById(
    policy.USERS,
    policy.ACCOUNTS,
    policy.SESSIONS,
    policy.TRADES,
    policy.STRATEGIES,
    policy.STRATEGY_PERFORMANCE,
    policy.RISK_SETTINGS,
    policy.RISK_EVENTS,
    policy.SYSTEM_LOGS,
    policy.OWN_LOGS,
)


def _node(context: Context, arguments: Mapping[str, Any]) -> Any:
    id_ = parse_id(arguments["id"], "id")
    return lambda _: context.loaders.get(any_by_id).load(id_)


def _nodes(context: Context, arguments: Mapping[str, Any]) -> Any:
    if len(arguments["ids"]) > MAX_SIZE:
        raise BadInputError("ids", f"must be at most {MAX_SIZE}")
    ids = [parse_id(id_, f"ids.{place}") for place, id_ in enumerate(arguments["ids"])]
    return lambda _: context.loaders.get(any_by_id).load_many(ids)


@strawberry.type
class Query:
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
