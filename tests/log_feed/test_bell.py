"""One call that wakes everybody who waits."""

import asyncio

import pytest

from graphql_api.log_feed.broadcast import Bell


async def test_a_ring_wakes_all_who_wait() -> None:
    bell = Bell()
    waiting = [asyncio.create_task(bell.heard()) for _ in range(3)]
    await asyncio.sleep(0)
    bell.ring()
    await asyncio.gather(*waiting)


async def test_a_ring_is_not_remembered() -> None:
    bell = Bell()
    bell.ring()
    waiting = asyncio.create_task(bell.heard())
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring()
    await waiting


async def test_who_has_waited_long_enough_goes_on() -> None:
    await Bell().heard(timeout=0.001)


async def test_who_is_cancelled_leaves_the_others_alone() -> None:
    bell = Bell()
    first, second = (asyncio.create_task(bell.heard()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    bell.ring()
    await second


async def test_a_thousand_are_woken_by_and_by() -> None:
    bell = Bell()
    waiting = [asyncio.create_task(bell.heard()) for _ in range(1000)]
    await asyncio.sleep(0)
    bell.ring()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < sum(task.done() for task in waiting) < 1000
    await asyncio.gather(*waiting)
