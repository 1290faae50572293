"""Costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLCompositeType,
    GraphQLField,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)

from graphql_api.execution.documents import Document, name_of

Counts = Mapping[str, int]
"""How many rows each variable asks for, as far as it does."""


@dataclass(frozen=True, slots=True)
class CostRule:
    """What a field costs besides what is selected below it."""

    weight: int = 1
    """For each parent."""
    slicing_arguments: tuple[str, ...] = ()
    """Arguments that say how many rows it has: a number, or a list of as many."""
    assumed_size: int = 25
    """How many where no argument says."""
    max_size: int = 100
    """How many at most; asked for more, the field itself refuses."""


CostRules = Mapping[str, CostRule]
"""By coordinate (Type.field), or by the field's name on every type."""

PAGE_RULE = CostRule(slicing_arguments=("first", "last"))


class Rows:
    """How many rows the arguments of a field ask for."""

    __slots__ = ("_literal", "_price", "variables")

    def __init__(self, price: CostRule, definition: GraphQLField, node: FieldNode) -> None:
        self._price = price
        self._literal: int | None = None
        self.variables: list[str] = []
        """Those that it depends on."""
        given = {argument.name.value: argument.value for argument in node.arguments or ()}
        for name in price.slicing_arguments:
            value = given.get(name)
            if isinstance(value, VariableNode):
                self.variables.append(value.name.value)
                continue
            argument = definition.args.get(name)
            default = None if argument is None else argument.default_value
            number = count_of(default if value is None else read_literal(value))
            if number is not None:
                self._literal = max(number, self._literal or 0)

    def __call__(self, counts: Counts) -> int:
        """How many, given what the variables ask for."""
        numbers = [counts[name] for name in self.variables if name in counts]
        if self._literal is not None:
            numbers.append(self._literal)
        return min(max(numbers, default=self._price.assumed_size), self._price.max_size)


def count_of(value: Any) -> int | None:
    """The number of rows that an argument's value asks for, if any: its own, or how many it lists."""
    match value:
        case bool() | None:
            return None
        case int() | float():  # 10.0 is an Int too
            return max(int(value), 0)
        case list() | tuple():
            return len(value)
        case str():
            return 1  # a list of one may go without its brackets
        case _:
            return None


def read_literal(literal: ValueNode | None) -> Any:
    """What `count_of` can count of a literal."""
    match literal:
        case IntValueNode(value=digits):
            return int(digits)
        case ListValueNode(values=values):
            return values
        case StringValueNode(value=text):
            return text
        case _:
            return None


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

    def __init__(self, schema: GraphQLSchema, prices: CostRules) -> None:
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
        self, schema: GraphQLSchema, prices: CostRules, fragments: Mapping[str, FragmentDefinitionNode]
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
                into.fields.append(Selected(price.weight))
            return
        assert node.selection_set is not None  # noqa: S101 - narrows; validation has seen to it
        below = self._selection(type_, node.selection_set)
        is_pages = all(argument in definition.args for argument in PAGE_RULE.slicing_arguments)
        is_list = is_list_type(get_nullable_type(definition.type))
        if price is None and name in _FREE | _ROWS:
            into.fields.append(Selected(int(name not in _FREE), below, is_rows=is_list))
            return
        if price is None:
            price = PAGE_RULE if is_pages or is_list else CostRule()
        rows = None
        if is_pages or is_list or price.slicing_arguments:
            rows = Rows(price, definition, node)
            self._counting.update(rows.variables)
        into.fields.append(Selected(price.weight, below, rows, is_pages))

    def _type(self, name: str) -> GraphQLCompositeType:
        return cast("GraphQLCompositeType", self._schema.type_map[name])
