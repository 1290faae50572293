"""The interface Node: rows that can be found by their id alone."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import strawberry
from sqlalchemy import bindparam, func, select, true

from graphql_api.execution.fields import decided_by_value, is_any_source
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.relational.context import Row, ViewerDatabase
from graphql_api.relational.entity import UUIDS, Entity
from graphql_api.relational.relation import column

TYPENAME = "__typename"


@strawberry.interface(description="A row of the graph. Its id is the row's own UUID, unique over all types.")
class Node:
    """Found by `node(id:)`. A type names the entity of its rows: `class Trade(Node, rows_of=TRADES)`."""

    id: strawberry.ID = column("The row's own UUID.")

    is_type_of = staticmethod(is_any_source)

    row_source: ClassVar[Entity]
    """The rows that the type's fields are read from."""

    def __init_subclass__(cls, rows_of: Entity, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if rows_of.name != cls.__name__:
            raise TypeError(f"{cls.__name__} is read from rows of {rows_of.name}")
        cls.row_source = rows_of

    @classmethod
    @decided_by_value
    def resolve_type(cls, row: Any, _info: Any, _abstract: Any) -> str:
        """Returns the type of a row that `AnyById` found."""
        return str(row[TYPENAME])


class AnyById:
    """Loads rows by id from several entities in one statement: an id doesn't say which table it is from."""

    def __init__(self, *entities: Entity) -> None:
        self._entities = entities

    async def __call__(
        self, db: ViewerDatabase, keys: Sequence[str], _page: None = None
    ) -> Mapping[str, Row]:
        """Returns the rows with these ids, each with its type's name, as far as the viewer may see them."""
        # Of several entities with the same type, the first that the viewer may read has all rows they may
        # see.
        by_type = {entity.name: entity for entity in reversed(self._entities) if entity.is_visible_to(db)}
        visible = tuple(by_type.values())
        if not visible:
            return {}
        found: dict[str, Row] = {}
        for row in await db.fetch(_any_by_id(visible, db.tenant is not None), keys=list(keys)):
            for entity in visible:
                if row[f"{entity.name}.id"] is not None:
                    values = {part.name: row[f"{entity.name}.{part.name}"] for part in entity.columns}
                    found[row["key"]] = {TYPENAME: entity.name, **values}
        return found


@lru_cache(maxsize=16)
def _any_by_id(entities: tuple[Entity, ...], for_tenant: bool) -> Statement:  # noqa: FBT001
    keys = func.unnest(bindparam("keys", type_=UUIDS)).table_valued("key", name="keys").render_derived()
    source: Any = keys
    selected: list[Any] = [keys.c.key]
    for entity in entities:
        rows = select(*entity.columns).where(entity.table.c.id == keys.c.key)
        each = entity.restrict_to_tenant(rows, for_tenant=for_tenant).lateral(entity.name)
        source = source.outerjoin(each, true())
        selected += (each.c[part.name].label(f"{entity.name}.{part.name}") for part in entity.columns)
    return compile_statement(select(*selected).select_from(source))
