"""Durations between two timestamps of a row, as a Duration and in seconds."""

from datetime import datetime, timedelta

from graphql_api.postgres.type_codecs import rfc3339
from graphql_api.relational.scalars import Duration

_MICROSECOND = timedelta(microseconds=1)


def elapsed(start: str | None, end: str | None) -> Duration | None:
    """Returns the time from one stored timestamp to another, negative if `end` is the earlier one.

    None unless both are stored and in the years 1 to 9999.
    """
    if start is None or end is None or not (_is_in_calendar(start) and _is_in_calendar(end)):
        return None
    length = datetime.fromisoformat(rfc3339(end)) - datetime.fromisoformat(rfc3339(start))
    return Duration(length // _MICROSECOND)


def elapsed_seconds(start: str | None, end: str | None) -> float | None:
    """Returns `elapsed` in seconds."""
    microseconds = elapsed(start, end)
    return None if microseconds is None else seconds(microseconds)


def seconds(microseconds: int) -> float:
    """Returns microseconds as seconds: every microsecond, up to 285 years, is a number of its own."""
    return microseconds / 1_000_000


def _is_in_calendar(timestamp: str) -> bool:
    return timestamp[4:5] == "-" and not timestamp.endswith("BC")
