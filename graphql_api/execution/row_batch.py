"""Rows that came from one statement, and so can be read as columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any


class Rows(list[Any]):
    """Rows that a loader knows more of. It changes nothing but the time it takes to read them.

    Where they are sequences of as many values each, `columns` names these in their order, and all columns are
    taken apart in one call. `along` are the rows that they refer to, as far as they are there already: by the
    column that refers to them, and by what the field's `FromKey` says that it leads to.
    """

    __slots__ = ("along", "columns")

    def __init__(
        self,
        rows: Iterable[Any],
        columns: tuple[str, ...] = (),
        along: "Mapping[tuple[str, Any], Found] | None" = None,
    ) -> None:
        super().__init__(rows)
        self.columns = columns
        self.along = along or {}

    def table(self) -> Mapping[str, Sequence[Any]]:
        """Each column's values, in the order of the rows; nothing, if there are no rows."""
        if not self.columns:
            return {}
        return dict(zip(self.columns, zip(*self, strict=True), strict=bool(self)))

    def only(self, indexes: Sequence[int]) -> "Rows":
        """Some of them."""
        return Rows([self[index] for index in indexes], self.columns, self.along)


@dataclass(frozen=True, slots=True)
class Found:
    """Rows by what refers to them, and what they have brought along themselves."""

    rows: Mapping[Any, Any]
    along: "Mapping[tuple[str, Any], Found]"

    def of(self, keys: Iterable[Any]) -> Rows:
        """The row of each key; None for one that refers to nothing."""
        return Rows(map(self.rows.get, keys), along=self.along)


def joined(lists: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """The items of all lists, one after the other: as rows, if all are rows of the same columns."""
    if len(lists) == 1:
        return lists[0]
    items = chain.from_iterable(lists)
    columns = {each.columns if isinstance(each, Rows) else None for each in lists}
    if len(columns) == 1 and (same := columns.pop()) is not None:
        return Rows(items, same)
    return list(items)
