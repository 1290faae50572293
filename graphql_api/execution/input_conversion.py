"""Arguments of declared fields, as Strawberry hands them to resolvers: inputs as objects, by Python's names.

Strawberry looks at every field of an input type for every value, and finds its name and type anew. Here that
is found out once for each type, and only what a client gave is looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from functools import partial
from typing import Any

from graphql import GraphQLSchema
from strawberry.relay import GlobalID
from strawberry.scalars import is_scalar
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import StrawberryList, StrawberryMaybe, StrawberryOptional, get_object_definition
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.lazy_type import LazyType
from strawberry.types.maybe import Some
from strawberry.types.unset import UNSET

Convert = Callable[[Any], Any]


class Inputs:
    """How values of the types of a schema are converted."""

    def __init__(self, schema: GraphQLSchema) -> None:
        strawberry: Any = schema._strawberry_schema  # type: ignore[attr-defined]  # noqa: SLF001
        self._config = strawberry.config
        self._scalars = strawberry.schema_converter.scalar_registry
        self._objects: dict[type, _Object] = {}

    def of_arguments(self, arguments: Sequence[StrawberryArgument]) -> Convert:
        """What converts all arguments of a field, by their names in the schema."""
        names = self._config.name_converter
        return partial(
            _convert_all,
            {names.from_argument(each): (each.python_name, self._of(each.type)) for each in arguments},
        )

    def _of(self, type_: Any) -> Convert:
        if isinstance(type_, LazyType):
            return self._of(type_.resolve_type())
        if isinstance(type_, StrawberryMaybe):
            if isinstance(type_.of_type, StrawberryOptional):
                return partial(_convert_maybe, self._of(type_.of_type))
        elif isinstance(type_, StrawberryOptional):
            return self._of(type_.of_type)
        if isinstance(type_, StrawberryList):
            return partial(_convert_list, self._of(type_.of_type))
        if type_ is not GlobalID and (
            isinstance(type_, StrawberryEnumDefinition) or is_scalar(type_, self._scalars)
        ):
            return _leave
        definition = get_object_definition(type_) if isinstance(type_, type) else None
        if definition is not None and definition.is_input and definition.from_input is None:
            return self._of_object(type_, definition)
        return partial(
            convert_argument, type_=type_, scalar_registry=self._scalars, config=self._config, info=None
        )

    def _of_object(self, type_: type, definition: Any) -> Convert:
        known = self._objects.get(type_)
        if known is None:
            known = self._objects[type_] = _Object(type_, definition.fields)
            for field in definition.fields:  # which may be of the same type again
                name = self._config.name_converter.from_field(field)
                known.fields[name] = (
                    field.python_name,
                    self._of(field.resolve_type(type_definition=definition)),
                )
        return known


class _Object:
    """Converts a mapping to an input object."""

    def __init__(self, type_: type, fields: Sequence[Any]) -> None:
        self.type = type_
        self.fields: dict[str, tuple[str, Convert]] = {}
        self.absent = {
            field.python_name: None
            for field in fields
            if field.default_value is MISSING and field.default_factory is MISSING
        }

    def __call__(self, value: Any) -> Any:
        if value is None or value is UNSET:
            return value
        return self.type(**(self.absent | _convert_all(self.fields, value)))


def _convert_all(known: Mapping[str, tuple[str, Convert]], given: Mapping[str, Any]) -> dict[str, Any]:
    converted = {}
    for name, value in given.items():
        python_name, convert = known[name]
        converted[python_name] = convert(value)
    return converted


def _convert_maybe(convert: Convert, value: Any) -> Any:
    return Some(convert(value))


def _convert_list(convert: Convert, value: Any) -> Any:
    return value if value is None or value is UNSET else [convert(item) for item in value]


def _leave(value: Any) -> Any:
    return value
