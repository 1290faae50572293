"""Variables and arguments of clients: checked, coerced, and converted to Python's objects."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING
from functools import partial
from typing import Any, Final, NamedTuple, Self, cast

import orjson
from graphql import (
    ArgumentNode,
    FieldNode,
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLLeafType,
    GraphQLSchema,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    StringValueNode,
    Undefined,
    ValueNode,
    ValuesOfCorrectTypeRule,
    VariableDefinitionNode,
    VariableNode,
    VisitorAction,
    get_nullable_type,
    is_input_object_type,
    is_leaf_type,
    is_list_type,
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
from graphql.utilities import coerce_input_literal, coerce_input_value
from graphql.utilities.coerce_input_value import coerce_default_value
from graphql.utilities.validate_input_value import validate_input_literal, validate_input_value
from strawberry.exceptions import StrawberryInputCoercionError
from strawberry.relay import GlobalID
from strawberry.scalars import is_scalar
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import StrawberryList, StrawberryMaybe, StrawberryOptional, get_object_definition
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.lazy_type import LazyType
from strawberry.types.maybe import Some
from strawberry.types.unset import UNSET

from graphql_api.execution.analysis import Reuse, variables_in
from graphql_api.execution.errors import LIMIT_EXCEEDED, MAX_ECHO, LimitError, RequestError, cut, with_null

MAX_LEVELS: Final = 100
"""How deep lists and objects may be nested in variables: a third of what Python's recursion limit allows."""

MAX_REUSED_VALUES: Final = 10_000
"""Values of variables that are used more than once, counted once for each use."""
MAX_REUSED_CHARACTERS: Final = 262_144
"""Characters of texts in such variables, counted once for each use."""

MAX_LITERAL_ERRORS: Final = 5
"""Errors reported of one literal. graphql-core prints a whole object for each field that it doesn't know."""

MAX_VARIABLE_ERRORS: Final = 50

_FOUND = "ound: "
_PYTHONS_DIGITS = "set_int_max_str_digits"  # from its refusal of numbers with thousands of digits


class ExactFloat(float):
    """A JSON number with a fraction, an exponent or more than 64 bits, and its text, which is exact."""

    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __repr__(self) -> str:
        return self.text


def dump_json(value: Any, *, sort_keys: bool = False) -> bytes:
    """Returns JSON of a request as JSON again, its numbers as they were written."""
    return orjson.dumps(value, default=_as_written, option=orjson.OPT_SORT_KEYS if sort_keys else None)


def _as_written(number: ExactFloat) -> orjson.Fragment:
    return orjson.Fragment(number.text)


Path = list[str | int]

ConvertInput = Callable[[Any], Any]
"""From a coerced value to what resolvers get: inputs as objects, by Python's names."""


def check_value_count(
    variables: Mapping[str, Any], most: int | None, definition: OperationDefinitionNode
) -> None:
    """Raises RequestError for more than `most` scalars, lists and objects in variables, or too many levels.

    Each value is coerced, converted and read, which takes longer than to send it.
    """
    level: list[Any] = [variables]
    found = levels = 0
    while level:
        levels += 1
        below = [value.values() if isinstance(value, Mapping) else value for value in level]
        found += sum(map(len, below))
        if most is not None and found > most:
            excess = LimitError("values in variables", most, nodes=[definition])
            raise RequestError(LIMIT_EXCEEDED, [excess])
        if levels > MAX_LEVELS:
            excess = LimitError("levels of variables", MAX_LEVELS, nodes=[definition])
            raise RequestError(LIMIT_EXCEEDED, [excess])
        level = [value for values in below for value in values if isinstance(value, dict | list)]


def check_reuse(
    variables: Mapping[str, Any], reused: Sequence[Reuse], definition: OperationDefinitionNode
) -> None:
    """Raises RequestError if variables that are used more than once are too large.

    A client sends a variable once, and each use compares it, copies it or sends it to the database.
    """
    values = characters = 0
    for name, uses, default in reused:
        own_values, own_characters = (
            measure(variables[name]) if name in variables else measure_literal(default)
        )
        values += uses * own_values
        characters += uses * own_characters
    for limit, maximum, actual in (
        ("values of variables, as often as they are used", MAX_REUSED_VALUES, values),
        ("characters of variables, as often as they are used", MAX_REUSED_CHARACTERS, characters),
    ):
        if actual > maximum:
            raise RequestError(LIMIT_EXCEEDED, [LimitError(limit, maximum, actual, [definition])])


def measure(value: Any) -> tuple[int, int]:
    """Returns the number of scalars, lists and objects in a value, and of the characters in its texts."""
    values = characters = 0
    rest = [value]
    for each in rest:  # the loop appends to it
        values += 1
        if isinstance(each, str):
            characters += len(each)
        elif isinstance(each, Mapping):
            characters += sum(map(len, each))
            rest += each.values()
        elif isinstance(each, list):
            rest += each
    return values, characters


def measure_literal(literal: ValueNode | None) -> tuple[int, int]:
    """Returns the numbers that `measure` does, of a literal; zeros for None."""
    if literal is None:
        return 0, 0
    values = characters = 0
    rest = [literal]
    for each in rest:
        values += 1
        if isinstance(each, ListValueNode):
            rest += each.values
        elif isinstance(each, ObjectValueNode):
            rest += [field.value for field in each.fields]
        elif isinstance(each, StringValueNode):
            characters += len(each.value)
    return values, characters


# Coercing variables


class _Variable(NamedTuple):
    """One variable's definition."""

    signature: GraphQLVariableSignature
    name: str
    type: GraphQLInputType
    """The type, without an outermost non-null."""
    leaf: GraphQLLeafType | None
    """The type, if it is a scalar or an enum."""
    is_required: bool
    """Whether its type is non-null."""


class Variables:
    """The variables of an operation: their definitions are read once, for all requests."""

    def __init__(
        self, schema: GraphQLSchema, definition: OperationDefinitionNode, *, hide_suggestions: bool = False
    ) -> None:
        self._schema = schema
        self._definition = definition
        self._nodes: Sequence[VariableDefinitionNode] = definition.variable_definitions or ()
        self._hide_suggestions = hide_suggestions
        self._variables = self._read()

    def coerce(self, given: Mapping[str, Any]) -> VariableValues | list[GraphQLError]:
        """Returns the variables' values for one request, or what is wrong with those that were given."""
        values = self._coerce(given)
        if values is not None:
            return values
        # A value is invalid, or of a kind too rare to be handled here: graphql-core coerces or refuses it.
        library_result: VariableValues | list[GraphQLError]
        try:
            library_result = get_variable_values(
                self._schema, self._nodes, dict(given), MAX_VARIABLE_ERRORS, self._hide_suggestions
            )
        except StrawberryInputCoercionError as error:  # of an input of which exactly one field is to be given
            library_result = [error]
        if not isinstance(library_result, list):
            return library_result
        # Errors that don't depend on a value, such as nesting that is too deep, are reported by graphql-core.
        return self._errors(given) or [
            GraphQLError(error.message, self._definition) for error in library_result
        ]

    def _read(self) -> Sequence[_Variable]:
        """Returns all variables; none if one has a type that graphql-core has to refuse."""
        variables = []
        for node in self._nodes:
            signature = get_variable_signature(self._schema, node)
            if isinstance(signature, GraphQLError):
                return ()
            is_required = is_non_null_type(signature.type)
            type_ = cast("Any", signature.type).of_type if is_required else signature.type
            leaf = type_ if is_leaf_type(type_) else None
            variables.append(_Variable(signature, signature.name, type_, leaf, is_required))
        return variables

    def _coerce(self, given: Mapping[str, Any]) -> VariableValues | None:
        """Returns the values as `get_variable_values` does; None where that function has to be used."""
        if not self._variables:
            return None
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for signature, name, type_, leaf, is_required in self._variables:
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
            if leaf is None and input_is_nested_too_deeply(value, type_):
                return None
            try:
                result = coerce_input_value(value, type_) if leaf is None else leaf.coerce_input_value(value)
            except Exception:  # noqa: BLE001 - reported by graphql-core
                return None
            if result is Undefined:
                return None
            coerced[name] = result
        return VariableValues(sources, coerced)

    def _errors(self, given: Mapping[str, Any]) -> list[GraphQLError]:
        """Returns what is wrong with their values and where in them, MAX_VARIABLE_ERRORS at most."""
        errors: list[GraphQLError] = []
        for definition in self._nodes:
            signature = get_variable_signature(self._schema, definition)
            if isinstance(signature, GraphQLError):
                errors.append(signature)
                continue
            whole = given.get(signature.name, Undefined)
            if whole is Undefined and (definition.default_value or not is_non_null_type(signature.type)):
                continue
            if input_is_nested_too_deeply(whole, signature.type):
                continue

            def on_error(
                error: GraphQLError, path: Path, whole: Any = whole, node: VariableDefinitionNode = definition
            ) -> None:
                if len(errors) == MAX_VARIABLE_ERRORS:
                    raise _EnoughError
                value = _value_at(whole, path)
                notations = inspect(value), _json(value)
                texts = list(value) if isinstance(value, dict) else [value] if isinstance(value, str) else []
                place = f"Variable '${node.variable.name.value}' has invalid value"
                errors.append(_placed(place, path, error, notations, texts, node))

            with suppress(_EnoughError):
                validate_input_value(whole, signature.type, on_error, self._hide_suggestions)
        return errors


# What is wrong with a value


class InputsRule(ValuesOfCorrectTypeRule):
    """graphql-core's rule for literals, with errors that name the argument."""

    _place = ""

    def enter_argument(self, node: ArgumentNode, *_: Any) -> None:
        """Remembers the argument, which errors about its value name."""
        self._place = f"Argument '{cut(node.name.value)}' has invalid value"

    def enter_variable_definition(self, node: VariableDefinitionNode, *_: Any) -> None:
        """Remembers the variable, which errors about its default value name."""
        self._place = f"Variable '${cut(node.variable.name.value)}' has invalid default value"

    def is_valid_value_node(self, node: ValueNode, input_type: GraphQLInputType | None) -> VisitorAction:
        """Reports what is wrong with a whole literal."""
        reported = 0

        def on_error(error: GraphQLError, path: Path) -> None:
            nonlocal reported
            value = _literal_at(node, path)
            names = [field.name.value for field in value.fields] if isinstance(value, ObjectValueNode) else []
            # Errors about an object end with all of its text, which takes long to print.
            is_object = isinstance(value, ObjectValueNode) and _FOUND in error.message
            written = error.message.partition(_FOUND)[2][:-1] if is_object else print_ast(value)
            self.report_error(_placed(self._place, path, error, (written, written), names, value))
            reported += 1
            if reported == MAX_LITERAL_ERRORS:
                raise _EnoughError

        if input_type is not None:
            with suppress(_EnoughError):
                validate_input_literal(
                    node, input_type, on_error, hide_suggestions=self.context.hide_suggestions
                )
        return SKIP


class _EnoughError(Exception):
    """As many errors of variables were found as are reported, so that the search ends."""


def _placed(
    place: str,
    path: Path,
    error: GraphQLError,
    notations: tuple[str, str],
    texts: Collection[str],
    node: Node,
) -> GraphQLError:
    """Returns the error with `place`, a variable or an argument, and the path of the part that it is about.

    `notations` are the value as the message repeats it, and as it should. `texts` are other texts that the
    message may repeat.
    """
    message = error.message
    cause = error.original_error
    if cause is not None and _PYTHONS_DIGITS in str(cause):
        message = message.replace(str(cause), "a number of too many digits")
    message = with_null(message)
    written, shown = notations
    before, found, after = message.rpartition(written)
    if found:
        message = f"{before}{cut(shown)}{after}"
    for text in texts:
        if len(text) > MAX_ECHO:
            message = message.replace(text, cut(text))
    where = print_path_list([cut(key) if isinstance(key, str) else key for key in path])
    return GraphQLError(f"{place}{where}: {message}", node, original_error=error)


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
    return "nothing" if value is Undefined else dump_json(value).decode()


# Reading arguments


class _UndecidedError(Exception):
    """A value is invalid, or of a kind too rare to be compiled: graphql-core coerces or refuses it."""


class _Constant(NamedTuple):
    """A value that depends on no variable."""

    value: Any


_Read = Callable[[Mapping[str, Any]], Any]
"""Returns a coerced value, given the coerced values of an operation's variables. Raises _UndecidedError."""
_InputDefinition = GraphQLArgument | GraphQLInputField


class ArgumentReader:
    """Reads the arguments of one field of an operation.

    Arguments that use no variable are coerced and converted once, for all requests.
    """

    def __init__(self, definition: GraphQLField, node: FieldNode, convert: ConvertInput) -> None:
        """`convert` converts coerced arguments to what the field's source gets."""
        self._convert = convert
        self._constants: Mapping[str, Any] = {}
        self._read: _Read | None = None
        self.is_constant = False
        """Whether they are the same for every request."""
        given = {argument.name.value: argument.value for argument in node.arguments or ()}
        with suppress(Exception):  # reported by graphql-core, in each request
            constants, varying = _compile_fields(given, definition.args)
            self._constants = convert(constants)
            self._read = partial(_read_fields, {}, varying)
            self.is_constant = not varying

    def read(self, variables: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Returns the converted arguments; None where graphql-core has to coerce them, or to refuse them."""
        if self.is_constant:
            return self._constants
        if self._read is None:
            return None
        try:
            varying = self._read(variables)
        except _UndecidedError:
            return None
        return {**self._constants, **self._convert(varying)}


class _VaryingField(NamedTuple):
    """An argument or a field of an input object that depends on variables."""

    name: str
    read: _Read
    variable: str | None
    """The variable's name, if it is just a variable. Without a value, the field's default applies."""
    definition: _InputDefinition


def _compile_fields(
    given: Mapping[str, ValueNode], definitions: Mapping[str, _InputDefinition]
) -> tuple[dict[str, Any], Sequence[_VaryingField]]:
    """Splits arguments, or the fields of an input object: constant values, and readers of the others."""
    if not given.keys() <= definitions.keys():
        raise _UndecidedError
    constants: dict[str, Any] = {}
    varying = []
    for key, definition in definitions.items():
        name, node = definition.out_name or key, given.get(key)
        if node is None:
            _set_default(constants, name, definition)
            continue
        value = _compile_value(node, definition.type)
        if isinstance(value, _Constant):
            constants[name] = value.value
        else:
            variable = node.name.value if isinstance(node, VariableNode) else None
            varying.append(_VaryingField(name, value, variable, definition))
    return constants, varying


def _read_fields(
    constants: Mapping[str, Any], varying: Sequence[_VaryingField], variables: Mapping[str, Any]
) -> dict[str, Any]:
    fields = dict(constants)
    for name, read, variable, definition in varying:
        if variable is not None and variable not in variables:
            _set_default(fields, name, definition)
        else:
            fields[name] = read(variables)
    return fields


def _set_default(fields: dict[str, Any], name: str, definition: _InputDefinition) -> None:
    """Sets a field that isn't given to its default."""
    default = coerce_default_value(definition)
    if default is not Undefined:
        fields[name] = default
    elif is_non_null_type(definition.type):
        raise _UndecidedError


def _compile_value(node: ValueNode, type_: GraphQLInputType) -> _Constant | _Read:
    if isinstance(node, VariableNode):
        return partial(_read_variable, node.name.value, is_non_null_type(type_))
    if not any(True for _ in variables_in(node)):
        value = coerce_input_literal(node, type_)
        if value is Undefined:
            raise _UndecidedError
        return _Constant(value)
    nullable = get_nullable_type(type_)
    if is_list_type(nullable):
        items = node.values if isinstance(node, ListValueNode) else [node]
        return partial(_read_items, [_compile_value(item, nullable.of_type) for item in items])
    if is_input_object_type(nullable) and isinstance(node, ObjectValueNode) and not nullable.is_one_of:
        given = {field.name.value: field.value for field in node.fields}
        return partial(_read_object, *_compile_fields(given, nullable.fields), nullable)
    raise _UndecidedError


def _read_variable(name: str, is_required: bool, variables: Mapping[str, Any]) -> Any:  # noqa: FBT001 - bound
    value = variables.get(name, Undefined)
    if value is Undefined or (value is None and is_required):
        raise _UndecidedError
    return value


def _read_items(items: Sequence[_Constant | _Read], variables: Mapping[str, Any]) -> list[Any]:
    return [item.value if isinstance(item, _Constant) else item(variables) for item in items]


def _read_object(
    constants: Mapping[str, Any],
    varying: Sequence[_VaryingField],
    type_: GraphQLInputObjectType,
    variables: Mapping[str, Any],
) -> Any:
    return type_.out_type(_read_fields(constants, varying, variables))


# Converting arguments


class InputConverter:
    """Converts the arguments of declared fields, as Strawberry converts those of resolvers.

    For every value, Strawberry looks up the name and type of every field of its input type. Here they are
    looked up once for each type, and only the fields that a client gave are converted.
    """

    def __init__(self, schema: GraphQLSchema) -> None:
        strawberry: Any = schema._strawberry_schema  # type: ignore[attr-defined]  # noqa: SLF001
        self._config = strawberry.config
        self._scalars = strawberry.schema_converter.scalar_registry
        self._objects: dict[type, _ConvertObject] = {}

    def for_arguments(self, arguments: Sequence[StrawberryArgument]) -> ConvertInput:
        """Returns a function that converts all arguments of a field, by their names in the schema."""
        names = self._config.name_converter
        return partial(
            _convert_all,
            {names.from_argument(each): (each.python_name, self._for_type(each.type)) for each in arguments},
        )

    def _for_type(self, type_: Any) -> ConvertInput:
        if isinstance(type_, LazyType):
            return self._for_type(type_.resolve_type())
        if isinstance(type_, StrawberryMaybe):
            if isinstance(type_.of_type, StrawberryOptional):
                return partial(_convert_maybe, self._for_type(type_.of_type))
        elif isinstance(type_, StrawberryOptional):
            return self._for_type(type_.of_type)
        if isinstance(type_, StrawberryList):
            return partial(_convert_list, self._for_type(type_.of_type))
        if type_ is not GlobalID and (
            isinstance(type_, StrawberryEnumDefinition) or is_scalar(type_, self._scalars)
        ):
            return _convert_nothing
        definition = get_object_definition(type_) if isinstance(type_, type) else None
        if definition is not None and definition.is_input and definition.from_input is None:
            return self._for_object(type_, definition)
        return partial(
            convert_argument, type_=type_, scalar_registry=self._scalars, config=self._config, info=None
        )

    def _for_object(self, type_: type, definition: Any) -> ConvertInput:
        known = self._objects.get(type_)
        if known is None:
            known = self._objects[type_] = _ConvertObject(type_, definition.fields)
            for field in definition.fields:  # an input type may contain itself
                name = self._config.name_converter.from_field(field)
                known.fields[name] = (
                    field.python_name,
                    self._for_type(field.resolve_type(type_definition=definition)),
                )
        return known


class _ConvertObject:
    """Converts a mapping to an input object."""

    def __init__(self, type_: type, fields: Sequence[Any]) -> None:
        self.type = type_
        self.fields: dict[str, tuple[str, ConvertInput]] = {}
        self.absent = {
            field.python_name: None
            for field in fields
            if field.default_value is MISSING and field.default_factory is MISSING
        }

    def __call__(self, value: Any) -> Any:
        if value is None or value is UNSET:
            return value
        return self.type(**(self.absent | _convert_all(self.fields, value)))


def _convert_all(known: Mapping[str, tuple[str, ConvertInput]], given: Mapping[str, Any]) -> dict[str, Any]:
    converted = {}
    for name, value in given.items():
        python_name, convert = known[name]
        converted[python_name] = convert(value)
    return converted


def _convert_maybe(convert: ConvertInput, value: Any) -> Any:
    return Some(convert(value))


def _convert_list(convert: ConvertInput, value: Any) -> Any:
    return value if value is None or value is UNSET else [convert(item) for item in value]


def _convert_nothing(value: Any) -> Any:
    return value
