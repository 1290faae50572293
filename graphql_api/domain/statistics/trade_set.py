"""Sets of trades to compute statistics of, and the statement that does so for many parents at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import asyncpg
import strawberry
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    bindparam,
    case,
    extract,
    func,
    literal_column,
)

from graphql_api.postgres import tables
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.postgres.tables import finite, is_in_calendar
from graphql_api.postgres.vocabularies import TRADE_DIRECTIONS, trade_status_sql
from graphql_api.relational.context import Row, ViewerDatabase
from graphql_api.relational.filters import (
    ALL_ROWS,
    Filter,
    Predicate,
    RawPredicate,
    check_bounds,
    without_index,
)
from graphql_api.relational.page_query import FilteredRelation, build_filtered
from graphql_api.relational.relation import RelationReader

_trades = tables.trades.c

# When a trade counts: at its exit, or at its entry where no exit is stored.
TRADE_COUNTS_AT: ColumnElement[datetime] = func.coalesce(_trades.exit_time, _trades.entry_time)
STATUS = trade_status_sql(_trades.status, _trades.exit_time)
PNL = finite(_trades.pnl)


def is_status(status: ColumnElement[str], word: str) -> ColumnElement[bool]:
    """Returns the condition that a status is `word`, for which no index is used: parents find the trades."""
    return without_index(status == literal_column(f"'{word}'"))


CLOSED = RawPredicate("closed", is_status(STATUS, "CLOSED"))
HAS_RESULT = RawPredicate("has result", PNL.is_not(None))


@strawberry.input(
    description=(
        "A range of time that includes `from` and excludes `to`, which must not be earlier. A trade lies"
        " in a range by its exit time or, if none is stored, by its entry time."
    )
)
class TimeRange:
    """A half-open interval; without a bound, it has no end on that side."""

    from_: datetime | None = strawberry.field(
        name="from", default=strawberry.UNSET, description="Its first moment; from the beginning without one."
    )
    to: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="The first moment after it; without an end if there is none."
    )


@dataclass(frozen=True, slots=True)
class TradeSet:
    """The trades of a relation that match a filter. Statistics of equal sets share their loaders."""

    relation: RelationReader
    filter: Filter = ALL_ROWS

    def within(self, given: TimeRange | None, argument: str = "range") -> "TradeSet":
        """Returns the subset that is in a range. Raises BadInputError if the range ends before it begins."""
        if given is None:
            return self
        start, end = given.from_ or None, given.to or None
        check_bounds(f"{argument}.from", start, f"{argument}.to", end)
        if start is None and end is None:
            return self
        bounds = (("range_from", start), ("range_to", end))
        within = _range(start is not None, end is not None)
        given_bounds = tuple(pair for pair in bounds if pair[1])
        return replace(self, filter=self.filter.narrowed(within, parameters=given_bounds))


@dataclass(frozen=True, slots=True)
class StatsSource:
    """What a TradeStats is resolved from: a set of trades, and the id of their parent."""

    trades: TradeSet
    parent: str


@lru_cache
def _range(starts: bool, ends: bool) -> RawPredicate:  # noqa: FBT001
    conditions = []
    if starts:
        conditions.append(bindparam("range_from", type_=_trades.entry_time.type) <= TRADE_COUNTS_AT)
    if ends:
        conditions.append(bindparam("range_to", type_=_trades.entry_time.type) > TRADE_COUNTS_AT)
    return RawPredicate(("range", starts, ends), and_(*conditions))


# In microseconds, since PostgreSQL divides intervals by floats; null as `durations.elapsed` is.
_DURATION = case(
    (
        and_(is_in_calendar(_trades.entry_time), is_in_calendar(_trades.exit_time)),
        extract("epoch", _trades.exit_time - _trades.entry_time) * literal_column("1000000"),
    )
)

_COLUMNS = (
    _trades.id,
    _trades.session_id,
    _trades.strategy_id,
    _trades.symbol,
    TRADE_DIRECTIONS.sql(_trades.direction).label("direction"),
    STATUS.label("status"),
    TRADE_COUNTS_AT.label("moment"),
    _DURATION.label("duration"),
    PNL.label("pnl"),
    finite(_trades.size).label("size"),
    finite(_trades.entry_price).label("entry_price"),
)

Aggregation = Callable[[FromClause], Select[Any]]
"""Builds a query over trades, which have their parent's id as `_parent`, as have the query's rows."""


async def aggregate(
    db: ViewerDatabase, aggregation: Aggregation, keys: Sequence[str], trades: TradeSet, **parameters: Any
) -> list[asyncpg.Record]:
    """Returns the rows of `aggregation` over the trades of all parents in `keys`, in one statement."""
    if not trades.relation.entity.is_visible_to(db):
        return []
    arguments = (aggregation, trades.relation, trades.filter.predicate, db.tenant is not None)
    statement = await build_filtered(trades.filter, _statement, *arguments)
    return await db.fetch(statement, **dict(trades.filter.parameters), keys=list(keys), **parameters)


async def aggregate_lists(
    db: ViewerDatabase, aggregation: Aggregation, keys: Sequence[str], trades: TradeSet, **parameters: Any
) -> Mapping[str, list[Row]]:
    """Returns the rows of `aggregate` by parent, with an empty list for a parent that has none."""
    lists: dict[str, list[Row]] = {key: [] for key in keys}
    for row in await aggregate(db, aggregation, keys, trades, **parameters):
        lists[row["_parent"]].append(row)
    return lists


@lru_cache(maxsize=1024)
def _statement(
    aggregation: Aggregation,
    relation: RelationReader,
    predicate: Predicate,
    for_tenant: bool,  # noqa: FBT001 - part of the cache's key
) -> Statement:
    rows = FilteredRelation(relation, predicate, for_tenant)
    return compile_statement(aggregation(rows.per_visible_parent(rows.select(*_COLUMNS)).cte("chosen")))
