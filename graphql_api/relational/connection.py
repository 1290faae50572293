"""Connections: the types a list is served in, as Relay's specification has them."""

from typing import Any, Generic, TypeVar

import strawberry

from graphql_api.execution.fields import FromLoader, FromParent, declared
from graphql_api.relational.context import Context
from graphql_api.relational.relation_loader import Slice

NodeType = TypeVar("NodeType")


@strawberry.type(description="Where a page lies in its list.")
class PageInfo:
    """Read from a `Slice`."""

    has_next_page: bool = declared(
        "Whether rows follow the page.", FromParent(lambda part: part.has_next_page)
    )
    has_previous_page: bool = declared(
        "Whether rows precede the page.", FromParent(lambda part: part.has_previous_page)
    )
    start_cursor: str | None = declared(
        "The first row's cursor, for `before`; null on an empty page.",
        FromParent(lambda part: part.page.cursor(part.nodes[0]) if part.nodes else None),
    )
    end_cursor: str | None = declared(
        "The last row's cursor, for `after`; null on an empty page.",
        FromParent(lambda part: part.page.cursor(part.nodes[-1]) if part.nodes else None),
    )


@strawberry.type(description="A row in its place in a list.")
class Edge(Generic[NodeType]):
    """Read from a pair of slice and row."""

    cursor: str = declared(
        "Names this place, for `after` and `before`.", FromParent(lambda edge: edge[0].page.cursor(edge[1]))
    )
    node: NodeType = declared("The row.", FromParent(lambda edge: edge[1]))


def _count(context: Context, _arguments: Any) -> Any:
    def load(part: Slice) -> Any:
        if part.total is not None:
            return part.total
        # Every page of a list has the same total: only the filter is part of what is counted.
        return context.loaders.of(part.children.count, part.page.filter_only()).load(part.parent)

    return load


@strawberry.type(description="A page of a list, and the way to the next.")
class Connection(Generic[NodeType]):
    """Read from a `Slice`."""

    edges: list[Edge[NodeType]] = declared(
        "The page's rows, each with its cursor.", FromParent(lambda part: [(part, row) for row in part.nodes])
    )
    nodes: list[NodeType] = declared("The page's rows.", FromParent(lambda part: part.nodes))
    page_info: PageInfo = declared("Where the page lies.", FromParent(lambda part: part))
    total_count: int = declared(
        "How many rows the whole list has under its filter. Counted only when asked for.",
        FromLoader(_count),
    )
