"""Filters: input types whose fields say which column they compare.

A filter is split into its shape, which becomes SQL once, and its values, which are sent each time. Shapes
are hashable, so a statement is built and compiled once for all filters that look alike.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, cast

import strawberry
from sqlalchemy import Column, ColumnElement, Text, and_, any_, bindparam, false, func, not_, or_, true
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.types import TypeEngine
from strawberry.types.base import get_object_definition
from strawberry.types.field import StrawberryField

from graphql_api.postgres.tables import unbounded
from graphql_api.relational.errors import BadInputError
from graphql_api.relational.scalars import parse_id

MAX_LISTED = 1000

Operator = Literal["eq", "in", "contains", "starts_with", "gt", "gte", "lt", "lte", "is_null", "is_not_null"]


@strawberry.input(description="Compares a text. `contains` and `startsWith` ignore case, the others don't.")
class StringFilter:
    """Conditions on a text; all that are given must hold."""

    eq: str | None = strawberry.field(default=strawberry.UNSET, description="Exactly this.")
    in_: list[str] | None = strawberry.field(
        name="in", default=strawberry.UNSET, description=f"One of these, at most {MAX_LISTED}."
    )
    contains: str | None = strawberry.field(
        default=strawberry.UNSET, description="Has this somewhere inside."
    )
    starts_with: str | None = strawberry.field(default=strawberry.UNSET, description="Begins with this.")


@strawberry.input(
    description="Compares a number: no upper bound may be less than a lower one. Null and NaN are in none."
)
class DecimalFilter:
    """Bounds of a number; all that are given must hold."""

    gt: Decimal | None = strawberry.field(default=strawberry.UNSET, description="Greater than.")
    gte: Decimal | None = strawberry.field(default=strawberry.UNSET, description="Greater than or equal to.")
    lt: Decimal | None = strawberry.field(default=strawberry.UNSET, description="Less than.")
    lte: Decimal | None = strawberry.field(default=strawberry.UNSET, description="Less than or equal to.")


@strawberry.input(
    description=(
        "Compares a moment: a range that includes its start and excludes its end, which may not be before its"
        " start."
    )
)
class DateTimeFilter:
    """Bounds of a moment; all that are given must hold."""

    gte: datetime | None = strawberry.field(default=strawberry.UNSET, description="At or after.")
    lt: datetime | None = strawberry.field(default=strawberry.UNSET, description="Before.")
    is_null: bool | None = strawberry.field(default=strawberry.UNSET, description="Whether there is none.")


_RANGES: Mapping[type, tuple[Sequence[str], Sequence[str], str]] = {
    DecimalFilter: (("gt", "gte"), ("lt", "lte"), "less than"),
    DateTimeFilter: (("gte",), ("lt",), "before"),
}
"""The lower and upper bounds of each kind of range, and the word for one that is below another."""


def comparisons(value: Any, expression: ColumnElement[Any], path: str) -> Iterator[tuple[Operator, Any]]:
    """What a filter's field asks of `expression`. Raises BadInputError: the path of what breaks a rule."""
    match value:
        case StringFilter() | DecimalFilter() | DateTimeFilter():
            for part in get_object_definition(type(value), strict=True).fields:
                operand = getattr(value, part.python_name)
                if operand is None or operand is strawberry.UNSET:
                    continue
                if part.python_name == "is_null":
                    yield ("is_null" if operand else "is_not_null"), None
                else:
                    operator = cast("Operator", part.python_name.rstrip("_"))
                    yield operator, _operand(operand, f"{path}.{name_of(part)}")
            check_range(value, path)
        case list():
            words = _operand([item.value if isinstance(item, Enum) else item for item in value], path)
            # Equal to one word, rows lie in an index's order; one of a list, they would have to be merged.
            yield ("eq", words[0]) if len(words) == 1 else ("in", words)
        case _:
            yield "eq", parse_id(value, path) if isinstance(expression.type, UUID) else value


def check_range(value: Any, path: str) -> None:
    """Refuse bounds of which an upper one lies below a lower one. Raises BadInputError."""
    lower, upper, word = _RANGES.get(type(value), ((), (), ""))
    for start in lower:
        for end in upper:
            check_order(f"{path}.{start}", getattr(value, start), f"{path}.{end}", getattr(value, end), word)


def check_order(start_path: str, start: Any, end_path: str, end: Any, word: str = "before") -> None:
    """Refuse a range that ends before it begins. Raises BadInputError.

    One that ends where it begins is empty, and no mistake: whoever walks by such ranges meets it.
    """
    given = all(bound is not None and bound is not strawberry.UNSET for bound in (start, end))
    if given and end < start:
        raise BadInputError(end_path, f"must not be {word} {start_path}")


def _operand(value: Any, path: str) -> Any:
    if isinstance(value, list):
        if len(value) > MAX_LISTED:
            raise BadInputError(path, f"lists more than {MAX_LISTED} values")
        return tuple(_operand(item, path) for item in value)
    if isinstance(value, Decimal) and not value.is_finite():
        raise BadInputError(path, "must be finite")
    return storable(value, path) if isinstance(value, str) else value


def storable(text: str, argument: str) -> str:
    """A text that PostgreSQL can hold. Raises BadInputError for NUL and lone surrogates."""
    if not is_storable(text):
        raise BadInputError(argument, "has a character that no stored text has")
    return text


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold a text: it has neither NUL nor lone surrogates."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def name_of(part: StrawberryField) -> str:
    """What a field is called in the schema."""
    if part.graphql_name:
        return part.graphql_name
    head, *tail = part.python_name.split("_")
    return head + "".join(part.title() for part in tail)


MAX_CONDITIONS = 100
"""Comparisons and groups of one filter, however deep."""
MAX_LEVELS = 10
"""Filters within filters: a tenth of what making SQL of them can bear."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of an expression with a value to come."""

    expression: ColumnElement[Any]
    operator: Operator


@dataclass(frozen=True, slots=True)
class CompoundPredicate:
    """Conditions that hold together: all of them, any of them, or not all of them."""

    kind: Literal["and", "or", "not"]
    members: tuple["Predicate", ...]


@dataclass(frozen=True, slots=True)
class RawPredicate:
    """A condition made elsewhere, with parameters of its own names; equal identities mean equal SQL."""

    identity: Hashable
    sql: ColumnElement[bool] = field(compare=False)


Predicate = Comparison | CompoundPredicate | RawPredicate
Values = tuple[tuple[str, Any], ...]
"""A statement's parameters by name, hashable as a whole."""
MATCH_ALL = CompoundPredicate("and", ())


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


def parse_filter(given: Any, argument: str = "filter") -> tuple[Predicate, Values]:
    """Split a filter input into its shape and its values, named f0, f1, … in the order of its terms.

    Raises BadInputError: an id that is no UUID, a text PostgreSQL can't hold, a range that ends before it
    begins, too many conditions or levels.
    """
    if given is None:
        return MATCH_ALL, ()
    reading = _FilterParser(argument)
    shape = reading.read(given, argument)
    return shape, tuple((f"f{i}", value) for i, value in enumerate(reading.values))


class _FilterParser:
    """One filter being read: what it has so far, and how much more it may have."""

    def __init__(self, argument: str) -> None:
        self.values: list[Any] = []
        self._argument = argument
        self._left = MAX_CONDITIONS

    def read(self, given: Any, path: str, level: int = 1) -> Predicate:
        """The shape of a filter input and all within it."""
        self._count()
        if level > MAX_LEVELS:
            raise BadInputError(self._argument, f"has more than {MAX_LEVELS} levels")
        members: list[Predicate] = []
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
        return CompoundPredicate("and", tuple(members))

    def _combine(self, kind: Any, value: Any, path: str, level: int) -> CompoundPredicate:
        if not isinstance(value, list):
            return CompoundPredicate(kind, (self.read(value, path, level),))
        return CompoundPredicate(
            kind, tuple(self.read(item, f"{path}.{i}", level) for i, item in enumerate(value))
        )

    def _term(self, expression: ColumnElement[Any], operator: Operator) -> Comparison:
        self._count()
        return Comparison(expression, operator)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise BadInputError(self._argument, f"has more than {MAX_CONDITIONS} conditions")


def tables_in(shape: Predicate) -> frozenset[Any]:
    """The tables whose columns a shape compares."""
    if isinstance(shape, Comparison | RawPredicate):
        sql = shape.expression if isinstance(shape, Comparison) else shape.sql
        return frozenset(sql._from_objects)  # noqa: SLF001 - Core has no public name for it
    return frozenset[Any]().union(*(tables_in(member) for member in shape.members))


def conjuncts(shape: Predicate) -> Iterator[Predicate]:
    """What must all hold, in the order of its values."""
    if isinstance(shape, CompoundPredicate) and shape.kind == "and":
        for member in shape.members:
            yield from conjuncts(member)
    else:
        yield shape


def condition(
    shape: Predicate, counter: Iterator[int], *, via: ColumnElement[Any] | None = None
) -> ColumnElement[bool]:
    """The SQL of a shape, with parameters f0, f1, … for its values in order.

    `via` is the column whose index leads to the rows. Then no other equality may use an index of its own.
    """
    if isinstance(shape, Comparison):
        compared = _compare(shape.expression, shape.operator, counter)
        by_value = shape.operator in ("eq", "in") and shape.expression is not via
        return compared if via is None or not by_value else without_index(compared)
    if isinstance(shape, RawPredicate):
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
