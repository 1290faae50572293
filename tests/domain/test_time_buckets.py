"""Hours, days, weeks and months of time zones, in SQL, beside a clock that is read minute by minute."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, func, select

from graphql_api.domain.time_buckets import Interval, bucket_start, group_by_bucket, zone_parameters
from graphql_api.postgres.database import Database
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.postgres.tables.base import Timestamp
from graphql_api.postgres.type_codecs import rfc3339
from graphql_api.time_zones import offset_changes, time_zone_names
from tests.domain import clock_model

BEGIN, END = datetime(1980, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)

# Midnights that come twice, or not at all; clocks that go back behind midnight; half and quarter hours; a day
# that was skipped; rules that PostgreSQL's and the operating system's files may not know yet.
ODD_ZONES = [
    "America/Havana",
    "Atlantic/Azores",
    "Asia/Beirut",
    "Africa/Cairo",
    "America/Sao_Paulo",
    "America/Asuncion",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/Edmonton",
    "Europe/Berlin",
    "UTC",
]


def statement_for(interval: Interval) -> tuple[Statement, Statement]:
    """The start of one moment's bucket, and a grouped query."""
    moment = bindparam("moment", type_=Timestamp)
    moments = select(moment.label("moment")).subquery("moments")
    counted = select(func.count().label("count")).select_from(moments)
    return (
        compile_statement(select(bucket_start(interval, moment).label("time"))),
        compile_statement(select(group_by_bucket(counted, interval, moments.c.moment))),
    )


STATEMENTS = {interval: statement_for(interval) for interval in Interval}


async def starts(database: Database, interval: Interval, zone: str, moment: datetime) -> set[str]:
    """What both ways of asking answer."""
    parameters: dict[str, Any] = {"moment": moment, **zone_parameters(zone)}
    return {
        rfc3339(row["time"])
        for statement in STATEMENTS[interval]
        for row in await database.fetch(statement, **parameters)
    }


def written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@st.composite
def zones_and_moments(draw: st.DrawFn) -> tuple[str, datetime]:
    """Any moment of any zone; more often one of a zone with oddities, around a change of its clocks."""
    zone = draw(st.sampled_from(ODD_ZONES) | st.sampled_from(sorted(time_zone_names())))
    changes = [change.start for change in offset_changes(zone) if BEGIN < change.start < END]
    anywhere = st.integers(0, (END - BEGIN) // timedelta(minutes=1)).map(
        lambda minutes: BEGIN + timedelta(minutes=minutes)
    )
    if not changes:
        return zone, draw(anywhere)
    around = st.builds(
        lambda change, minutes, micros: change + timedelta(minutes=minutes, microseconds=micros),
        st.sampled_from(changes),
        st.integers(-180, 180) | st.integers(-2880, 2880),
        st.sampled_from([0, 0, -1, 1]),
    )
    return zone, draw(around | anywhere)


@given(chosen=zones_and_moments(), interval=st.sampled_from(list(Interval)))
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_buckets_begin_when_the_clock_says_so(
    database: Database, chosen: tuple[str, datetime], interval: Interval
) -> None:
    zone, moment = chosen

    assert await starts(database, interval, zone, moment) == {
        written(clock_model.bucket_start(moment, interval.name, zone))
    }


@pytest.mark.parametrize(
    ("zone", "interval", "moment", "start"),
    [
        # Midnight comes twice, at 04:00 and 05:00 UTC, and at 00:00 and 01:00 UTC.
        ("America/Havana", Interval.DAY, "2025-11-02T04:30:00Z", "2025-11-02T04:00:00.000000Z"),
        ("America/Havana", Interval.DAY, "2025-11-02T05:30:00Z", "2025-11-02T04:00:00.000000Z"),
        ("Atlantic/Azores", Interval.DAY, "2026-10-25T00:30:00Z", "2026-10-25T00:00:00.000000Z"),
        ("Atlantic/Azores", Interval.DAY, "2026-10-25T01:30:00Z", "2026-10-25T00:00:00.000000Z"),
        ("Atlantic/Azores", Interval.HOUR, "2026-10-25T00:30:00Z", "2026-10-25T00:00:00.000000Z"),
        ("Atlantic/Azores", Interval.HOUR, "2026-10-25T01:30:00Z", "2026-10-25T01:00:00.000000Z"),
        # A week and a month that begin with such a day.
        ("America/Havana", Interval.MONTH, "2015-11-01T04:30:00Z", "2015-11-01T04:00:00.000000Z"),
        ("America/Havana", Interval.WEEK, "2025-11-02T04:30:00Z", "2025-10-27T04:00:00.000000Z"),
        # No midnight: the day begins at 01:00.
        ("Asia/Beirut", Interval.DAY, "2026-03-29T10:00:00Z", "2026-03-28T22:00:00.000000Z"),
        # No 30 December 2011.
        ("Pacific/Apia", Interval.DAY, "2011-12-30T09:59:59Z", "2011-12-29T10:00:00.000000Z"),
        ("Pacific/Apia", Interval.DAY, "2011-12-30T10:00:00Z", "2011-12-30T10:00:00.000000Z"),
        # From 00:01 back to 23:01: the day that had begun goes on.
        ("America/St_Johns", Interval.DAY, "2010-11-07T02:30:30Z", "2010-11-07T02:30:00.000000Z"),
        ("America/St_Johns", Interval.DAY, "2010-11-07T03:00:00Z", "2010-11-07T02:30:00.000000Z"),
        # An hour that is repeated by half.
        ("Australia/Lord_Howe", Interval.HOUR, "2026-04-04T14:59:00Z", "2026-04-04T14:00:00.000000Z"),
        ("Australia/Lord_Howe", Interval.HOUR, "2026-04-04T15:10:00Z", "2026-04-04T15:00:00.000000Z"),
        ("Australia/Lord_Howe", Interval.HOUR, "2026-04-04T15:40:00Z", "2026-04-04T15:30:00.000000Z"),
        # Without a change of clocks since the summer of 2026.
        ("America/Edmonton", Interval.DAY, "2026-12-01T06:30:00Z", "2026-12-01T06:00:00.000000Z"),
        ("America/Winnipeg", Interval.DAY, "2026-12-01T05:30:00Z", "2026-12-01T05:00:00.000000Z"),
        ("Africa/Casablanca", Interval.DAY, "2026-12-01T00:30:00Z", "2026-12-01T00:00:00.000000Z"),
    ],
)
async def test_days_that_are_not_like_others(
    database: Database, zone: str, interval: Interval, moment: str, start: str
) -> None:
    assert await starts(database, interval, zone, datetime.fromisoformat(moment)) == {start}


FIRST, LAST = "0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00"


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Kiritimati", "America/Los_Angeles"])
@pytest.mark.parametrize("interval", Interval)
@pytest.mark.parametrize(
    ("moment", "seen"),
    [
        ("-infinity", FIRST),
        ("4714-11-24 00:00:00+00 BC", FIRST),  # PostgreSQL's first moment: it has no Monday or month before
        ("0001-12-31 23:59:59.999999+00 BC", FIRST),
        ("10000-01-01 00:00:00+00", LAST),
        ("294276-12-31 23:59:59.999999+00", LAST),  # its last
        ("infinity", LAST),
    ],
)
async def test_a_moment_beyond_the_calendar_is_in_the_bucket_of_what_clients_see(
    database: Database, interval: Interval, zone: str, moment: str, seen: str
) -> None:
    _, grouped = STATEMENTS[interval]
    found, expected = [
        [row["time"] for row in await database.fetch(grouped, moment=each, **zone_parameters(zone))]
        for each in (moment, seen)
    ]
    assert found == expected
    assert {rfc3339(time)[:4] for time in found} == {seen[:4]}


@pytest.mark.parametrize(
    ("interval", "first", "last"),
    [
        (Interval.HOUR, FIRST, "9999-12-31 23:00:00+00"),
        (Interval.DAY, FIRST, "9999-12-31 00:00:00+00"),
        (Interval.WEEK, FIRST, "9999-12-27 00:00:00+00"),
        (Interval.MONTH, FIRST, "9999-12-01 00:00:00+00"),
    ],
)
async def test_the_first_and_the_last_bucket(
    database: Database, interval: Interval, first: str, last: str
) -> None:
    for statement in STATEMENTS[interval]:
        for moment, start in ((FIRST, first), (LAST, last)):
            (row,) = await database.fetch(statement, moment=moment, **zone_parameters("UTC"))
            assert row["time"] == start
