"""Fields whose value is declared as data, so that any executor can read them its own way.

A resolver is a black box: an executor can only call it, once per parent. These say what they do instead:
take a column of a row, compute from a row, or load through a batch.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import strawberry
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.field import StrawberryField

_SOURCE = "source"


@dataclass(frozen=True, slots=True)
class FromColumn:
    """`row[name]`, converted unless it is null."""

    name: str | None
    convert: Callable[[Any], Any] | None = None

    def named(self, python_name: str) -> str:
        """The column, which by default has the field's own name."""
        return self.name or python_name


@dataclass(frozen=True, slots=True)
class FromColumns:
    """Whatever a plain, synchronous function makes of some columns of the row."""

    names: tuple[str, ...]
    compute: Callable[..., Any]

    def of(self, row: Any) -> Any:
        """The value of one row."""
        return self.compute(*[row[name] for name in self.names])


@dataclass(frozen=True, slots=True)
class FromParent:
    """Whatever a plain, synchronous function makes of the parent."""

    compute: Callable[[Any], Any]


Load = Callable[[Any], Any]
"""From a parent to its value: an awaitable, or a plain value where nothing needs loading."""


@dataclass(frozen=True, slots=True)
class FromLoader:
    """A value that is loaded in batches.

    `prepare(context, arguments)` is called once per selection and gives the function that loads for one
    parent; all parents of a level are asked before the first answer is awaited, so they share a batch.
    """

    prepare: Callable[[Any, Mapping[str, Any]], Load]


@dataclass(frozen=True, slots=True)
class FromKey:
    """A value that is loaded in batches by a key of the parent; null for a parent whose key is.

    `prepare` is that of FromLoader, for a key in the place of a parent. Parents of one key ask once.
    """

    key: Callable[[Any], Any]
    prepare: Callable[[Any, Mapping[str, Any]], Load]
    column: str | None = None
    """The column of the row that is the key, where it is one."""
    to: Any = None
    """What it leads to, as its declaration names it: rows may be joined to it already (`columns.Rows`)."""


Source = FromColumn | FromColumns | FromParent | FromLoader | FromKey
Check = Callable[[Any], None]
"""Raises if the context's viewer may not ask for the field at all."""


def is_any_source(_source: Any, _info: Any = None) -> bool:
    """An `is_type_of` for types read from plain rows: what a field declares is what its value is."""
    return True


class DeclaredField(StrawberryField):
    """A Strawberry field with a declared source, and what must hold before it is read."""

    @property
    def source(self) -> Source | None:
        """How the value is read; None for a field with a resolver of its own."""
        return cast("Source | None", self.metadata.get(_SOURCE))

    @property
    def check(self) -> Check | None:
        """What is checked once per selection, before the value is read."""
        return cast("Check | None", self.metadata.get("check"))

    @property
    def is_basic_field(self) -> bool:
        """Whether the stock executor may leave out `info`."""
        loads = isinstance(self.source, FromLoader | FromKey)
        return not loads and self.check is None and super().is_basic_field

    def get_result(self, source: Any, info: Any, args: list[Any], kwargs: Any) -> Any:
        """Read the value for one parent, as the stock executor asks for it."""
        if self.check is not None:
            self.check(info.context)
        match self.source:
            case FromColumn() as column:
                value = source[column.named(self.python_name)]
                return value if value is None or column.convert is None else column.convert(value)
            case FromColumns() as columns:
                return columns.of(source)
            case FromParent(compute):
                return compute(source)
            case FromLoader(prepare):
                return _shielded(prepare(info.context, kwargs)(source))
            case FromKey(key=key_of, prepare=prepare):
                load, key = prepare(info.context, kwargs), key_of(source)
                return None if key is None else _shielded(load(key))
            case _:
                return super().get_result(source, info, args, kwargs)


def _shielded(value: Any) -> Any:
    # The loader's future is shared: a sibling's failure may cancel this wait, not the batch.
    return asyncio.shield(value) if asyncio.isfuture(value) else value


def declared(
    description: str,
    source: Source | None = None,
    *,
    name: str | None = None,
    arguments: list[StrawberryArgument] | None = None,
    check: Check | None = None,
    deprecation_reason: str | None = None,
) -> Any:
    """A field of an output type, read from `source`. Typed Any, since it stands for the field's value."""
    result = DeclaredField(
        graphql_name=name,
        description=description,
        metadata={_SOURCE: source, "check": check},
        deprecation_reason=deprecation_reason,
        default=strawberry.UNSET,
    )
    result.init = False
    if arguments is not None:
        result.arguments = arguments
    return result


def resolved(
    description: str, *, check: Check, subscription: bool = False
) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a resolver function: for what only code can say, such as mutations and subscriptions."""
    return DeclaredField(description=description, metadata={"check": check}, is_subscription=subscription)
