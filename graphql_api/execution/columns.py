"""Columns of values: rows that can be taken apart into columns, and the types that occur among values.

Collecting the types of a list runs in C; looking at each value doesn't. A column of a response is nearly
always of one type, or of one type and None.
"""

from asyncio import Future
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from types import NoneType
from typing import Any

from graphql import Undefined

from graphql_api.execution.projection import Reference

ColumnValues = Sequence[Any]
"""A value for each parent, in the parents' order."""


class Rows(list[Any]):
    """A list of rows that can be read a column at a time.

    Where all rows are sequences of equal length, `columns` names their values in order, and one call takes
    all columns apart. `joined` are the rows that these refer to, as far as the same statement has read them.
    """

    __slots__ = ("columns", "joined")

    def __init__(
        self,
        rows: Iterable[Any],
        columns: tuple[str, ...] = (),
        joined: "Mapping[Reference, JoinedRows] | None" = None,
    ) -> None:
        super().__init__(rows)
        self.columns = columns
        self.joined = joined or {}

    def table(self) -> Mapping[str, ColumnValues]:
        """Returns the columns by name; empty where the rows name none, or there are no rows."""
        if not self.columns:
            return {}
        return dict(zip(self.columns, zip(*self, strict=True), strict=bool(self)))

    def subset(self, indexes: Sequence[int]) -> "Rows":
        """Returns the rows at these indexes."""
        return Rows([self[index] for index in indexes], self.columns, self.joined)


@dataclass(frozen=True, slots=True)
class JoinedRows:
    """Rows by their ids, read in the statement of the rows that refer to them; and those joined to them."""

    rows: Mapping[Any, Any]
    joined: "Mapping[Reference, JoinedRows]"

    def of(self, keys: Iterable[Any]) -> Rows:
        """Returns the row of each key; None for a key that no row has."""
        return Rows(map(self.rows.get, keys), joined=self.joined)


def concatenated(lists: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """Returns the items of all lists, one after the other: as Rows, if all are rows of the same columns."""
    if len(lists) == 1:
        return lists[0]
    items = chain.from_iterable(lists)
    columns = {each.columns if isinstance(each, Rows) else None for each in lists}
    if len(columns) == 1 and (same := columns.pop()) is not None:
        # One mapping for all, if one statement read all.
        joined = {id(each.joined): each.joined for each in lists if isinstance(each, Rows)}
        return Rows(items, same, *joined.values() if len(joined) == 1 else ())
    return list(items)


Types = frozenset[type]


def types_of(values: Iterable[Any]) -> Types:
    """Returns the types that occur among values."""
    return frozenset(map(type, values))


def joined_text(values: Iterable[Any]) -> str | None:
    """Returns all values as one text, in a quarter of the time of `types_of`; None if not all are strings."""
    try:
        return "".join(values)
    except TypeError:
        return None


def utf8_size(text: str) -> int:
    """Returns the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def text_size(values: Iterable[Any]) -> int | None:
    """Returns the bytes of all values in UTF-8, if all are strings; else None."""
    text = joined_text(values)
    return None if text is None else utf8_size(text)


@lru_cache(maxsize=1024)
def has_error(types: Types) -> bool:
    """Whether there is an exception among them, or Undefined, which graphql-core takes for null."""
    return any(each is type(Undefined) or issubclass(each, Exception) for each in types)


def all_present(types: Types) -> bool:
    """Whether there is neither an error nor a null among them."""
    return NoneType not in types and not has_error(types)


@lru_cache(maxsize=1024)
def any_awaitable(types: Types) -> bool:
    """Whether there is an awaitable among them."""
    return any(hasattr(each, "__await__") for each in types)


@lru_cache(maxsize=1024)
def all_started(types: Types) -> bool:
    """Whether every awaitable among them runs already: futures, and no coroutines."""
    return all(issubclass(each, Future) or not hasattr(each, "__await__") for each in types)


@lru_cache(maxsize=1024)
def all_lists(types: Types) -> bool:
    """Whether all are lists or tuples."""
    return types <= {list, tuple, Rows}
