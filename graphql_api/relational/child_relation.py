"""Where rows hang: below a row of another entity, or at the root."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column

from graphql_api.relational.entity import Entity
from graphql_api.relational.filters import Shape, Term, conjuncts, tables_of

ROOT = "root"
"""The one key of a list that hangs on no parent."""


@dataclass(frozen=True, eq=False, slots=True)
class Branch:
    """The rows of an entity, below a parent or at the root.

    `by` is the column that holds the parent's id: the entity's own foreign key, or one on its way up.
    """

    entity: Entity
    parent: Entity | None = None
    by: Column[Any] | None = None

    def via(self, shape: Shape, *, scoped: bool) -> Column[Any] | None:
        """Their foreign key, if what chooses them stands in a table above; None where it stands in theirs."""
        if self.entity.parent is None or self.by is self.entity.parent[0]:
            return None
        by_above = self.by is not None and self.by.table is not self.entity.table
        found_above = any(
            isinstance(part, Term) and part.operator in ("eq", "in") and self.is_above(part)
            for part in conjuncts(shape)
        )
        reached = by_above or found_above or (scoped and not self.are_checked)
        return self.entity.parent[0] if reached else None

    def is_above(self, part: Shape) -> bool:
        """Whether a part of a shape is about tables above theirs alone."""
        tables = tables_of(part)
        return bool(tables) and self.entity.table not in tables

    @property
    def are_checked(self) -> bool:
        """Whether the parent tells their tenant. Under one that all tenants share, each child must."""
        return self.parent is not None and self.parent.tenant_column is not None
