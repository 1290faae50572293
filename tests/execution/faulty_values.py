"""Values with which as many kinds of errors as possible occur.

A value follows from its id, so two runs of one document get the same values. In a context that is `later`,
resolvers and loaders return awaitables, which are done after more or fewer iterations of the event loop.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any, NewType
from zlib import crc32

import strawberry

from graphql_api.execution.columns import Rows
from graphql_api.execution.leaf_serializers import pass_through
from tests.execution.contexts import BareContext


@dataclass
class Context(BareContext):
    """The context of one operation."""

    later: bool = False
    log: list[str] = field(default_factory=list)
    """What mutations did, in order."""
    due: Sequence[Any] = ()
    """What the subscription `shared` yields."""


class RefusedError(Exception):
    """Raised by fields whose check refuses the viewer."""


def dice(id_: str, sides: int) -> int:
    """Returns a pseudo-random number below `sides`, which is always the same for an id."""
    return crc32(f"{sides}{id_}".encode()) % sides


async def wait_for(id_: str, value: Any) -> Any:
    """Returns the value after some iterations of the event loop. Raises it if it is an exception."""
    for _ in range(dice(id_, 4)):
        await asyncio.sleep(0)
    if isinstance(value, Exception):
        raise value
    return value


def answer(context: Context, id_: str, value: Any) -> Any:
    """Returns the value, or an awaitable of it. Raises it if it is an exception."""
    if context.later and dice(id_, 3):
        return wait_for(id_, value)
    if isinstance(value, Exception):
        raise value
    return value


class Row(dict[str, Any]):
    """A row. For some rows, reading the column "clan" raises KeyError."""

    def __getitem__(self, name: str) -> Any:
        return clan(self) if name == "clan" else super().__getitem__(name)


def row(id_: str) -> Row:
    """Returns a row whose columns are valid, null or wrong."""
    values = {
        "__typename": ("Rock", "Rock", "Rock", "Pebble", "Beast", "Query", "Nothing", None)[dice(id_, 8)],
        "id": id_ if dice(id_, 13) else None,
        "name": (f"rock {id_}", "b", None)[dice(id_, 3)],
        "number": (1, 2, -(2**31), 2**31, True, 1.0, 1.5, "7", "x", None)[dice(id_, 10)],
        "ratio": (0.5, 1, float("nan"), "x", None)[dice(id_, 5)],
        "kind": ("hard", "soft", "bad", "nil", None)[dice(id_, 5)],
        "price": ("1.50", Decimal("2.5"), NO_PRICE, object(), None)[dice(id_, 5)],
        "flag": (True, False, 1, "true", None)[dice(id_, 5)],
        "parent_id": f"{id_}^" if dice(id_, 4) else None,
    }
    return Row(values)


class SharedRow(Row):
    """A row that is an event, with the results that its subscribers share."""

    def __init__(self, id_: str) -> None:
        super().__init__(row(id_))
        self.results: dict[Any, Any] = {}


class SharedRows(list[SharedRow | None]):
    """Events that are due at the same time."""

    def __init__(self, *ids: str | None) -> None:
        super().__init__(None if id_ is None else SharedRow(id_) for id_ in ids)
        self.results: dict[Any, Any] = {}


def shared_events() -> list[SharedRow | SharedRows]:
    """New events, for subscribers who share their results: some that are due together, some alone."""
    return [SharedRows("s0", "s1", None, "s2"), SharedRow("s3"), SharedRows("s4")]


def children(id_: str, count: int) -> list[str]:
    return [f"{id_}.{number}" for number in range(count)]


@strawberry.enum
class Kind(Enum):
    HARD = "hard"
    SOFT = "soft"


def read_kind(text: str) -> Kind | None:
    return None if text == "nil" else Kind(text)


Money = NewType("Money", str)
NO_PRICE = "none"


@pass_through(str, null_text=NO_PRICE)
def serialize_money(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"


def add(number: Any, flag: Any) -> Any:
    return None if flag is None else number + flag


def add_all(numbers: Sequence[Any], flags: Sequence[Any]) -> list[Any]:
    return [add(number, flag) for number, flag in zip(numbers, flags, strict=True)]


def compute_label(parent: Any) -> Any:
    match dice(parent["id"] or "", 6):
        case 0:
            raise ValueError(f"no label for {parent['id']}")
        case 1:
            return None
        case 2:
            return RefusedError("returned, not raised")
        case _:
            return f"label {parent['name']}"


def compute_flags(parent: Any) -> Any:
    return ([True, False], [], [True, None], (True, "x"), None, "true", {"a": 1}, 5)[
        dice(parent["id"] or "f", 8)
    ]


def compute_matrix(parent: Any) -> Any:
    return ([[1, 2], [3]], [[1], None], [[None]], [], [[1, "x"], [2]], None)[dice(parent["id"] or "m", 6)]


def load_rocks(context: Context, arguments: Any) -> Any:
    count = arguments.get("first")
    if count is not None and count < 0:
        raise RefusedError("first: must not be negative")

    def load(parent: Any) -> Any:
        id_ = parent["id"]
        if not dice(id_, 9):
            raise LookupError(f"no rocks below {id_}")
        rows: list[Any] = [row(child) for child in children(id_, 2 if count is None else min(count, 3))]
        if not dice(id_, 5):
            rows.append(None)
        return answer(context, id_, rows if dice(id_, 7) else LookupError(f"rocks lost below {id_}"))

    return load


COLUMNS = ("__typename", "id", "name", "number", "ratio", "kind", "price", "flag", "parent_id")


class Line(tuple[Any, ...]):
    """A row like those of the database: a sequence of values that can also be read by column."""

    __slots__ = ()

    def __getitem__(self, name: Any) -> Any:
        if name == "clan":
            return clan(self)
        return super().__getitem__(COLUMNS.index(name) if isinstance(name, str) else name)


def load_lines(context: Context, _arguments: Any) -> Any:
    def load(parent: Any) -> Any:
        id_ = parent["id"]
        lines = Rows((Line(row(child).values()) for child in children(id_, dice(id_, 4))), COLUMNS)
        if not dice(id_, 5):
            lines.append(None)
        return answer(context, id_, lines)

    return load


def load_rock(context: Context, _arguments: Any) -> Any:
    def load(parent: Any) -> Any:
        id_ = parent["parent_id"]
        return None if id_ is None else answer(context, id_, row(id_) if dice(id_, 6) else ValueError(id_))

    return load


def clan(parent: Any) -> str | None:
    """Returns a key that several parents share: null for some. Raises KeyError for others."""
    match dice(parent["id"] or "c", 7):
        case 0:
            raise KeyError(f"no clan of {parent['id']}")
        case 1:
            return None
        case number:
            return "clan" if number % 2 else "clan'"


def load_elder(context: Context, _arguments: Any) -> Any:
    def load(key: str) -> Any:
        return answer(context, key, row(key))

    return load


def load_elders(context: Context, _arguments: Any) -> Any:
    if context.log == ["refuse"]:
        raise RefusedError("no elders for you")
    return lambda key: answer(
        context, key, [row(key), LookupError(key)] if len(key) > 4 else LookupError(key)
    )


def refuse(context: Context) -> None:
    if context.log == ["refuse"]:
        raise RefusedError("not for you")


def in_some_shape(context: Context, id_: str, values: list[Any], *, broken: bool) -> Any:
    """Returns a list as one of the accepted types; if `broken`, it may end with an error, or be no list."""
    end = ValueError(f"{id_} broke off") if broken and not dice(id_, 3) else None

    def generate() -> Iterator[Any]:
        yield from values
        if end is not None:
            raise end

    async def generate_later() -> AsyncIterator[Any]:
        for value in values:
            await asyncio.sleep(0)
            yield value
        if end is not None:
            raise end

    match dice(id_, 7):
        case 0:
            return tuple(values)
        case 1:
            return generate()
        case 2 if context.later:
            return generate_later()
        case 3 if context.later:
            return [wait_for(f"{id_}{number}", value) for number, value in enumerate(values)]
        case 4 if broken:
            return 5
        case _:
            return values
