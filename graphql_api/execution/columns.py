"""Columns of values: rows that came from one statement, and the classes that occur among values."""

from asyncio import Future
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from types import NoneType
from typing import Any

from graphql import Undefined

from graphql_api.execution.projection import Reference


class Rows(list[Any]):
    """Rows that a loader knows more of. It changes nothing but the time it takes to read them.

    Where they are sequences of as many values each, `columns` names these in their order, and all columns are
    taken apart in one call. `joined` are the rows that they refer to, as far as they were read with them.
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

    def table(self) -> Mapping[str, Sequence[Any]]:
        """Each column's values, in the order of the rows; nothing, if there are no rows."""
        if not self.columns:
            return {}
        return dict(zip(self.columns, zip(*self, strict=True), strict=bool(self)))

    def only(self, indexes: Sequence[int]) -> "Rows":
        """Some of them."""
        return Rows([self[index] for index in indexes], self.columns, self.joined)


@dataclass(frozen=True, slots=True)
class JoinedRows:
    """Rows that were read with those that refer to them, by id; and those joined to them in turn."""

    rows: Mapping[Any, Any]
    joined: "Mapping[Reference, JoinedRows]"

    def of(self, keys: Iterable[Any]) -> Rows:
        """The row of each key; None for one that refers to nothing."""
        return Rows(map(self.rows.get, keys), joined=self.joined)


def concatenated(lists: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """The items of all lists, one after the other: as rows, if all are rows of the same columns."""
    if len(lists) == 1:
        return lists[0]
    items = chain.from_iterable(lists)
    columns = {each.columns if isinstance(each, Rows) else None for each in lists}
    if len(columns) == 1 and (same := columns.pop()) is not None:
        # One mapping for all, if one statement read all.
        joined = {id(each.joined): each.joined for each in lists if isinstance(each, Rows)}
        return Rows(items, same, *joined.values() if len(joined) == 1 else ())
    return list(items)


Kinds = frozenset[type]


def kinds_of(values: Iterable[Any]) -> Kinds:
    """The classes that occur."""
    return frozenset(map(type, values))


def are_texts(values: Iterable[Any]) -> bool:
    """Whether all are texts: told by joining them, a quarter of the time that collecting classes takes."""
    try:
        "".join(values)
    except TypeError:
        return False
    return True


@lru_cache(maxsize=1024)
def are_sound(kinds: Kinds) -> bool:
    """Whether there is no error among them, nor graphql-core's other way to say null."""
    return not any(kind is type(Undefined) or issubclass(kind, Exception) for kind in kinds)


def are_present(kinds: Kinds) -> bool:
    """Whether there is neither an error nor a null among them."""
    return NoneType not in kinds and are_sound(kinds)


@lru_cache(maxsize=1024)
def are_awaitable(kinds: Kinds) -> bool:
    """Whether there is something to await among them."""
    return any(hasattr(kind, "__await__") for kind in kinds)


@lru_cache(maxsize=1024)
def are_settling(kinds: Kinds) -> bool:
    """Whether what there is to await has begun already: futures, and no coroutines."""
    return all(issubclass(kind, Future) or not hasattr(kind, "__await__") for kind in kinds)


@lru_cache(maxsize=1024)
def are_lists(kinds: Kinds) -> bool:
    """Whether all are lists or tuples."""
    return kinds <= {list, tuple, Rows}
