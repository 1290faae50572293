"""Pages as clients request them: sizes, orders, and cursors, which hold a row's sort key and id."""

import base64
import re
from calendar import isleap
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import MAXYEAR, datetime
from typing import Any

import orjson
from sqlalchemy import Column, DateTime, Integer, Numeric, String

from graphql_api.postgres.type_codecs import NAN
from graphql_api.relational.context import Row
from graphql_api.relational.eager_joins import EagerJoin
from graphql_api.relational.errors import BadInputError
from graphql_api.relational.filters import ALL_ROWS, Filter, is_storable
from graphql_api.relational.scalars import UnreadableDecimal, parse_decimal, parse_id

DEFAULT_SIZE = 25
MAX_SIZE = 100


@dataclass(frozen=True, slots=True)
class SortOrder:
    """A column and a direction; the id breaks ties, in the same direction."""

    column: Column[Any]
    descending: bool = True
    name: str = field(init=False, repr=False, compare=False)
    """Names the order in its cursors, so that a cursor of another order is refused: `trades.entry_time-`."""

    def __post_init__(self) -> None:
        name = f"{self.column.table.name}.{self.column.name}{'-' if self.descending else '+'}"
        object.__setattr__(self, "name", name)


CursorKey = tuple[Any, str]
"""What a cursor holds of a row: its sort key as `postgres.tables.sort_key` computes it, and its id."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The page of a list that a client requests. Equal requests of one relation share a loader."""

    order: SortOrder
    size: int = DEFAULT_SIZE
    backward: bool = False
    """Whether it has the last rows instead of the first, still in the order of the list."""
    after: CursorKey | None = None
    before: CursorKey | None = None
    filter: Filter = ALL_ROWS
    projection: frozenset[str] | None = None
    """The columns that are read of its rows; None for all of them."""
    eager_joins: tuple[EagerJoin, ...] = ()
    with_total: bool = False
    """Whether its statement counts the rows of the whole list."""
    with_previous: bool = False
    """Whether its statement looks for rows before the cursor `after`."""
    with_next: bool = False
    """Whether its statement looks for rows behind the cursor `before`."""

    def filter_only(self) -> "PageRequest":
        """Returns a request without page and order: equal for all pages of a list under one filter."""
        return PageRequest(SortOrder(self.order.column.table.c.id), filter=self.filter)

    def parameters(self) -> dict[str, Any]:
        """Returns the values of its statement's parameters, without the keys.

        It reads one row more than the page has, which shows whether others follow.
        """
        values: dict[str, Any] = {**dict(self.filter.parameters), "fetch": self.size + 1}
        for name, cursor in (("after", self.after), ("before", self.before)):
            if cursor is not None:
                values[f"{name}_key"], values[f"{name}_id"] = cursor
        return values

    def cursor(self, row: Row) -> str:
        """Returns the cursor of a row: opaque text with the page's order, the row's sort key and its id."""
        value = row[self.order.column.name]
        if value == NAN and isinstance(self.order.column.type, Numeric):
            value = None
        payload = orjson.dumps((self.order.name, value, row["id"]))
        return base64.urlsafe_b64encode(payload).rstrip(b"=").decode()


def page_size(arguments: Mapping[str, Any]) -> tuple[int, bool]:
    """Returns a page's size by its arguments, and whether it is of the last rows. Raises BadInputError."""
    first, last = arguments.get("first"), arguments.get("last")
    if first is not None and last is not None:
        raise BadInputError("last", "can't be combined with first")
    for name, size in (("first", first), ("last", last)):
        if size is not None and not 1 <= size <= MAX_SIZE:
            raise BadInputError(name, f"must be between 1 and {MAX_SIZE}")
    return first or last or DEFAULT_SIZE, last is not None


# A timestamp as PostgreSQL prints it, including years that RFC 3339 can't express.
_STORED_MOMENT = re.compile(
    r"-?infinity|(?P<year>\d{4}|[1-9]\d{4,5})-(?P<day>\d\d-\d\d) (?P<time>\d\d:\d\d:\d\d(\.\d{1,6})?)"
    r"(?P<offset>[+-](0\d|1[0-5])(:[0-5]\d){0,2})(?P<era> BC)?",
    re.ASCII,
)
_LAST_YEAR, _FIRST_YEAR_BC, _FIRST_DAY_BC = 294_276, 4714, "11-24"
"""The bounds of the timestamps that PostgreSQL stores."""


def cursor_key(arguments: Mapping[str, Any], name: str, order: SortOrder) -> CursorKey | None:
    """Returns what the cursor in an argument holds; None without one. Raises BadInputError.

    PostgreSQL can compare rows with whatever it returns: a cursor that a client made up is either refused, or
    is a valid place in the order.
    """
    text = arguments.get(name)
    if text is None:
        return None
    try:
        payload = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
        match payload:
            case [order.name, value, str(id_)]:
                return _sort_key(value, order.column), parse_id(id_, name)
            case [str(other), _, str()] if other.startswith(f"{order.column.table.name}."):
                is_other_order = True
            case _:
                is_other_order = False
    except (ValueError, BadInputError):
        is_other_order = False
    if is_other_order:
        raise BadInputError(name, "is a cursor of another order; start again, or keep orderBy as it was")
    raise BadInputError(name, "is not a cursor that this list gave out")


def _sort_key(value: Any, column: Column[Any]) -> Any:
    """Returns a row's value as the sort key it has in SQL. Raises ValueError if it can't be this column's."""
    match column.type, value:
        case Numeric(), None:
            return "-Infinity"
        case Numeric(), str() if not isinstance(parse_decimal(value), UnreadableDecimal):
            return value
        case DateTime(), None:
            return "-infinity"
        case DateTime(), str() if _is_storable_moment(value):
            return value
        case Integer(), None:
            return -(2**31)
        case Integer(), int() if type(value) is int and -(2**31) <= value < 2**31:
            return value
        case String(), None:
            return ""
        case String(), str() if is_storable(value):
            return value
    raise ValueError


def _is_storable_moment(text: str) -> bool:
    """Whether a text is a timestamp as PostgreSQL prints it.

    Raises ValueError for a day that doesn't exist.
    """
    parts = _STORED_MOMENT.fullmatch(text)
    if parts is None:
        return False
    if parts["year"] is None:
        return True  # an infinity
    year, is_bc = int(parts["year"]), parts["era"] is not None
    if is_bc or year > MAXYEAR:
        kept = (-year, parts["day"]) >= (-_FIRST_YEAR_BC, _FIRST_DAY_BC) if is_bc else year <= _LAST_YEAR
        if year == 0 or not kept or parts["offset"] != "+00":
            return False
        # Python's calendar has no such year: it is checked as a year of the same length.
        year = 2000 if isleap(1 - year if is_bc else year) else 2001
    datetime.fromisoformat(f"{year:04}-{parts['day']} {parts['time']}{parts['offset']}")
    return True
