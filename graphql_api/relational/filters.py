"""Filters: input types whose fields say which column they compare.

A filter is split into its shape, which becomes SQL once, and its values, which are sent each time. Shapes
are hashable, so a statement is built and compiled once for all filters that look alike.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import strawberry
from sqlalchemy import Column, ColumnElement, Text, and_, any_, bindparam, false, func, not_, or_, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine
from strawberry.types.base import get_object_definition

from graphql_api.postgres.tables import unbounded
from graphql_api.relational.comparisons import Operator, comparisons, name_of
from graphql_api.relational.errors import BadInputError

MAX_CONDITIONS = 100
"""Comparisons and groups of one filter, however deep."""
MAX_LEVELS = 10
"""Filters within filters: a tenth of what making SQL of them can bear."""


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison of an expression with a value to come."""

    expression: ColumnElement[Any]
    operator: Operator


@dataclass(frozen=True, slots=True)
class Group:
    """Conditions that hold together: all of them, any of them, or not all of them."""

    kind: Literal["and", "or", "not"]
    members: tuple["Shape", ...]


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition made elsewhere, with parameters of its own names; equal identities mean equal SQL."""

    identity: Hashable
    sql: ColumnElement[bool] = field(compare=False)


Shape = Term | Group | Clause
Values = tuple[tuple[str, Any], ...]
"""A statement's parameters by name, hashable as a whole."""
EVERYTHING = Group("and", ())


def compares(description: str, expression: ColumnElement[Any], *, name: str | None = None) -> Any:
    """A filter's field that compares `expression`, in the way its type says."""
    return strawberry.field(
        description=description, default=strawberry.UNSET, name=name, metadata={"compares": expression}
    )


def exists(description: str, column: Column[Any]) -> Any:
    """A filter's boolean field: whether `column` has a value."""
    return strawberry.field(description=description, default=strawberry.UNSET, metadata={"exists": column})


def missing(description: str, column: Column[Any]) -> Any:
    """A filter's boolean field: whether `column` has no value."""
    return strawberry.field(description=description, default=strawberry.UNSET, metadata={"missing": column})


def combines(kind: Literal["and", "or", "not"], description: str) -> Any:
    """A filter's field that holds filters of its own kind."""
    return strawberry.field(
        description=description, default=strawberry.UNSET, name=kind, metadata={"combines": kind}
    )


def read_filter(given: Any, argument: str = "filter") -> tuple[Shape, Values]:
    """Split a filter input into its shape and its values, named f0, f1, … in the order of its terms.

    Raises BadInputError: an id that is no UUID, a text PostgreSQL can't hold, a range that ends before it
    begins, too many conditions or levels.
    """
    if given is None:
        return EVERYTHING, ()
    reading = _Reading(argument)
    shape = reading.read(given, argument)
    return shape, tuple((f"f{i}", value) for i, value in enumerate(reading.values))


class _Reading:
    """One filter being read: what it has so far, and how much more it may have."""

    def __init__(self, argument: str) -> None:
        self.values: list[Any] = []
        self._argument = argument
        self._left = MAX_CONDITIONS

    def read(self, given: Any, path: str, level: int = 1) -> Shape:
        """The shape of a filter input and all within it."""
        self._count()
        if level > MAX_LEVELS:
            raise BadInputError(self._argument, f"has more than {MAX_LEVELS} levels")
        members: list[Shape] = []
        for part in get_object_definition(type(given), strict=True).fields:
            value = getattr(given, part.python_name)
            if value is None or value is strawberry.UNSET:
                continue
            own, meta = f"{path}.{name_of(part)}", part.metadata
            if kind := meta.get("combines"):
                members.append(self._combine(kind, value, own, level + 1))
            elif (column := meta.get("exists")) is not None:
                members.append(self._term(column, "is_not_null" if value else "is_null"))
            elif (column := meta.get("missing")) is not None:
                members.append(self._term(column, "is_null" if value else "is_not_null"))
            else:
                expression = meta["compares"]
                for operator, operand in comparisons(value, expression, own):
                    members.append(self._term(expression, operator))
                    if operator not in ("is_null", "is_not_null"):
                        self.values.append(operand)
        return Group("and", tuple(members))

    def _combine(self, kind: Any, value: Any, path: str, level: int) -> Group:
        if not isinstance(value, list):
            return Group(kind, (self.read(value, path, level),))
        return Group(kind, tuple(self.read(item, f"{path}.{i}", level) for i, item in enumerate(value)))

    def _term(self, expression: ColumnElement[Any], operator: Operator) -> Term:
        self._count()
        return Term(expression, operator)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise BadInputError(self._argument, f"has more than {MAX_CONDITIONS} conditions")


def tables_of(shape: Shape) -> frozenset[Any]:
    """The tables whose columns a shape compares."""
    if isinstance(shape, Term | Clause):
        sql = shape.expression if isinstance(shape, Term) else shape.sql
        return frozenset(sql._from_objects)  # noqa: SLF001 - Core has no public name for it
    return frozenset[Any]().union(*(tables_of(member) for member in shape.members))


def conjuncts(shape: Shape) -> Iterator[Shape]:
    """What must all hold, in the order of its values."""
    if isinstance(shape, Group) and shape.kind == "and":
        for member in shape.members:
            yield from conjuncts(member)
    else:
        yield shape


def condition(
    shape: Shape, counter: Iterator[int], *, via: ColumnElement[Any] | None = None
) -> ColumnElement[bool]:
    """The SQL of a shape, with parameters f0, f1, … for its values in order.

    `via` is the column whose index leads to the rows. Then no other equality may use an index of its own.
    """
    if isinstance(shape, Term):
        compared = _compare(shape.expression, shape.operator, counter)
        by_value = shape.operator in ("eq", "in") and shape.expression is not via
        return compared if via is None or not by_value else without_index(compared)
    if isinstance(shape, Clause):
        return shape.sql
    members = [condition(member, counter, via=via) for member in shape.members]
    match shape.kind:
        case "and":
            return and_(true(), *members)
        case "or":
            return or_(false(), *members)
        case "not":
            # A comparison with null is unknown, and "not unknown" would hide the row from both sides.
            return not_(func.coalesce(and_(true(), *members), false()))


def without_index(compared: ColumnElement[bool]) -> ColumnElement[bool]:
    """The same condition, as one that no index serves.

    For rows that are reached parent by parent: there PostgreSQL likes to intersect two indexes, and so
    reads all that a popular symbol or strategy has once for each parent.
    """
    return compared.is_(true())


def _compare(expression: Any, operator: Operator, counter: Iterator[int]) -> ColumnElement[bool]:
    if operator == "is_null":
        return cast("ColumnElement[bool]", expression.is_(None))
    if operator == "is_not_null":
        return cast("ColumnElement[bool]", expression.is_not(None))

    def value(type_: TypeEngine[Any]) -> Any:
        return bindparam(f"f{next(counter)}", type_=type_)

    own = unbounded(expression.type)
    match operator:
        case "in":
            return cast("ColumnElement[bool]", expression == any_(value(ARRAY(own))))
        case "contains":
            return func.strpos(func.lower(expression), func.lower(value(Text()))) > 0
        case "starts_with":
            return func.starts_with(func.lower(expression), func.lower(value(Text())))
        case "eq":
            return cast("ColumnElement[bool]", expression == value(own))
        case "gt":
            return cast("ColumnElement[bool]", expression > value(own))
        case "gte":
            return cast("ColumnElement[bool]", expression >= value(own))
        case "lt":
            return cast("ColumnElement[bool]", expression < value(own))
        case _:
            return cast("ColumnElement[bool]", expression <= value(own))
