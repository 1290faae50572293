"""Eager joins: the rows that a list's rows refer to, read in the list's own statement.

Each statement costs a round trip, which takes longer than to join the few rows of a page to those that they
refer to.

`one` declares a `Reference`: a foreign key, and the entity that it leads to. The compiler says which
references an operation follows (`Projection`). Each becomes an `EagerJoin`, whose columns the statement has
under labels that only this module makes and reads. The executor finds the rows by the same `Reference`
(`Rows.joined`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, Text, select
from sqlalchemy.dialects.postgresql import JSONB

from graphql_api.execution.columns import JoinedRows
from graphql_api.execution.projection import Projection, Reference
from graphql_api.relational.context import ViewerDatabase
from graphql_api.relational.entity import Entity


@dataclass(frozen=True, slots=True)
class EagerJoin:
    """The rows that a foreign key refers to."""

    reference: Reference
    entity: Entity
    columns: tuple[ColumnElement[Any], ...]
    """The columns that are read of them."""
    nested: "tuple[EagerJoin, ...]"
    """The rows that they refer to in turn."""
    path: str
    """The foreign keys that lead here from the list's rows: `session_id.account_id`."""

    def label(self, name: str) -> str:
        """Returns the label of a column among the columns of the list's rows."""
        return f"{self.path}.{name}"

    def labelled(self, columns: Iterable[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
        """Returns columns with their labels."""
        return [column.label(self.label(column.name)) for column in columns]


@lru_cache(maxsize=512)
def eager_joins_of(projection: Projection, entity: Entity, path: str = "") -> tuple[EagerJoin, ...]:
    """Returns the eager joins of an operation's lists of an entity.

    Rows with texts of any length are not joined: many rows may refer to one, whose texts would be sent with
    each.
    """
    joins = []
    for reference in projection.references(entity):
        target, read = reference.target, projection.columns(reference.target)
        assert isinstance(target, Entity)  # noqa: S101 - narrows: `one` makes references to nothing else
        columns = tuple(target.projected_columns(read))
        if read is not None and not any(isinstance(column.type, Text | JSONB) for column in columns):
            own_path = f"{path}.{reference.column}" if path else reference.column
            nested = eager_joins_of(projection, target, own_path)
            joins.append(EagerJoin(reference, target, columns, nested, own_path))
    return tuple(joins)


def are_visible(joins: Sequence[EagerJoin], db: ViewerDatabase) -> bool:
    """Whether the viewer may read all that is joined."""
    return all(each.entity.is_visible_to(db) and are_visible(each.nested, db) for each in joins)


def split_tenant_path(
    entity: Entity, joins: Sequence[EagerJoin]
) -> tuple[list[ColumnElement[Any]], list[EagerJoin]]:
    """Splits eager joins: the columns of those on the tenant path, and the joins that are left.

    A query that `Entity.restrict_to_tenant` restricts is joined to the tenant path already: a trade's
    session, its account, its user.
    """
    columns: list[ColumnElement[Any]] = []
    others: list[EagerJoin] = []
    for each in joins:
        if each.reference == entity.parent_reference:
            columns += each.labelled(each.columns)
            nested_columns, nested_others = split_tenant_path(each.entity, each.nested)
            columns += nested_columns
            others += nested_others
        else:
            others.append(each)
    return columns, others


def join(
    page: FromClause, joins: Sequence[EagerJoin], *, for_tenant: bool
) -> tuple[FromClause, list[ColumnElement[Any]]]:
    """Returns `page` joined to the rows that it refers to, and their labelled columns."""
    source, columns = page, []
    for each in joins:
        # The foreign key has the path for its label, whether it is the page's own or on the tenant path.
        source, joined = _joined(source, page.c[each.path], each, for_tenant=for_tenant)
        columns += joined
    return source, columns


def _joined(
    source: FromClause, key: ColumnElement[Any], join: EagerJoin, *, for_tenant: bool
) -> tuple[FromClause, list[ColumnElement[Any]]]:
    query: Select[Any] = select(*join.columns)
    target = join.entity.restrict_to_tenant(query, for_tenant=for_tenant).subquery(join.path)
    source = source.outerjoin(target, target.c.id == key)
    columns = join.labelled(target.c)
    for nested in join.nested:
        source, nested_columns = _joined(
            source, target.c[nested.reference.column], nested, for_tenant=for_tenant
        )
        columns += nested_columns
    return source, columns


def rows_from_labels(
    table: Mapping[str, Sequence[Any]], joins: Sequence[EagerJoin]
) -> Mapping[Reference, JoinedRows]:
    """Returns the joined rows, taken from the columns of a list's rows by their labels."""
    found = {}
    for each in joins:
        names = [column.name for column in each.columns]
        ids = table.get(each.label("id"), ())
        # Many rows refer to the same row, which is made only once.
        different = set(zip(ids, *(table.get(each.label(name), ()) for name in names), strict=True))
        rows = {id_: dict(zip(names, values, strict=True)) for id_, *values in different if id_ is not None}
        found[each.reference] = JoinedRows(rows, rows_from_labels(table, each.nested))
    return found
