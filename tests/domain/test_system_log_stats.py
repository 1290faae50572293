"""How many log lines there are by time, level and component."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests import factories
from tests.graph import Graph, operator, trader

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
BUCKETS = """
query ($filter: SystemLogFilter, $interval: Interval! = HOUR) {
  systemLogStats(filter: $filter, interval: $interval) { time level component count }
}
"""


async def buckets(graph: Graph, **given: Any) -> list[tuple[str, str, str, int]]:
    answer = await graph.as_(operator()).ask(BUCKETS, given)
    return [tuple(bucket.values()) for bucket in answer.data["systemLogStats"]]


async def test_lines_are_counted_by_hour_level_and_component_the_newest_first(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    for minutes, level, component in (
        (0, "info", "bot"),
        (59, "INFO", "bot"),
        (59, "warn", "bot"),
        (60, "info", "risk"),
    ):
        moment = NOON + timedelta(minutes=minutes)
        await factories.system_log(connection, timestamp=moment, level=level, component=component)

    assert await buckets(graph) == [
        ("2026-11-20T13:00:00.000000Z", "INFO", "risk", 1),
        ("2026-11-20T12:00:00.000000Z", "INFO", "bot", 2),
        ("2026-11-20T12:00:00.000000Z", "WARNING", "bot", 1),
    ]


@pytest.mark.parametrize(
    ("interval", "times"),
    [
        ("DAY", ["2026-11-21", "2026-11-20"]),
        ("WEEK", ["2026-11-16"]),
        ("MONTH", ["2026-11-01"]),
    ],
)
async def test_spans_are_those_of_utc(
    graph: Graph, connection: "asyncpg.Connection", interval: str, times: list[str]
) -> None:
    for moment in (NOON, NOON + timedelta(hours=12)):
        await factories.system_log(connection, timestamp=moment)

    assert [bucket[0][:10] for bucket in await buckets(graph, interval=interval)] == times


async def test_the_filter_means_what_it_means_for_system_logs(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    for level in ("debug", "error", "fatal"):
        await factories.system_log(connection, level=level, message=f"a {level}", component=level)
    found = await buckets(graph, filter={"minLevel": "ERROR", "search": "FATAL"})

    assert [bucket[1:] for bucket in found] == [("CRITICAL", "fatal", 1)]


async def test_lines_without_a_timestamp_are_in_no_bucket(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    await factories.system_log(connection, timestamp=None)

    assert await buckets(graph) == []


async def test_an_unforeseen_level_is_other(graph: Graph, connection: "asyncpg.Connection") -> None:
    await factories.system_log(connection, level="chatty")

    assert [bucket[1] for bucket in await buckets(graph)] == ["OTHER"]


async def test_the_newest_2000_buckets_are_given(graph: Graph, connection: "asyncpg.Connection") -> None:
    await connection.execute(
        "INSERT INTO system_logs (timestamp, level, component, message)"
        " SELECT $1::timestamptz + n * interval '1 hour', 'info', 'bot', '' FROM generate_series(1, 2001) n",
        NOON,
    )
    found = await buckets(graph)

    assert len(found) == 2000
    assert found[-1][0] == "2026-11-20T14:00:00.000000Z"


async def test_who_may_not_read_logs_is_refused(graph: Graph, connection: "asyncpg.Connection") -> None:
    answer = await graph.as_(trader(await factories.user(connection))).ask(BUCKETS)

    assert answer.error["extensions"]["code"] == "FORBIDDEN"
    assert answer.statements == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"search": "x" * 1_001}, "filter.search: has more than 1000 characters"),
        ({"components": ["x" * 50, "x" * 51]}, "filter.components: has more than 50 characters"),
    ],
)
async def test_a_text_too_long_to_compare_with_is_refused(graph: Graph, given: Any, message: str) -> None:
    answer = await graph.as_(operator()).ask(BUCKETS, {"filter": given})
    assert answer.error["message"] == message
    assert answer.statements == 0
