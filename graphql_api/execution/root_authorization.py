"""Whether a viewer may ask for what stands at the root of an operation."""

from collections.abc import Iterator

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    located_error,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter

from graphql_api.execution.documents import Document
from graphql_api.execution.fields import Check, DeclaredField


def root_fields(document: Document, definition: OperationDefinitionNode) -> Iterator[FieldNode]:
    """The fields at the root of an operation, those of its fragments included."""
    spread = set()
    waiting: list[SelectionNode] = list(definition.selection_set.selections)
    while waiting:
        match waiting.pop():
            case FieldNode() as field:
                yield field
            case InlineFragmentNode(selection_set=below):
                waiting.extend(below.selections)
            case FragmentSpreadNode(name=name) if name.value not in spread:
                spread.add(name.value)
                waiting.extend(document.fragments[name.value].selection_set.selections)


def refusals(
    schema: GraphQLSchema, document: Document, definition: OperationDefinitionNode, context: object
) -> list[GraphQLError]:
    """An error for each field at the root that the context's viewer may not ask for."""
    root = schema.get_root_type(definition.operation)
    errors = []
    for node in root_fields(document, definition):
        field = root.fields.get(node.name.value) if root is not None else None
        check = check_of(field.extensions) if field is not None else None
        if check is None:
            continue
        try:
            check(context)
        except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
            key = node.alias or node.name
            errors.append(located_error(error, [node], [key.value]))
    return errors


def check_of(extensions: dict[str, object]) -> Check | None:
    """What must hold before a field is read, by the `extensions` of its definition."""
    declaration = extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return declaration.check if isinstance(declaration, DeclaredField) else None
