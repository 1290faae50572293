"""What an operation uses, found before it is compiled."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphql import (
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLIncludeDirective,
    GraphQLSkipDirective,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
)

_CONDITIONS = (GraphQLSkipDirective.name, GraphQLIncludeDirective.name)
_INTROSPECTION = ("__schema", "__type")


@dataclass(frozen=True, slots=True)
class Scan:
    """The conditions of an operation, and why it can't be compiled, if so."""

    conditions: tuple[str, ...]
    """The variables that @skip and @include ask."""
    unsupported: str | None


def scan(operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]) -> Scan:
    """Look at every selection of an operation, each fragment once."""
    if operation.directives:
        return Scan((), "directive")
    conditions: set[str] = set()
    for node in selections(operation.selection_set, fragments):
        if isinstance(node, FieldNode) and node.name.value in _INTROSPECTION:
            return Scan((), "introspection")
        for directive in node.directives or ():
            if directive.name.value not in _CONDITIONS:
                return Scan((), "directive")
            conditions.update(_variables(directive))
        if isinstance(node, FragmentSpreadNode) and node.arguments:
            return Scan((), "fragment arguments")
    return Scan(tuple(sorted(conditions)), None)


def selections(
    selection_set: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterator[SelectionNode]:
    """All that is selected, at all levels; what is in a fragment once, however often it is spread."""
    seen: set[str] = set()
    waiting = [selection_set]
    while waiting:
        for node in waiting.pop().selections:
            yield node
            if isinstance(node, FragmentSpreadNode):
                name = node.name.value
                if name not in seen and name in fragments:
                    seen.add(name)
                    waiting.append(fragments[name].selection_set)
            elif (below := getattr(node, "selection_set", None)) is not None:
                waiting.append(below)


def _variables(directive: DirectiveNode) -> Iterator[str]:
    for argument in directive.arguments or ():
        if isinstance(argument.value, VariableNode):
            yield argument.value.name.value


def names_variable(value: ValueNode) -> bool:
    """Whether a variable occurs in a value."""
    match value:
        case VariableNode():
            return True
        case ListValueNode():
            return any(map(names_variable, value.values))
        case ObjectValueNode():
            return any(names_variable(field.value) for field in value.fields)
        case _:
            return False
