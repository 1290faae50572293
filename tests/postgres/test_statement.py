"""Statements that take long to build are built beside the event loop, and kept within a bound."""

import threading

from graphql_api.postgres import statement
from graphql_api.postgres.statement import MAX_LARGE_MEMORY, Statement, build_aside
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
    assert built.names != (threading.current_thread().name,)


async def test_so_many_are_kept_as_their_memory_allows() -> None:
    for number in range(40):
        await build_aside(busy, number)
    assert 0 < statement._large.currsize <= MAX_LARGE_MEMORY
