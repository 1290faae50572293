"""Lists: which entity, in which orders; and the SQL that reads a page of it for one parent or for many.

Many parents are one statement: LATERAL gives each its own page, read from the index that serves the order,
which stays cheap however many rows a parent has.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import UUID

from graphql_api.db.statements import Statement, compile_statement
from graphql_api.db.tables import sort_key, unbounded
from graphql_api.graph.context import Reader, Row
from graphql_api.graph.entity import UUIDS, Entity
from graphql_api.graph.filters import EVERYTHING, Shape, condition, tables_of, without_index
from graphql_api.graph.page import Order, Page

ROOT = "root"
"""The one key of a list that hangs on no parent."""


@dataclass(frozen=True, eq=False, slots=True)
class Children:
    """The rows of an entity, below a parent or at the root.

    `by` is the column that holds the parent's id: the entity's own foreign key, or one on its way up.
    """

    entity: Entity
    parent: Entity | None = None
    by: Column[Any] | None = None

    def via(self, *, scoped: bool) -> Column[Any] | None:
        """Their foreign key, if what chooses them stands in a table above; None where it stands in theirs."""
        if self.entity.parent is None:
            return None
        by_above = self.by is not None and self.by.table is not self.entity.table
        return self.entity.parent[0] if by_above or (scoped and not self.are_checked) else None

    @property
    def are_checked(self) -> bool:
        """Whether the parent tells their tenant. Under one that all tenants share, each child must."""
        return self.parent is not None and self.parent.tenant_column is not None

    async def page(self, db: Reader, keys: Sequence[str], page: Page) -> Mapping[str, "Slice"]:
        """Each parent's page."""
        rows_of: dict[str, list[Row]] = {key: [] for key in keys}
        if self.entity.is_visible_to(db):
            statement = _page_statement(self, db.tenant is not None, _Sides.of(page), page.order, page.shape)
            for row in await db.fetch(statement, **_values(page, keys)):
                rows_of[row["_parent"]].append(row)
        return {key: Slice.of(rows, page, self, key) for key, rows in rows_of.items()}

    async def count(self, db: Reader, keys: Sequence[str], page: Page) -> Mapping[str, int]:
        """How many rows each parent has under the page's filter."""
        if not self.entity.is_visible_to(db):
            return dict.fromkeys(keys, 0)
        statement = _count_statement(self, db.tenant is not None, page.shape)
        rows = await db.fetch(statement, **_values(page, keys))
        return dict.fromkeys(keys, 0) | {row["_parent"]: row["total"] for row in rows}


@dataclass(frozen=True, eq=False, slots=True)
class FirstChild:
    """Of each parent's rows, the first in an order: the latest, the current."""

    children: Children
    order: Order
    shape: Shape = EVERYTHING

    async def __call__(self, db: Reader, keys: Sequence[str], _page: None = None) -> Mapping[str, Row]:
        """Each parent's first row; parents without any are left out."""
        page = Page(self.order, size=1, shape=self.shape)
        slices = await self.children.page(db, keys, page)
        return {key: part.nodes[0] for key, part in slices.items() if part.nodes}


@dataclass(frozen=True, slots=True)
class Slice:
    """One parent's page: its rows in order, and what lies beyond."""

    nodes: list[Row]
    page: Page
    children: Children
    parent: str
    has_next_page: bool
    has_previous_page: bool

    @classmethod
    def of(cls, rows: list[Row], page: Page, children: Children, parent: str) -> "Slice":
        """Cut the extra row that tells whether there is more, and put a backward page in order."""
        more = len(rows) > page.size
        rows = rows[: page.size]
        if page.backward:
            return cls(rows[::-1], page, children, parent, page.before is not None, more)
        return cls(rows, page, children, parent, more, page.after is not None)


@dataclass(frozen=True, slots=True)
class _Sides:
    """What of a page changes its SQL, besides order and filter."""

    backward: bool
    after: bool
    before: bool

    @classmethod
    def of(cls, page: Page) -> "_Sides":
        return cls(page.backward, page.after is not None, page.before is not None)


def _values(page: Page, keys: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {**dict(page.values), "keys": list(keys), "fetch": page.size + 1}
    for name, position in (("after", page.after), ("before", page.before)):
        if position is not None:
            values[f"{name}_key"], values[f"{name}_id"] = position
    return values


_keys = func.unnest(bindparam("keys", type_=UUIDS)).table_valued("parent", name="keys").render_derived()


def below(
    children: Children, query: Select[Any], needed: AbstractSet[FromClause], *, scoped: bool
) -> Select[Any]:
    """`query` over the children of one parent, of which `keys.parent` is the id; or over all of them.

    `needed` are the tables that it compares besides.
    """
    if children.by is not None:
        query = query.where(children.by == _keys.c.parent)
        needed = needed | {children.by.table}
    return children.entity.only_tenants(query, *needed, scoped=scoped and not children.are_checked)


def per_parent(children: Children, inner: Select[Any], *, scoped: bool) -> Select[Any]:
    """`inner`, once for each of :keys that the tenant may see, named as `_parent`; at the root, once."""
    if children.by is None:
        return inner.add_columns(literal_column(f"'{ROOT}'").label("_parent"))
    each = inner.lateral("each")
    query = select(_keys.c.parent.label("_parent"), *each.c).select_from(_keys.join(each, true()))
    above = children.parent
    if not scoped or above is None or above.tenant_column is None:
        return query
    parents = select(above.table.c.id).where(above.table.c.id == _keys.c.parent)
    return query.where(above.only_tenants(parents, scoped=True).correlate(_keys).exists())


@lru_cache(maxsize=1024)
def _page_statement(
    children: Children,
    scoped: bool,  # noqa: FBT001 - part of the cache's key
    sides: _Sides,
    order: Order,
    shape: Shape,
) -> Statement:
    entity, via = children.entity, children.via(scoped=scoped)
    bounds = _bounds(order, sides, entity, _lead(children, via))
    query = select(*entity.columns).where(condition(shape, count(), via=via), *bounds)

    def first(query: Select[Any], columns: Any) -> Select[Any]:
        """The first rows of `query` in the page's order, by its `columns`."""
        downwards = order.descending != sides.backward
        keys = (sort_key(columns[order.column.name]), columns.id)
        query = query.order_by(*(key.desc() if downwards else key.asc() for key in keys))
        return query.limit(bindparam("fetch", type_=BigInteger))

    query, needed = first(query, entity.table.c), tables_of(shape)
    if via is None:
        query = below(children, query, needed, scoped=scoped)
    else:
        query = _merged(children, query, first, needed, scoped=scoped)
    return compile_statement(per_parent(children, query, scoped=scoped))


Lead = Sequence[tuple[ColumnElement[Any], ColumnElement[Any]]]


def _lead(children: Children, via: Column[Any] | None) -> Lead:
    """The foreign key and its value, where the rows of one parent are read at a time.

    It leads the comparison with a cursor, so that only the index serves which it leads too. PostgreSQL takes
    a place among many equals for the end, and would walk the order of all rows for the few beyond it.
    """
    if children.entity.parent is None:
        return ()
    foreign_key, above = children.entity.parent
    if via is not None:
        return ((foreign_key, above.table.c.id),)
    return ((foreign_key, _keys.c.parent),) if children.by is foreign_key else ()


def _bounds(order: Order, sides: _Sides, entity: Entity, lead: Lead) -> Iterator[ColumnElement[bool]]:
    """What keeps rows between the page's cursors."""
    row: ColumnElement[Any] = tuple_(*(key for key, _ in lead), sort_key(order.column), entity.table.c.id)
    for name, wanted in (("after", sides.after), ("before", sides.before)):
        if wanted:
            place = tuple_(
                *(value for _, value in lead),
                bindparam(f"{name}_key", type_=unbounded(order.column.type)),
                bindparam(f"{name}_id", type_=UUID(as_uuid=False)),
            )
            lower = order.descending == (name == "after")
            yield row < place if lower else row > place


def _merged(
    children: Children,
    query: Select[Any],
    first: Callable[[Select[Any], Any], Select[Any]],
    needed: AbstractSet[FromClause],
    *,
    scoped: bool,
) -> Select[Any]:
    """The first rows of `query`, which holds the first of one foreign key, over all that lead to them.

    In no index do an account's trades lie in order; each session's do. Merging the first of each takes as
    long as there are sessions, where sorting would take as long as there are trades.
    """
    entity = children.entity
    assert entity.parent is not None  # noqa: S101 - narrows; see Children.via
    foreign_key, above = entity.parent
    query, upper = query.where(foreign_key == above.table.c.id), Children(above, children.parent, children.by)
    if children.by is not None and children.by.table is entity.table:
        query, upper = query.where(without_index(children.by == _keys.c.parent)), Children(above)
    tables = (above.table, *(table for table, _ in above.lineage))
    of_one = query.correlate(_keys, *tables).lateral("of_one")
    return below(upper, first(select(*of_one.c), of_one.c), needed - {entity.table}, scoped=scoped)


@lru_cache(maxsize=256)
def _count_statement(
    children: Children,
    scoped: bool,  # noqa: FBT001 - part of the cache's key
    shape: Shape,
) -> Statement:
    matching = condition(shape, count(), via=children.via(scoped=scoped))
    query = select(func.count().label("total")).where(matching)
    query = below(children, query, tables_of(shape), scoped=scoped)
    return compile_statement(per_parent(children, query, scoped=scoped))
