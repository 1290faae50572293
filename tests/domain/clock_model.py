"""A model of when hours, days, weeks and months begin: it reads the clock minute by minute."""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)


@lru_cache
def zone_of(name: str) -> ZoneInfo:
    """Returns the zone from the tzdata package, not from the operating system's files."""
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def bucket_start(moment: datetime, interval: str, name: str) -> datetime:
    """Returns the start of the hour, day, week or month of a moment, which must be after 1980."""
    zone, minute = zone_of(name), moment.astimezone(UTC).replace(second=0, microsecond=0)
    if interval == "HOUR":
        return _hour_start(minute, zone)
    # A date that was shown before clocks went back is not taken back.
    day = max((minute - back * MINUTE).astimezone(zone).date() for back in range(180))
    if interval == "WEEK":
        day -= timedelta(days=day.weekday())
    if interval == "MONTH":
        day = day.replace(day=1)
    return _first_minute_of(day, name)


def _hour_start(minute: datetime, zone: ZoneInfo) -> datetime:
    now = minute.astimezone(zone)
    while True:
        before = (minute - MINUTE).astimezone(zone)
        if before.utcoffset() != now.utcoffset() or before.hour != now.hour:
            return minute
        minute -= MINUTE


@lru_cache
def _first_minute_of(day: date, name: str) -> datetime:
    minute = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=26)
    while minute.astimezone(zone_of(name)).date() < day:
        minute += MINUTE
    return minute
