"""Serializes scalars and enums: columns of resolvers' values to JSON.

Most values are JSON already: a string stays a string. GraphQL's own scalars pass some types through
unchanged; a custom scalar's serializer declares its own with `pass_through`. A column of such types is its
own result, and `types_of` finds its types without a Python call for each value. A serializer that takes many
strings in one call declares that with `bulk`. Every other value is converted once for each distinct value of
an operation, however many rows and aliases have it.
"""

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from types import NoneType
from typing import Any, Final, TypeVar

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

from graphql_api.execution.columns import (
    ColumnValues,
    Types,
    has_error,
    joined_text,
    text_size,
    types_of,
    utf8_size,
)

_VALUE = attrgetter("_value_")
_PASS_THROUGH = {GraphQLString: Types({str}), GraphQLID: Types({str}), GraphQLBoolean: Types({bool})}

_SEPARATORS: Final = 3  # bytes around a string: two quotes and a comma
_VALUE_SIZE: Final = 12
_DATE_SIZE: Final = 30
"""About how many bytes a value takes in a response, and a string of a scalar with a bulk version."""
KEPT_TYPES: Final = (Types({str}), Types({str, NoneType}), Types({int}), Types({int, NoneType}))
"""Types of columns whose conversions are cached by value.

Others have equal values that differ: 1 and True.
"""

ConvertColumn = Callable[[Any], Any]
"""Converts a column's value before it is serialized."""
Conversions = Mapping["LeafSerializer", MutableMapping[Any, Any]]
"""JSON by the value that it was made from: of each serializer, in one operation."""


Serialized = tuple[ColumnValues, int]
"""A column of JSON, and about how many bytes it takes in a response."""


Serializer = TypeVar("Serializer", bound=Callable[..., Any])


def pass_through(
    *types: type, null_text: str | None = None, refused_character: str | None = None
) -> Callable[[Serializer], Serializer]:
    """Decorates a scalar's serializer: it returns values of these types unchanged.

    `null_text` is a text that stands for null. It is searched for in a whole column at once, which is faster
    than to compare each value. The search is fastest if it begins with a character that is rare in others.
    For texts with the `refused_character`, the serializer is called, since it may refuse them.
    """

    def mark(serialize: Serializer) -> Serializer:
        serialize.pass_through = Types(types)  # type: ignore[attr-defined]
        serialize.null_text = null_text  # type: ignore[attr-defined]
        serialize.refused_character = refused_character  # type: ignore[attr-defined]
        return serialize

    return mark


def null_text_of(type_: GraphQLLeafType) -> str | None:
    """Returns the text that stands for null among a leaf type's values; None if there is none."""
    return getattr(type_.coerce_output_value, "null_text", None)


def bulk(function: Callable[[ColumnValues], ColumnValues]) -> Callable[[Serializer], Serializer]:
    """Decorates a scalar's serializer: `function` returns for a list of strings what it returns for each."""

    def mark(serialize: Serializer) -> Serializer:
        serialize.bulk = function  # type: ignore[attr-defined]
        return serialize

    return mark


class LeafSerializer:
    """Serializes the values of a leaf type one by one, by the type's own function."""

    converts_each = True
    """Whether that takes long enough that caching the results is worth while."""

    def __init__(self, type_: GraphQLLeafType, convert: ConvertColumn | None, *, nullable: bool) -> None:
        self.type = type_
        self.convert = convert
        self.nullable = nullable
        self.null_text = null_text_of(type_)

    def serialize(self, value: Any) -> Any:
        """Returns the JSON of a value that isn't null; None if that is null. Raises what the type raises."""
        if self.convert is not None:
            value = self.convert(value)
        if value is None or (isinstance(value, str) and value == self.null_text):
            return None
        return Executor.complete_leaf_value(self.type, value)

    def size_of(self, values: ColumnValues) -> int:
        """About how many bytes the JSON of values takes, errors and nulls among them."""
        texts = text_size(value for value in values if isinstance(value, str))
        return len(values) * _VALUE_SIZE + (texts or 0)

    def serialize_column(self, values: ColumnValues, conversions: Conversions) -> Serialized | None:
        """Returns the JSON of a whole column; None if it has an error, or a null where there must be none."""
        types = types_of(values)
        return None if has_error(types) else self.serialize_types(values, types, conversions)

    def serialize_types(
        self, values: ColumnValues, types: Types, conversions: Conversions
    ) -> Serialized | None:
        """Returns the JSON of a column of these types, none of which is an error.

        None as `serialize_column` does.
        """
        serialize = self.serialize
        try:
            if types in KEPT_TYPES:
                known = conversions[self]
                for value in set(values).difference(known):
                    known[value] = None if value is None else serialize(value)
                results = list(map(known.__getitem__, values))
            else:
                results = [None if value is None else serialize(value) for value in values]
        except Exception:  # noqa: BLE001 - raised again when each value is serialized by itself
            return None
        if not self.nullable and None in results:
            return None
        # The converted text is about as long as the original.
        texts = text_size(filter(None, values)) if str in types else None
        return results, len(values) * _VALUE_SIZE + (texts or 0)


class PassThroughSerializer(LeafSerializer):
    """A leaf type that passes some types through unchanged."""

    converts_each = False

    def __init__(self, type_: GraphQLLeafType, types: Types, *, nullable: bool) -> None:
        super().__init__(type_, None, nullable=nullable)
        self.passes_strings = str in types
        self.refused_character = getattr(type_.coerce_output_value, "refused_character", None)
        self.types = types | {NoneType} if nullable else types

    def serialize_column(self, values: ColumnValues, conversions: Conversions) -> Serialized | None:
        """Returns the column itself, where all its values are passed through."""
        text = joined_text(values) if self.passes_strings else None
        if text is not None:
            return self._passed(values, text, len(values) * _SEPARATORS)
        return super().serialize_column(values, conversions)

    def serialize_types(
        self, values: ColumnValues, types: Types, conversions: Conversions
    ) -> Serialized | None:
        """Returns the column itself, if all its types are passed through."""
        if not types <= self.types:
            return super().serialize_types(values, types, conversions)
        text = joined_text(filter(None, values)) if str in types else None
        return self._passed(values, text or "", len(values) * _VALUE_SIZE)

    def _passed(self, values: ColumnValues, text: str, size: int) -> Serialized | None:
        """Returns the column with the null text as null.

        `text` are all its strings, `size` the bytes of the rest.
        """
        if self.refused_character is not None and self.refused_character in text:
            return None
        size += utf8_size(text)
        # One character is found a hundred times as fast as a word.
        if self.null_text is None or self.null_text[0] not in text:
            return values, size
        results = [None if value == self.null_text else value for value in values]
        return (results, size) if self.nullable or None not in results else None


class BulkSerializer(LeafSerializer):
    """A leaf type that serializes many strings in one call."""

    converts_each = False

    def __init__(
        self,
        type_: GraphQLLeafType,
        serialize_strings: Callable[[ColumnValues], ColumnValues],
        *,
        nullable: bool,
    ) -> None:
        super().__init__(type_, None, nullable=nullable)
        self.serialize_strings = serialize_strings

    def serialize_column(self, values: ColumnValues, conversions: Conversions) -> Serialized | None:
        """Returns the strings serialized; nulls stay nulls."""
        size = len(values) * _DATE_SIZE
        try:
            if text_size(values) is not None:
                return self.serialize_strings(values), size
            if self.nullable and types_of(values) == {str, NoneType}:
                strings = iter(self.serialize_strings([value for value in values if value is not None]))
                return [None if value is None else next(strings) for value in values], size
        except Exception:  # noqa: BLE001 - raised again when each value is serialized by itself
            return None
        return super().serialize_column(values, conversions)


class IntSerializer(LeafSerializer):
    """Int: an integer of 32 bits is passed through."""

    converts_each = False

    def serialize_types(
        self, values: ColumnValues, types: Types, conversions: Conversions
    ) -> Serialized | None:
        """Returns the column itself, if all of it is in range."""
        numbers, kinds = values, types
        if NoneType in types and self.nullable:
            kinds = types - {NoneType}
            numbers = [value for value in values if value is not None]
        if kinds == {int} and min(numbers) >= GRAPHQL_MIN_INT and max(numbers) <= GRAPHQL_MAX_INT:
            return values, len(values) * _VALUE_SIZE
        return super().serialize_types(values, types, conversions)


class EnumSerializer(LeafSerializer):
    """An enum: its members' names, looked up by their values."""

    converts_each = False

    def __init__(self, type_: CustomGraphQLEnumType, *, nullable: bool) -> None:
        super().__init__(type_, None, nullable=nullable)
        self.enum = type_.wrapped_cls
        members: Iterable[Enum] = type_.wrapped_cls
        self.names = {member.value: self.serialize(member) for member in members}

    def serialize_types(
        self, values: ColumnValues, types: Types, conversions: Conversions
    ) -> Serialized | None:
        """Returns the names of a column of members."""
        if types == {self.enum}:
            # By value: looking a member up would call its __hash__, which is written in Python.
            names = list(map(self.names.__getitem__, map(_VALUE, values)))
            return names, len(values) * _VALUE_SIZE
        return super().serialize_types(values, types, conversions)


class VocabularySerializer(LeafSerializer):
    """An enum over a column of free text.

    Its conversions are cached, since a column has few distinct texts.
    """

    converts_each = False

    def __init__(self, type_: GraphQLLeafType, convert: ConvertColumn | None, *, nullable: bool) -> None:
        super().__init__(type_, convert, nullable=nullable)
        self.cached = lru_cache(maxsize=256)(self.serialize)

    def serialize_column(self, values: ColumnValues, conversions: Conversions) -> Serialized | None:
        """Returns the enum values that the texts of a column mean, or null."""
        if text_size(values) is not None:
            try:
                meanings = {text: self.cached(text) for text in set(values)}
                results = list(map(meanings.__getitem__, values))
            except Exception:  # noqa: BLE001 - raised again when each value is serialized by itself
                return None
            if not self.nullable and None in results:
                return None
            return results, len(values) * _VALUE_SIZE
        return super().serialize_column(values, conversions)


def leaf_serializer(
    type_: GraphQLLeafType, convert: ConvertColumn | None, *, nullable: bool
) -> LeafSerializer:
    """Returns the fastest serializer for a leaf type, whose values `convert`, if given, converts first."""
    if isinstance(type_, CustomGraphQLEnumType):
        if convert is not None:
            return VocabularySerializer(type_, convert, nullable=nullable)
        return EnumSerializer(type_, nullable=nullable)
    if convert is None and not isinstance(type_, GraphQLEnumType):
        if type_ is GraphQLInt:
            return IntSerializer(type_, None, nullable=nullable)
        types = _PASS_THROUGH.get(type_, getattr(type_.coerce_output_value, "pass_through", None))
        if types:
            return PassThroughSerializer(type_, types, nullable=nullable)
        serialize_strings = getattr(type_.coerce_output_value, "bulk", None)
        if serialize_strings:
            return BulkSerializer(type_, serialize_strings, nullable=nullable)
    return LeafSerializer(type_, convert, nullable=nullable)
