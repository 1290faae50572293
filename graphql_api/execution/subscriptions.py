"""One event, many subscribers: what it comes to is worked out once for all to whom it comes to the same."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Final, Protocol

import orjson
from graphql import (
    FieldNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    ValueNode,
    VariableNode,
)

from graphql_api.execution.document_facts import selections
from graphql_api.execution.documents import Document, name_of
from graphql_api.execution.root_authorization import root_fields

MAX_SHARED_RESULTS: Final = 8
"""Results kept with one event. Whoever asks for yet another view of it has it worked out alone."""

Rights = Callable[[], Hashable]
"""Tells all of a subscriber that results depend on: equal values may read the same."""


class Shareable(Protocol):
    """An event that goes to many subscribers as the same object.

    A list that is one stands for its items, events that are due at the same time.
    """

    rendered: dict[Any, Any]
    """What was made of it, for as long as it is kept."""


class View:
    """What one subscriber asks of each event."""

    def __init__(
        self,
        document: Document,
        definition: OperationDefinitionNode,
        variables: Mapping[str, Any] | None,
        rights: Rights | None,
    ) -> None:
        given = variables or {}
        read = {name: given[name] for name in selected_variables(document, definition) if name in given}
        # By its name: its node takes long to hash.
        self._asked = (document, name_of(definition), orjson.dumps(read, option=orjson.OPT_SORT_KEYS))
        self._rights = rights

    def key(self) -> Hashable | None:
        """Equal for subscribers who get the same, as their rights are now; None for who shares nothing."""
        return (self._asked, self._rights()) if self._rights is not None else None


def shelf_of(event: Any) -> dict[Any, Any] | None:
    """Where the results of an event are kept, if it is `Shareable`."""
    return getattr(event, "rendered", None)


def selected_variables(document: Document, definition: OperationDefinitionNode) -> set[str]:
    """The variables that results depend on. The arguments at the root say which events there are, no more."""
    at_root = set(map(id, root_fields(document, definition)))
    names: set[str] = set()
    for node in selections(definition.selection_set, document.fragments):
        arguments = [
            argument for directive in node.directives or () for argument in directive.arguments or ()
        ]
        if isinstance(node, FieldNode) and id(node) not in at_root:
            arguments += node.arguments or ()
        for argument in arguments:
            names.update(_variables_in(argument.value))
    return names


def _variables_in(value: ValueNode) -> Iterator[str]:
    match value:
        case VariableNode():
            yield value.name.value
        case ListValueNode():
            for item in value.values:
                yield from _variables_in(item)
        case ObjectValueNode():
            for field in value.fields:
                yield from _variables_in(field.value)
