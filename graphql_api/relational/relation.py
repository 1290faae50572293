"""Edges of the graph, declared as data: `one` row, or `many` in a connection.

    strategy: Strategy | None   = one("…", STRATEGIES, key="strategy_id")
    trades:   TradeConnection   = many("…", TRADE_LIST, parent_key=tables.trades.c.session_id, …)

Each goes through a loader of the operation, so that aliases, fragments and siblings share one statement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from typing import Any, Generic, TypeVar

import asyncpg
import strawberry
from sqlalchemy import Column
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.arguments import StrawberryArgument

from graphql_api.execution.columns import Rows
from graphql_api.execution.fields import (
    Check,
    FromColumn,
    FromColumns,
    FromKey,
    FromLoader,
    FromParent,
    declared,
)
from graphql_api.execution.projection import Lookahead, Reference
from graphql_api.relational.context import BatchLoad, Context, Row, ViewerDatabase
from graphql_api.relational.eager_joins import EagerJoin, eager_joins_of, rows_from_labels, visible
from graphql_api.relational.entity import Entity, loader_by_id
from graphql_api.relational.errors import BadInputError
from graphql_api.relational.filters import MATCH_ALL, Predicate, Values, parse_filter
from graphql_api.relational.page_query import ROOT, Bounds, ChildRelation, count_statement, page_statement
from graphql_api.relational.pagination import DEFAULT_SIZE, MAX_SIZE, PageRequest, SortOrder
from graphql_api.relational.scalars import parse_id


def column(description: str, *, name: str | None = None, convert: Any = None) -> Any:
    """A field that is a column of its row: its own name's, or `name`; `convert` converts what is not null."""
    return declared(description, FromColumn(name, convert))


def computed(description: str, compute: Callable[..., Any], *, columns: tuple[str, ...]) -> Any:
    """A field that is computed from columns of its row, without loading anything."""
    return declared(description, FromColumns(columns, compute))


def one(description: str, to: Entity | BatchLoad, *, key: str) -> Any:
    """An edge to at most one row: the entity's, or the batch's, for what the row's column `key` holds."""

    def prepare(context: Context, _arguments: Mapping[str, Any]) -> Any:
        return loader_by_id(context, to) if isinstance(to, Entity) else context.loaders.get(to).load

    reference = Reference(key, to) if isinstance(to, Entity) else None
    return declared(description, FromKey(key, prepare, reference=reference))


def root_one(description: str, entity: Entity, *, check: Check) -> Any:
    """A root field that finds one row by its id; another tenant's reads as one that doesn't exist."""

    def prepare(context: Context, arguments: Mapping[str, Any]) -> Any:
        id_ = parse_id(arguments["id"], "id")
        load = loader_by_id(context, entity)
        return lambda _: load(id_)

    id_argument = argument("id", strawberry.ID, f"The UUID of the {entity.name}.", required=True)
    return declared(description, FromLoader(prepare), arguments=[id_argument], check=check)


@dataclass(frozen=True, eq=False, slots=True)
class ListSpec:
    """How lists of an entity can be asked for: by which filter, in which orders."""

    entity: Entity
    default_order: SortOrder
    filter_input: Any
    order_columns: Mapping[Any, Column[Any]] | None = None
    """What each value of the order input's `field` stands for; None where the order is fixed."""
    order_input: Any = None
    """The order input type, of `field` and `direction`."""
    parse_filter: Callable[[Any], tuple[Predicate, Values]] = parse_filter
    """Splits the filter input into its shape and its values."""

    def arguments(self) -> list[StrawberryArgument]:
        """The arguments of a field that serves such a list."""
        arguments = [
            argument("first", int, f"The first N rows, 1 to {MAX_SIZE}; {DEFAULT_SIZE} unless told."),
            argument("after", str, "Only rows after this cursor."),
            argument("last", int, f"The last N rows, 1 to {MAX_SIZE}, instead of the first."),
            argument("before", str, "Only rows before this cursor."),
            argument("filter", self.filter_input, "Only rows that fit; all conditions given must hold."),
        ]
        if self.order_input is not None:
            arguments.append(argument("order_by", self.order_input, "The order; ties are broken by id."))
        return arguments

    def page_request(self, context: Context, arguments: Mapping[str, Any]) -> PageRequest:
        """The page that these arguments ask for. Raises BadInputError."""
        order, wanted = self.default_order, arguments.get("order_by")
        if wanted is not None and self.order_columns is not None:
            order = SortOrder(self.order_columns[wanted.field], wanted.direction.value == "DESC")
        projection = context.projection.columns(self.entity)
        return PageRequest.parse(arguments, order, *self.parse_filter(arguments.get("filter")), projection)


def many(description: str, listing: ListSpec, *, parent: Entity, parent_key: Column[Any]) -> Any:
    """An edge to the rows of `listing` below a row of `parent`, whose id is in the column `parent_key`."""
    relation = RelationLoader(listing.entity, parent, parent_key)

    def prepare(context: Context, arguments: Mapping[str, Any]) -> Any:
        return context.loaders.get(relation.load_pages, listing.page_request(context, arguments)).load

    return declared(description, FromKey("id", prepare), arguments=listing.arguments())


def root_many(description: str, listing: ListSpec, *, check: Check) -> Any:
    """A root field that lists every row the viewer may see."""
    relation = RelationLoader(listing.entity)

    def prepare(context: Context, arguments: Mapping[str, Any], lookahead: Lookahead | None) -> Any:
        # Only here: below many parents a page would have the same rows with it again and again.
        page = replace(
            listing.page_request(context, arguments),
            eager_joins=eager_joins_of(context.projection, listing.entity),
            with_total=lookahead is not None and lookahead.selects(TOTAL_COUNT),
        )
        load = context.loaders.get(relation.load_pages, page).load
        return lambda _: load(ROOT)

    source = FromLoader(prepare, looks_ahead=True)
    return declared(description, source, arguments=listing.arguments(), check=check)


def root_rows(description: str, batch: BatchLoad, *, max_rows: int, check: Check) -> Any:
    """A root field that lists the first rows that `batch` has for ROOT, without pages: at most `max_rows`.

    The batch gets their number as its page.
    """

    def prepare(context: Context, arguments: Mapping[str, Any]) -> Any:
        first = max_rows if arguments.get("first") is None else arguments["first"]
        if not 1 <= first <= max_rows:
            raise BadInputError("first", f"must be between 1 and {max_rows}")
        return lambda _: context.loaders.get(batch, first).load(ROOT)

    first = argument("first", int, f"How many rows at most, 1 to {max_rows}.", default=max_rows)
    return declared(description, FromLoader(prepare), arguments=[first], check=check)


def argument(
    name: str, type_: Any, description: str, *, required: bool = False, default: Any = strawberry.UNSET
) -> StrawberryArgument:
    """An argument of a declared field. One that isn't required may be null; one with a default, left out."""
    return StrawberryArgument(
        python_name=name,
        graphql_name=None,
        type_annotation=StrawberryAnnotation(type_ if required else type_ | None),
        description=description,
        **({} if required and default is strawberry.UNSET else {"default": default}),
    )


@dataclass(frozen=True, eq=False, slots=True)
class RelationLoader(ChildRelation):
    """The rows of a branch, read in batches."""

    async def load_pages(
        self, db: ViewerDatabase, keys: Sequence[str], page: PageRequest
    ) -> Mapping[str, "PageResult"]:
        """Each parent's page."""
        rows: list[asyncpg.Record] = []
        eager_joins: Sequence[EagerJoin] = ()
        if self.entity.is_visible_to(db):
            eager_joins = page.eager_joins if visible(page.eager_joins, db) else ()
            wanted = page.order, page.shape, page.projection, eager_joins, page.with_total
            statement = page_statement(self, db.tenant is not None, Bounds.of(page), *wanted)
            rows = await db.fetch(statement, **_values(page, keys))
        columns = tuple(rows[0].keys()) if rows else ()
        found = rows_from_labels(Rows(rows, columns).table(), eager_joins) if eager_joins else {}
        rows_of = {key: Rows((), columns, found) for key in keys}
        for parent, its_rows in groupby(rows, itemgetter("_parent")):
            rows_of[parent] += its_rows
        return {key: PageResult.of(its_rows, page, self, key) for key, its_rows in rows_of.items()}

    async def load_counts(
        self, db: ViewerDatabase, keys: Sequence[str], page: PageRequest
    ) -> Mapping[str, int]:
        """How many rows each parent has under the page's filter."""
        if not self.entity.is_visible_to(db):
            return dict.fromkeys(keys, 0)
        statement = count_statement(self, db.tenant is not None, page.shape)
        rows = await db.fetch(statement, **_values(page, keys))
        return dict.fromkeys(keys, 0) | {row["_parent"]: row["total"] for row in rows}


@dataclass(frozen=True, eq=False, slots=True)
class LatestRelated:
    """Of each parent's rows, the first in an order: the latest, the current."""

    relation: RelationLoader
    order: SortOrder
    shape: Predicate = MATCH_ALL

    async def __call__(
        self, db: ViewerDatabase, keys: Sequence[str], _page: None = None
    ) -> Mapping[str, Row]:
        """Each parent's first row; parents without any are left out."""
        page = PageRequest(self.order, size=1, shape=self.shape)
        pages = await self.relation.load_pages(db, keys, page)
        return {key: part.nodes[0] for key, part in pages.items() if part.nodes}


@dataclass(frozen=True, slots=True)
class PageResult:
    """One parent's page: its rows in order, and what lies beyond."""

    nodes: list[Row]
    page: PageRequest
    relation: RelationLoader
    parent: str
    has_next_page: bool
    has_previous_page: bool
    total: int | None
    """How many rows the whole list has, if the page came with it."""

    @classmethod
    def of(cls, rows: Rows, page: PageRequest, relation: RelationLoader, parent: str) -> "PageResult":
        """Cut the extra row that tells whether there is more, and put a backward page in order."""
        more = len(rows) > page.size
        total = rows[0]["_total"] if rows and page.with_total else None
        del rows[page.size :]
        if page.backward:
            rows.reverse()
            return cls(rows, page, relation, parent, page.before is not None, more, total)
        return cls(rows, page, relation, parent, more, page.after is not None, total)


def _values(page: PageRequest, keys: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {**dict(page.values), "keys": list(keys), "fetch": page.size + 1}
    for name, position in (("after", page.after), ("before", page.before)):
        if position is not None:
            values[f"{name}_key"], values[f"{name}_id"] = position
    return values


NodeType = TypeVar("NodeType")


@strawberry.type(description="Where a page lies in its list.")
class PageInfo:
    """Read from a `PageResult`."""

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
    def load(part: PageResult) -> Any:
        if part.total is not None:
            return part.total
        # Every page of a list has the same total: only the filter is part of what is counted.
        return context.loaders.get(part.relation.load_counts, part.page.filter_only()).load(part.parent)

    return load


TOTAL_COUNT = FromLoader(_count)


@strawberry.type(description="A page of a list, and the way to the next.")
class Connection(Generic[NodeType]):
    """Read from a `PageResult`."""

    edges: list[Edge[NodeType]] = declared(
        "The page's rows, each with its cursor.", FromParent(lambda part: [(part, row) for row in part.nodes])
    )
    nodes: list[NodeType] = declared("The page's rows.", FromParent(lambda part: part.nodes))
    page_info: PageInfo = declared("Where the page lies.", FromParent(lambda part: part))
    total_count: int = declared(
        "How many rows the whole list has under its filter. Counted only when asked for.", TOTAL_COUNT
    )
