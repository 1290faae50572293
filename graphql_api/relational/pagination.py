"""Pages: what first, after, last, before, filter and orderBy ask for, checked and made hashable."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import Column, DateTime, Integer, Numeric

from graphql_api.relational.context import Row
from graphql_api.relational.eager_joins import EagerJoin
from graphql_api.relational.errors import BadInputError
from graphql_api.relational.filters import MATCH_ALL, Predicate, Values, storable
from graphql_api.relational.scalars import parse_decimal, parse_id

DEFAULT_SIZE = 25
MAX_SIZE = 100


@dataclass(frozen=True, slots=True)
class SortOrder:
    """A column and a direction; the id breaks ties, in the same direction."""

    column: Column[Any]
    descending: bool = True

    @property
    def name(self) -> str:
        """What a cursor says to be of this order."""
        return f"{self.column.name}{'-' if self.descending else '+'}"


# A moment as PostgreSQL prints it, the years included that RFC 3339 has no room for.
_STORED = re.compile(
    r"-?infinity|(\d{4,6})(-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d){0,2})( BC)?", re.ASCII
)
_A_LEAP_YEAR = "2000"

CursorKey = tuple[Any, str]
"""A row's place in an order: its sort key as `postgres.tables.sort_key` computes it, and its id."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A part of a list. Equal pages of one relation share a loader."""

    order: SortOrder
    size: int = DEFAULT_SIZE
    backward: bool = False
    after: CursorKey | None = None
    before: CursorKey | None = None
    shape: Predicate = MATCH_ALL
    values: Values = ()
    projection: frozenset[str] | None = None
    """Those of its rows' columns that are read; None for all of them."""
    eager_joins: tuple[EagerJoin, ...] = ()
    """The rows that it brings along."""
    with_total: bool = False
    """Whether it brings along how many rows the whole list has."""

    @classmethod
    def parse(
        cls,
        arguments: Mapping[str, Any],
        order: SortOrder,
        shape: Predicate,
        values: Values,
        projection: frozenset[str] | None = None,
    ) -> "PageRequest":
        """The page that a connection's arguments ask for. Raises BadInputError naming argument and rule."""
        first, last = arguments.get("first"), arguments.get("last")
        if first is not None and last is not None:
            raise BadInputError("last", "can't be combined with first")
        for name, size in (("first", first), ("last", last)):
            if size is not None and not 1 <= size <= MAX_SIZE:
                raise BadInputError(name, f"must be between 1 and {MAX_SIZE}")
        return cls(
            order=order,
            size=first or last or DEFAULT_SIZE,
            backward=last is not None,
            after=_position(arguments, "after", order),
            before=_position(arguments, "before", order),
            shape=shape,
            values=values,
            projection=projection,
        )

    def filter_only(self) -> "PageRequest":
        """The same list, whatever part of it: equal for all pages under one filter."""
        return PageRequest(SortOrder(self.order.column.table.c.id), shape=self.shape, values=self.values)

    def cursor(self, row: Row) -> str:
        """The opaque text that names a row's place in this page's order."""
        payload = orjson.dumps((self.order.name, row[self.order.column.name], row["id"]))
        return base64.urlsafe_b64encode(payload).rstrip(b"=").decode()


def _position(arguments: Mapping[str, Any], name: str, order: SortOrder) -> CursorKey | None:
    text = arguments.get(name)
    if text is None:
        return None
    try:
        payload = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
        made_for, value, id_ = payload
        if made_for == order.name:
            return _key(value, order.column, name), parse_id(id_, name)
    except (ValueError, TypeError, AttributeError, binascii.Error, BadInputError):
        raise BadInputError(name, "is not a cursor that this list gave out") from None
    raise BadInputError(name, "is a cursor of another order; start again, or keep orderBy as it was")


def _key(value: Any, column: Column[Any], name: str) -> Any:
    """A row's value as the sort key it has in SQL. Raises ValueError if it can't be this column's."""
    match column.type:
        case Numeric():
            return "-Infinity" if value is None else _checked(value, str, parse_decimal)
        case DateTime():
            return "-infinity" if value is None else _moment(value)
        case Integer():
            return -(2**31) if value is None else _checked(value, int, _int4)
        case _:
            return "" if value is None else storable(_checked(value, str, str), name)


def _checked(value: Any, kind: type, parse: Any) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError
    parsed: datetime | Decimal | int | str = parse(value)
    return value if isinstance(parsed, datetime | Decimal) else parsed


def _moment(value: str) -> str:
    stored = _STORED.fullmatch(value)
    if stored is None:
        raise ValueError
    year, rest, *_, era = stored.groups()
    if rest is not None:
        datetime.fromisoformat((_A_LEAP_YEAR if era or len(year) > len(_A_LEAP_YEAR) else year) + rest)
    return value


def _int4(value: int) -> int:
    if not -(2**31) <= value < 2**31:
        raise ValueError
    return value
