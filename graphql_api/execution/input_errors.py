"""What is wrong with an input: told with its place, in the client's own notation, and cut where it's long."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import orjson
from graphql import (
    ArgumentNode,
    GraphQLError,
    GraphQLInputType,
    GraphQLSchema,
    ListValueNode,
    Node,
    ObjectValueNode,
    Undefined,
    ValueNode,
    ValuesOfCorrectTypeRule,
    VariableDefinitionNode,
    VisitorAction,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import get_variable_signature
from graphql.language import SKIP, print_ast
from graphql.pyutils import inspect, print_path_list
from graphql.utilities.validate_input_value import validate_input_literal, validate_input_value

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
