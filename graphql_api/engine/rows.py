"""Rows that came from one statement, and so can be read as columns."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any


class Rows(list[Any]):
    """Rows that are sequences of as many values each, which `columns` names in their order.

    A loader whose rows are such may say so by this class. It changes nothing but the time it takes to read
    them: all columns are taken apart in one call.
    """

    __slots__ = ("columns",)

    def __init__(self, rows: Iterable[Any], columns: tuple[str, ...]) -> None:
        super().__init__(rows)
        self.columns = columns

    def table(self) -> Mapping[str, Sequence[Any]]:
        """Each column's values, in the order of the rows; nothing, if there are no rows."""
        return dict(zip(self.columns, zip(*self, strict=True), strict=bool(self)))


def joined(lists: Sequence[Sequence[Any]]) -> list[Any]:
    """The items of all lists, one after the other: as rows, if all are rows of the same columns."""
    items = chain.from_iterable(lists)
    columns = {each.columns if isinstance(each, Rows) else None for each in lists}
    if len(columns) == 1 and (same := columns.pop()) is not None:
        return Rows(items, same)
    return list(items)
