"""A table as the graph sees it: which columns, and whose rows they are."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause, Select, Table, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from graphql_api.identity.viewer import Scope
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.relational.context import Context, Row, ViewerDatabase

UUIDS = ARRAY(UUID(as_uuid=False))


@dataclass(frozen=True, eq=False)
class Entity:
    """A table with an id, and the way from its rows to the tenant they belong to.

    The way is either the column that holds the user's id (`owner`), or a foreign key to the entity that
    leads on (`parent`). An entity with neither has no tenant: all who may read such rows see the same.
    """

    name: str
    """Its GraphQL type."""
    table: Table
    columns: tuple[ColumnElement[Any], ...]
    scopes: frozenset[Scope]
    """Any of these lets a viewer read such rows, their own or all that have no tenant."""
    owner: Column[Any] | None = None
    parent: tuple[Column[Any], "Entity"] | None = None

    @property
    def column_names(self) -> frozenset[str]:
        """The names of its columns."""
        return frozenset(column.name for column in self.columns)

    @property
    def ancestors(self) -> Iterator[tuple[Table, ColumnElement[bool]]]:
        """The joins that lead up to the owner, nearest first."""
        if self.parent is not None:
            key, above = self.parent
            yield above.table, key == above.table.c.id
            yield from above.ancestors

    @property
    def tenant_column(self) -> Column[Any] | None:
        """The column that holds the id of the user whose row it is."""
        if self.owner is None and self.parent is not None:
            return self.parent[1].tenant_column
        return self.owner

    def join_ancestors(self, *needed: FromClause, inner: bool) -> FromClause:
        """The table, joined upwards as far as the `needed` tables ask for.

        Without `inner`, rows whose foreign key is null stay: who may see every tenant's rows sees those too.
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

    def restrict_to_tenant(self, query: Select[Any], *needed: FromClause, scoped: bool) -> Select[Any]:
        """`query` over this entity, restricted to :tenant's rows if `scoped`. The one place that says so."""
        column = self.tenant_column
        if not scoped or column is None:
            return query.select_from(self.join_ancestors(*needed, inner=False))
        return query.select_from(self.join_ancestors(column.table, *needed, inner=True)).where(
            column == bindparam("tenant", type_=UUID(as_uuid=False))
        )

    def projected_columns(self, read: AbstractSet[str] | None) -> Sequence[ColumnElement[Any]]:
        """Its id and those of its columns that are read; all of them if that isn't known."""
        if read is None:
            return self.columns
        return [column for column in self.columns if column.name == "id" or column.name in read]

    def is_visible_to(self, db: ViewerDatabase) -> bool:
        """Whether the viewer may read this kind of row at all."""
        return db.viewer.is_authenticated and not self.scopes.isdisjoint(db.viewer.scopes)

    async def load_by_ids(
        self, db: ViewerDatabase, keys: Sequence[str], read: frozenset[str] | None = None
    ) -> Mapping[str, Row]:
        """The rows with these ids, as far as the viewer may see them; of each the columns to be `read`."""
        if not self.is_visible_to(db):
            return {}
        rows = await db.fetch(_by_id(self, db.tenant is not None, read), ids=list(keys))
        return {row["id"]: row for row in rows}


def loader_by_id(context: Context, entity: Entity) -> Callable[[str], Awaitable[Row | None]]:
    """Loads rows by id, for everything in an operation that does: they share a batch."""
    return context.loaders.get(entity.load_by_ids, context.projection.columns(entity)).load


@lru_cache(maxsize=256)
def _by_id(
    entity: Entity,
    scoped: bool,  # noqa: FBT001 - part of the cache's key
    read: frozenset[str] | None,
) -> Statement:
    query = select(*entity.projected_columns(read)).where(
        entity.table.c.id == any_(bindparam("ids", type_=UUIDS))
    )
    return compile_statement(entity.restrict_to_tenant(query, scoped=scoped))
