"""Entities: tables as the graph shows them, and the tenant's predicate of statements that find their rows."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, FromClause, Select, Subquery, Table, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from graphql_api.execution.projection import Reference
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.database import NUMBER
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.relational.context import Context, Loader, Row, ViewerDatabase

UUIDS = ARRAY(UUID(as_uuid=False))

KEYS = (
    func.unnest(bindparam("keys", type_=UUIDS), bindparam("tenants", type_=UUIDS))
    .table_valued("key", "tenant", with_ordinality="number", name="keys")
    .render_derived()
)
"""The keys that a statement loads, numbered from 1, each with the tenant of its viewer."""

TENANT: ColumnElement[Any] = bindparam("tenant", type_=UUID(as_uuid=False))
"""The viewer's tenant, where a statement has no keys."""


class Parent(NamedTuple):
    """The foreign key of an entity's rows that leads to their tenant, and the entity it refers to."""

    key: Column[Any]
    entity: "Entity"


@dataclass(frozen=True, slots=True)
class ReadLimit:
    """Lists of several tenants' rows examine a bounded number of rows, which lie together in an index.

    The index begins with `timeline`, or with a column of the table and then `timeline`.
    """

    timeline: Column[Any]
    narrowed_by: str
    """What a client can add to a filter so that fewer rows are examined."""
    every_list: bool = False
    """Whether one tenant's lists are bounded, too, because each row is looked up by itself."""
    weight: int = 1
    """The cost of examining one row, in rows of other lists."""


@dataclass(frozen=True, eq=False, slots=True)
class CountLimit:
    """Counts examine a bounded number of rows, because each row is looked up and checked by itself.

    `entries` has a row for each row to examine, with columns of the same names: the parent's key, and
    `timeline`, in the order of an index.
    """

    entries: Table
    timeline: Column[Any]
    """The entity's column that a filter can bound, so that fewer rows are examined."""
    weight: int
    """The cost of examining one row, in rows of other lists."""
    narrowed_by: str
    """What a client can add to a filter for that."""


@dataclass(frozen=True, eq=False)
class Entity:
    """A table as the graph shows it: its columns, who may read it, and how a row's tenant is found.

    The tenant's id is in the row (`owner`), or in the row of an ancestor, by way of `parent`. An entity with
    neither has no tenant: all who may read such rows see the same.
    """

    name: str
    """Its GraphQL type."""
    table: Table | Subquery
    columns: tuple[ColumnElement[Any], ...]
    scopes: frozenset[Scope]
    """A viewer with any of these may read such rows: their own, or all where there is no tenant."""
    owner: Column[Any] | None = None
    parent: Parent | None = None
    read_limit: ReadLimit | None = None
    """None for a table that is small enough to be read as a whole, such as that of strategies."""
    count_limit: CountLimit | None = None
    """None where rows are counted without looking each up."""
    shown_as: "Entity | None" = None
    """The entity whose GraphQL type its rows have, if that is another: its columns are the selected ones."""

    @property
    def column_names(self) -> frozenset[str]:
        return frozenset(column.name for column in self.columns)

    @property
    def parent_reference(self) -> Reference | None:
        """The foreign key to its parent, as fields refer to it."""
        return None if self.parent is None else Reference(self.parent.key.name, self.parent.entity)

    @property
    def ancestors(self) -> Iterator[tuple[Table | Subquery, ColumnElement[bool]]]:
        """The tables that lead up to the owner, the nearest first, each with the condition that joins it."""
        if self.parent is not None:
            key, entity = self.parent
            yield entity.table, key == entity.table.c.id
            yield from entity.ancestors

    @property
    def tenant_column(self) -> Column[Any] | None:
        """The column with the id of the user whose row it is; None for an entity without a tenant."""
        if self.owner is None and self.parent is not None:
            return self.parent.entity.tenant_column
        return self.owner

    def restrict_to_tenant(
        self, query: Select[Any], *needed: FromClause, for_tenant: bool, tenant: ColumnElement[Any] = TENANT
    ) -> Select[Any]:
        """Returns `query` over this entity, restricted to the tenant's rows if `for_tenant`.

        The tenant's predicate is added here and nowhere else. The entity's table is joined to its ancestors
        as far as the `needed` tables and the tenant's column require.
        """
        column = self.tenant_column
        if not for_tenant or column is None:
            return query.select_from(self._join_ancestors(*needed, inner=False))
        return query.select_from(self._join_ancestors(column.table, *needed, inner=True)).where(
            column == tenant
        )

    def _join_ancestors(self, *needed: FromClause, inner: bool) -> FromClause:
        """Returns the table, joined to its ancestors as far as the `needed` tables require.

        Without `inner`, rows whose foreign key is null are kept: a viewer of every tenant's rows sees them.
        """
        source: FromClause = self.table
        missing = {table for table in needed if table is not self.table}
        for table, condition in self.ancestors:
            if not missing:
                break
            source = source.join(table, condition, isouter=not inner)
            missing.discard(table)
        assert not missing, f"{self.name} does not lead to {missing}"  # noqa: S101
        return source

    def projected_columns(self, names: AbstractSet[str] | None) -> Sequence[ColumnElement[Any]]:
        """Returns its id and the columns of these names; all columns for None."""
        if names is None:
            return self.columns
        return [column for column in self.columns if column.name == "id" or column.name in names]

    def is_visible_to(self, db: ViewerDatabase) -> bool:
        """Whether the viewer may read this kind of row at all."""
        return db.viewer.is_authenticated and not self.scopes.isdisjoint(db.viewer.scopes)

    async def load_by_ids(
        self,
        db: ViewerDatabase,
        ids: Sequence[str],
        columns: frozenset[str] | None = None,
        *,
        at_once: bool = True,
    ) -> Mapping[str, Row]:
        """Returns the rows with these ids that the viewer may see, by id; `columns` None means all.

        Without `at_once`, viewers who ask in the same iteration of the event loop share a statement.
        """
        if not self.is_visible_to(db):
            return {}
        found = await db.fetch_by_key(_by_id(self, db.tenant is not None, columns), ids, at_once=at_once)
        return {id_: rows[0] for id_, rows in zip(ids, found, strict=True) if rows}

    async def load_by_tenant(
        self,
        db: ViewerDatabase,
        keys: Sequence[tuple[str, str | None]],
        columns: frozenset[str] | None = None,
    ) -> Mapping[tuple[str, str | None], Row]:
        """Returns the rows with these ids, each if the tenant that stands beside it may see it.

        The tenant is None for viewers who may see every tenant's, and then for all of them; otherwise
        ValueError is raised.
        """
        if not self.is_visible_to(db):
            return {}
        ids, tenants = zip(*keys, strict=True)
        for_tenant = None not in tenants
        if not for_tenant and (any(tenants) or Scope.GRAPH_READ_ANY not in db.viewer.scopes):
            raise ValueError("only viewers of every tenant's rows may read without naming a tenant")
        found = await db.fetch_by_tenant(_by_id(self, for_tenant, columns), ids, tenants, at_once=False)
        return {key: rows[0] for key, rows in zip(keys, found, strict=True) if rows}


def loader_by_id(context: Context, entity: Entity) -> Loader:
    """Returns the loader of an entity's rows by id. Calls within an operation are batched."""
    return context.loaders.get(entity.load_by_ids, context.projection.columns(entity))


@lru_cache(maxsize=256)
def _by_id(
    entity: Entity,
    for_tenant: bool,  # noqa: FBT001 - part of the cache's key
    columns: frozenset[str] | None,
) -> Statement:
    query = select(KEYS.c.number.label(NUMBER), *entity.projected_columns(columns)).where(
        entity.table.c.id == KEYS.c.key
    )
    return compile_statement(
        entity.restrict_to_tenant(query, for_tenant=for_tenant, tenant=KEYS.c.tenant), may_batch=True
    )
