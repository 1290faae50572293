"""What a list brings along: the rows that its own refer to, joined to them in the same statement.

Every statement costs a round trip, which takes longer than joining the few rows of a page to theirs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, Text, select
from sqlalchemy.dialects.postgresql import JSONB

from graphql_api.execution.columns import JoinedRows
from graphql_api.execution.projection import Projection, Reference
from graphql_api.relational.entity import Entity


@dataclass(frozen=True, slots=True)
class EagerJoin:
    """The rows that a foreign key refers to."""

    reference: Reference
    entity: Entity
    read: frozenset[str]
    """What is read of them."""
    further: "tuple[EagerJoin, ...]"
    """What they bring along in their turn."""

    @property
    def column(self) -> str:
        """The column that holds the foreign key."""
        return self.reference.column


@lru_cache(maxsize=512)
def eager_joins_of(reads: Projection, entity: Entity) -> tuple[EagerJoin, ...]:
    """What an operation's lists of an entity bring along.

    Not what is of any length: many rows refer to the same one, which would be sent with each of them.
    """
    found = []
    for reference in reads.references(entity):
        to, read = reference.target, reads.columns(reference.target)
        assert isinstance(to, Entity)  # noqa: S101 - narrows; nothing else refers to rows
        if read is not None and not any(
            isinstance(each.type, Text | JSONB) for each in to.projected_columns(read)
        ):
            found.append(EagerJoin(reference, to, read, eager_joins_of(reads, to)))
    return tuple(found)


def visible(along: Sequence[EagerJoin], db: Any) -> bool:
    """Whether the viewer may read all that is brought along."""
    return all(each.entity.is_visible_to(db) and visible(each.further, db) for each in along)


Placed = tuple[str, EagerJoin]
"""What is brought along, and the names' prefix of the row whose column refers to it."""


def split_tenant_path(
    entity: Entity, along: Sequence[EagerJoin], path: str = ""
) -> tuple[list[ColumnElement[Any]], list[Placed]]:
    """Columns of what is brought along that lies between the rows and their tenant, and what doesn't.

    A query that `Entity.restrict_to_tenant` restricts has joined the former already.
    """
    columns: list[ColumnElement[Any]] = []
    rest: list[Placed] = []
    for each in along:
        if entity.parent is None or (entity.parent[0].name, entity.parent[1]) != (each.column, each.entity):
            rest.append((path, each))
            continue
        prefix = f"{path}{each.column}."
        columns += _named(prefix, each.entity.projected_columns(each.read))
        further, left = split_tenant_path(each.entity, each.further, prefix)
        columns += further
        rest += left
    return columns, rest


def join(
    page: FromClause, along: Sequence[Placed], *, scoped: bool
) -> tuple[FromClause, list[ColumnElement[Any]]]:
    """`page` joined to its eager joins, and their columns, labelled as `rows_from_labels` reads them."""
    source, columns = page, []
    for path, each in along:
        source, brought = _joined(source, page.c[f"{path}{each.column}"], each, path, scoped=scoped)
        columns += brought
    return source, columns


def _joined(
    source: FromClause, key: ColumnElement[Any], each: EagerJoin, path: str, *, scoped: bool
) -> tuple[FromClause, list[ColumnElement[Any]]]:
    query: Select[Any] = select(*each.entity.projected_columns(each.read))
    target = each.entity.restrict_to_tenant(query, scoped=scoped).subquery(f"{path}{each.column}")
    source = source.outerjoin(target, target.c.id == key)
    prefix = f"{path}{each.column}."
    columns = _named(prefix, target.c)
    for further in each.further:
        source, brought = _joined(source, target.c[further.column], further, prefix, scoped=scoped)
        columns += brought
    return source, columns


def _named(prefix: str, columns: Iterable[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [column.label(f"{prefix}{column.name}") for column in columns]


def rows_from_labels(
    table: Mapping[str, Sequence[Any]], along: Sequence[EagerJoin], path: str = ""
) -> Mapping[Reference, JoinedRows]:
    """What rows, here as columns, have brought along: by the foreign key that refers to it."""
    found = {}
    for each in along:
        prefix = f"{path}{each.column}."
        names = [column.name for column in each.entity.projected_columns(each.read)]
        ids = table.get(f"{prefix}id", ())
        # Most rows refer to what another of them does too, and each needs to be put together only once.
        different = set(zip(ids, *(table.get(prefix + name, ()) for name in names), strict=True))
        brought = {
            id_: dict(zip(names, values, strict=True)) for id_, *values in different if id_ is not None
        }
        found[each.reference] = JoinedRows(brought, rows_from_labels(table, each.further, prefix))
    return found
