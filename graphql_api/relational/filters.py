"""Filters: input types whose fields say which column they compare, and the SQL that they become.

A filter input is parsed to a `Filter`: a predicate, and the values of its parameters. SQL is compiled once
for all filters with an equal predicate: predicates are hashable, and statements are cached by them. The
values are sent with each request.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, cast

import strawberry
from sqlalchemy import Column, ColumnElement, Text, and_, any_, bindparam, false, func, not_, or_, true
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from strawberry.types.base import get_object_definition
from strawberry.types.field import StrawberryField

from graphql_api.postgres.tables import unbounded
from graphql_api.relational.errors import BadInputError
from graphql_api.relational.scalars import UnreadableDecimal, parse_id

MAX_LISTED = 1000
"""The most values in a list to compare with."""
MAX_TEXT = 1000
"""The most characters of a text to compare with; fewer where the column holds fewer."""
MAX_CONDITIONS = 100
"""The most comparisons and groups in one filter, at all levels."""
MAX_LEVELS = 10
"""How deep filters may be nested: a tenth of the nesting that SQLAlchemy's recursive compiler can take."""

Operator = Literal["eq", "in", "contains", "starts_with", "gt", "gte", "lt", "lte", "is_null", "is_not_null"]
Kind = Literal["and", "or", "not"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An expression that is compared with a parameter, whose value is in the `Filter`, or with null."""

    expression: ColumnElement[Any]
    operator: Operator
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class CompoundPredicate:
    """Predicates combined by `kind`: all of them hold, any of them does, or not all of them do."""

    kind: Kind
    members: tuple["Predicate", ...]


@dataclass(frozen=True, slots=True)
class RawPredicate:
    """A condition in SQL, with parameters of its own names. Equal identities mean equal SQL."""

    identity: Hashable
    sql: ColumnElement[bool] = field(compare=False)


Predicate = Comparison | CompoundPredicate | RawPredicate
MATCH_ALL = CompoundPredicate("and", ())

Parameters = tuple[tuple[str, Any], ...]
"""Values by their parameters' names, hashable as a whole."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A predicate, and the values of its parameters."""

    predicate: Predicate = MATCH_ALL
    parameters: Parameters = ()
    conditions: int = 0
    """How many comparisons and groups of the predicate come from the client."""

    def narrowed(self, *predicates: Predicate, parameters: Parameters = ()) -> "Filter":
        """Returns the filter of rows for which these predicates hold too."""
        predicate = CompoundPredicate("and", (self.predicate, *predicates))
        return Filter(predicate, self.parameters + parameters, self.conditions)


ALL_ROWS = Filter()


def compare_filter(description: str, expression: ColumnElement[Any], *, name: str | None = None) -> Any:
    """Declares a filter's field that compares `expression`, with the operators of the field's type."""
    return strawberry.field(
        description=description, default=strawberry.UNSET, name=name, metadata={"compare": expression}
    )


def is_not_null_filter(description: str, column: Column[Any]) -> Any:
    """Declares a filter's boolean field: whether `column` has a value."""
    return strawberry.field(
        description=description, default=strawberry.UNSET, metadata={"is_not_null": column}
    )


def is_null_filter(description: str, column: Column[Any]) -> Any:
    """Declares a filter's boolean field: whether `column` has no value."""
    return strawberry.field(description=description, default=strawberry.UNSET, metadata={"is_null": column})


def combine_filter(kind: Kind, description: str) -> Any:
    """Declares a filter's field that holds filters of its own type."""
    return strawberry.field(
        description=description, default=strawberry.UNSET, name=kind, metadata={"combine": kind}
    )


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
    description=(
        "Compares a number. An upper bound must not be less than a lower bound. Null and NaN match no"
        " condition."
    )
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


def parse_filter(given: Any, argument: str = "filter") -> Filter:
    """Returns the filter that a filter input describes.

    Raises BadInputError for an id that is no UUID, a text that PostgreSQL can't hold or that is longer than
    its column, a range that ends before it begins, and too many conditions or levels.
    """
    parser = _FilterParser(argument)
    predicate = parser.parse(given, argument)
    return Filter(predicate, tuple(parser.parameters), parser.conditions)


class _FilterParser:
    """Parses one filter input. Its parameters are f0, f1, … in the order of the input's fields."""

    def __init__(self, argument: str) -> None:
        self.parameters: list[tuple[str, Any]] = []
        self.conditions = 0
        self._argument = argument

    def parse(self, given: Any, path: str, level: int = 1) -> Predicate:
        """Returns the predicate of a filter input and all within it."""
        self._count()
        if level > MAX_LEVELS:
            raise BadInputError(self._argument, f"has more than {MAX_LEVELS} levels")
        members: list[Predicate] = []
        for _, name, meta, value in given_fields(given):
            own = f"{path}.{name}"
            if kind := meta.get("combine"):
                members.append(self._combine(kind, value, own, level + 1))
            elif (column := meta.get("is_not_null")) is not None:
                members.append(self._compare(column, "is_not_null" if value else "is_null"))
            elif (column := meta.get("is_null")) is not None:
                members.append(self._compare(column, "is_null" if value else "is_not_null"))
            else:
                expression = meta["compare"]
                members += (
                    self._compare(expression, operator, operand)
                    for operator, operand in _operations(value, expression, own)
                )
        return CompoundPredicate("and", tuple(members))

    def _combine(self, kind: Kind, value: Any, path: str, level: int) -> CompoundPredicate:
        if not isinstance(value, list):
            return CompoundPredicate(kind, (self.parse(value, path, level),))
        members = (self.parse(item, f"{path}.{i}", level) for i, item in enumerate(value))
        return CompoundPredicate(kind, tuple(members))

    def _compare(self, expression: ColumnElement[Any], operator: Operator, operand: Any = None) -> Comparison:
        self._count()
        if operator in ("is_null", "is_not_null"):
            return Comparison(expression, operator)
        parameter = f"f{len(self.parameters)}"
        self.parameters.append((parameter, operand))
        return Comparison(expression, operator, parameter)

    def _count(self) -> None:
        self.conditions += 1
        if self.conditions > MAX_CONDITIONS:
            raise BadInputError(self._argument, f"has more than {MAX_CONDITIONS} conditions")


def given_fields(given: Any) -> Iterator[tuple[str, str, Mapping[Any, Any], Any]]:
    """Yields the fields of an input that have a value: Python's name, the schema's, metadata, value."""
    type_: type = type(given)
    for python_name, name, metadata in _input_fields(type_):
        value = getattr(given, python_name)
        if value is not None and value is not strawberry.UNSET:
            yield python_name, name, metadata, value


@lru_cache(maxsize=256)
def _input_fields(type_: type) -> Sequence[tuple[str, str, Mapping[Any, Any]]]:
    fields = get_object_definition(type_, strict=True).fields
    return [(part.python_name, name_of(part), part.metadata) for part in fields]


def _operations(value: Any, expression: ColumnElement[Any], path: str) -> Iterator[tuple[Operator, Any]]:
    """Yields a filter's comparisons of `expression`, as operators and operands. Raises BadInputError."""
    length = getattr(expression.type, "length", None) or MAX_TEXT
    match value:
        case StringFilter() | DecimalFilter() | DateTimeFilter():
            for python_name, name, _, operand in given_fields(value):
                if python_name == "is_null":
                    yield ("is_null" if operand else "is_not_null"), None
                else:
                    operator = cast("Operator", python_name.rstrip("_"))
                    yield operator, _operand(operand, f"{path}.{name}", length)
            check_range(value, path)
        case list():
            words = _operand(
                [item.value if isinstance(item, Enum) else item for item in value], path, MAX_TEXT
            )
            # With `= x`, an index that begins with the column yields rows in order; with `= ANY (…)`, it
            # doesn't.
            yield ("eq", words[0]) if len(words) == 1 else ("in", words)
        case _:
            yield "eq", parse_id(value, path) if isinstance(expression.type, UUID) else value


def check_range(value: Any, path: str) -> None:
    """Checks that no upper bound lies below a lower one. Raises BadInputError."""
    lower, upper, word = _RANGES.get(type(value), ((), (), ""))
    for start in lower:
        for end in upper:
            check_bounds(f"{path}.{start}", getattr(value, start), f"{path}.{end}", getattr(value, end), word)


def check_bounds(start_path: str, start: Any, end_path: str, end: Any, word: str = "before") -> None:
    """Checks that a range doesn't end before it begins. Raises BadInputError.

    An empty range (end = start) is allowed: clients that step through time produce it.
    """
    given = all(bound is not None and bound is not strawberry.UNSET for bound in (start, end))
    if given and end < start:
        raise BadInputError(end_path, f"must not be {word} {start_path}")


def check_length(text: str, path: str, length: int) -> None:
    """Checks that a text isn't longer than any that it is compared with. Raises BadInputError.

    A longer one matches nothing, but PostgreSQL would convert its case for each row.
    """
    if len(text) > length:
        raise BadInputError(path, f"has more than {length} characters")


def _operand(value: Any, path: str, length: int) -> Any:
    if isinstance(value, list):
        if len(value) > MAX_LISTED:
            raise BadInputError(path, f"lists more than {MAX_LISTED} values")
        return tuple(_operand(item, path, length) for item in value)
    if isinstance(value, UnreadableDecimal):
        raise BadInputError(path, value.RULE)
    if isinstance(value, Decimal) and not value.is_finite():
        raise BadInputError(path, "must be finite")
    if isinstance(value, str):
        check_length(value, path, length)
    if isinstance(value, str) and not is_storable(value):
        raise BadInputError(path, "has a character that no stored text has")
    return value


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold a text: it has neither NUL nor lone surrogates."""
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False


def name_of(part: StrawberryField) -> str:
    """Returns the name of a field in the schema."""
    if part.graphql_name:
        return part.graphql_name
    head, *tail = part.python_name.split("_")
    return head + "".join(part.title() for part in tail)


def tables_in(predicate: Predicate) -> frozenset[Any]:
    """Returns the tables whose columns a predicate compares."""
    if isinstance(predicate, CompoundPredicate):
        return frozenset[Any]().union(*(tables_in(member) for member in predicate.members))
    sql = predicate.expression if isinstance(predicate, Comparison) else predicate.sql
    return frozenset(sql._from_objects)  # noqa: SLF001 - Core has no public name for it


def conjuncts(predicate: Predicate) -> Iterator[Predicate]:
    """Yields the predicates that must all hold."""
    if isinstance(predicate, CompoundPredicate) and predicate.kind == "and":
        for member in predicate.members:
            yield from conjuncts(member)
    else:
        yield predicate


def to_sql(predicate: Predicate, *, via: ColumnElement[Any] | None = None) -> ColumnElement[bool]:
    """Returns the SQL of a predicate.

    `via` is the column by whose index the rows are read. Then no index may be used for any other equality.
    """
    if isinstance(predicate, Comparison):
        compared = _compared(predicate)
        is_equality = predicate.operator in ("eq", "in") and predicate.expression is not via
        return without_index(compared) if via is not None and is_equality else compared
    if isinstance(predicate, RawPredicate):
        return predicate.sql
    members = [to_sql(member, via=via) for member in predicate.members]
    match predicate.kind:
        case "and":
            return and_(true(), *members)
        case "or":
            return or_(false(), *members)
        case "not":
            # A comparison with null is unknown. Its negation is, too, and neither would find the row.
            return not_(func.coalesce(and_(true(), *members), false()))


def without_index(compared: ColumnElement[bool]) -> ColumnElement[bool]:
    """Returns the same condition in a form that PostgreSQL uses no index for.

    For rows that are read parent by parent: PostgreSQL may otherwise intersect two indexes, and so read all
    rows of a frequent symbol or strategy once for each parent.
    """
    return compared.is_(true())


def _compared(comparison: Comparison) -> ColumnElement[bool]:
    expression: Any = comparison.expression
    own = unbounded(expression.type)

    def value(type_: Any) -> Any:
        return bindparam(comparison.parameter, type_=type_)

    sql: Any
    match comparison.operator:
        case "is_null":
            sql = expression.is_(None)
        case "is_not_null":
            sql = expression.is_not(None)
        case "in":
            sql = expression == any_(value(ARRAY(own)))
        case "contains":
            sql = func.strpos(_folded(expression), func.lower(value(Text()))) > 0
        case "starts_with":
            sql = func.starts_with(_folded(expression), func.lower(value(Text())))
        case "eq":
            sql = expression == value(own)
        case "gt":
            sql = expression > value(own)
        case "gte":
            sql = expression >= value(own)
        case "lt":
            sql = expression < value(own)
        case "lte":
            sql = expression <= value(own)
    return cast("ColumnElement[bool]", sql)


def _folded(expression: Any) -> ColumnElement[str]:
    """Returns a text in lower case by its own collation, which PostgreSQL may not be able to search by."""
    return func.lower(expression, type_=Text).collate("C")
