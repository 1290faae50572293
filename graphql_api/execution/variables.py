"""The values of an operation's variables: what their definitions say is found out once for each document."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from graphql import (
    GraphQLError,
    GraphQLInputType,
    GraphQLLeafType,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
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
from graphql.utilities import coerce_input_value

from graphql_api.execution.documents import Document, name_of
from graphql_api.execution.input_errors import wrong_variables

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
    document: Document,
    definition: OperationDefinitionNode,
    given: Mapping[str, Any] | None,
    *,
    hide_suggestions: bool,
) -> VariableValues | list[GraphQLError]:
    """The values of an operation's variables, or what is wrong with them."""
    definitions, given = definition.variable_definitions, given or {}
    if not definitions:
        return VariableValues({}, {})
    name = name_of(definition)
    known = document.variables.get(name)
    if known is None:
        known = document.variables[name] = _read(schema, definition)
    values = _coerce(known, given)
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
