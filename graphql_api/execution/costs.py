"""Query cost: the most that an operation may cost, computed from its text and variables before it runs.

    an object   its weight + what is selected below it
    a list      its weight + size * (1 + what is selected of each item)
    a leaf      its weight, and less for each further alias of it

An object's leaves beyond ten cost a point for each ten.

To the sum of these are added the base cost of the operation and that of each statement. As a rule there is
one statement for each place at which the operation selects an object or a list, however many parents that
place has. Where no rule says otherwise, an object weighs 1 and a leaf nothing. A connection (a list with
`first` and `last`) passes its size on to its `edges` and `nodes`, and its rows count once where neither is
selected. The sum is an upper bound: lists may turn out shorter, and what two fragments have in common counts
twice.

The words are those of the draft for the @cost and @listSize directives.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, NamedTuple

from cachetools import LRUCache
from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    IntValueNode,
    ListValueNode,
    StringValueNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)

POINT: Final = 3e-6
"""Seconds of processor time that a point is worth: to read a row and send it, PostgreSQL's part included."""
MAX_SUMS: Final = 16
"""Sums kept of one operation, one for each combination of list sizes."""

_ITEMS = frozenset({"edges", "nodes"})  # the fields of a connection that hold its rows
_FREE = frozenset({"edges", "pageInfo"})  # objects for which nothing is read

_MAX_DIGITS = 18
_LEAVES = 10
"""Leaves of an object that cost nothing, and of which so many more cost a point."""

Sizes = Mapping[str, int]
"""The list size of each variable that gives one."""


@dataclass(frozen=True, slots=True)
class CostRule:
    """What a field costs besides what is selected below it."""

    weight: int = 1
    """For each parent."""
    slicing_arguments: tuple[str, ...] = ()
    """The arguments that set the size of its list: a number, or a list with as many items."""
    assumed_size: int = 25
    """The size where no argument sets it."""
    max_size: int = 100
    """The largest size; the field refuses arguments that ask for more."""
    alias_weight: int = 0
    """The weight of each further alias of a leaf in a selection, whose values are converted only once."""
    row_weight: int = 0
    """The weight of each row of a connection, whatever is selected of it."""
    statements: int = 1
    """How many ordinary statements its own costs as much as, for each place at which it is selected.

    0 for a field that is read with its parent.
    """


CostRules = Mapping[str, CostRule]
"""By coordinate (Type.field), or by the field's name on every type."""


@dataclass(frozen=True, slots=True)
class BaseCost:
    """What an operation costs in addition to its rows."""

    operation: int = 0
    """For each request."""
    statement: int = 0
    """For each place at which it selects an object or a list: as a rule, there is a statement for each."""


NO_BASE: Final = BaseCost()

PAGE_RULE: Final = CostRule(slicing_arguments=("first", "last"))
"""The rule of lists that have none of their own."""


def check_rules(schema: GraphQLSchema, rules: CostRules) -> None:
    """Raises ValueError if a rule is for a field or an argument that the schema doesn't have."""
    fields: dict[str, list[GraphQLField]] = {}
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            for name, definition in type_.fields.items():
                fields.setdefault(name, []).append(definition)
                fields.setdefault(f"{type_.name}.{name}", []).append(definition)
    for coordinate, rule in rules.items():
        if coordinate not in fields:
            raise ValueError(f"a cost rule is for {coordinate}, which the schema doesn't have")
        for argument in rule.slicing_arguments:
            if not all(argument in definition.args for definition in fields[coordinate]):
                raise ValueError(f"a cost rule is for {coordinate}({argument}:), which isn't there")


class ListSize:
    """The size of a list, as a field's arguments give it."""

    __slots__ = ("_assumed", "_literal", "_rule", "variables")

    def __init__(self, rule: CostRule, definition: GraphQLField, node: FieldNode) -> None:
        self._rule = rule
        self._literal: int | None = None
        self._assumed = rule.assumed_size
        self.variables: list[str] = []
        """The variables that it depends on."""
        given = {argument.name.value: argument.value for argument in node.arguments or ()}
        for name in rule.slicing_arguments:
            value = given.get(name)
            argument = definition.args.get(name)
            default = None if argument is None else size_of(argument.default_value)
            if (
                value is not None and default is not None
            ):  # which null, or a variable without a value, may stand for
                self._assumed = max(self._assumed, default)
            if isinstance(value, VariableNode):
                self.variables.append(value.name.value)
                continue
            size = default if value is None else size_of(literal_value(value))
            if size is not None:
                self._literal = max(size, self._literal or 0)

    def __call__(self, sizes: Sizes) -> int:
        """Returns the size, given what the variables ask for."""
        asked = [sizes[name] for name in self.variables if name in sizes]
        if self._literal is not None:
            asked.append(self._literal)
        return min(max(asked, default=self._assumed), self._rule.max_size)


def size_of(value: Any) -> int | None:
    """Returns the list size that an argument gives, if any: its number, or the length of its list."""
    match value:
        case bool() | None:
            return None
        case int():
            return max(value, 0)
        case float() if isfinite(value):  # 10.0 is an Int too
            return max(int(value), 0)
        case list() | tuple():
            return len(value)
        case str():
            return 1  # one item may stand for a list of one
        case _:
            return None


def literal_value(literal: ValueNode | None) -> Any:
    """Returns a literal's value, as far as `size_of` reads it."""
    match literal:
        case IntValueNode(value=digits):
            return int(digits) if len(digits) <= _MAX_DIGITS else None  # for validation to refuse
        case ListValueNode(values=values):
            return values
        case StringValueNode(value=text):
            return text
        case _:
            return None


class FieldCost(NamedTuple):
    """The cost of one field of a selection set."""

    weight: int
    below: "SelectionCost | None" = None
    size: ListSize | None = None
    """None for a single object."""
    is_connection: bool = False
    """Whether it is a connection: its size is that of its edges and nodes."""
    row_weight: int = 0
    is_items: bool = False
    """Whether it is the edges or nodes of a connection."""
    statements: int = 0
    """Statements that read the object or list; 0 where it is read with its parent."""

    @classmethod
    def of(
        cls,
        rule: CostRule | None,
        definition: GraphQLField,
        node: FieldNode,
        below: "SelectionCost",
        *,
        is_repeated: bool = False,
    ) -> "FieldCost | None":
        """Returns the cost of a field, given its rule and the cost of its selection; None if it is free.

        `is_repeated` if its selection has the same field already.
        """
        name = node.name.value
        if not is_composite_type(get_named_type(definition.type)):
            if rule is None:
                return None
            return cls(rule.alias_weight if is_repeated and not node.arguments else rule.weight)
        is_connection = all(argument in definition.args for argument in PAGE_RULE.slicing_arguments)
        is_list = is_list_type(get_nullable_type(definition.type))
        if rule is None and name in _FREE | _ITEMS:
            return cls(int(name not in _FREE), below, is_items=is_list)
        if rule is None:
            rule = PAGE_RULE if is_connection or is_list else CostRule()
        has_size = is_connection or is_list or bool(rule.slicing_arguments)
        size = ListSize(rule, definition, node) if has_size else None
        return cls(rule.weight, below, size, is_connection, rule.row_weight, statements=rule.statements)


@dataclass(slots=True)
class SelectionCost:
    """The cost of a selection set or a fragment: that of its fields, and of the fragments it spreads."""

    fields: list[FieldCost] = field(default_factory=list)
    spreads: list["SelectionCost"] = field(default_factory=list)
    leaves: set[str] = field(default_factory=set)
    """The names of its leaves that have a cost."""
    leaf_count: int = 0
    """How many leaves it has, aliases included."""


class _Sum(NamedTuple):
    """The cost of a selection set, added up."""

    once: int
    """Points for its parent."""
    each: int
    """Points for each row of its parent, if that is a connection: what is selected below edges and nodes."""
    statements: int
    """Statements of the objects and lists that it selects, at all levels; edges and nodes have none."""
    leaves: int


_NOTHING = _Sum(0, 0, 0, 0)


class OperationCost:
    """The cost of an operation as a function of its variables' values."""

    __slots__ = ("_base", "_defaults", "_selection", "_sums", "constant")

    def __init__(self, selection: SelectionCost, defaults: Mapping[str, Any], base: BaseCost) -> None:
        """`defaults` are those of the variables that set list sizes."""
        self._base = base
        self._selection = selection
        self._defaults = defaults
        self._sums: LRUCache[tuple[int | None, ...], int] = LRUCache(MAX_SUMS)
        self.constant = None if defaults else self._sum({})
        """The cost, where it doesn't depend on variables."""

    def evaluate(self, variables: Mapping[str, Any]) -> int:
        """Returns the cost of one request. Variables may be anything: they aren't checked yet."""
        key = tuple(size_of(variables.get(name, default)) for name, default in self._defaults.items())
        cost = self._sums.get(key)
        if cost is None:
            asked = zip(self._defaults, key, strict=True)
            cost = self._sums[key] = self._sum({name: size for name, size in asked if size is not None})
        return cost

    def _sum(self, sizes: Sizes) -> int:
        total = _add(self._selection, sizes, {})
        return self._base.operation + self._base.statement * total.statements + total.once


def _add(selection: SelectionCost, sizes: Sizes, known: dict[int, _Sum]) -> _Sum:
    """Adds up a selection set, each fragment once, so that the time is linear in the document."""
    total = known.get(id(selection))
    if total is None:
        once = each = statements = 0
        leaves = selection.leaf_count
        for spread in selection.spreads:
            shared = _add(spread, sizes, known)
            once += shared.once
            each += shared.each
            statements += shared.statements
            leaves += shared.leaves
        for cost in selection.fields:
            below = _add(cost.below, sizes, known) if cost.below else _NOTHING
            statements += below.statements + cost.statements
            points = cost.weight
            own = max(0, below.leaves - _LEAVES) // _LEAVES
            if cost.size is None:
                points += own + below.once + below.each
            elif cost.is_connection:
                points += below.once + cost.size(sizes) * (max(1, below.each) + cost.row_weight)
            else:
                points += cost.size(sizes) * (1 + own + below.once + below.each)
            if cost.is_items:
                each += points
            else:
                once += points
        total = known[id(selection)] = _Sum(once, each, statements, leaves)
    return total
