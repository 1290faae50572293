"""Scalars and enums: from a resolver's value to JSON.

Most values need nothing done: a text stays a text. Which classes a scalar leaves as they are is known for
GraphQL's own scalars; a serializer says it of itself with `unchanged`. A column of such classes is its own
result, which is told without looking at its values one by one. Others can be serialised as a column faster
than one by one, which a serializer says with `at_once`.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from operator import attrgetter
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

from graphql_api.execution.columns import Kinds, are_sound, are_texts, kinds_of

_VALUE = attrgetter("_value_")
_UNCHANGED = {GraphQLString: Kinds({str}), GraphQLID: Kinds({str}), GraphQLBoolean: Kinds({bool})}

Convert = Callable[[Any], Any]
Serializer = TypeVar("Serializer", bound=Callable[..., Any])


def unchanged(*classes: type) -> Callable[[Serializer], Serializer]:
    """Decorate a scalar's serializer: values of these classes are returned as they are."""

    def mark(serialize: Serializer) -> Serializer:
        serialize.unchanged = Kinds(classes)  # type: ignore[attr-defined]
        return serialize

    return mark


def at_once(function: Callable[[Sequence[str]], Sequence[Any]]) -> Callable[[Serializer], Serializer]:
    """Decorate a scalar's serializer: what `function` makes of many texts is what it makes of each."""

    def mark(serialize: Serializer) -> Serializer:
        serialize.at_once = function  # type: ignore[attr-defined]
        return serialize

    return mark


class Leaf:
    """A leaf type whose values need a look each: serialised by the type's own function."""

    def __init__(self, type_: GraphQLLeafType, convert: Convert | None, *, nullable: bool) -> None:
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

    def complete_all(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """The JSON of a whole column, or None if some of it needs care."""
        kinds = kinds_of(values)
        return self.complete_kinds(values, kinds) if are_sound(kinds) else None

    def complete_kinds(self, values: Sequence[Any], kinds: Kinds) -> Sequence[Any] | None:
        """The same for a column of these classes, none of which is an error."""
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
        self.keeps_texts = str in kinds
        self.kinds = kinds | {NoneType} if nullable else kinds

    def complete_all(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """The column itself, most often."""
        return values if self.keeps_texts and are_texts(values) else super().complete_all(values)

    def complete_kinds(self, values: Sequence[Any], kinds: Kinds) -> Sequence[Any] | None:
        """The column itself, if all its classes may stay."""
        return values if kinds <= self.kinds else super().complete_kinds(values, kinds)


class TextLeaf(Leaf):
    """A leaf type that serialises many texts at once."""

    def __init__(
        self, type_: GraphQLLeafType, serialize: Callable[[Sequence[str]], Sequence[Any]], *, nullable: bool
    ) -> None:
        super().__init__(type_, None, nullable=nullable)
        self.serialize = serialize

    def complete_all(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """The texts serialised, nulls left in their places."""
        try:
            if are_texts(values):
                return self.serialize(values)
            if self.nullable and kinds_of(values) == {str, NoneType}:
                texts = iter(self.serialize([value for value in values if value is not None]))
                return [None if value is None else next(texts) for value in values]
        except Exception:  # noqa: BLE001 - found again by whoever takes care
            return None
        return super().complete_all(values)


class IntLeaf(Leaf):
    """Int: an integer of 32 bits stays as it is."""

    def complete_kinds(self, values: Sequence[Any], kinds: Kinds) -> Sequence[Any] | None:
        """The column itself, if all of it is in range."""
        numbers = values
        if NoneType in kinds and self.nullable:
            kinds -= {NoneType}
            numbers = [value for value in values if value is not None]
        if kinds == {int} and min(numbers) >= GRAPHQL_MIN_INT and max(numbers) <= GRAPHQL_MAX_INT:
            return values
        return super().complete_kinds(values, kinds)


class EnumLeaf(Leaf):
    """An enum: its members' names, by their values."""

    def __init__(self, type_: CustomGraphQLEnumType, *, nullable: bool) -> None:
        super().__init__(type_, None, nullable=nullable)
        self.kind = type_.wrapped_cls
        members: Iterable[Enum] = type_.wrapped_cls
        self.names = {member.value: self.complete(member) for member in members}

    def complete_kinds(self, values: Sequence[Any], kinds: Kinds) -> Sequence[Any] | None:
        """The names of a column of members."""
        if kinds == {self.kind}:
            # By value: looking a member up would call its __hash__, which is written in Python.
            return list(map(self.names.__getitem__, map(_VALUE, values)))
        return super().complete_kinds(values, kinds)


class WordLeaf(Leaf):
    """A leaf type that a column's text is converted for: what was made of a text is remembered."""

    def __init__(self, type_: GraphQLLeafType, convert: Convert | None, *, nullable: bool) -> None:
        super().__init__(type_, convert, nullable=nullable)
        self.words: dict[str, Any] = _Words(self.complete)

    def complete_all(self, values: Sequence[Any]) -> Sequence[Any] | None:
        """What the texts of a column mean, which may be null."""
        if are_texts(values):
            try:
                results = list(map(self.words.__getitem__, values))
            except Exception:  # noqa: BLE001 - found again by whoever takes care
                return None
            return results if self.nullable or None not in results else None
        return super().complete_all(values)


class _Words(dict[str, Any]):
    """As many as a vocabulary has; other programs may write any number of others."""

    _LIMIT = 256

    def __init__(self, complete: Callable[[Any], Any]) -> None:
        super().__init__()
        self._complete = complete

    def __missing__(self, text: str) -> Any:
        meaning = self._complete(text)
        if len(self) < self._LIMIT:
            self[text] = meaning
        return meaning


def leaf_of(type_: GraphQLLeafType, convert: Convert | None, *, nullable: bool) -> Leaf:
    """How to complete a leaf type's values, after `convert` if there is one."""
    if isinstance(type_, CustomGraphQLEnumType):
        if convert is not None:
            return WordLeaf(type_, convert, nullable=nullable)
        return EnumLeaf(type_, nullable=nullable)
    if convert is None and not isinstance(type_, GraphQLEnumType):
        if type_ is GraphQLInt:
            return IntLeaf(type_, None, nullable=nullable)
        kinds = _UNCHANGED.get(type_, getattr(type_.coerce_output_value, "unchanged", None))
        if kinds:
            return UnchangedLeaf(type_, kinds, nullable=nullable)
        serialize = getattr(type_.coerce_output_value, "at_once", None)
        if serialize:
            return TextLeaf(type_, serialize, nullable=nullable)
    return Leaf(type_, convert, nullable=nullable)
