"""What fields cost, and how many rows their arguments ask for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    FieldNode,
    GraphQLField,
    IntValueNode,
    ListValueNode,
    StringValueNode,
    ValueNode,
    VariableNode,
)

Counts = Mapping[str, int]
"""How many rows each variable asks for, as far as it does."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a field costs besides what is selected below it."""

    points: int = 1
    """For each parent."""
    counted_by: tuple[str, ...] = ()
    """Arguments that say how many rows it has: a number, or a list of as many."""
    rows: int = 25
    """How many where no argument says."""
    most: int = 100
    """How many at most; asked for more, the field itself refuses."""


Prices = Mapping[str, Price]
"""By coordinate (Type.field), or by the field's name on every type."""

PAGES = Price(counted_by=("first", "last"))


class Rows:
    """How many rows the arguments of a field ask for."""

    __slots__ = ("_literal", "_price", "variables")

    def __init__(self, price: Price, definition: GraphQLField, node: FieldNode) -> None:
        self._price = price
        self._literal: int | None = None
        self.variables: list[str] = []
        """Those that it depends on."""
        given = {argument.name.value: argument.value for argument in node.arguments or ()}
        for name in price.counted_by:
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
        return min(max(numbers, default=self._price.rows), self._price.most)


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
