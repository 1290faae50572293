"""Scalars and enums: from a resolver's value to JSON.

Most values need nothing done: a text stays a text. Which classes a scalar leaves as they are is known for
GraphQL's own scalars; a serializer says it of itself with `unchanged`. A column of such classes is its own
result, which is told without looking at its values one by one.
"""

from collections.abc import Callable, Hashable, Sequence
from types import NoneType
from typing import Any, TypeVar

from graphql import (
    GRAPHQL_MAX_INT,
    GRAPHQL_MIN_INT,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLID,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLString,
)
from graphql.execution import Executor
from strawberry.schema.schema_converter import CustomGraphQLEnumType

from graphql_api.engine.kinds import Kinds

_UNCHANGED = {GraphQLString: Kinds({str}), GraphQLID: Kinds({str}), GraphQLBoolean: Kinds({bool})}

Convert = Callable[[Any], Any] | None
Serializer = TypeVar("Serializer", bound=Callable[..., Any])


def unchanged(*classes: type) -> Callable[[Serializer], Serializer]:
    """Decorate a scalar's serializer: values of exactly these classes are returned as they are."""

    def mark(serialize: Serializer) -> Serializer:
        serialize.unchanged = Kinds(classes)  # type: ignore[attr-defined]
        return serialize

    return mark


class Leaf:
    """A leaf type whose values need a look each: serialised by the type's own function."""

    def __init__(self, type_: GraphQLLeafType, convert: Convert, *, nullable: bool) -> None:
        self.type = type_
        self.convert = convert
        self.nullable = nullable

    def complete(self, value: Any) -> Any:
        """The JSON of a value that isn't null; None if it converts to null. Raises what the type raises."""
        if self.convert is not None:
            value = self.convert(value)
            if value is None:
                return None
        return Executor.complete_leaf_value(self.type, value)

    def complete_all(self, values: Sequence[Any], kinds: Kinds) -> Sequence[Any] | None:
        """The JSON of a whole column of values of these classes, or None if some of it needs care."""
        complete = self.complete
        try:
            results = [None if value is None else complete(value) for value in values]
        except Exception:  # noqa: BLE001 - found again by whoever takes care
            return None
        return results if self.nullable or None not in results else None


class UnchangedLeaf(Leaf):
    """A leaf type that leaves some classes as they are."""

    def __init__(self, type_: GraphQLLeafType, kinds: Kinds, *, nullable: bool) -> None:
        super().__init__(type_, None, nullable=nullable)
        self.kinds = kinds | {NoneType} if nullable else kinds

    def complete_all(self, values: Sequence[Any], kinds: Kinds) -> Sequence[Any] | None:
        """The column itself."""
        return values if kinds <= self.kinds else super().complete_all(values, kinds)


class IntLeaf(Leaf):
    """Int: an integer of 32 bits stays as it is."""

    def complete_all(self, values: Sequence[Any], kinds: Kinds) -> Sequence[Any] | None:
        """The column itself, if all of it is in range."""
        numbers = values
        if NoneType in kinds and self.nullable:
            kinds -= {NoneType}
            numbers = [value for value in values if value is not None]
        if kinds == {int} and min(numbers) >= GRAPHQL_MIN_INT and max(numbers) <= GRAPHQL_MAX_INT:
            return values
        return super().complete_all(values, kinds)


class EnumLeaf(Leaf):
    """An enum: the names of the values that have been seen are remembered.

    Values are remembered by what the field gives: the enum's members, or where a column's text is converted
    the text, of which there may be any number.
    """

    _LIMIT = 256

    def __init__(self, type_: CustomGraphQLEnumType, convert: Convert, *, nullable: bool) -> None:
        super().__init__(type_, convert, nullable=nullable)
        self.kinds = Kinds({type_.wrapped_cls if convert is None else str})
        self.names: dict[Hashable, Any] = _Names(self.complete, self._LIMIT)
        if nullable:
            self.kinds |= {NoneType}

    def complete_all(self, values: Sequence[Any], kinds: Kinds) -> Sequence[Any] | None:
        """The names of a column, if all of it can be remembered."""
        if kinds <= self.kinds:
            try:
                results = list(map(self.names.__getitem__, values))
            except Exception:  # noqa: BLE001 - found again by whoever takes care
                return None
            return results if self.nullable or None not in results else None
        return super().complete_all(values, kinds)


class _Names(dict[Hashable, Any]):
    def __init__(self, complete: Callable[[Any], Any], limit: int) -> None:
        super().__init__()
        self._complete = complete
        self._limit = limit

    def __missing__(self, value: Hashable) -> Any:
        if value is None:
            return None
        name = self._complete(value)
        if len(self) < self._limit:
            self[value] = name
        return name


def leaf_of(type_: GraphQLLeafType, convert: Convert, *, nullable: bool) -> Leaf:
    """How to complete a leaf type's values, after `convert` if there is one."""
    if isinstance(type_, CustomGraphQLEnumType):
        return EnumLeaf(type_, convert, nullable=nullable)
    if convert is None and not isinstance(type_, GraphQLEnumType):
        if type_ is GraphQLInt:
            return IntLeaf(type_, None, nullable=nullable)
        kinds = _UNCHANGED.get(type_, getattr(type_.coerce_output_value, "unchanged", None))
        if kinds:
            return UnchangedLeaf(type_, kinds, nullable=nullable)
    return Leaf(type_, convert, nullable=nullable)
