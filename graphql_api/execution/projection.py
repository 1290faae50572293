"""Which columns an operation reads: known once it is compiled, before anything is loaded."""

from collections.abc import Mapping, Sequence
from typing import Any


class Projection:
    """The columns that an operation reads of the rows behind each type, wherever they occur in it."""

    __slots__ = ("_columns", "_fields", "_references")

    def __init__(
        self,
        columns: Mapping[str, frozenset[str] | None],
        references: Mapping[str, Sequence[tuple[str, Any]]],
        fields: Mapping[str, frozenset[str]],
    ) -> None:
        self._columns = columns
        self._references = references
        self._fields = fields

    def columns(self, type_: str) -> frozenset[str] | None:
        """The columns that are read of a type's rows; None for all of them."""
        return self._columns.get(type_)

    def references(self, type_: str) -> Sequence[tuple[str, Any]]:
        """The foreign keys of a type's rows that are followed, each with what it refers to."""
        return self._references.get(type_, ())

    def always(self, type_: str, field: str) -> bool:
        """Whether a field is selected at each place where the operation selects from a type."""
        return field in self._fields.get(type_, ())


ALL_COLUMNS = Projection({}, {}, {})
"""The projection of an operation that wasn't compiled: every column is read, and no reference is known."""
