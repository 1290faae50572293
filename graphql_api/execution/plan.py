"""What an operation compiles to: for each type that is selected, its fields, ready to run.

    Plan            one operation
    └── Selection   what is asked of one object type        (assemble: columns of values to objects)
        └── Field   one response key of it                  (reader: parents to values)
            └── Completion   values to JSON, by the type    (leaf, list, object, abstract)

A plan holds no state of any request and is shared by all that run the same operation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphql import FieldNode, GraphQLField, GraphQLObjectType, OperationDefinitionNode
from graphql.execution.collect_fields import FieldDetailsList

if TYPE_CHECKING:
    from graphql_api.execution.completion import Completion, LeafCompletion
    from graphql_api.execution.field_readers import PlainReader, Reader

Column = Sequence[Any]


class Reads:
    """Which columns an operation reads of the rows behind each type, wherever it comes by them."""

    __slots__ = ("_columns", "_edges", "_fields")

    def __init__(
        self,
        columns: Mapping[str, frozenset[str] | None],
        edges: Mapping[str, Sequence[tuple[str, Any]]],
        fields: Mapping[str, frozenset[str]],
    ) -> None:
        self._columns = columns
        self._edges = edges
        self._fields = fields

    def of(self, type_: str) -> frozenset[str] | None:
        """Those of a type's rows; None for all of them."""
        return self._columns.get(type_)

    def edges(self, type_: str) -> Sequence[tuple[str, Any]]:
        """The columns by which it goes on from a type's rows to other rows, and what each leads to."""
        return self._edges.get(type_, ())

    def always(self, type_: str, field: str) -> bool:
        """Whether a field is asked for at each place where the operation comes by a type."""
        return field in self._fields.get(type_, ())


EVERYTHING = Reads({}, {}, {})
"""What has to be taken for granted of an operation that nobody has looked into."""


@dataclass(eq=False, slots=True)
class Field:
    """One response key of a selection: the field behind it, and how its values are read and completed."""

    position: int
    key: str
    parent: GraphQLObjectType
    definition: GraphQLField
    details: FieldDetailsList
    nodes: list[FieldNode]
    reader: "Reader"
    completion: "Completion"

    @property
    def name(self) -> str:
        """The field's name in the schema."""
        return self.nodes[0].name.value


@dataclass(eq=False, slots=True)
class Selection:
    """What is asked of one object type at one place of the operation."""

    type: GraphQLObjectType
    fields: tuple[Field, ...]
    flat: "tuple[tuple[Field, PlainReader, LeafCompletion], ...]"
    """Those that are read from the parent alone and have nothing below them."""
    branches: tuple[Field, ...]
    """All others."""
    is_wide: bool
    """Whether it takes so many columns that all of the rows' are worth taking apart."""
    assemble: Callable[[int, Sequence[Column]], list[dict[str, Any]]]
    """From a column of completed values for each field, all of the given length, to the objects."""
    waits: bool
    """Whether running it may have to wait for something to be loaded."""


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """One operation, for one outcome of its conditions (@skip and @include)."""

    operation: OperationDefinitionNode
    root: Selection
    reads: Reads
