"""Statements: how their values are sent, and that those that take long to build are built in a thread."""

import threading
from datetime import UTC, datetime

from sqlalchemy import ARRAY, DateTime, Integer, bindparam, select

from graphql_api.postgres import statement
from graphql_api.postgres.statement import MAX_LARGE_MEMORY, Statement, build_aside, compile_statement
from graphql_api.quotas import Usage


def busy(number: int) -> Statement:
    """Builds a statement of a megabyte, which names the thread that it was built in."""
    sum(range(100_000))
    return Statement(f"SELECT {number}".ljust(1_000_000), (threading.current_thread().name,), {})


async def test_a_statement_is_built_in_another_thread_once_and_its_time_is_counted() -> None:
    with Usage("somebody") as usage:
        built = await build_aside(busy, 1)
        assert usage.other_threads > 0
        took = usage.other_threads
        assert await build_aside(busy, 1) is built
        assert usage.other_threads == took
        assert usage.new_statements == 1
    assert built.names != (threading.current_thread().name,)


async def test_so_many_are_kept_as_their_memory_allows() -> None:
    for number in range(40):
        await build_aside(busy, number)
    assert 0 < statement._large.currsize <= MAX_LARGE_MEMORY


def test_moments_go_out_as_text_and_other_values_as_they_are() -> None:
    moment, day = datetime(2026, 11, 22, 9, tzinfo=UTC), datetime(2026, 11, 22)  # noqa: DTZ001 - without a zone
    query = select(
        bindparam("moment", type_=DateTime(timezone=True)),
        bindparam("moments", type_=ARRAY(DateTime(timezone=True))),
        bindparam("nothing", type_=DateTime(timezone=True)),
        bindparam("day", type_=DateTime()),
        bindparam("days", type_=ARRAY(DateTime())),
        bindparam("number", type_=Integer),
    )
    values = {"moment": moment, "moments": [moment, None], "nothing": None, "day": day, "days": [day]}
    sent = compile_statement(query).arguments(values | {"number": 1})

    text = "2026-11-22 09:00:00+00:00"
    assert sent == [text, [text, None], None, day, [day], 1]
