"""Time buckets: the hours, days, weeks and months that results and log lines are summed by."""

from enum import Enum

import strawberry

from graphql_api.relational.enums import value


@strawberry.enum(description="A span of the clock or the calendar.")
class Interval(Enum):
    """What PostgreSQL's date_trunc cuts at, in capitals."""

    HOUR = value("HOUR", "From one full hour to the next.")
    DAY = value("DAY", "From midnight to midnight: 23, 24 or 25 hours.")
    WEEK = value("WEEK", "Seven days, from Monday.")
    MONTH = value("MONTH", "From the first of a month to the first of the next.")
