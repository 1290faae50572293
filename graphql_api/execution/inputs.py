"""Inputs."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING
from functools import partial
from typing import Any, Final, NamedTuple, cast

import orjson
from graphql import (
    ArgumentNode,
    GraphQLError,
    GraphQLInputType,
    GraphQLLeafType,
    GraphQLSchema,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    Undefined,
    ValueNode,
    ValuesOfCorrectTypeRule,
    VariableDefinitionNode,
    VisitorAction,
    is_leaf_type,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import (
    VariableValues,
    VariableValueSource,
    get_variable_values,
    input_is_nested_too_deeply,
)
from graphql.language import SKIP, print_ast
from graphql.pyutils import inspect, print_path_list
from graphql.utilities import coerce_input_value
from graphql.utilities.validate_input_value import validate_input_literal, validate_input_value
from strawberry.relay import GlobalID
from strawberry.scalars import is_scalar
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import StrawberryList, StrawberryMaybe, StrawberryOptional, get_object_definition
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.lazy_type import LazyType
from strawberry.types.maybe import Some
from strawberry.types.unset import UNSET

_MAX_ERRORS = 50
_TOO_DEEP = "Variable values are nested too deeply."


class _Variable(NamedTuple):
    """One definition, read."""

    signature: GraphQLVariableSignature
    name: str
    type: GraphQLInputType
    """Without the outermost non-null."""
    leaf: GraphQLLeafType | None
    """The type, if it is a scalar or an enum."""
    is_required: bool
    """Whether its type is non-null."""


def coerce_variables(
    schema: GraphQLSchema,
    known: dict[str | None, Any],
    definition: OperationDefinitionNode,
    given: Mapping[str, Any] | None,
    *,
    hide_suggestions: bool,
) -> VariableValues | list[GraphQLError]:
    """The values of an operation's variables, or what is wrong with them.

    `known` keeps what was read of the definitions of a document's operations, by their names.
    """
    definitions, given = definition.variable_definitions, given or {}
    if not definitions:
        return VariableValues({}, {})
    name = definition.name.value if definition.name else None
    variables = known.get(name)
    if variables is None:
        variables = known[name] = _read(schema, definition)
    values = _coerce(variables, given)
    if values is not None:
        return values
    # Something is wrong or out of the ordinary: graphql-core knows what comes of it.
    told = get_variable_values(schema, definitions, dict(given), _MAX_ERRORS, hide_suggestions)
    if not isinstance(told, list) or told[0].message == _TOO_DEEP:
        return told
    return wrong_variables(schema, definitions, given, most=_MAX_ERRORS, hide_suggestions=hide_suggestions)


def _read(schema: GraphQLSchema, definition: OperationDefinitionNode) -> Sequence[_Variable]:
    """All variables of an operation; none of them if graphql-core has a fault to find."""
    variables = []
    for node in definition.variable_definitions or ():
        signature = get_variable_signature(schema, node)
        if isinstance(signature, GraphQLError):
            return ()
        is_required = is_non_null_type(signature.type)
        type_ = cast("Any", signature.type).of_type if is_required else signature.type
        leaf = type_ if is_leaf_type(type_) else None
        variables.append(_Variable(signature, signature.name, type_, leaf, is_required))
    return variables


def _coerce(variables: Sequence[_Variable], given: Mapping[str, Any]) -> VariableValues | None:
    """Their values, as `get_variable_values` has them; None for what is better left to it."""
    if not variables:
        return None
    sources: dict[str, VariableValueSource] = {}
    coerced: dict[str, Any] = {}
    for signature, name, type_, leaf, is_required in variables:
        value = given.get(name, Undefined)
        if value is Undefined:
            if is_required or signature.default is not None:
                return None
            sources[name] = VariableValueSource(signature)
            continue
        if value is None and is_required:
            return None
        sources[name] = VariableValueSource(signature, value)
        if value is None:
            coerced[name] = None
            continue
        if leaf is not None:
            try:
                result = leaf.coerce_input_value(value)
            except Exception:  # noqa: BLE001 - told by graphql-core
                return None
        elif input_is_nested_too_deeply(value, type_):
            return None
        else:
            result = coerce_input_value(value, type_)
        if result is Undefined:
            return None
        coerced[name] = result
    return VariableValues(sources, coerced)


MAX_ECHO: Final = 100
"""Characters of an input that an error repeats."""

MAX_ERRORS_OF_ONE: Final = 5
"""Errors told of one literal. graphql-core prints a whole object for each field that it doesn't know."""

_FOUND = "ound: "
_PYTHONS_DIGITS = "set_int_max_str_digits"  # from its refusal of numbers with thousands of digits
_PYTHONS_NULL = " not to be None."

Path = list[str | int]


class InputsRule(ValuesOfCorrectTypeRule):
    """graphql-core's rule for literals, with errors that name the argument."""

    _place = ""

    def enter_argument(self, node: ArgumentNode, *_: Any) -> None:
        """What the values that follow are for."""
        self._place = f"Argument '{node.name.value}' has invalid value"

    def enter_variable_definition(self, node: VariableDefinitionNode, *_: Any) -> None:
        """Likewise."""
        self._place = f"Variable '${node.variable.name.value}' has invalid default value"

    def is_valid_value_node(self, node: ValueNode, input_type: GraphQLInputType | None) -> VisitorAction:
        """Report what is wrong with a whole literal."""
        told = 0

        def on_error(error: GraphQLError, path: Path) -> None:
            nonlocal told
            value = _literal_at(node, path)
            names = [field.name.value for field in value.fields] if isinstance(value, ObjectValueNode) else []
            # Errors about an object repeat all of it, which takes long to print, and is what they end with.
            is_object = isinstance(value, ObjectValueNode) and _FOUND in error.message
            written = error.message.partition(_FOUND)[2][:-1] if is_object else print_ast(value)
            self.report_error(_placed(self._place, path, error, (written, written), names, value))
            told += 1
            if told == MAX_ERRORS_OF_ONE:
                raise _EnoughError

        if input_type is not None:
            with suppress(_EnoughError):
                validate_input_literal(
                    node, input_type, on_error, hide_suggestions=self.context.hide_suggestions
                )
        return SKIP


def wrong_variables(
    schema: GraphQLSchema,
    definitions: Iterable[VariableDefinitionNode],
    given: Mapping[str, Any],
    *,
    most: int,
    hide_suggestions: bool,
) -> list[GraphQLError]:
    """What is wrong with the values of variables, `most` errors at most."""
    errors: list[GraphQLError] = []
    for definition in definitions:
        signature = get_variable_signature(schema, definition)
        if isinstance(signature, GraphQLError):
            errors.append(signature)
            continue
        whole = given.get(signature.name, Undefined)
        if whole is Undefined and (definition.default_value or not is_non_null_type(signature.type)):
            continue

        def on_error(
            error: GraphQLError, path: Path, whole: Any = whole, node: VariableDefinitionNode = definition
        ) -> None:
            if len(errors) == most:
                raise _EnoughError
            value = _value_at(whole, path)
            notations = inspect(value), _json(value)
            texts = list(value) if isinstance(value, dict) else [value] if isinstance(value, str) else []
            place = f"Variable '${node.variable.name.value}' has invalid value"
            errors.append(_placed(place, path, error, notations, texts, node))

        try:
            validate_input_value(whole, signature.type, on_error, hide_suggestions)
        except _EnoughError:
            break
    return errors


class _EnoughError(Exception):
    """Nobody reads further errors."""


def _placed(
    place: str,
    path: Path,
    error: GraphQLError,
    notations: tuple[str, str],
    texts: Collection[str],
    node: Node,
) -> GraphQLError:
    """The error with its place.

    `notations` are how it repeats the value, and how it should. `texts` are what else it may repeat.
    """
    message = error.message
    cause = error.original_error
    if cause is not None and _PYTHONS_DIGITS in str(cause):
        message = message.replace(str(cause), "a number of too many digits")
    if message.endswith(_PYTHONS_NULL):
        message = f"{message.removesuffix(_PYTHONS_NULL)} not to be null."
    written, shown = notations
    before, found, after = message.rpartition(written)
    if found:
        message = f"{before}{_cut(shown)}{after}"
    for text in texts:
        if len(text) > MAX_ECHO:
            message = message.replace(text, _cut(text))
    where = print_path_list([_cut(key) if isinstance(key, str) else key for key in path])
    return GraphQLError(f"{place}{where}: {message}", node, original_error=error)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_ECHO else f"{text[:MAX_ECHO]}…"


def _literal_at(node: ValueNode, path: Path) -> ValueNode:
    for key in path:
        if isinstance(node, ListValueNode) and isinstance(key, int):
            node = node.values[key]
        elif isinstance(node, ObjectValueNode):
            node = next(field.value for field in node.fields if field.name.value == key)
    return node


def _value_at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _json(value: Any) -> str:
    return "nothing" if value is Undefined else orjson.dumps(value).decode()


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
