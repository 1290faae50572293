"""Relations of the graph, declared as data: `one` row, or `many` in a connection.

    strategy: Strategy | None   = one("…", STRATEGIES, key="strategy_id")
    trades:   TradeConnection   = many("…", TRADE_LIST, parent=SESSIONS, parent_key=trades.c.session_id)

Each is read by a dataloader of the operation (`context.Loader`), so that all parents of a level, aliases,
fragments and siblings share one statement. The executor (`execution.executor.LoaderResolver`) asks it for the
key of each parent of the level; then the loader calls its batch function for all keys: `Entity.load_by_ids`
for rows, `RelationReader.load_pages` for lists:

    page_query.page_statement       the SQL: columns, filter, tenant and order, and of each parent one page
    ViewerDatabase.fetch_by_key     runs it, as the viewer's tenant (`postgres.database`)
    PageResult                      the rows of one parent, from which the connection's fields are read
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Final, Generic, TypeVar

import strawberry
from sqlalchemy import Column, ColumnElement, Select
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
from graphql_api.execution.projection import Lookahead, Projection, Reference
from graphql_api.postgres.tables.indexes import operator_index
from graphql_api.relational import page_query
from graphql_api.relational.context import BatchLoad, Context, Row, ViewerDatabase
from graphql_api.relational.eager_joins import are_visible, eager_joins_of, rows_from_labels
from graphql_api.relational.entity import Entity, loader_by_id
from graphql_api.relational.errors import BadInputError
from graphql_api.relational.filters import ALL_ROWS, Filter, Predicate, parse_filter
from graphql_api.relational.page_query import (
    DIRECT_PARENTS,
    ROOT,
    ChildRelation,
    FilteredRelation,
    KeysetRange,
    PageShape,
    build_filtered,
    count_statement,
    examined_count_statement,
    page_statement,
    parent_and_page_statement,
    parent_labels,
)
from graphql_api.relational.pagination import (
    DEFAULT_SIZE,
    MAX_SIZE,
    PageRequest,
    SortOrder,
    cursor_key,
    page_size,
)
from graphql_api.relational.scalars import parse_id


def column(description: str, *, name: str | None = None, convert: Any = None) -> Any:
    """Declares a field that is read from the column `name` of its row, by default that of its own name.

    `convert` converts values that are not null.
    """
    return declared(description, FromColumn(name, convert))


def computed(
    description: str,
    compute: Callable[..., Any],
    *,
    columns: tuple[str, ...],
    compute_all: Callable[..., Sequence[Any]] | None = None,
) -> Any:
    """Declares a field that is computed from columns of its row, without loading anything.

    `compute_all` returns the same for many rows, from a sequence of values for each column.
    """
    return declared(description, FromColumns(columns, compute, compute_all))


def one(description: str, to: Entity | BatchLoad, *, key: str) -> Any:
    """Declares a relation to at most one row, found by the value of the row's column `key`.

    `to` is the entity whose row has that id, or a batch function that loads by such keys.
    """

    def prepare(context: Context, _arguments: Mapping[str, Any]) -> Any:
        return loader_by_id(context, to) if isinstance(to, Entity) else context.loaders.get(to)

    reference = Reference(key, to) if isinstance(to, Entity) else None
    return declared(description, FromKey(key, prepare, reference=reference))


def root_one(description: str, entity: Entity, *, check: Check) -> Any:
    """Declares a root field that finds a row by its id; null for another tenant's, as for an unknown id."""

    def prepare(context: Context, arguments: Mapping[str, Any]) -> Any:
        id_ = parse_id(arguments["id"], "id")
        load = loader_by_id(context, entity)
        return lambda _: load(id_)

    id_argument = argument("id", strawberry.ID, f"The UUID of the {entity.name}.", required=True)
    source = FromLoader(prepare, row_loader=lambda context: loader_by_id(context, entity))
    return declared(description, source, arguments=[id_argument], check=check)


@dataclass(frozen=True, eq=False, slots=True)
class ListSpec:
    """How lists of an entity can be requested: with which filter, in which orders."""

    entity: Entity
    default_order: SortOrder
    filter_input: Any
    order_columns: Mapping[Any, Column[Any]] | None = None
    """The column of each value of the order input's `field`; None where the order is fixed."""
    order_input: Any = None
    """The order input type, of `field` and `direction`."""
    parse_filter: Callable[[Any], Filter] = parse_filter
    """From the filter input to the filter. Raises BadInputError."""

    def arguments(self) -> list[StrawberryArgument]:
        """Returns the arguments of a field that serves such a list."""
        arguments = [
            argument("first", int, f"The first N rows, 1 to {MAX_SIZE}; {DEFAULT_SIZE} by default."),
            argument("after", str, "Only rows after this cursor."),
            argument("last", int, f"The last N rows, 1 to {MAX_SIZE}, instead of the first."),
            argument("before", str, "Only rows before this cursor."),
            argument("filter", self.filter_input, "Only rows that fit; all conditions given must hold."),
        ]
        if self.order_input is not None:
            arguments.append(argument("order_by", self.order_input, "How to sort; ties are broken by id."))
        return arguments

    def filter(self, arguments: Mapping[str, Any]) -> Filter:
        """Returns the filter that these arguments ask for. Raises BadInputError."""
        given = arguments.get("filter")
        return ALL_ROWS if given is None else self.parse_filter(given)

    def page_request(
        self,
        projection: Projection,
        arguments: Mapping[str, Any],
        lookahead: Lookahead | None,
        *,
        is_root: bool = False,
    ) -> PageRequest:
        """Returns the page that these arguments and the fields below ask for. Raises BadInputError.

        Only a list at the root joins the rows that its rows refer to, and counts its rows, in its own
        statement: below many parents, the same rows would be read again for each. Where the selected fields
        aren't known, everything that `pageInfo` can return is read, and no total.
        """
        order, wanted = self.default_order, arguments.get("order_by")
        if wanted is not None and self.order_columns is not None:
            order = SortOrder(self.order_columns[wanted.field], wanted.direction.value == "DESC")
        size, backward = page_size(arguments)
        after, before = cursor_key(arguments, "after", order), cursor_key(arguments, "before", order)
        return PageRequest(
            order,
            size,
            backward,
            after,
            before,
            self.filter(arguments),
            projection.columns(self.entity.shown_as or self.entity),
            eager_joins_of(projection, self.entity) if is_root else (),
            with_total=is_root and lookahead is not None and lookahead.selects(TOTAL_COUNT),
            with_previous=after is not None
            and (lookahead is None or lookahead.selects(PAGE_INFO, HAS_PREVIOUS_PAGE)),
            with_next=before is not None
            and (lookahead is None or lookahead.selects(PAGE_INFO, HAS_NEXT_PAGE)),
        )


def many(description: str, spec: ListSpec, *, parent: Entity, parent_key: Column[Any]) -> Any:
    """Declares a relation to the rows below a row of `parent`, whose id is in the column `parent_key`."""
    relation = RelationReader(spec.entity, parent, parent_key)

    def prepare(context: Context, request: PageRequest) -> Any:
        return context.loaders.get(relation.load_pages, request)

    source = FromKey("id", prepare, spec.page_request, load_with_parent=relation.load_with_parent)
    return declared(description, source, arguments=spec.arguments())


def root_many(description: str, spec: ListSpec, *, check: Check) -> Any:
    """Declares a root field that lists every row the viewer may see."""
    relation = RelationReader(spec.entity)

    def prepare(context: Context, request: PageRequest) -> Any:
        load = context.loaders.get(relation.load_pages, request).load
        return lambda _: load(ROOT)

    source = FromLoader(prepare, partial(spec.page_request, is_root=True))
    return declared(description, source, arguments=spec.arguments(), check=check)


def root_rows(description: str, batch: BatchLoad, *, max_rows: int, check: Check) -> Any:
    """Declares a root field that lists the first rows that `batch` returns for ROOT, at most `max_rows`.

    It has no pages: `batch` gets the number of rows in place of a page.
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
    """Declares an argument of a field.

    It may be null unless it is required, and be left out with a default.
    """
    return StrawberryArgument(
        python_name=name,
        graphql_name=None,
        type_annotation=StrawberryAnnotation(type_ if required else type_ | None),
        description=description,
        **({} if required and default is strawberry.UNSET else {"default": default}),
    )


_MOST_HINTED_KEYS: Final = 10
"""Keys of a statement up to which the hints of each are looked up."""


@dataclass(frozen=True, eq=False, slots=True)
class RelationReader(ChildRelation):
    """Reads pages and totals of a relation, for many parents in one statement, as batch functions."""

    async def load_pages(
        self, db: ViewerDatabase, keys: Sequence[str], request: PageRequest
    ) -> Mapping[str, "PageResult | BadInputError"]:
        """Returns each parent's page. A parent that the viewer may not see has an empty one.

        A list of several tenants' rows that would have to examine too many has an error instead; so has
        every list of an entity whose `read_limit` says so.
        """
        read_limit = self.entity.read_limit
        is_limited = read_limit is not None and (db.tenant is None or read_limit.every_list)
        if is_limited and self.entity.is_visible_to(db):
            rows = FilteredRelation(self, request.filter.predicate, for_tenant=db.tenant is not None)
            if rows.read_limit is not None:
                return await self._load_limited_pages(db, keys, request, rows)
        return await self.read_pages(db, keys, request)

    async def _load_limited_pages(
        self, db: ViewerDatabase, keys: Sequence[str], request: PageRequest, rows: FilteredRelation
    ) -> Mapping[str, "PageResult | BadInputError"]:
        """Returns each parent's page of rows of which a limited number is examined."""
        weight = 1 if rows.read_limit is None else rows.read_limit.weight
        limit = max(1, page_query.MAX_EXAMINED // weight // len(keys))
        if rows.is_ordered(request.order):
            if not rows.split(order=request.order.column)[1]:
                return await self.read_pages(db, keys, request)  # every examined row matches the filter
        else:
            index = None if self.parent is not None else operator_index(request.order.column)
            has_index = index is not None and await db.has_index(index)
            if not has_index or rows.is_narrowed:
                counts = await self._count_examined(db, keys, request, limit)
                few = [key for key in keys if counts[key] <= limit]
                if few == keys or not has_index:
                    refused = {key: _too_many_to_sort(self.entity, limit) for key in keys}
                    return {**refused, **(await self.read_pages(db, few, request) if few else {})}
        pages = await self.read_pages(db, keys, request, limit=limit)
        unread: set[str] = set()
        shape = PageShape.of(request)
        for range_, unsure in (
            (shape.range, [key for key in keys if not pages[key].has_more]),
            (shape.preceding, [key for key in keys if pages[key].lacks_previous]),
            (shape.following, [key for key in keys if pages[key].lacks_next]),
        ):
            if unsure:
                counts = await self._count_examined(db, unsure, request, limit, range_)
                unread |= {key for key in unsure if counts[key] > limit}
        return {**pages, **{key: _too_few_fit(self.entity, limit) for key in unread}}

    async def _count_examined(
        self,
        db: ViewerDatabase,
        keys: Sequence[str],
        request: PageRequest,
        limit: int,
        range_: KeysetRange | None = None,
    ) -> Mapping[str, int]:
        """Returns how many rows would be examined in a range, or sorted, by parent; at most `limit` + 1."""
        statement = await build_filtered(
            request.filter,
            examined_count_statement,
            self,
            request.filter.predicate,
            range_,
            db.tenant is not None,
        )
        rows = await db.fetch(statement, keys=keys, **request.parameters(), limit=limit + 1)
        return dict.fromkeys(keys, 0) | {row["_parent"]: row["total"] for row in rows}

    async def read_pages(
        self, db: ViewerDatabase, keys: Sequence[str], request: PageRequest, *, limit: int | None = None
    ) -> Mapping[str, "PageResult"]:
        """Reads each parent's page in one statement; with `limit`, from so many rows of an index."""
        eager_joins = request.eager_joins
        if not self.entity.is_visible_to(db):
            return {key: PageResult.of(Rows(()), request, self, key) for key in keys}
        if eager_joins and not are_visible(eager_joins, db):
            eager_joins = ()
        few_parents = limit is None and self._has_few_parents(db, keys, request)
        shape = PageShape.of(request, eager_joins, limited=limit is not None, few_parents=few_parents)
        statement = await build_filtered(request.filter, page_statement, self, shape, db.tenant is not None)
        values = request.parameters()
        if limit is not None:
            values["limit"] = limit
        if request.with_total:
            values["count_limit"] = page_query.MAX_COUNTED + 1
        if self.parent is None:
            found = [await db.fetch(statement, **values)]
        else:
            found = await db.fetch_by_key(statement, keys, **values)
        columns = next((tuple(rows[0].keys()) for rows in found if rows), ())
        joined = rows_from_labels(Rows(found[0], columns).table(), eager_joins) if eager_joins else {}
        if DIRECT_PARENTS in columns:
            for key, rows in zip(keys, found, strict=True):
                number = rows[0][DIRECT_PARENTS] if rows else None
                if number is not None and number <= request.size:
                    db.hints[self, db.tenant, key] = number
        return {
            key: PageResult.of(Rows(rows, columns, joined), request, self, key)
            for key, rows in zip(keys, found, strict=True)
        }

    def _has_few_parents(self, db: ViewerDatabase, keys: Sequence[str], request: PageRequest) -> bool:
        """Whether, a short while ago, pages were merged from fewer direct parents than the page has rows."""
        return (
            db.tenant is not None
            and len(keys) <= _MOST_HINTED_KEYS
            and all(db.hints.get((self, db.tenant, key), inf) <= request.size for key in keys)
        )

    async def load_with_parent(
        self, db: ViewerDatabase, id_: str, columns: frozenset[str] | None, request: PageRequest
    ) -> "tuple[Row | None, PageResult] | None":
        """Returns a parent's row with these columns, None for all, and its page, read in one statement.

        The row is None if the viewer may see no row with this id. Returns None where the page needs a
        statement of its own.
        """
        parent = self.parent
        if parent is None or not (parent.is_visible_to(db) and self.entity.is_visible_to(db)):
            return None
        if db.tenant is None and self.entity.read_limit is not None:
            return None
        statement = parent_and_page_statement(self, PageShape.of(request), db.tenant is not None, columns)
        if statement is None:
            return None
        (rows,) = await db.fetch_by_key(statement, (id_,), **request.parameters())
        if not rows:
            return None, PageResult.of(Rows(rows), request, self, id_)
        first = rows[0]
        names = tuple(first.keys())
        row = {name: first[label] for name, label in parent_labels(names)}
        return row, PageResult.of(Rows(rows, names), request, self, id_)

    async def load_totals(
        self, db: ViewerDatabase, keys: Sequence[str], request: PageRequest
    ) -> Mapping[str, int | BadInputError]:
        """Returns how many rows each parent has under the page's filter.

        A BadInputError in place of a number: too many rows of several tenants, or more than the entity's
        `count_limit` allows, would have to be examined.
        """
        if not self.entity.is_visible_to(db):
            return dict.fromkeys(keys, 0)
        predicate = request.filter.predicate
        statement = await build_filtered(
            request.filter, count_statement, self, predicate, db.tenant is not None
        )
        weight = 1 if self.entity.count_limit is None else self.entity.count_limit.weight
        limit = max(1, page_query.MAX_COUNTED // weight // len(keys))
        rows = await db.fetch(statement, keys=keys, **request.parameters(), count_limit=limit + 1)
        totals = {row["_parent"]: row["total"] for row in rows}
        return {
            key: _too_many_to_count(self.entity, limit) if total is None else total
            for key, total in (dict.fromkeys(keys, 0) | totals).items()
        }


def _too_many_to_sort(entity: Entity, limit: int) -> BadInputError:
    return _refusal("orderBy", f"more than {limit:,} rows would have to be sorted in this order", entity)


def _too_few_fit(entity: Entity, limit: int) -> BadInputError:
    return _refusal("filter", f"fewer rows than a page has fit among the first {limit:,}", entity)


def _too_many_to_count(entity: Entity, limit: int) -> BadInputError:
    return _refusal("filter", f"more than {limit:,} rows would have to be counted", entity)


def _refusal(argument: str, reason: str, entity: Entity) -> BadInputError:
    limit = entity.count_limit or entity.read_limit
    assert limit is not None  # noqa: S101 - narrows
    return BadInputError(argument, f"{reason}; filter by {limit.narrowed_by}")


@dataclass(frozen=True, eq=False, slots=True)
class LatestRelated:
    """Loads the first row of each parent in an order: the latest, the current."""

    relation: RelationReader
    order: SortOrder
    predicate: Predicate = ALL_ROWS.predicate

    async def __call__(
        self, db: ViewerDatabase, keys: Sequence[str], _page: None = None
    ) -> Mapping[str, Row]:
        """Returns each parent's first row; parents without any are left out."""
        request = PageRequest(self.order, size=1, filter=Filter(self.predicate))
        pages = await self.relation.read_pages(db, keys, request)
        return {key: result.nodes[0] for key, result in pages.items() if result.nodes}

    def query(self, *columns: ColumnElement[Any], for_tenant: bool) -> Select[Any]:
        """Returns a query, a part of a statement, of these columns of each key's first row and its `_parent`.

        With `for_tenant`, only parents are included that the tenant of the key may see.
        """
        rows = FilteredRelation(self.relation, self.predicate, for_tenant)
        range_ = KeysetRange(self.order, self.order.descending)
        first = range_.sort(rows.select(*columns), range_.keys(rows.entity.table.c)).limit(1)
        return rows.per_visible_parent(first)


@dataclass(slots=True)
class PageResult:
    """One parent's page: its rows in order, and whether there are rows before and behind it."""

    nodes: list[Row]
    request: PageRequest
    relation: RelationReader
    parent: str
    has_previous_page: bool | None
    has_next_page: bool | None
    """Whether there are rows before the page, and behind it; None where that wasn't asked for."""
    has_more: bool
    """Whether there are rows beyond the page in the direction in which it was read."""
    total: int | None
    """How many rows the whole list has, if the page's statement counted them."""

    @property
    def lacks_previous(self) -> bool:
        """Whether the statement has looked for a row before the cursor `after`, and found none."""
        return self.request.with_previous and self.request.after is not None and not self.has_previous_page

    @property
    def lacks_next(self) -> bool:
        """Whether the statement has looked for a row behind the cursor `before`, and found none."""
        return self.request.with_next and self.request.before is not None and not self.has_next_page

    @classmethod
    def of(cls, rows: Rows, request: PageRequest, relation: RelationReader, parent: str) -> "PageResult":
        """Returns the page of the rows that its statement has read, which are changed in place.

        Removes the additional row that was read to see whether others follow, and the row of an empty page;
        reverses the rows if they were read backward.
        """
        first: Any = rows[0] if rows else {}
        total = first["_total"] if first and request.with_total else None
        has_previous: bool | None = False
        has_next: bool | None = False
        if request.after is not None:
            has_previous = first.get("_has_previous", False) if request.with_previous else None
        if request.before is not None:
            has_next = first.get("_has_next", False) if request.with_next else None
        if first and first["id"] is None:  # the row of a parent whose page is empty
            rows.clear()
        has_more = len(rows) > request.size
        del rows[request.size :]
        if request.backward:
            rows.reverse()
            has_previous = has_more or has_previous
        else:
            has_next = has_more or has_next
        return cls(rows, request, relation, parent, has_previous, has_next, has_more, total)


NodeType = TypeVar("NodeType")

HAS_NEXT_PAGE = FromParent(lambda result: result.has_next_page)
HAS_PREVIOUS_PAGE = FromParent(lambda result: result.has_previous_page)


@strawberry.type(description="Where a page lies in its list.")
class PageInfo:
    """Read from a `PageResult`."""

    has_next_page: bool = declared("Whether rows follow the page.", HAS_NEXT_PAGE)
    has_previous_page: bool = declared("Whether rows precede the page.", HAS_PREVIOUS_PAGE)
    start_cursor: str | None = declared(
        "The first row's cursor, for `before`; null on an empty page.",
        FromParent(lambda result: result.request.cursor(result.nodes[0]) if result.nodes else None),
    )
    end_cursor: str | None = declared(
        "The last row's cursor, for `after`; null on an empty page.",
        FromParent(lambda result: result.request.cursor(result.nodes[-1]) if result.nodes else None),
    )


@strawberry.type(description="A row in its place in a list.")
class Edge(Generic[NodeType]):
    """Read from a pair of `PageResult` and row."""

    cursor: str = declared(
        "Names this place, for `after` and `before`.",
        FromParent(lambda edge: edge[0].request.cursor(edge[1])),
    )
    node: NodeType = declared("The row.", FromParent(lambda edge: edge[1]))


def _load_total(context: Context, _arguments: Any) -> Any:
    def load(result: PageResult) -> Any:
        if result.total is not None:
            return result.total
        # Every page of a list has the same total, so the request to count has no page: only the filter.
        return context.loaders.get(result.relation.load_totals, result.request.filter_only()).load(
            result.parent
        )

    return load


PAGE_INFO = FromParent(lambda result: result)
TOTAL_COUNT = FromLoader(_load_total)


@strawberry.type(description="A page of a list, and the way to the next.")
class Connection(Generic[NodeType]):
    """Read from a `PageResult`."""

    edges: list[Edge[NodeType]] = declared(
        "The page's rows, each with its cursor.",
        FromParent(lambda result: [(result, row) for row in result.nodes]),
    )
    nodes: list[NodeType] = declared("The page's rows.", FromParent(lambda result: result.nodes))
    page_info: PageInfo = declared("Where the page lies.", PAGE_INFO)
    total_count: int = declared(
        "The number of rows of the whole list that match its filter. They are counted only if this field"
        " is selected.",
        TOTAL_COUNT,
    )
