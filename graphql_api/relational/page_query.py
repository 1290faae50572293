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
from graphql_api.relational.eager_joins import EagerJoin, join, split_tenant_path
from graphql_api.relational.entity import UUIDS, Entity
from graphql_api.relational.filters import (
    Comparison,
    Predicate,
    condition,
    conjuncts,
    tables_in,
    without_index,
)
from graphql_api.relational.pagination import PageRequest, SortOrder

ROOT = "root"
"""The one key of a list that hangs on no parent."""


@dataclass(frozen=True, eq=False, slots=True)
class ChildRelation:
    """The rows of an entity, below a parent or at the root.

    `parent_key` is the column that holds the parent's id: the entity's own foreign key, or one on its way up.
    """

    entity: Entity
    parent: Entity | None = None
    parent_key: Column[Any] | None = None

    def via_parent_key(self, shape: Predicate, *, scoped: bool) -> Column[Any] | None:
        """Their foreign key, if what chooses them stands in a table above; None where it stands in theirs."""
        if self.entity.parent is None or self.parent_key is self.entity.parent[0]:
            return None
        by_above = self.parent_key is not None and self.parent_key.table is not self.entity.table
        found_above = any(
            isinstance(part, Comparison) and part.operator in ("eq", "in") and self.concerns_ancestors(part)
            for part in conjuncts(shape)
        )
        reached = by_above or found_above or (scoped and not self.tenant_checked_by_parent)
        return self.entity.parent[0] if reached else None

    def concerns_ancestors(self, part: Predicate) -> bool:
        """Whether a part of a shape is about tables above theirs alone."""
        tables = tables_in(part)
        return bool(tables) and self.entity.table not in tables

    @property
    def tenant_checked_by_parent(self) -> bool:
        """Whether the parent tells their tenant. Under one that all tenants share, each child must."""
        return self.parent is not None and self.parent.tenant_column is not None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What of a page changes its SQL, besides order and filter."""

    backward: bool
    after: bool
    before: bool

    @classmethod
    def of(cls, page: PageRequest) -> "Bounds":
        """Those of a page."""
        return cls(page.backward, page.after is not None, page.before is not None)


_keys = func.unnest(bindparam("keys", type_=UUIDS)).table_valued("parent", name="keys").render_derived()


def of_one_parent(
    relation: ChildRelation, query: Select[Any], needed: AbstractSet[FromClause], *, scoped: bool
) -> Select[Any]:
    """`query` over the children of one parent, of which `keys.parent` is the id; or over all of them.

    `needed` are the tables that it compares besides.
    """
    if relation.parent_key is not None:
        query = query.where(relation.parent_key == _keys.c.parent)
        needed = needed | {relation.parent_key.table}
    return relation.entity.restrict_to_tenant(
        query, *needed, scoped=scoped and not relation.tenant_checked_by_parent
    )


def conditions_of(
    relation: ChildRelation, shape: Predicate, *, scoped: bool
) -> Sequence[ColumnElement[bool]]:
    """A shape's conditions, for a query that `of_one_parent` joins."""
    own, above = _conditions(relation, relation.via_parent_key(shape, scoped=scoped), shape)
    return *own, *above


def per_parent(relation: ChildRelation, inner: Select[Any], *, scoped: bool) -> Select[Any]:
    """`inner`, once for each of :keys that the tenant may see, named as `_parent`; at the root, once."""
    if relation.parent_key is None:
        return inner.add_columns(literal_column(f"'{ROOT}'").label("_parent"))
    each = inner.lateral("each")
    query = select(_keys.c.parent.label("_parent"), *each.c).select_from(_keys.join(each, true()))
    above = relation.parent
    if not scoped or above is None or above.tenant_column is None:
        return query
    parents = select(above.table.c.id).where(above.table.c.id == _keys.c.parent)
    return query.where(above.restrict_to_tenant(parents, scoped=True).correlate(_keys).exists())


@lru_cache(maxsize=1024)
def page_statement(
    relation: ChildRelation,
    scoped: bool,  # noqa: FBT001 - part of the cache's key
    bounds: Bounds,
    order: SortOrder,
    shape: Predicate,
    read: frozenset[str] | None = None,
    eager_joins: tuple[EagerJoin, ...] = (),
    with_total: bool = False,  # noqa: FBT001, FBT002
) -> Statement:
    """A page's rows below :keys, each with the `_parent` that it is of.

    Of their columns it has those to be `read`, the id, and the order's.
    """
    entity, via = relation.entity, relation.via_parent_key(shape, scoped=scoped)
    own, above = _conditions(relation, via, shape)
    between = _bounds(order, bounds, entity, _keyset_prefix(relation, via))
    columns = entity.projected_columns(None if read is None else read | {order.column.name})
    query = select(*columns).where(*own, *between)

    def in_order(query: Select[Any], columns: Any) -> Select[Any]:
        """The rows of `query` in the page's order, by its `columns`."""
        downwards = order.descending != bounds.backward
        keys = (sort_key(columns[order.column.name]), columns.id)
        return query.order_by(*(key.desc() if downwards else key.asc() for key in keys))

    def first(query: Select[Any], columns: Any) -> Select[Any]:
        return in_order(query, columns).limit(bindparam("fetch", type_=BigInteger))

    needed = tables_in(shape)
    brought, rest = (
        split_tenant_path(entity, eager_joins)
        if via is not None and scoped
        else ([], [("", each) for each in eager_joins])
    )
    if via is None:
        query = of_one_parent(relation, first(query, entity.table.c), needed, scoped=scoped)
    elif with_total and scoped and not (bounds.after or bounds.before) and _leaves_few(entity, shape):
        # All of them have to be read for the total: then once is enough.
        query = query.add_columns(*brought, func.count().over().label("_total")).where(*above)
        query, with_total = (
            of_one_parent(relation, first(query, entity.table.c), needed, scoped=scoped),
            False,
        )
    else:
        inner = first(query, entity.table.c)
        query = _merged(relation, inner, first, needed, brought, scoped=scoped).where(*above)
    if rest:
        page = query.subquery("page")
        source, joined = join(page, rest, scoped=scoped)
        query = in_order(select(*page.c, *joined).select_from(source), page.c)
    if with_total:
        total = _count(relation, shape, scoped=scoped).correlate(None).scalar_subquery()
        query = query.add_columns(total.label("_total"))
    return compile_statement(per_parent(relation, query, scoped=scoped))


def _leaves_few(entity: Entity, shape: Predicate) -> bool:
    """Whether a shape is about one symbol, strategy or the like, which most rows are not of."""
    return any(
        isinstance(part, Comparison)
        and part.operator == "eq"
        and isinstance(part.expression, Column)
        and part.expression.table is entity.table
        for part in conjuncts(shape)
    )


Conditions = list[ColumnElement[bool]]


def _conditions(
    relation: ChildRelation, via: Column[Any] | None, shape: Predicate
) -> tuple[Conditions, Conditions]:
    """A shape's conditions on the rows, and those on the tables above through which they are reached."""
    own: Conditions = []
    above: Conditions = []
    numbers = count()
    for part in conjuncts(shape):
        if via is not None and relation.concerns_ancestors(part):
            above.append(condition(part, numbers))
        else:
            own.append(condition(part, numbers, via=via))
    return own, above


KeysetPrefix = Sequence[tuple[ColumnElement[Any], ColumnElement[Any]]]


def _keyset_prefix(relation: ChildRelation, via: Column[Any] | None) -> KeysetPrefix:
    """The foreign key and its value, where the rows of one parent are read at a time.

    It leads the comparison with a cursor, so that only the index serves which it leads too. PostgreSQL takes
    a place among many equals for the end, and would walk the order of all rows for the few beyond it.
    """
    if via is not None and relation.entity.parent is not None:
        foreign_key, above = relation.entity.parent
        return ((foreign_key, above.table.c.id),)
    if relation.parent_key is None or relation.parent_key.table is not relation.entity.table:
        return ()
    return ((relation.parent_key, _keys.c.parent),)


def _bounds(
    order: SortOrder, bounds: Bounds, entity: Entity, prefix: KeysetPrefix
) -> Iterator[ColumnElement[bool]]:
    """What keeps rows between the page's cursors."""
    row: ColumnElement[Any] = tuple_(*(key for key, _ in prefix), sort_key(order.column), entity.table.c.id)
    for name, wanted in (("after", bounds.after), ("before", bounds.before)):
        if wanted:
            place = tuple_(
                *(value for _, value in prefix),
                bindparam(f"{name}_key", type_=unbounded(order.column.type)),
                bindparam(f"{name}_id", type_=UUID(as_uuid=False)),
            )
            lower = order.descending == (name == "after")
            yield row < place if lower else row > place


def _merged(
    relation: ChildRelation,
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
    entity = relation.entity
    assert entity.parent is not None  # noqa: S101 - narrows; see ChildRelation.via
    foreign_key, above = entity.parent
    query, upper = query.where(foreign_key == above.table.c.id), replace(relation, entity=above)
    if relation.parent_key is not None and relation.parent_key.table is entity.table:
        query = query.where(without_index(relation.parent_key == _keys.c.parent))
        upper = replace(relation, entity=above, parent=None, parent_key=None)
    tables = (above.table, *(table for table, _ in above.ancestors))
    of_one = query.correlate(_keys, *tables).lateral("of_one")
    merged = first(select(*of_one.c, *brought), of_one.c)
    return of_one_parent(upper, merged, needed - {entity.table}, scoped=scoped)


@lru_cache(maxsize=256)
def count_statement(
    relation: ChildRelation,
    scoped: bool,  # noqa: FBT001 - part of the cache's key
    shape: Predicate,
) -> Statement:
    """The `total` of rows below each `_parent` of :keys."""
    return compile_statement(per_parent(relation, _count(relation, shape, scoped=scoped), scoped=scoped))


def _count(relation: ChildRelation, shape: Predicate, *, scoped: bool) -> Select[Any]:
    query = select(func.count().label("total")).where(*conditions_of(relation, shape, scoped=scoped))
    return of_one_parent(relation, query, tables_in(shape), scoped=scoped)
