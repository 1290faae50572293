"""Time buckets: the hours, days, weeks and months of a time zone, which results and log lines are summed by.

PostgreSQL never sees a zone's name: a statement gets the changes of the zone's offset as arrays (see
`time_zones`), so that the service and PostgreSQL agree on when a day begins, whichever time zone files the
server has.

- An hour begins when the clock shows a full hour, and whenever clocks change: a repeated hour is two.
- A day begins when the clock first shows its date: later than midnight where clocks skip midnight, and at the
  earlier one where they show midnight twice. Where clocks are set back from a new day into the one before,
  the new day goes on. Weeks begin with their Monday, months with their first day.
- A row's moment outside the years 1 to 9999 is in the bucket of the moment that clients see in its place. So
  no arithmetic fails at the ends of PostgreSQL's calendar, and no two buckets begin at one time.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import strawberry
from sqlalchemy import (
    ColumnElement,
    DateTime,
    FromClause,
    Integer,
    Select,
    Text,
    bindparam,
    func,
    literal_column,
    null,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, INTERVAL

from graphql_api.postgres.tables import within_calendar
from graphql_api.relational.enums import value
from graphql_api.time_zones import offset_changes


@strawberry.enum(description="A span of the clock or the calendar.")
class Interval(Enum):
    """The length of a bucket; its name in lower case is date_trunc's."""

    HOUR = value("HOUR", "From one full hour to the next.")
    DAY = value("DAY", "From midnight to midnight: 23, 24 or 25 hours.")
    WEEK = value("WEEK", "Seven days, from Monday.")
    MONTH = value("MONTH", "From the first of a month to the first of the next.")


def zone_parameters(name: str) -> dict[str, Any]:
    """Returns a zone's parameters for a statement made with this module.

    Raises KeyError for an unknown zone.
    """
    return dict(_zone_parameters(name))


@lru_cache(maxsize=1024)
def _zone_parameters(name: str) -> Mapping[str, Any]:
    changes = offset_changes(name)
    ends = ((change.start + before.offset).replace(tzinfo=None) for before, change in pairwise(changes))
    return {
        "zone_starts": ["-infinity", *(change.start for change in changes[1:])],
        "zone_offsets": [change.offset for change in changes],
        "zone_ends": list(accumulate(ends, max)),
    }


def group_by_bucket(query: Select[Any], interval: Interval, moment: ColumnElement[datetime]) -> FromClause:
    """Returns the rows of a grouped `query`, grouped by the bucket of `moment` too, with its start `time`."""
    local, period = _bucket_key(interval, within_calendar(moment))
    groups = (
        query.add_columns(local.label("_local"), period.label("_period"))
        .select_from(_zone)
        .group_by(local, period)
        .subquery("groups")
    )
    columns = [column for column in groups.c if column.name not in ("_local", "_period")]
    start = _bucket_start(groups.c["_local"], groups.c["_period"]).label("time")
    return select(*columns, start).select_from(groups, _zone).subquery("buckets")


def bucket_start(interval: Interval, moment: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Returns the start of the bucket that `moment` lies in.

    `moment` must be constant, and in the years 1 to 9999; run the statement with `zone_parameters(zone)`.
    """
    local, period = _bucket_key(interval, moment)
    key = select(local.label("_local"), period.label("_period")).select_from(_zone).subquery("bucket_key")
    start = _bucket_start(key.c["_local"], key.c["_period"])
    return select(start).select_from(key, _zone).scalar_subquery()


# A zone's offsets, in order: when each begins, and the latest time that the clock shows before the next
# begins.
_zone = select(
    bindparam("zone_starts", type_=ARRAY(DateTime(timezone=True))).label("starts"),
    bindparam("zone_offsets", type_=ARRAY(INTERVAL)).label("offsets"),
    bindparam("zone_ends", type_=ARRAY(DateTime())).label("ends"),
).subquery("zone")
_UTC = literal_column("'UTC'", Text)
_ONE = literal_column("1", Integer)
_MICROSECOND = literal_column("interval '1 microsecond'", INTERVAL)


def _bucket_key(
    interval: Interval, moment: ColumnElement[datetime]
) -> tuple[ColumnElement[datetime], ColumnElement[int]]:
    """Returns the key that the moments of one bucket share.

    That is the hour or the date that the clock shows; for an hour, also which of the zone's offsets is in
    force, so that a repeated hour is two buckets.
    """
    unit = literal_column(f"'{interval.value.lower()}'", Text)
    period: ColumnElement[int] = func.width_bucket(moment, _zone.c.starts, type_=Integer())
    local = func.timezone(_UTC, moment, type_=DateTime()) + _zone.c.offsets[period]
    if interval is Interval.HOUR:
        return func.date_trunc(unit, local, type_=DateTime()), period
    # As if clocks stopped instead of being set back, so that no date comes twice.
    monotonic = func.greatest(local, _zone.c.ends[period - _ONE] - _MICROSECOND)
    return func.date_trunc(unit, monotonic, type_=DateTime()), null().cast(Integer)


def _bucket_start(local: ColumnElement[datetime], period: ColumnElement[int]) -> ColumnElement[datetime]:
    shown_first: ColumnElement[int] = func.width_bucket(local, _zone.c.ends, type_=Integer()) + _ONE
    period = func.coalesce(period, shown_first)
    start = func.timezone(_UTC, local - _zone.c.offsets[period], type_=DateTime(timezone=True))
    return func.greatest(start, _zone.c.starts[period], type_=DateTime(timezone=True))
