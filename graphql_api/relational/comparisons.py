"""Comparisons of one value each: what clients may say of a text, a number or a moment, and how it is read."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, cast

import strawberry
from sqlalchemy import ColumnElement
from sqlalchemy.dialects.postgresql import UUID
from strawberry.types.base import get_object_definition
from strawberry.types.field import StrawberryField

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
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise BadInputError(argument, "has a character that no stored text has")
    return text


def name_of(part: StrawberryField) -> str:
    """What a field is called in the schema."""
    if part.graphql_name:
        return part.graphql_name
    head, *tail = part.python_name.split("_")
    return head + "".join(part.title() for part in tail)
