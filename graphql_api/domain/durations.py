"""How long things took, from rows' own timestamps, and the spans that statistics are cut into."""

from datetime import datetime, timedelta
from enum import Enum

import strawberry

from graphql_api.postgres.codecs import timestamp
from graphql_api.relational.enums import value
from graphql_api.relational.scalars import Duration


def elapsed(start: str | None, end: str | None) -> Duration | None:
    """From one stored timestamp to another; null unless both are there."""
    if start is None or end is None:
        return None
    length = datetime.fromisoformat(timestamp(end)) - datetime.fromisoformat(timestamp(start))
    return Duration(length // timedelta(microseconds=1))


@strawberry.enum(description="A span of the clock or the calendar.")
class Interval(Enum):
    """What PostgreSQL's date_trunc cuts at, in capitals."""

    HOUR = value("HOUR", "From one full hour to the next.")
    DAY = value("DAY", "From midnight to midnight: 23, 24 or 25 hours.")
    WEEK = value("WEEK", "Seven days, from Monday.")
    MONTH = value("MONTH", "From the first of a month to the first of the next.")
