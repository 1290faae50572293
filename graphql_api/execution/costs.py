"""What an operation may cost, in points, told from its text and its variables before it runs.

    an object   its price + what is selected below it
    a list      its price + rows * (1 + what is selected of each)
    a leaf      its price

Without a price an object is a point and everything else free. A list of pages (first, last) gives its number
of rows to its edges and nodes. The sum is an upper bound: lists may turn out shorter, and what two fragments
have in common counts twice. Each fragment is added up once, so the time is linear in the document.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)

from graphql_api.execution.cost_rules import PAGES, Counts, Price, Prices, Rows, count_of, read_literal
from graphql_api.execution.documents import Document, name_of

_ROWS = frozenset({"edges", "nodes"})  # of a list of pages
_FREE = frozenset({"edges", "pageInfo"})  # objects that nothing is read for

MAX_REMEMBERED = 16
"""Sums kept of one operation, one for each combination of page sizes."""


class Points(NamedTuple):
    """The cost of a selection set: once for its parent, and for each row that the parent's pages have."""

    once: int
    each: int


@dataclass(slots=True)
class Selection:
    """A selection set, or a fragment, as far as it costs anything."""

    fields: list["Selected"] = field(default_factory=list)
    spreads: list["Selection"] = field(default_factory=list)


class Selected(NamedTuple):
    """One field of a selection set."""

    points: int
    below: Selection | None = None
    rows: Callable[[Counts], int] | None = None
    """None where there is one."""
    is_pages: bool = False
    """Whether its rows are those of its edges and nodes."""
    is_rows: bool = False
    """Whether its rows are those of the pages it stands in."""


@dataclass(frozen=True, slots=True)
class OperationCost:
    """The cost of an operation, but for the values of its variables."""

    selection: Selection
    variables: Mapping[str, Any]
    """Those that ask for numbers of rows, with their defaults."""
    known: dict[tuple[int | None, ...], int] = field(default_factory=dict)

    def of(self, given: Mapping[str, Any]) -> int:
        """The points of one request."""
        numbers = tuple(count_of(given.get(name, default)) for name, default in self.variables.items())
        points = self.known.get(numbers)
        if points is None:
            counts = {
                name: number
                for name, number in zip(self.variables, numbers, strict=True)
                if number is not None
            }
            points = _add(self.selection, counts, {}).once
            if len(self.known) >= MAX_REMEMBERED:
                self.known.clear()
            self.known[numbers] = points
        return points


class Costs:
    """Tells the cost of operations of one schema."""

    def __init__(self, schema: GraphQLSchema, prices: Prices) -> None:
        self._schema = schema
        self._prices = prices

    def of(
        self, document: Document, operation: OperationDefinitionNode, variables: Mapping[str, Any] | None
    ) -> int:
        """The points of a valid operation. Variables may be anything: they aren't checked yet."""
        name = name_of(operation)
        cost = document.costs.get(name)
        if cost is None:
            cost = _Compiler(self._schema, self._prices, document.fragments).compile(operation)
            document.costs[name] = cost
        return cast("OperationCost", cost).of(variables or {})


def _add(selection: Selection, counts: Counts, known: dict[int, Points]) -> Points:
    points = known.get(id(selection))
    if points is None:
        once = each = 0
        for spread in selection.spreads:
            shared = _add(spread, counts, known)
            once += shared.once
            each += shared.each
        for selected in selection.fields:
            cost = _cost(selected, counts, known)
            if selected.is_rows:
                each += cost
            else:
                once += cost
        points = known[id(selection)] = Points(once, each)
    return points


def _cost(selected: Selected, counts: Counts, known: dict[int, Points]) -> int:
    below = _add(selected.below, counts, known) if selected.below else Points(0, 0)
    if selected.rows is None:
        return selected.points + below.once + below.each
    rows = selected.rows(counts)
    if selected.is_pages:
        return selected.points + below.once + rows * below.each
    return selected.points + rows * (1 + below.once + below.each)


class _Compiler:
    def __init__(
        self, schema: GraphQLSchema, prices: Prices, fragments: Mapping[str, FragmentDefinitionNode]
    ) -> None:
        self._schema = schema
        self._prices = prices
        self._fragments = fragments
        self._compiled: dict[str, Selection] = {}
        self._counting: set[str] = set()

    def compile(self, operation: OperationDefinitionNode) -> OperationCost:
        root = self._schema.get_root_type(operation.operation)
        assert root is not None  # noqa: S101 - narrows; validation has seen to it
        selection = self._selection(root, operation.selection_set)
        variables = {
            definition.variable.name.value: read_literal(definition.default_value)
            for definition in operation.variable_definitions or ()
            if definition.variable.name.value in self._counting
        }
        return OperationCost(selection, variables)

    def _selection(self, parent: GraphQLCompositeType, selections: SelectionSetNode) -> Selection:
        result = Selection()
        for selection in selections.selections:
            match selection:
                case FieldNode():
                    self._field(parent, selection, result)
                case FragmentSpreadNode():
                    result.spreads.append(self._fragment(selection.name.value))
                case InlineFragmentNode(type_condition=condition):
                    inner = self._type(condition.name.value) if condition else parent
                    result.spreads.append(self._selection(inner, selection.selection_set))
        return result

    def _fragment(self, name: str) -> Selection:
        compiled = self._compiled.get(name)
        if compiled is None:
            fragment = self._fragments[name]
            condition = self._type(fragment.type_condition.name.value)
            compiled = self._compiled[name] = self._selection(condition, fragment.selection_set)
        return compiled

    def _field(self, parent: GraphQLCompositeType, node: FieldNode, into: Selection) -> None:
        name = node.name.value
        definition = self._schema.get_field(parent, name)
        if definition is None or name.startswith("__"):  # introspection reads no row
            return
        price = self._prices.get(f"{parent.name}.{name}") or self._prices.get(name)
        type_ = get_named_type(definition.type)
        if not is_composite_type(type_):
            if price is not None:
                into.fields.append(Selected(price.points))
            return
        assert node.selection_set is not None  # noqa: S101 - narrows; validation has seen to it
        below = self._selection(type_, node.selection_set)
        is_pages = all(argument in definition.args for argument in PAGES.counted_by)
        is_list = is_list_type(get_nullable_type(definition.type))
        if price is None and name in _FREE | _ROWS:
            into.fields.append(Selected(int(name not in _FREE), below, is_rows=is_list))
            return
        if price is None:
            price = PAGES if is_pages or is_list else Price()
        rows = None
        if is_pages or is_list or price.counted_by:
            rows = Rows(price, definition, node)
            self._counting.update(rows.variables)
        into.fields.append(Selected(price.points, below, rows, is_pages))

    def _type(self, name: str) -> GraphQLCompositeType:
        return cast("GraphQLCompositeType", self._schema.type_map[name])
