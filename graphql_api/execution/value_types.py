"""What a column of values is made of, told by the classes that occur in it.

Collecting the classes of a list runs in C; looking at each value doesn't. A level of the response is nearly
always of one class, or of one class and None.
"""

from asyncio import Future
from collections.abc import Iterable
from functools import lru_cache
from types import NoneType
from typing import Any

from graphql import Undefined

from graphql_api.execution.row_batch import Rows

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
