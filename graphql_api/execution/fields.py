"""Fields that declare where their value comes from, so that each executor can read it in its own way.

A resolver is a black box: an executor can only call it, once per parent. A declared field has a source
instead: a column of a row, a computation from a row, or a load through a batch.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import strawberry
from graphql import GraphQLField, GraphQLNamedType, GraphQLObjectType, GraphQLSchema
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import StrawberryArgument
from strawberry.types.field import StrawberryField

from graphql_api.execution.projection import Lookahead, Projection, Reference, RowSource

_SOURCE = "source"


@dataclass(frozen=True, slots=True)
class FromColumn:
    """`row[name]`, converted unless it is null."""

    name: str | None
    convert: Callable[[Any], Any] | None = None

    def column(self, python_name: str) -> str:
        """Returns the column of a field with this Python name, which by default is the column's too."""
        return self.name or python_name


@dataclass(frozen=True, slots=True)
class FromColumns:
    """What a plain, synchronous function returns for some columns of the row."""

    names: tuple[str, ...]
    compute: Callable[..., Any]
    compute_all: Callable[..., Sequence[Any]] | None = None
    """What `compute` returns for each of many rows, from a sequence of values for each column."""

    def value(self, row: Any) -> Any:
        """Returns the value of one row."""
        return self.compute(*[row[name] for name in self.names])


@dataclass(frozen=True, slots=True)
class FromParent:
    """What a plain, synchronous function returns for the parent."""

    compute: Callable[[Any], Any]


Load = Callable[[Any], Any]
"""From a parent to its value: an awaitable, or a plain value where nothing needs loading."""
Prepare = Callable[[Any, Any], Load]
"""`prepare(context, arguments)`: returns the function that loads for one parent.

Called once for each place of the field in the operation, with its converted arguments, or with what `parse`
returned for them.
"""
Parse = Callable[[Projection, Mapping[str, Any], Lookahead | None], Any]
"""`parse(projection, arguments, lookahead)`: returns what `prepare` gets in place of the arguments.

It depends on its parameters alone, so what it returns for constant arguments is cached for other requests.
`lookahead` is None where the fields selected below aren't known: in the stock executor, and below an abstract
type.
"""


LoadWithParent = Callable[..., Awaitable[tuple[Any, Any] | None]]
"""`load(db, id, columns, request)`: returns a row by its id, with the requested page of a list below it.

None where one statement can't read both, or wouldn't be cheaper.
"""


class KeyLoader(Protocol):
    """A `Load` by keys that takes the keys of all parents in one call."""

    def __call__(self, key: Any) -> Awaitable[Any]:
        """Returns the value of a key."""

    def load_each(self, keys: Iterable[Any]) -> Sequence[Awaitable[Any]]:
        """Returns the value of each key."""


@dataclass(frozen=True, slots=True)
class FromLoader:
    """A value that is loaded in batches.

    It is called for all parents of a level before the first value is awaited, so they share a batch.
    """

    prepare: Prepare
    parse: Parse | None = None
    convert: Callable[[Any], Any] | None = None
    """Converts each value once it is loaded."""
    row_loader: Callable[[Any], Any] | None = None
    """Returns the loader of its rows by id, given the context, if there is one that can load a list, too."""


@dataclass(frozen=True, slots=True)
class FromKey:
    """A value that is loaded in batches by a column of the parent's row; null where that is null.

    The function that `prepare` gives loads for a key instead of a parent; once for all parents of one key. It
    may be a `KeyLoader`.
    """

    column: str
    prepare: Prepare
    parse: Parse | None = None
    reference: Reference | None = None
    """The foreign key that the column is, if it is one: the rows may be joined to its target already."""
    load_with_parent: LoadWithParent | None = None
    """Loads a page of a list together with the row that it is below."""


Source = FromColumn | FromColumns | FromParent | FromLoader | FromKey
AroundHook = Callable[[Any], AbstractAsyncContextManager[None]]
"""Runs around an operation: entered with its context before anything is read, left when all has been read."""
Check = Callable[[Any], None]
"""Raises if the context's viewer may not ask for the field at all."""


def is_any_source(_source: Any, _info: Any = None) -> bool:
    """The `is_type_of` of types that are read from plain rows: true for every value."""
    return True


TypeResolver = TypeVar("TypeResolver", bound=Callable[..., str])


def decided_by_value(resolve_type: TypeResolver) -> TypeResolver:
    """Marks a `resolve_type` that looks at the value alone: it gets no info, and must not fail."""
    resolve_type.is_decided_by_value = True  # type: ignore[attr-defined]
    return resolve_type


class DeclaredField(StrawberryField):
    """A Strawberry field with a declared source, a check of who may ask for it, or both."""

    @property
    def source(self) -> Source | None:
        """How the value is read; None for a field with a resolver of its own."""
        return cast("Source | None", self.metadata.get(_SOURCE))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that its source names."""
        match self.source:
            case FromColumn() as source:
                return (source.column(self.python_name),)
            case FromColumns(names):
                return names
            case FromKey(name):
                return (name,)
            case _:
                return ()

    @property
    def check(self) -> Check | None:
        """What is called once for each place of the field in the operation, before its arguments are read."""
        return cast("Check | None", self.metadata.get("check"))

    @property
    def around(self) -> AroundHook | None:
        """What runs around a query with this root field; around each result of a subscription."""
        return cast("AroundHook | None", self.metadata.get("around"))

    @property
    def is_basic_field(self) -> bool:
        """Whether the stock executor may leave out `info`."""
        loads = isinstance(self.source, FromLoader | FromKey)
        return not loads and self.check is None and super().is_basic_field

    def get_result(self, parent: Any, info: Any, args: list[Any], kwargs: Any) -> Any:
        """Reads the value of one parent, for the stock executor."""
        if self.check is not None:
            self.check(info.context)
        match self.source:
            case FromColumn() as column:
                value = parent[column.column(self.python_name)]
                return value if value is None or column.convert is None else column.convert(value)
            case FromColumns() as columns:
                return columns.value(parent)
            case FromParent(compute):
                return compute(parent)
            case FromLoader() as loader:
                loaded = _shielded(_prepared(loader, info, kwargs)(parent))
                return loaded if loader.convert is None else _converted(loaded, loader.convert)
            case FromKey(name) as loader:
                load, key = _prepared(loader, info, kwargs), parent[name]
                return None if key is None else _shielded(load(key))
            case _:
                return super().get_result(parent, info, args, kwargs)


def _prepared(loader: FromLoader | FromKey, info: Any, arguments: Any) -> Load:
    context = info.context
    if loader.parse is not None:
        arguments = loader.parse(context.projection, arguments, None)
    return loader.prepare(context, arguments)


async def _converted(loaded: Any, convert: Callable[[Any], Any]) -> Any:
    return convert(await loaded)


def _shielded(value: Any) -> Any:
    # The loader's future is shared: a sibling's failure may cancel this wait, not the batch.
    return asyncio.shield(value) if asyncio.isfuture(value) else value


def row_source(type_: GraphQLNamedType) -> RowSource | None:
    """Returns the rows that a type's declared fields are read from, if its Strawberry class names them."""
    definition = type_.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return getattr(definition.origin, "row_source", None) if definition is not None else None


def declaration_of(definition: GraphQLField) -> DeclaredField | None:
    """Returns the declaration of a field of the schema; None if it is an ordinary Strawberry field."""
    declaration = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return declaration if isinstance(declaration, DeclaredField) else None


def check_of(definition: GraphQLField) -> Check | None:
    """Returns the check of who may read a field; None where everybody may."""
    declaration = declaration_of(definition)
    return declaration.check if declaration is not None else None


def check_columns(schema: GraphQLSchema) -> None:
    """Raises ValueError if a declared field is read from a column that its type's rows don't have."""
    for type_ in schema.type_map.values():
        rows = row_source(type_) if isinstance(type_, GraphQLObjectType) else None
        if rows is None or not isinstance(type_, GraphQLObjectType):
            continue
        for name, definition in type_.fields.items():
            declaration = declaration_of(definition)
            missing = set(declaration.columns if declaration else ()) - rows.column_names
            if missing:
                raise ValueError(f"{type_.name}.{name}: its rows have no column {', '.join(sorted(missing))}")


def declared(
    description: str,
    source: Source | None = None,
    *,
    name: str | None = None,
    arguments: list[StrawberryArgument] | None = None,
    check: Check | None = None,
    around: AroundHook | None = None,
    deprecation_reason: str | None = None,
) -> Any:
    """Declares an output field that is read from `source`. Typed Any, as it stands for the field's value."""
    result = DeclaredField(
        graphql_name=name,
        description=description,
        metadata={_SOURCE: source, "check": check, "around": around},
        deprecation_reason=deprecation_reason,
        default=strawberry.UNSET,
    )
    result.init = False
    if arguments is not None:
        result.arguments = arguments
    return result


def resolved(
    description: str, *, check: Check, subscription: bool = False, around: AroundHook | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Decorates a resolver function, for mutations, subscriptions, and what else no source describes."""
    return DeclaredField(
        description=description, metadata={"check": check, "around": around}, is_subscription=subscription
    )
