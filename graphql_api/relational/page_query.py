"""The SQL of lists: a page of the rows below one parent or below many, in one statement.

`page_statement` builds it in steps. Many parents are one statement: LATERAL gives each its own page, read
from the index that serves the order, which stays cheap however many rows a parent has.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from types import MappingProxyType
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
from graphql_api.relational.entity import UUIDS, Entity, Parent
from graphql_api.relational.filters import (
    MATCH_ALL,
    Comparison,
    Predicate,
    conjuncts,
    tables_in,
    to_sql,
    without_index,
)
from graphql_api.relational.pagination import PageRequest, SortOrder

ROOT = "root"
"""The one key of a list that hangs on no parent."""

_keys = func.unnest(bindparam("keys", type_=UUIDS)).table_valued("parent", name="keys").render_derived()
_root: ColumnElement[Any] = literal_column(f"'{ROOT}'")
_root_keys = select(_root.label("parent")).subquery("keys")
_fetch = bindparam("fetch", type_=BigInteger)
_one: ColumnElement[Any] = literal_column("1").label("one")
_just_one: ColumnElement[Any] = literal_column("1")
_NOTHING: Mapping[str, Select[Any]] = MappingProxyType({})


@dataclass(frozen=True, eq=False, slots=True)
class ChildRelation:
    """The rows of an entity below a parent, or all of them at the root.

    `parent_key` is the column that holds the parent's id: the entity's own foreign key, or an ancestor's.
    """

    entity: Entity
    parent: Entity | None = None
    parent_key: Column[Any] | None = None

    @property
    def tenant_checked_by_parent(self) -> bool:
        """Whether a parent that the tenant may see has no other tenant's rows below it.

        A strategy belongs to no tenant, so each trade below one is checked itself.
        """
        return self.parent is not None and self.parent.tenant_column is not None


@dataclass(frozen=True)
class FilteredRelation:
    """The rows of a relation that a predicate holds for; only the tenant's, if `scoped`."""

    relation: ChildRelation
    predicate: Predicate
    scoped: bool

    @property
    def entity(self) -> Entity:
        """What the rows are."""
        return self.relation.entity

    @cached_property
    def via_parent_key(self) -> Parent | None:
        """The rows' own parent, if they are selected through an ancestor: a tenant, an account.

        None if their own columns select them.
        """
        relation, parent = self.relation, self.entity.parent
        if parent is None or relation.parent_key is parent.key:
            return None
        hangs_on_ancestor = (
            relation.parent_key is not None and relation.parent_key.table is not self.entity.table
        )
        filters_by_ancestor = any(
            isinstance(part, Comparison) and part.operator in ("eq", "in") and self._concerns_ancestors(part)
            for part in conjuncts(self.predicate)
        )
        restricts_to_tenant = self.scoped and not relation.tenant_checked_by_parent
        return parent if hangs_on_ancestor or filters_by_ancestor or restricts_to_tenant else None

    @cached_property
    def own_conditions(self) -> Sequence[ColumnElement[bool]]:
        """The predicate's conditions on the rows themselves; on ancestors too, unless they are read first."""
        via = self.via_parent_key
        return [
            to_sql(part, via=None if via is None else via.key)
            for part in conjuncts(self.predicate)
            if via is None or not self._concerns_ancestors(part)
        ]

    @cached_property
    def ancestor_conditions(self) -> Sequence[ColumnElement[bool]]:
        """The predicate's conditions on the ancestors that the rows are selected through."""
        via = self.via_parent_key
        return [
            to_sql(part)
            for part in conjuncts(self.predicate)
            if via is not None and self._concerns_ancestors(part)
        ]

    @property
    def keyset_prefix(self) -> tuple[ColumnElement[Any], ColumnElement[Any]] | None:
        """The foreign key and its value, where the rows of one value are read at a time.

        It leads the comparison with a cursor, so that only an index that begins with it serves. PostgreSQL
        takes a place among many equals for the end, and would walk the order of all rows for the few beyond.
        """
        if self.via_parent_key is not None:
            return self.via_parent_key.key, self.via_parent_key.entity.table.c.id
        parent_key = self.relation.parent_key
        if parent_key is None or parent_key.table is not self.entity.table:
            return None
        return parent_key, _keys.c.parent

    def select(self, *columns: ColumnElement[Any]) -> Select[Any]:
        """All rows of one parent, which is `keys.parent`; at the root, all rows."""
        query = select(*columns).where(*self.own_conditions, *self.ancestor_conditions)
        return self.of_one_parent(query)

    def of_one_parent(self, query: Select[Any]) -> Select[Any]:
        """`query` over the rows of one parent, joined to the ancestors that it needs."""
        return _of_one_parent(self.relation, query, tables_in(self.predicate), scoped=self.scoped)

    def merged(self, first: Select[Any], finish: Callable[[Any], Select[Any]]) -> Select[Any]:
        """What `finish` selects from the columns of `first`, which is read for each of the rows' own parents.

        No index has an account's trades in order, but one has each session's. So the first trades of each
        session are read and merged: that takes as long as there are sessions, where sorting takes as long as
        there are trades.
        """
        own_parent = self.via_parent_key
        assert own_parent is not None  # noqa: S101 - narrows
        key, entity = own_parent
        first = first.where(key == entity.table.c.id)
        upper = replace(self.relation, entity=entity)
        parent_key = self.relation.parent_key
        if parent_key is not None and parent_key.table is self.entity.table:
            first = first.where(without_index(parent_key == _keys.c.parent))
            upper = ChildRelation(entity)
        tables = (entity.table, *(table for table, _ in entity.ancestors))
        of_one = first.correlate(_keys, *tables).lateral("of_one")
        needed = tables_in(self.predicate) - {self.entity.table}
        return _of_one_parent(upper, finish(of_one.c), needed, scoped=self.scoped).where(
            *self.ancestor_conditions
        )

    def per_parent(self, rows: Select[Any], beside: Mapping[str, Select[Any]] = _NOTHING) -> Select[Any]:
        """`rows` for each of :keys that the tenant may see, with the key as `_parent`; at the root, once.

        `beside` them, it is read once for each key whether other queries find a row. Then there is a row for
        each key even where `rows` has none, full of nulls.
        """
        is_root = self.relation.parent_key is None
        if is_root and not beside:
            return rows.add_columns(_root.label("_parent"))
        keys: FromClause = _root_keys if is_root else _keys
        columns: list[ColumnElement[Any]] = []
        source = keys
        for name, query in beside.items():
            found = query.lateral(name)
            source = source.outerjoin(found, true())
            columns.append(found.c.one.is_not(None).label(name))
        each = rows.lateral("each")
        query = select(keys.c.parent.label("_parent"), *each.c, *columns)
        query = query.select_from(source.join(each, true(), isouter=bool(beside)))
        parent = self.relation.parent
        if not self.scoped or parent is None or parent.tenant_column is None:
            return query
        seen = select(parent.table.c.id).where(parent.table.c.id == _keys.c.parent)
        return query.where(parent.restrict_to_tenant(seen, scoped=True).correlate(_keys).exists())

    def _concerns_ancestors(self, part: Predicate) -> bool:
        tables = tables_in(part)
        return bool(tables) and self.entity.table not in tables


def _of_one_parent(
    relation: ChildRelation, query: Select[Any], needed: AbstractSet[FromClause], *, scoped: bool
) -> Select[Any]:
    if relation.parent_key is not None:
        query = query.where(relation.parent_key == _keys.c.parent)
        needed = needed | {relation.parent_key.table}
    return relation.entity.restrict_to_tenant(
        query, *needed, scoped=scoped and not relation.tenant_checked_by_parent
    )


@dataclass(frozen=True, slots=True)
class KeysetRange:
    """A stretch of an order on one side of a cursor or between two, and the end that it is read from."""

    order: SortOrder
    descending: bool
    """Whether it is read from its greatest row on."""
    bounds: tuple[tuple[str, Callable[[Any, Any], Any]], ...]
    """The cursors, by the argument's name, and how rows compare with each."""

    def conditions(self, rows: FilteredRelation) -> list[ColumnElement[bool]]:
        """What keeps rows within the bounds: one row comparison each, which an index serves."""
        prefix = rows.keyset_prefix
        keys, values = ((), ()) if prefix is None else ((prefix[0],), (prefix[1],))
        row = tuple_(*keys, sort_key(self.order.column), rows.entity.table.c.id)
        return [
            compare(
                row,
                tuple_(
                    *values,
                    bindparam(f"{name}_key", type_=unbounded(self.order.column.type)),
                    bindparam(f"{name}_id", type_=UUID(as_uuid=False)),
                ),
            )
            for name, compare in self.bounds
        ]

    def sort(self, query: Select[Any], columns: Any) -> Select[Any]:
        """`query` in the range's order, by its `columns`."""
        keys = (sort_key(columns[self.order.column.name]), columns.id)
        return query.order_by(*(key.desc() if self.descending else key.asc() for key in keys))

    def first(self, rows: FilteredRelation, *columns: ColumnElement[Any]) -> Select[Any]:
        """The range's rows by their own conditions, from its end on: not yet joined, nor limited."""
        query = select(*columns).where(*rows.own_conditions, *self.conditions(rows))
        return self.sort(query, rows.entity.table.c)


@dataclass(frozen=True, slots=True)
class PageShape:
    """What of a page changes its SQL. Pages of equal shape share a statement."""

    order: SortOrder
    backward: bool = False
    after: bool = False
    before: bool = False
    """Which cursors there are."""
    predicate: Predicate = MATCH_ALL
    projection: frozenset[str] | None = None
    eager_joins: tuple[EagerJoin, ...] = ()
    with_total: bool = False
    with_previous: bool = False
    with_next: bool = False

    @classmethod
    def of(cls, request: PageRequest, eager_joins: tuple[EagerJoin, ...]) -> "PageShape":
        """The shape of a page that is asked for, with those of its eager joins that the viewer may read."""
        return cls(
            request.order,
            request.backward,
            request.after is not None,
            request.before is not None,
            request.filter.predicate,
            request.projection,
            eager_joins,
            request.with_total,
            request.with_previous,
            request.with_next,
        )

    @property
    def columns(self) -> frozenset[str] | None:
        """The columns that are read: those that the operation reads, and the order's. None for all."""
        return None if self.projection is None else self.projection | {self.order.column.name}

    @property
    def range(self) -> KeysetRange:
        """The rows of the page and all beyond it in its direction."""
        beyond, back = (operator.lt, operator.gt) if self.order.descending else (operator.gt, operator.lt)
        after = (("after", beyond),) if self.after else ()
        before = (("before", back),) if self.before else ()
        return KeysetRange(self.order, self.order.descending != self.backward, after + before)

    @property
    def preceding(self) -> KeysetRange:
        """The rows up to the cursor `after`, the nearest first."""
        descending = self.order.descending
        return KeysetRange(
            self.order, not descending, (("after", operator.ge if descending else operator.le),)
        )

    @property
    def following(self) -> KeysetRange:
        """The rows from the cursor `before` on, the nearest first."""
        descending = self.order.descending
        return KeysetRange(self.order, descending, (("before", operator.le if descending else operator.ge),))


@lru_cache(maxsize=1024)
def page_statement(relation: ChildRelation, shape: PageShape, scoped: bool) -> Statement:  # noqa: FBT001
    """A page's rows below each of :keys, each row with the `_parent` that it is of.

    Besides its columns a row has `_total`, `_has_previous` and `_has_next`, where the shape asks for them. A
    parent whose page is empty has a row with a null id, where it is asked what lies around the page.
    """
    rows = FilteredRelation(relation, shape.predicate, scoped)
    is_joined_to_tenant = rows.via_parent_key is not None and scoped
    on_path, others = (
        split_tenant_path(rows.entity, shape.eager_joins) if is_joined_to_tenant else ([], shape.eager_joins)
    )
    counts_as_it_reads = _counts_as_it_reads(rows, shape)
    if rows.via_parent_key is None:
        page = _page_from_index(rows, shape)
    elif counts_as_it_reads:
        page = _page_of_few_rows(rows, shape, on_path)
    else:
        page = _page_merged_from_parents(rows, shape, on_path)
    if others:
        page = _joined_to(page, others, shape, scoped=scoped)
    if shape.with_total and not counts_as_it_reads:
        page = page.add_columns(_total(rows))
    return compile_statement(rows.per_parent(page, _around_page(rows, shape)))


def _page_from_index(rows: FilteredRelation, shape: PageShape) -> Select[Any]:
    """A page of rows that their own columns select: an index has them in order."""
    columns = rows.entity.projected_columns(shape.columns)
    return rows.of_one_parent(shape.range.first(rows, *columns).limit(_fetch))


def _page_of_few_rows(
    rows: FilteredRelation, shape: PageShape, on_path: Sequence[ColumnElement[Any]]
) -> Select[Any]:
    """A first page of few rows, which all have to be read for the total: once is enough."""
    columns = rows.entity.projected_columns(shape.columns)
    query = shape.range.first(rows, *columns, *on_path, func.count().over().label("_total"))
    return rows.of_one_parent(query.where(*rows.ancestor_conditions).limit(_fetch))


def _page_merged_from_parents(
    rows: FilteredRelation, shape: PageShape, on_path: Sequence[ColumnElement[Any]]
) -> Select[Any]:
    """A page of rows that are selected through an ancestor: the first of each own parent, merged."""
    first = shape.range.first(rows, *rows.entity.projected_columns(shape.columns)).limit(_fetch)
    return rows.merged(
        first, lambda columns: shape.range.sort(select(*columns, *on_path), columns).limit(_fetch)
    )


def _counts_as_it_reads(rows: FilteredRelation, shape: PageShape) -> bool:
    """Whether the page and its total are one reading: of a tenant's rows of one symbol, strategy or the like.

    Most rows are of another, so few are left. A page further on has other rows than the total.
    """
    if not (shape.with_total and rows.scoped and rows.via_parent_key) or shape.after or shape.before:
        return False
    return any(
        isinstance(part, Comparison)
        and part.operator == "eq"
        and isinstance(part.expression, Column)
        and part.expression.table is rows.entity.table
        for part in conjuncts(shape.predicate)
    )


def _joined_to(
    page: Select[Any], eager_joins: Sequence[EagerJoin], shape: PageShape, *, scoped: bool
) -> Select[Any]:
    """The page's rows joined to those that they refer to, in the page's order still."""
    subquery = page.subquery("page")
    source, columns = join(subquery, eager_joins, scoped=scoped)
    return shape.range.sort(select(*subquery.c, *columns).select_from(source), subquery.c)


def _total(rows: FilteredRelation) -> ColumnElement[Any]:
    """How many rows the whole list has."""
    return _count(rows).correlate(None).scalar_subquery().label("_total")


def _around_page(rows: FilteredRelation, shape: PageShape) -> Mapping[str, Select[Any]]:
    """Finds a row before the cursor `after`, and one behind the cursor `before`, if that is asked for."""
    queries = {}
    if shape.with_previous and shape.after:
        queries["_has_previous"] = _any_row(rows, shape.preceding)
    if shape.with_next and shape.before:
        queries["_has_next"] = _any_row(rows, shape.following)
    return queries


def _any_row(rows: FilteredRelation, range_: KeysetRange) -> Select[Any]:
    """`one`, if a range has any row: a probe of the index from the cursor on.

    It is no EXISTS, since PostgreSQL takes the order out of one and may then begin anywhere. From the cursor
    on, the row that it was given out for is most often the first.
    """
    query = range_.first(rows, _one).limit(_just_one)
    if rows.via_parent_key is None:
        return rows.of_one_parent(query)
    return rows.merged(query, lambda columns: select(columns.one).limit(_just_one))


@lru_cache(maxsize=256)
def count_statement(relation: ChildRelation, predicate: Predicate, scoped: bool) -> Statement:  # noqa: FBT001
    """The `total` of rows below each `_parent` of :keys."""
    rows = FilteredRelation(relation, predicate, scoped)
    return compile_statement(rows.per_parent(_count(rows)))


def _count(rows: FilteredRelation) -> Select[Any]:
    return rows.select(func.count().label("total"))
