"""The SQL of lists: a page of the rows below one parent or below many, in one statement.

`page_statement` builds it in steps. A LATERAL join gives each of many parents its own page. How the rows of a
page are found depends on the order (`docs/decisions/0011`):

- Index scan (`_index_scan_page`): an index has the rows of one parent in the order. They are read from it
  until the page is full.
- Merge of index scans (`_merged_page`): the rows are a tenant's or an account's, below several sessions. Each
  session's first rows are read by an index scan, and merged. If there may be many sessions, they are counted,
  and that many of all tenants' rows, at most MAX_SCANNED, are scanned in the order first: often they fill the
  page.
- Sort (`_sorted_page`): no index has the order, and the rows belong to a tenant, an account or a session. All
  are read first.
- Limited scan (`_limited_scan_page`): the rows belong to several tenants, or each takes long to examine. At
  most MAX_EXAMINED are read: in the order of an index until the page is full, or all of them to be sorted.
  `RelationReader` refuses a list for which that isn't enough.

A row's *direct parent* is what its own foreign key refers to (a trade's session). The parent of the relation
may be another one: an account, a user, or a strategy.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    and_,
    any_,
    bindparam,
    case,
    func,
    literal_column,
    not_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import UUID, array

from graphql_api.postgres.database import NUMBER
from graphql_api.postgres.statement import Statement, build_aside, compile_statement
from graphql_api.postgres.tables import sort_key, unbounded
from graphql_api.postgres.tables.indexes import is_indexed
from graphql_api.relational.eager_joins import EagerJoin, join, split_tenant_path
from graphql_api.relational.entity import KEYS, TENANT, CountLimit, Entity, Parent, ReadLimit
from graphql_api.relational.filters import (
    MATCH_ALL,
    Comparison,
    Filter,
    Predicate,
    conjuncts,
    tables_in,
    to_sql,
    without_index,
)
from graphql_api.relational.pagination import PageRequest, SortOrder

ROOT = "root"
"""The key of a list at the root, which has no parent with an id."""
PARENT: Final = "_parent."
"""The prefix of the names of a parent's columns, where its row is read with a page."""
DIRECT_PARENTS: Final = "_direct_parents"
"""The column with the number of direct parents that a page may be merged from, if they were counted."""
MAX_EXAMINED: Final = 50_000
"""Rows of several tenants that are examined for the pages of one statement."""
MAX_COUNTED: Final = 1_000_000
"""Rows of several tenants that are examined for the totals of one statement."""

MAX_SCANNED: Final = 20_000
"""Rows of all tenants that are examined for one page of a tenant's or an account's rows."""

_FEW_CONDITIONS: Final = 12
"""Conditions of a filter up to which its statement is built in the event loop, within some ms, and cached."""

_root: ColumnElement[Any] = literal_column(f"'{ROOT}'")
_root_keys = select(_root.label("key")).subquery("keys")
_fetch = bindparam("fetch", type_=BigInteger)
_found: ColumnElement[Any] = literal_column("1").label("one")
_limit_one: ColumnElement[Any] = literal_column("1")
_limit_nearby: ColumnElement[Any] = literal_column("100")
_max_scanned: ColumnElement[Any] = literal_column(str(MAX_SCANNED))
_limit = bindparam("limit", type_=BigInteger)
_count_limit = bindparam("count_limit", type_=BigInteger)
_no_offset: ColumnElement[Any] = literal_column("0")
_NOTHING: Mapping[str, Select[Any]] = MappingProxyType({})


# Which rows: those of a relation, under a filter and for a tenant


@dataclass(frozen=True, eq=False, slots=True)
class ChildRelation:
    """The rows of an entity below a parent, or all of its rows at the root.

    `parent_key` is the column that holds the parent's id: a foreign key of the entity, or of an ancestor.
    """

    entity: Entity
    parent: Entity | None = None
    parent_key: Column[Any] | None = None

    @property
    def tenant(self) -> ColumnElement[Any]:
        """The tenant that its statements compare rows with: that of each key, or the viewer's at the root."""
        return TENANT if self.parent_key is None else KEYS.c.tenant

    @property
    def tenant_checked_by_parent(self) -> bool:
        """Whether a parent that the tenant may see has no other tenant's rows below it.

        A strategy belongs to no tenant, so each trade below one is checked by itself.
        """
        return self.parent is not None and self.parent.tenant_column is not None


class Prefix(NamedTuple):
    """A column and a value that all rows of one index scan have in it: the first column of the index."""

    column: Column[Any]
    value: ColumnElement[Any]
    part: Predicate | None = None
    """The part of the predicate that it comes from, if any."""

    def condition(self, *, ordered: bool) -> ColumnElement[bool]:
        """Returns the condition that a row has the value.

        Where rows are to be `ordered`, it is `= ANY (ARRAY[value])`. With a plain equality PostgreSQL may
        scan another index that has the rest of the order, and filter all its rows until enough have this
        value.
        """
        return self.column == (any_(array([self.value])) if ordered else self.value)


@dataclass(frozen=True)
class FilteredRelation:
    """The rows of a relation that a predicate holds for; only the tenant's, if `for_tenant`."""

    relation: ChildRelation
    predicate: Predicate
    for_tenant: bool

    @property
    def entity(self) -> Entity:
        return self.relation.entity

    @cached_property
    def via_parent_key(self) -> Parent | None:
        """The rows' direct parent, if they are selected through an ancestor, such as their tenant.

        None if columns of the rows themselves select them.
        """
        relation, parent = self.relation, self.entity.parent
        if parent is None or relation.parent_key is parent.key:
            return None
        is_keyed_by_ancestor = (
            relation.parent_key is not None and relation.parent_key.table is not self.entity.table
        )
        filters_by_ancestor = any(
            isinstance(part, Comparison) and part.operator in ("eq", "in") and self._concerns_ancestors(part)
            for part in conjuncts(self.predicate)
        )
        restricts_to_tenant = self.for_tenant and not relation.tenant_checked_by_parent
        return parent if is_keyed_by_ancestor or filters_by_ancestor or restricts_to_tenant else None

    @property
    def read_limit(self) -> ReadLimit | None:
        """The entity's read limit, if it applies: to rows of several tenants, or to every list."""
        limit = self.entity.read_limit
        if limit is not None and limit.every_list:
            return limit
        if self.for_tenant or self.via_parent_key is not None or self.relation.tenant_checked_by_parent:
            return None
        return limit

    @cached_property
    def prefix(self) -> Prefix | None:
        """A column's value that all rows of one scan share: their parent's id, or a value in the filter."""
        if self.via_parent_key is not None:
            return Prefix(self.via_parent_key.key, self.via_parent_key.entity.table.c.id)
        found: list[Prefix] = []
        key, direct_parent = self.relation.parent_key, self.entity.parent
        if key is not None and key.table is self.entity.table:
            found.append(Prefix(key, KEYS.c.key))
        if self.read_limit is not None:
            found += self._equality_prefixes(self.read_limit.timeline)
        # No other value leaves fewer rows than one direct parent has.
        found.sort(key=lambda prefix: direct_parent is None or prefix.column is not direct_parent.key)
        return found[0] if found else None

    def is_ordered(self, order: SortOrder) -> bool:
        """Whether an index has the rows of one scan in this order."""
        return is_indexed(order.column, within=None if self.prefix is None else self.prefix.column)

    def conditions(self, *, ordered: bool) -> list[ColumnElement[bool]]:
        """Returns the conditions on the rows of one scan, without those on ancestors."""
        first = [] if self.prefix is None else [self.prefix.condition(ordered=ordered)]
        return first + self._unprefixed(
            part for part in self._own_parts() if self.prefix is None or part is not self.prefix.part
        )

    @property
    def conditions_without_prefix(self) -> list[ColumnElement[bool]]:
        """The conditions on rows of all tenants, without those on ancestors."""
        return self._unprefixed(self._own_parts())

    @property
    def fits_without_ancestors(self) -> bool:
        """Whether the conditions on the rows can be evaluated without joining the ancestors to them.

        They can't where one part compares columns of both, as `or: [{accountId: …}, {symbol: …}]` does.
        """
        return all(tables_in(part) <= {self.entity.table} for part in self._own_parts())

    def split(self, *, order: Column[Any]) -> tuple[list[ColumnElement[bool]], list[ColumnElement[bool]]]:
        """Splits the conditions of a scan of the index on `order`: those that it serves, and the others."""
        limit = self.read_limit
        if limit is None or order is not limit.timeline:
            return [], self.conditions(ordered=False)
        bounds = [
            part
            for part in self._own_parts()
            if isinstance(part, Comparison)
            and part.expression is limit.timeline
            and part.operator in ("gt", "gte", "lt", "lte", "eq")
        ]
        prefix = self.prefix
        used = [*bounds, *([] if prefix is None else [prefix.part])]
        rest = [part for part in self._own_parts() if not any(part is each for each in used)]
        first = [] if prefix is None else [prefix.condition(ordered=True)]
        return first + [to_sql(part) for part in bounds], self._unprefixed(rest)

    @property
    def is_narrowed(self) -> bool:
        """Whether an index bounds the rows that a list of several tenants is sorted from."""
        return self.read_limit is not None and bool(self.split(order=self.read_limit.timeline)[0])

    @cached_property
    def own_conditions(self) -> Sequence[ColumnElement[bool]]:
        """The predicate's conditions on the rows; those on ancestors too, unless ancestors are read first."""
        return [self._own_sql(part) for part in self._own_parts()]

    @cached_property
    def ancestor_conditions(self) -> Sequence[ColumnElement[bool]]:
        """The predicate's conditions on the ancestors that the rows are selected through."""
        via = self.via_parent_key
        return [
            to_sql(part)
            for part in conjuncts(self.predicate)
            if via is not None and self._concerns_ancestors(part)
        ]

    def select(self, *columns: ColumnElement[Any]) -> Select[Any]:
        """Returns all rows of one parent, which is `keys.key`; at the root, all rows."""
        query = select(*columns).where(*self.own_conditions, *self.ancestor_conditions)
        return self._of_one_parent(self.relation, query, tables_in(self.predicate))

    def joined(self, query: Select[Any]) -> Select[Any]:
        """Returns `query` over rows, joined to the ancestors that its own conditions need."""
        for_tenant = self.for_tenant and not self.relation.tenant_checked_by_parent
        needed = tables_in(self.predicate)
        return self.entity.restrict_to_tenant(
            query, *needed, for_tenant=for_tenant, tenant=self.relation.tenant
        )

    def merge_per_parent(
        self, first: Select[Any], finish: Callable[[Any], Select[Any]], *probes: FromClause
    ) -> Select[Any]:
        """Returns what `finish` selects from the columns of `first`, which is read for each direct parent.

        No index has an account's trades in order, but one has each session's. So the first trades of each
        session are read and merged. The time this takes grows with the number of sessions; that of a sort
        grows with the number of trades. `first` may refer to `probes`, which are joined to the direct
        parents.
        """
        direct_parent = self.direct_parent
        tables = (direct_parent.table, *(table for table, _ in direct_parent.ancestors))
        of_one = first.correlate(KEYS, *tables, *probes).lateral("of_one")
        return self.select_direct_parents(finish(of_one.c).select_from(*probes))

    @property
    def direct_parent(self) -> Entity:
        """The entity of the rows' direct parents, which are between the rows and the relation's parent."""
        assert self.via_parent_key is not None  # noqa: S101 - narrows
        return self.via_parent_key.entity

    def select_direct_parents(self, query: Select[Any]) -> Select[Any]:
        """Returns `query` over the rows' direct parents that are below one parent of the relation."""
        relation = replace(self.relation, entity=self.direct_parent)
        if self._has_direct_parent_key:
            relation = ChildRelation(self.direct_parent)
        needed = tables_in(self.predicate) - {self.entity.table}
        return self._of_one_parent(relation, query, needed).where(*self.ancestor_conditions)

    def per_visible_parent(
        self,
        rows: Select[Any],
        probes: Mapping[str, Select[Any]] = _NOTHING,
        *,
        label: ColumnElement[Any] = KEYS.c.key.label("_parent"),  # noqa: B008 - immutable
    ) -> Select[Any]:
        """Returns `rows` for each of KEYS that its tenant may see, labelled by the key; at the root, once.

        Each of `probes` is a query that adds a column: whether it finds a row for the key. With them there is
        a row for each key, of nulls where `rows` has none.
        """
        is_root = self.relation.parent_key is None
        if is_root and not probes:
            return rows.add_columns(_root.label("_parent"))
        keys: FromClause = _root_keys if is_root else KEYS
        if is_root:
            label = _root.label("_parent")
        columns: list[ColumnElement[Any]] = []
        source = keys
        for name, query in probes.items():
            found = query.lateral(name)
            source = source.outerjoin(found, true())
            columns.append(found.c.one.is_not(None).label(name))
        each = rows.lateral("each")
        query = select(label, *each.c, *columns)
        query = query.select_from(source.join(each, true(), isouter=bool(probes)))
        parent = self.relation.parent
        if not self.for_tenant or parent is None or parent.tenant_column is None:
            return query
        seen = select(parent.table.c.id).where(parent.table.c.id == KEYS.c.key)
        seen = parent.restrict_to_tenant(seen, for_tenant=True, tenant=self.relation.tenant)
        return query.where(seen.correlate(KEYS).exists())

    def _of_one_parent(
        self, relation: ChildRelation, query: Select[Any], needed: AbstractSet[FromClause]
    ) -> Select[Any]:
        if relation.parent_key is not None:
            query = query.where(relation.parent_key == KEYS.c.key)
            needed = needed | {relation.parent_key.table}
        for_tenant = self.for_tenant and not relation.tenant_checked_by_parent
        return relation.entity.restrict_to_tenant(
            query, *needed, for_tenant=for_tenant, tenant=self.relation.tenant
        )

    @property
    def _has_direct_parent_key(self) -> bool:
        key = self.relation.parent_key
        return key is not None and key.table is self.entity.table

    def _concerns_ancestors(self, part: Predicate) -> bool:
        tables = tables_in(part)
        return bool(tables) and self.entity.table not in tables

    def _own_parts(self) -> list[Predicate]:
        parts = conjuncts(self.predicate)
        return [part for part in parts if self.via_parent_key is None or not self._concerns_ancestors(part)]

    def _own_sql(self, part: Predicate) -> ColumnElement[bool]:
        return to_sql(part, via=None if self.prefix is None else self.prefix.column)

    def _unprefixed(self, parts: Iterable[Predicate]) -> list[ColumnElement[bool]]:
        """Returns conditions on rows that are read by the prefix's index, so that no other index is used."""
        conditions = [self._own_sql(part) for part in parts]
        key = self.relation.parent_key
        if (
            key is not None
            and self._has_direct_parent_key
            and (not self.prefix or key is not self.prefix.column)
        ):
            conditions.append(without_index(key == KEYS.c.key))
        return conditions

    def _equality_prefixes(self, timeline: Column[Any]) -> Iterator[Prefix]:
        for part in conjuncts(self.predicate):
            match part:
                case Comparison(Column() as column, "eq", name) if is_indexed(timeline, within=column):
                    yield Prefix(column, bindparam(name, type_=unbounded(column.type)), part)


# Which of the relation's rows, and which columns: a range of their order, and the shape of a page


@dataclass(frozen=True, slots=True)
class KeysetRange:
    """The rows of an order behind a cursor, before one or between two, and the end to read them from."""

    order: SortOrder
    descending: bool
    """Whether it is read from its greatest row downwards."""
    bounds: tuple[tuple[str, Callable[[Any, Any], Any]], ...] = ()
    """The cursors, by the argument's name, and how rows compare with each."""

    def conditions(self, columns: Any, prefix: Prefix | None = None) -> list[ColumnElement[bool]]:
        """Returns the conditions that rows are within the bounds: row comparisons, which an index serves.

        The prefix is the first column of the comparison, so that only an index that begins with it can be
        used. Otherwise, after a cursor among many rows of one key, PostgreSQL expects few rows, and scans an
        index over all rows.
        """
        keys, values = ((), ()) if prefix is None else ((prefix.column,), (prefix.value,))
        row = tuple_(*keys, sort_key(columns[self.order.column.name]), columns.id)
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

    @property
    def end(self) -> "KeysetRange":
        """The same range without the bound that it is read from."""
        bounds = (each for each in self.bounds if (each[1] in (operator.gt, operator.ge)) == self.descending)
        return replace(self, bounds=tuple(bounds))

    def keys(self, columns: Any, prefix: Prefix | None = None) -> list[ColumnElement[Any]]:
        """Returns the columns of the order: the prefix, if rows are read by it, the sort key and the id."""
        keys = [sort_key(columns[self.order.column.name]), columns.id]
        return keys if prefix is None else [prefix.column, *keys]

    def sort(self, query: Select[Any], keys: Iterable[ColumnElement[Any]]) -> Select[Any]:
        """Returns `query` in the range's order, by these keys."""
        return query.order_by(*(key.desc() if self.descending else key.asc() for key in keys))

    def first(self, rows: FilteredRelation, *columns: ColumnElement[Any]) -> Select[Any]:
        """Returns the range's rows of one scan in the order of an index, without joins or a limit."""
        own = rows.entity.table.c
        query = select(*columns).where(*rows.conditions(ordered=True), *self.conditions(own, rows.prefix))
        return self.sort(query, self.keys(own, rows.prefix))


@dataclass(frozen=True, slots=True)
class PageShape:
    """The parts of a page request that its SQL depends on. Pages of equal shape share a statement."""

    order: SortOrder
    backward: bool = False
    after: bool = False
    before: bool = False
    """Whether the request has the cursor `after`, and the cursor `before`."""
    predicate: Predicate = MATCH_ALL
    projection: frozenset[str] | None = None
    eager_joins: tuple[EagerJoin, ...] = ()
    with_total: bool = False
    with_previous: bool = False
    with_next: bool = False
    limited: bool = False
    """Whether at most :limit rows are examined, in the order of an index."""
    few_parents: bool = False
    """Whether it is known to be merged from fewer direct parents than the page has rows."""

    @classmethod
    def of(
        cls,
        request: PageRequest,
        eager_joins: tuple[EagerJoin, ...] = (),
        *,
        limited: bool = False,
        few_parents: bool = False,
    ) -> "PageShape":
        """Returns the shape of a requested page, with those of its eager joins that the viewer may read."""
        # A request with a filter isn't cached: the values that it compares with may be long.
        of = cls._of.__wrapped__ if request.filter.parameters else cls._of
        return of(request, eager_joins, limited, few_parents)

    @staticmethod
    @lru_cache(maxsize=1024)  # all requests of a constant page have the same shape
    def _of(
        request: PageRequest,
        eager_joins: tuple[EagerJoin, ...],
        limited: bool,  # noqa: FBT001 - part of the cache's key
        few_parents: bool,  # noqa: FBT001
    ) -> "PageShape":
        return PageShape(
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
            limited,
            few_parents,
        )

    @property
    def columns(self) -> frozenset[str] | None:
        """The columns that are read: those that the operation reads, and the order's. None for all."""
        return None if self.projection is None else self.projection | {self.order.column.name}

    @property
    def range(self) -> KeysetRange:
        """The rows of the page, and all rows beyond it in the direction in which it is read."""
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


# The statements of pages


async def build_filtered(filter_: Filter, build: Callable[..., Statement], *arguments: Any) -> Statement:
    """Returns `build(*arguments)`, a statement with a filter; built in another thread if that takes long."""
    if filter_.conditions <= _FEW_CONDITIONS:
        return build(*arguments)
    return await build_aside(build.__wrapped__, *arguments)  # type: ignore[attr-defined] # without its cache


@lru_cache(maxsize=1024)
def page_statement(relation: ChildRelation, shape: PageShape, for_tenant: bool) -> Statement:  # noqa: FBT001
    """Returns the statement of a page below each of KEYS. Except at the root, a row has its key's NUMBER.

    Besides its columns a row has `_total`, `_has_previous` and `_has_next`, where the shape asks for them,
    and DIRECT_PARENTS, where a shape with `few_parents` would have a simpler statement. Where the shape asks
    for rows before or behind the page, a parent whose page is empty has a row with a null id.
    """
    rows = FilteredRelation(relation, shape.predicate, for_tenant)
    is_joined_to_tenant = rows.via_parent_key is not None and for_tenant
    on_path, others = (
        split_tenant_path(rows.entity, shape.eager_joins) if is_joined_to_tenant else ([], shape.eager_joins)
    )
    is_counted = False
    if shape.limited:
        page = _limited_scan_page(rows, shape)
    elif _reads_all(rows, shape):
        is_counted = shape.with_total and not shape.range.bounds
        page = _sorted_page(rows, shape, on_path, with_total=is_counted)
    elif rows.via_parent_key is None:
        page = _index_scan_page(rows, shape)
    else:
        page = _merged_page(rows, shape, on_path)
    if others:
        page = _joined_to(page, others, shape, for_tenant=for_tenant)
    if shape.with_total and not is_counted:
        page = page.add_columns(_total(rows))
    query = rows.per_visible_parent(page, _around_page(rows, shape), label=KEYS.c.number.label(NUMBER))
    return compile_statement(query, may_batch=not shape.limited and _reads_few(rows, shape))


@lru_cache(maxsize=256)
def parent_and_page_statement(
    relation: ChildRelation,
    shape: PageShape,
    for_tenant: bool,  # noqa: FBT001 - part of the cache's key
    columns: frozenset[str] | None,
) -> Statement | None:
    """Returns the statement of a parent's row and the first page below it, for each of KEYS.

    Each row of the page has the parent's columns too, with the prefix PARENT; an empty page has a row with a
    null id. Returns None for a page with a cursor, and for one that may read more of an index than its rows.
    """
    rows, parent = FilteredRelation(relation, shape.predicate, for_tenant), relation.parent
    if parent is None or shape.range.bounds or not _reads_few(rows, shape):
        return None
    if _reads_all(rows, shape):
        page = _sorted_page(rows, shape, (), with_total=False)
    else:
        page = _index_scan_page(rows, shape)
    own = [column.label(f"{PARENT}{column.name}") for column in parent.projected_columns(columns)]
    row = parent.restrict_to_tenant(
        select(*own).where(parent.table.c.id == KEYS.c.key), for_tenant=for_tenant, tenant=KEYS.c.tenant
    )
    parents, each = row.correlate(KEYS).lateral("parent"), page.correlate(KEYS).lateral("each")
    query = select(KEYS.c.number.label(NUMBER), *parents.c, *each.c)
    query = query.select_from(KEYS.join(parents, true()).outerjoin(each, true()))
    return compile_statement(query, may_batch=True)


@lru_cache(maxsize=256)
def parent_labels(names: tuple[str, ...]) -> Sequence[tuple[str, str]]:
    """Returns the names of the parent's columns among these of a row, each with its label."""
    return [(name.removeprefix(PARENT), name) for name in names if name.startswith(PARENT)]


def _reads_few(rows: FilteredRelation, shape: PageShape) -> bool:
    """Whether a page is bounded: read from an index in order, or of a tenant's accounts, which are few.

    Any other page may read more rows than it has: those of many sessions, or until enough match a filter.
    """
    if rows.via_parent_key is not None or shape.predicate != MATCH_ALL:
        return False
    key = rows.relation.parent_key
    return not _reads_all(rows, shape) or (key is not None and key is rows.entity.owner)


def _reads_all(rows: FilteredRelation, shape: PageShape) -> bool:
    """Whether all rows are read and then sorted: no index has them in order, or they all have to be counted.

    A tenant has few rows of one symbol or strategy, so that they are read once for the page and its total.
    A page after a cursor is read from other rows than its total.
    """
    if not rows.is_ordered(shape.order):
        return True
    if not (shape.with_total and rows.for_tenant and rows.via_parent_key) or shape.range.bounds:
        return False
    return any(
        isinstance(part, Comparison)
        and part.operator == "eq"
        and isinstance(part.expression, Column)
        and part.expression.table is rows.entity.table
        for part in conjuncts(shape.predicate)
    )


# The rows of a page, by each of the four plans


def _index_scan_page(rows: FilteredRelation, shape: PageShape) -> Select[Any]:
    """Returns a page of rows that an index has in order."""
    return rows.joined(_first_rows(rows, shape))


def _first_rows(rows: FilteredRelation, shape: PageShape) -> Select[Any]:
    """Returns the first rows of one index scan, as many as a page has."""
    return shape.range.first(rows, *rows.entity.projected_columns(shape.columns)).limit(_fetch)


def _merged_page(
    rows: FilteredRelation, shape: PageShape, on_path: Sequence[ColumnElement[Any]]
) -> Select[Any]:
    """Returns a page of rows that an index has in order for each of several direct parents."""
    if is_indexed(shape.order.column) and rows.fits_without_ancestors and not shape.few_parents:
        return _scanned_or_merged_page(rows, shape, on_path)
    range_, first = shape.range, _first_rows(rows, shape)
    return rows.merge_per_parent(
        first, lambda columns: range_.sort(select(*columns, *on_path), range_.keys(columns)).limit(_fetch)
    )


def _scanned_or_merged_page(
    rows: FilteredRelation, shape: PageShape, on_path: Sequence[ColumnElement[Any]]
) -> Select[Any]:
    """Returns a page of rows that one index has in order for each direct parent, and another for all tenants.

    Where there are many direct parents, the second index is scanned first, for as many rows of all tenants as
    there are direct parents. If these fill the page, no direct parent is probed. If they don't, the scan has
    cost no more than the probes, which then find the page (`_merged_by_probes`).
    """
    range_ = shape.range
    columns = rows.entity.projected_columns(shape.columns)
    scanned = _first_of_all_tenants(rows, range_, _rows_to_scan(rows), columns, on_path)
    scanned_page = scanned.limit(_fetch).cte("scanned_page", nesting=True)
    is_full = select(func.count()).select_from(scanned_page).scalar_subquery() >= _fetch
    merged = _merged_by_probes(rows, range_, columns, on_path)
    either = union_all(
        select(scanned_page).where(is_full), merged.where(not_(is_full)).correlate(KEYS, scanned_page)
    ).subquery("either")
    query = select(either)
    if not rows.ancestor_conditions:  # with them, a list has fewer direct parents than are counted
        number = (
            select(func.count()).select_from(_direct_parents(rows, _fetch)).correlate(KEYS).scalar_subquery()
        )
        query = query.add_columns(number.label(DIRECT_PARENTS))
    return range_.sort(query, range_.keys(either.c)).limit(_fetch)


def _rows_to_scan(rows: FilteredRelation) -> ColumnElement[Any]:
    """Returns how many rows to scan: the number of direct parents; 0 where that is less than a page."""
    number = func.count()
    query = select(case((number >= _fetch, number), else_=literal_column("0")))
    return query.select_from(_direct_parents(rows, _max_scanned)).scalar_subquery()


def _direct_parents(rows: FilteredRelation, most: ColumnElement[Any]) -> FromClause:
    """Returns a row for each direct parent, at most `most`, to be counted."""
    return rows.select_direct_parents(select(_found)).limit(most).correlate(KEYS).subquery("parents")


def _first_of_all_tenants(
    rows: FilteredRelation,
    range_: KeysetRange,
    limit: ColumnElement[Any],
    columns: Sequence[ColumnElement[Any]],
    on_path: Sequence[ColumnElement[Any]],
) -> Select[Any]:
    """Returns the relation's rows among the first rows of all tenants, at most `limit` and MAX_SCANNED.

    MAX_SCANNED is a literal in the SQL, so that PostgreSQL chooses the index. An OFFSET prevents a join that
    would have to read all of them before its first row.
    """
    assert rows.via_parent_key is not None  # noqa: S101 - narrows
    own = rows.entity.table.c
    parent_key = rows.via_parent_key.key.label("_direct_parent")
    fits = and_(true(), *rows.conditions_without_prefix).label("_fits")
    query = select(*columns, parent_key, fits).where(*range_.conditions(own))
    first = range_.sort(query, range_.keys(own)).limit(_max_scanned).correlate(KEYS).subquery("first")
    limited = range_.sort(select(first), range_.keys(first.c)).limit(limit)
    scanned = limited.correlate(KEYS).lateral("scanned")
    parent = select(_found, *on_path).where(rows.direct_parent.table.c.id == scanned.c["_direct_parent"])
    parent = rows.select_direct_parents(parent).offset(_no_offset)
    found = parent.correlate(KEYS, scanned).lateral("direct_parent")
    selected = [scanned.c[column.name] for column in columns] + [found.c[column.name] for column in on_path]
    joined = select(*selected).select_from(scanned.join(found, true())).where(scanned.c["_fits"])
    return range_.sort(joined, range_.keys(scanned.c))


def _merged_by_probes(
    rows: FilteredRelation,
    range_: KeysetRange,
    columns: Sequence[ColumnElement[Any]],
    on_path: Sequence[ColumnElement[Any]],
) -> Select[Any]:
    """Returns a page that is merged from the rows of those direct parents whose first rows come first.

    Each direct parent is probed for its first row. Further rows are read of those whose first row can be on
    the page.
    """
    own, direct_parent, prefix = rows.entity.table.c, rows.direct_parent.table.c.id, rows.prefix
    assert prefix is not None  # noqa: S101 - narrows
    key, id_ = range_.keys(own)
    probe = range_.first(rows, key.label("_key"), id_.label("_id"))

    def nearest(found: Any) -> Select[Any]:
        keys = (found["_key"], found["_id"])
        return range_.sort(select(direct_parent.label("_direct_parent"), *keys), keys).limit(_fetch)

    probed = rows.merge_per_parent(probe.limit(_limit_one), nearest).correlate(KEYS).subquery("probed")
    at, since = tuple_(*range_.keys(own, prefix)), tuple_(prefix.value, probed.c["_key"], probed.c["_id"])
    first = range_.end.first(rows, *columns).where(at <= since if range_.descending else at >= since)

    def finish(found: Any) -> Select[Any]:
        query = select(*found, *on_path).where(direct_parent == probed.c["_direct_parent"])
        return range_.sort(query, range_.keys(found)).limit(_fetch)

    return rows.merge_per_parent(first.limit(_fetch), finish, probed)


def _sorted_page(
    rows: FilteredRelation, shape: PageShape, on_path: Sequence[ColumnElement[Any]], *, with_total: bool
) -> Select[Any]:
    """Returns a page of rows that are all read and sorted; with their number, if `with_total`."""
    range_ = shape.range
    total = [func.count().over().label("_total")] if with_total else []

    def finish(columns: Any) -> Select[Any]:
        query = select(*columns, *on_path, *total).where(*range_.conditions(columns))
        return range_.sort(query, range_.keys(columns)).limit(_fetch)

    return _from_all_rows(rows, finish, *rows.entity.projected_columns(shape.columns))


def _from_all_rows(
    rows: FilteredRelation, finish: Callable[[Any], Select[Any]], *columns: ColumnElement[Any]
) -> Select[Any]:
    """Returns what `finish` selects from the columns of all rows.

    OFFSET 0 makes PostgreSQL plan the reading of the rows without regard to `finish`. Otherwise it might scan
    an index that has all tenants' rows in the order, until it has found enough rows of this parent.
    """
    query = select(*columns).where(*rows.conditions(ordered=False)).offset(_no_offset)
    if rows.via_parent_key is not None:
        return rows.merge_per_parent(query, finish)
    return finish(rows.joined(query).correlate(KEYS).lateral("every").c)


def _limited_scan_page(rows: FilteredRelation, shape: PageShape) -> Select[Any]:
    """Returns a page of the rows that match the filter, of the first :limit rows of an index."""
    range_ = shape.range
    columns = rows.entity.projected_columns(shape.columns)
    examined, keys = _limited_scan(rows, range_, _limit, *columns)
    query = select(*(examined.c[column.name] for column in columns)).where(examined.c["_fits"])
    return range_.sort(query, keys).limit(_fetch)


def _limited_scan(
    rows: FilteredRelation, range_: KeysetRange, limit: ColumnElement[Any], *columns: ColumnElement[Any]
) -> tuple[FromClause, list[ColumnElement[Any]]]:
    """Returns the first `limit` rows of a range, each with whether it `_fits`, and the keys of their order.

    They are read from the index of the order, bounded by the conditions that it serves. Where a query sorts
    by the keys again, PostgreSQL knows that they are sorted, and reads no more rows than it needs.
    """
    own, is_timeline = rows.entity.table.c, _is_timeline(rows, range_.order)
    prefix = rows.prefix if is_timeline else None
    bounds, others = rows.split(order=range_.order.column)
    keys = range_.keys(own, prefix)
    labelled = [key.label(f"_key{place}") for place, key in enumerate(keys)]
    fits = and_(true(), *others).label("_fits")
    query = select(*columns, *labelled, fits).where(*bounds, *range_.conditions(own, prefix))
    query = rows.joined(range_.sort(query, keys)).limit(limit)
    examined = query.correlate(KEYS).lateral("examined")
    return examined, [examined.c[key.name] for key in labelled]


def _is_timeline(rows: FilteredRelation, order: SortOrder) -> bool:
    return rows.read_limit is not None and order.column is rows.read_limit.timeline


# What comes with a page: joined rows, the total, rows before and behind


def _joined_to(
    page: Select[Any], eager_joins: Sequence[EagerJoin], shape: PageShape, *, for_tenant: bool
) -> Select[Any]:
    """Returns the page's rows joined to the rows that they refer to, in the page's order."""
    subquery = page.subquery("page")
    source, columns = join(subquery, eager_joins, for_tenant=for_tenant)
    query = select(*subquery.c, *columns).select_from(source)
    return shape.range.sort(query, shape.range.keys(subquery.c))


def _total(rows: FilteredRelation) -> ColumnElement[Any]:
    """Returns how many rows the whole list has."""
    return _count(rows).correlate(None).scalar_subquery().label("_total")


def _around_page(rows: FilteredRelation, shape: PageShape) -> Mapping[str, Select[Any]]:
    """Returns queries for a row before the cursor `after` and for one behind `before`, as the shape asks."""
    queries = {}
    if shape.with_previous and shape.after:
        queries["_has_previous"] = _any_row(rows, shape, shape.preceding)
    if shape.with_next and shape.before:
        queries["_has_next"] = _any_row(rows, shape, shape.following)
    return queries


def _any_row(rows: FilteredRelation, shape: PageShape, range_: KeysetRange) -> Select[Any]:
    """Returns a row with `one`, if a range has any row: a probe of the index from the cursor on.

    It is no EXISTS, from which PostgreSQL removes the order, so that it may begin anywhere. From the cursor
    on, the first row is most often the row whose cursor it is.
    """
    if shape.limited:
        examined, _ = _limited_scan(rows, range_, _limit)
        return select(_found).select_from(examined).where(examined.c["_fits"]).limit(_limit_one)
    if not rows.is_ordered(shape.order):
        own = rows.entity.projected_columns(frozenset({shape.order.column.name}))
        return _from_all_rows(
            rows, lambda columns: select(_found).where(*range_.conditions(columns)).limit(_limit_one), *own
        )
    query = range_.first(rows, _found).limit(_limit_one)
    if rows.via_parent_key is None:
        return rows.joined(query)
    merged = rows.merge_per_parent(query, lambda columns: select(columns.one).limit(_limit_one))
    if not is_indexed(shape.order.column) or not rows.fits_without_ancestors:
        return merged
    own = rows.entity.projected_columns(frozenset({shape.order.column.name}))
    near = _first_of_all_tenants(rows, range_, _limit_nearby, own, ()).subquery("near")
    either = union_all(select(_found).select_from(near), merged.correlate(KEYS)).subquery("either_row")
    return select(either.c.one).limit(_limit_one)


# Counts


@lru_cache(maxsize=256)
def count_statement(relation: ChildRelation, predicate: Predicate, for_tenant: bool) -> Statement:  # noqa: FBT001
    """Returns the `total` below each `_parent` of :keys; null if :count_limit rows or more are examined."""
    rows = FilteredRelation(relation, predicate, for_tenant)
    return compile_statement(rows.per_visible_parent(_count(rows)))


def _count(rows: FilteredRelation) -> Select[Any]:
    if rows.entity.count_limit is not None:
        return _limited_count(rows, rows.entity.count_limit)
    if rows.read_limit is None:
        return rows.select(func.count().label("total"))
    examined, _ = _limited_scan(rows, _timeline_range(rows.read_limit), _count_limit)
    fitting = func.count().filter(examined.c["_fits"])
    return select(case((func.count() < _count_limit, fitting)).label("total")).select_from(examined)


def _limited_count(rows: FilteredRelation, limit: CountLimit) -> Select[Any]:
    """Returns the `total`; null, without examining rows, if there are :count_limit entries or more."""
    parent_key, entries = rows.relation.parent_key, limit.entries.c
    assert parent_key is not None  # noqa: S101 - the entries are those of a parent
    bounds = [
        to_sql(replace(part, expression=entries[limit.timeline.name]))
        for part in conjuncts(rows.predicate)
        if isinstance(part, Comparison) and part.expression is limit.timeline
    ]
    found = select(_found).where(entries[parent_key.name] == KEYS.c.key, *bounds).limit(_count_limit)
    number = select(func.count()).select_from(found.correlate(KEYS).lateral("found")).scalar_subquery()
    total = rows.select(func.count()).correlate(KEYS).scalar_subquery()
    return select(case((number < _count_limit, total)).label("total"))


@lru_cache(maxsize=256)
def examined_count_statement(
    relation: ChildRelation,
    predicate: Predicate,
    range_: KeysetRange | None,
    for_tenant: bool,  # noqa: FBT001 - part of the cache's key
) -> Statement:
    """Returns how many rows would be examined in a range: the `total` below each `_parent`, up to :limit.

    Without a range, the rows that a list in another order is sorted from.
    """
    rows = FilteredRelation(relation, predicate, for_tenant)
    assert rows.read_limit is not None  # noqa: S101 - narrows
    examined, _ = _limited_scan(rows, range_ or _timeline_range(rows.read_limit), _limit)
    number = select(func.count().label("total")).select_from(examined)
    return compile_statement(rows.per_visible_parent(number))


def _timeline_range(limit: ReadLimit) -> KeysetRange:
    return KeysetRange(SortOrder(limit.timeline), descending=True)
