"""How large a document may be, measured before it is validated, and what comes with it.

Validation and execution take their time from a document's size once its fragments are spread, which can
double with every dozen characters. So each fragment is measured once, whatever the number of its spreads:
the time this takes is linear in the text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableDefinitionNode,
)

_Directed = SelectionNode | FragmentDefinitionNode | OperationDefinitionNode | VariableDefinitionNode

MAX_LEVELS = 100
"""Of lists and objects within each other in variables: a third of what recursion here and there can bear."""

LIMIT_EXCEEDED = "LIMIT_EXCEEDED"

_LARGEST_TOLD = 10**9  # fragments double faster than JSON's numbers can follow
_LIST_FORM = frozenset({"edges", "node", "nodes"})
_INTROSPECTION = frozenset({"__schema", "__type"})


class LimitError(GraphQLError):
    """A document beyond a limit. `extensions` tell the limit, its maximum and, if known, the actual."""

    def __init__(self, limit: str, maximum: int, actual: int | None = None) -> None:
        known = actual is not None and actual <= _LARGEST_TOLD
        super().__init__(
            f"{limit}: {f'{actual}, ' if known else ''}more than the limit of {maximum}",
            extensions={
                "code": LIMIT_EXCEEDED,
                "limit": limit,
                "maximum": maximum,
                **({"actual": actual} if known else {}),
            },
        )


class FragmentCycleError(GraphQLError):
    """A fragment that spreads itself."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Cannot spread fragment '{name}' within itself.")


class Size(NamedTuple):
    """What a selection set comes to once its fragments are spread, the same fragment each time anew."""

    depth: int = 0
    """Levels of fields. The form of a list (edges, node, nodes) is no level, and neither is introspection."""
    aliases: int = 0
    directives: int = 0
    fields: int = 0
    """Fields of the selection set itself, not of those below."""


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """The most that one operation may come to."""

    depth: int
    aliases: int
    directives: int
    root_fields: int

    def __call__(self, document: DocumentNode) -> Sequence[GraphQLError]:
        """What is wrong with the document: a limit exceeded, or a fragment within itself."""
        measure = _Measure(_fragments(document))
        errors: list[GraphQLError] = []
        for definition in document.definitions:
            if isinstance(definition, OperationDefinitionNode):
                try:
                    errors += self._exceeded(measure.operation(definition))
                except FragmentCycleError as error:
                    return [error]
                except RecursionError:
                    return [GraphQLError("the document is nested too deeply to be measured")]
        return errors

    def _exceeded(self, size: Size) -> list[GraphQLError]:
        compared = (
            ("depth", self.depth, size.depth),
            ("aliases", self.aliases, size.aliases),
            ("directives", self.directives, size.directives),
            ("root fields", self.root_fields, size.fields),
        )
        return [LimitError(limit, most, actual) for limit, most, actual in compared if actual > most]


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }


class _Measure:
    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._sizes: dict[str, Size | None] = {}
        """Of each fragment that was come across; None while it is being measured."""

    def operation(self, definition: OperationDefinitionNode) -> Size:
        own = _directives(definition, *(definition.variable_definitions or ()))
        return self._all(definition.selection_set, own)

    def _all(self, selections: SelectionSetNode | None, directives: int = 0) -> Size:
        depth = aliases = fields = 0
        for selection in selections.selections if selections else ():
            size = self._one(selection)
            depth = max(depth, size.depth)
            aliases += size.aliases
            directives += size.directives + _directives(selection)
            fields += size.fields
        return Size(depth, aliases, directives, fields)

    def _one(self, selection: SelectionNode) -> Size:
        match selection:
            case FieldNode():
                return self._field(selection)
            case FragmentSpreadNode():
                return self._fragment(selection.name.value)
            case InlineFragmentNode():
                return self._all(selection.selection_set)
        raise TypeError(selection)

    def _field(self, field: FieldNode) -> Size:
        below = self._all(field.selection_set)
        name = field.name.value
        depth = 1 if name in _INTROSPECTION else below.depth + (name not in _LIST_FORM)
        return Size(depth, below.aliases + (field.alias is not None), below.directives, fields=1)

    def _fragment(self, name: str) -> Size:
        if name not in self._sizes:
            fragment = self._fragments.get(name)
            if fragment is None:  # for validation to refuse
                return Size()
            self._sizes[name] = None
            self._sizes[name] = self._all(fragment.selection_set, _directives(fragment))
        size = self._sizes[name]
        if size is None:
            raise FragmentCycleError(name)
        return size


def _directives(*nodes: _Directed) -> int:
    return sum(len(node.directives) for node in nodes if node.directives)


def check_values(variables: Mapping[str, Any], most: int) -> LimitError | None:
    """What is wrong with variables of more than `most` values (scalars, lists, objects), or too many levels.

    Each value is coerced, converted and read by what it is given to, which takes longer than to send it.
    """
    level: list[Any] = [variables]
    found = levels = 0
    while level:
        levels += 1
        below = [value.values() if isinstance(value, Mapping) else value for value in level]
        found += sum(map(len, below))
        if found > most:
            return LimitError("values in variables", most)
        if levels > MAX_LEVELS:
            return LimitError("levels of variables", MAX_LEVELS)
        level = [value for values in below for value in values if isinstance(value, dict | list)]
    return None
