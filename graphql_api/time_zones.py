"""Time zones: their names, and when their clocks change.

Everything is read from the tzdata package, whose version the lock file fixes. `zoneinfo` would prefer the
operating system's files, and PostgreSQL has files of its own: either can be years older, and so put a trade
into another day.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from operator import attrgetter
from zoneinfo import ZoneInfo

_PACKAGE = resources.files("tzdata")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime(1800, 1, 1, tzinfo=UTC)
_LAST = datetime(2100, 1, 1, tzinfo=UTC)
_STEP = timedelta(days=7)
_SECOND = timedelta(seconds=1)

# A TZif file (RFC 9636) has a block with 32-bit times, which is empty today, and then one with 64-bit times.
_HEADER = struct.Struct(">4s c 15x 6L")


@lru_cache
def time_zone_names() -> frozenset[str]:
    """Returns the names that tzdata has: IANA's zones and links, such as Europe/Berlin and UTC."""
    return frozenset((_PACKAGE / "zones").read_text().split())


@dataclass(frozen=True, slots=True)
class OffsetChange:
    """From `start` on, the clocks of a zone show UTC plus `offset`."""

    start: datetime
    offset: timedelta


@lru_cache(maxsize=1024)
def offset_changes(name: str) -> tuple[OffsetChange, ...]:
    """Returns every change of a zone's offset from UTC until the year 2100, the earliest first.

    The first is the offset before all changes, as of the year 1800. Changes of a zone's abbreviation or of
    its daylight-saving flag alone are left out. Raises KeyError for a name that `time_zone_names` hasn't.
    """
    if name not in time_zone_names():
        raise KeyError(name)
    file = _PACKAGE.joinpath("zoneinfo", *name.split("/"))
    with file.open("rb") as opened:
        zone = ZoneInfo.from_file(opened, key=name)
    changes = [OffsetChange(_FIRST, _offset(zone, _FIRST))]
    for start in _possible_changes(zone, file.read_bytes()):
        if (offset := _offset(zone, start)) != changes[-1].offset:
            changes.append(OffsetChange(start, offset))
    return tuple(changes)


def offset_at(name: str, moment: datetime) -> timedelta:
    """Returns a zone's offset from UTC at a moment. Raises KeyError for an unknown name."""
    changes = offset_changes(name)
    return changes[max(bisect_right(changes, moment, key=attrgetter("start")) - 1, 0)].offset


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _possible_changes(zone: ZoneInfo, data: bytes) -> Iterator[datetime]:
    """Yields the moments that the file lists, then those that follow from its rule."""
    last = _FIRST
    for seconds in _listed(data):
        if seconds > _FIRST.timestamp():  # some files list the Big Bang
            last = _EPOCH + timedelta(seconds=seconds)
            yield last
    # The rule at the end, if there is one, has two changes a year, months apart: weekly steps find each.
    while _has_rule(data) and last < _LAST:
        after = last + _STEP
        if _offset(zone, after) != _offset(zone, last):
            yield _change_between(zone, last, after)
        last = after


def _has_rule(data: bytes) -> bool:
    """Whether the file's last line says when clocks change: `CET-1CEST,M3.5.0,M10.5.0/3`, not `CET-1`."""
    return b"," in data.splitlines()[-1]


def _listed(data: bytes) -> tuple[int, ...]:
    *_, isut, isstd, leap, times, types, letters = _HEADER.unpack_from(data)
    second = _HEADER.size + times * 5 + types * 6 + letters + leap * 8 + isstd + isut
    count = _HEADER.unpack_from(data, second)[5]
    return struct.unpack_from(f">{count}q", data, second + _HEADER.size)


def _change_between(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Returns the second at which the offset becomes that of `after`."""
    old = _offset(zone, before)
    while after - before > _SECOND:
        middle = before + (after - before) // 2 // _SECOND * _SECOND
        before, after = (middle, after) if _offset(zone, middle) == old else (before, middle)
    return after
