"""The SQL of lists: rows below one parent or many, that fit a filter, from a place in an order.

Many parents are one statement: LATERAL gives each its own page, read from the index that serves the order,
which stays cheap however many rows a parent has.
"""

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
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

from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.postgres.tables import sort_key, unbounded
from graphql_api.relational.child_relation import ROOT, Branch
from graphql_api.relational.eager_joins import Along, bring, on_the_way
from graphql_api.relational.entity import UUIDS, Entity
from graphql_api.relational.filters import Shape, Term, condition, conjuncts, tables_of, without_index
from graphql_api.relational.page import Order, Page


@dataclass(frozen=True, slots=True)
class Sides:
    """What of a page changes its SQL, besides order and filter."""

    backward: bool
    after: bool
    before: bool

    @classmethod
    def of(cls, page: Page) -> "Sides":
        """Those of a page."""
        return cls(page.backward, page.after is not None, page.before is not None)


_keys = func.unnest(bindparam("keys", type_=UUIDS)).table_valued("parent", name="keys").render_derived()


def below(
    branch: Branch, query: Select[Any], needed: AbstractSet[FromClause], *, scoped: bool
) -> Select[Any]:
    """`query` over the children of one parent, of which `keys.parent` is the id; or over all of them.

    `needed` are the tables that it compares besides.
    """
    if branch.by is not None:
        query = query.where(branch.by == _keys.c.parent)
        needed = needed | {branch.by.table}
    return branch.entity.only_tenants(query, *needed, scoped=scoped and not branch.are_checked)


def matching(branch: Branch, shape: Shape, *, scoped: bool) -> Sequence[ColumnElement[bool]]:
    """A shape's conditions, for a query that `below` joins."""
    own, above = _conditions(branch, branch.via(shape, scoped=scoped), shape)
    return *own, *above


def per_parent(branch: Branch, inner: Select[Any], *, scoped: bool) -> Select[Any]:
    """`inner`, once for each of :keys that the tenant may see, named as `_parent`; at the root, once."""
    if branch.by is None:
        return inner.add_columns(literal_column(f"'{ROOT}'").label("_parent"))
    each = inner.lateral("each")
    query = select(_keys.c.parent.label("_parent"), *each.c).select_from(_keys.join(each, true()))
    above = branch.parent
    if not scoped or above is None or above.tenant_column is None:
        return query
    parents = select(above.table.c.id).where(above.table.c.id == _keys.c.parent)
    return query.where(above.only_tenants(parents, scoped=True).correlate(_keys).exists())


@lru_cache(maxsize=1024)
def page_statement(
    branch: Branch,
    scoped: bool,  # noqa: FBT001 - part of the cache's key
    sides: Sides,
    order: Order,
    shape: Shape,
    read: frozenset[str] | None = None,
    along: tuple[Along, ...] = (),
    counted: bool = False,  # noqa: FBT001, FBT002
) -> Statement:
    """A page's rows below :keys, each with the `_parent` that it is of.

    Of their columns it has those to be `read`, the id, and the order's.
    """
    entity, via = branch.entity, branch.via(shape, scoped=scoped)
    own, above = _conditions(branch, via, shape)
    bounds = _bounds(order, sides, entity, _lead(branch, via))
    columns = entity.columns_of(None if read is None else read | {order.column.name})
    query = select(*columns).where(*own, *bounds)

    def in_order(query: Select[Any], columns: Any) -> Select[Any]:
        """The rows of `query` in the page's order, by its `columns`."""
        downwards = order.descending != sides.backward
        keys = (sort_key(columns[order.column.name]), columns.id)
        return query.order_by(*(key.desc() if downwards else key.asc() for key in keys))

    def first(query: Select[Any], columns: Any) -> Select[Any]:
        return in_order(query, columns).limit(bindparam("fetch", type_=BigInteger))

    needed = tables_of(shape)
    brought, rest = (
        on_the_way(entity, along) if via is not None and scoped else ([], [("", each) for each in along])
    )
    if via is None:
        query = below(branch, first(query, entity.table.c), needed, scoped=scoped)
    elif counted and scoped and not (sides.after or sides.before) and _leaves_few(entity, shape):
        # All of them have to be read for the total: then once is enough.
        query = query.add_columns(*brought, func.count().over().label("_total")).where(*above)
        query, counted = below(branch, first(query, entity.table.c), needed, scoped=scoped), False
    else:
        inner = first(query, entity.table.c)
        query = _merged(branch, inner, first, needed, brought, scoped=scoped).where(*above)
    if rest:
        page = query.subquery("page")
        source, joined = bring(page, rest, scoped=scoped)
        query = in_order(select(*page.c, *joined).select_from(source), page.c)
    if counted:
        total = _count(branch, shape, scoped=scoped).correlate(None).scalar_subquery()
        query = query.add_columns(total.label("_total"))
    return compile_statement(per_parent(branch, query, scoped=scoped))


def _leaves_few(entity: Entity, shape: Shape) -> bool:
    """Whether a shape is about one symbol, strategy or the like, which most rows are not of."""
    return any(
        isinstance(part, Term)
        and part.operator == "eq"
        and isinstance(part.expression, Column)
        and part.expression.table is entity.table
        for part in conjuncts(shape)
    )


Conditions = list[ColumnElement[bool]]


def _conditions(branch: Branch, via: Column[Any] | None, shape: Shape) -> tuple[Conditions, Conditions]:
    """A shape's conditions on the rows, and those on the tables above through which they are reached."""
    own: Conditions = []
    above: Conditions = []
    numbers = count()
    for part in conjuncts(shape):
        if via is not None and branch.is_above(part):
            above.append(condition(part, numbers))
        else:
            own.append(condition(part, numbers, via=via))
    return own, above


Lead = Sequence[tuple[ColumnElement[Any], ColumnElement[Any]]]


def _lead(branch: Branch, via: Column[Any] | None) -> Lead:
    """The foreign key and its value, where the rows of one parent are read at a time.

    It leads the comparison with a cursor, so that only the index serves which it leads too. PostgreSQL takes
    a place among many equals for the end, and would walk the order of all rows for the few beyond it.
    """
    if via is not None and branch.entity.parent is not None:
        foreign_key, above = branch.entity.parent
        return ((foreign_key, above.table.c.id),)
    if branch.by is None or branch.by.table is not branch.entity.table:
        return ()
    return ((branch.by, _keys.c.parent),)


def _bounds(order: Order, sides: Sides, entity: Entity, lead: Lead) -> Iterator[ColumnElement[bool]]:
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
    branch: Branch,
    query: Select[Any],
    first: Callable[[Select[Any], Any], Select[Any]],
    needed: AbstractSet[FromClause],
    brought: Sequence[ColumnElement[Any]],
    *,
    scoped: bool,
) -> Select[Any]:
    """The first rows of `query`, which holds the first of one foreign key, over all that lead to them.

    In no index do an account's trades lie in order; each session's do. Merging the first of each takes as
    long as there are sessions, where sorting would take as long as there are trades.
    """
    entity = branch.entity
    assert entity.parent is not None  # noqa: S101 - narrows; see Branch.via
    foreign_key, above = entity.parent
    query, upper = query.where(foreign_key == above.table.c.id), replace(branch, entity=above)
    if branch.by is not None and branch.by.table is entity.table:
        query = query.where(without_index(branch.by == _keys.c.parent))
        upper = replace(branch, entity=above, parent=None, by=None)
    tables = (above.table, *(table for table, _ in above.lineage))
    of_one = query.correlate(_keys, *tables).lateral("of_one")
    merged = first(select(*of_one.c, *brought), of_one.c)
    return below(upper, merged, needed - {entity.table}, scoped=scoped)


@lru_cache(maxsize=256)
def count_statement(
    branch: Branch,
    scoped: bool,  # noqa: FBT001 - part of the cache's key
    shape: Shape,
) -> Statement:
    """The `total` of rows below each `_parent` of :keys."""
    return compile_statement(per_parent(branch, _count(branch, shape, scoped=scoped), scoped=scoped))


def _count(branch: Branch, shape: Shape, *, scoped: bool) -> Select[Any]:
    query = select(func.count().label("total")).where(*matching(branch, shape, scoped=scoped))
    return below(branch, query, tables_of(shape), scoped=scoped)
