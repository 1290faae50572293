"""One call wakes all tasks that wait."""

import asyncio

import pytest

from graphql_api.log_feed.hub import Broadcast, WakeQueue


async def test_a_notification_wakes_all_who_wait() -> None:
    broadcast = Broadcast(WakeQueue())
    waiting = [asyncio.create_task(broadcast.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    broadcast.notify_all()
    await asyncio.gather(*waiting)


async def test_a_notification_is_not_remembered() -> None:
    broadcast = Broadcast(WakeQueue())
    broadcast.notify_all()
    waiting = asyncio.create_task(broadcast.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    broadcast.notify_all()
    await waiting


async def test_a_wait_ends_after_its_timeout() -> None:
    await Broadcast(WakeQueue()).wait(timeout=0.001)


async def test_a_cancelled_wait_disturbs_no_other() -> None:
    broadcast = Broadcast(WakeQueue())
    first, second = (asyncio.create_task(broadcast.wait()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    broadcast.notify_all()
    await second


async def test_a_thousand_are_woken_over_several_turns_of_the_loop() -> None:
    broadcast = Broadcast(WakeQueue())
    waiting = [asyncio.create_task(broadcast.wait()) for _ in range(1000)]
    await asyncio.sleep(0)
    broadcast.notify_all()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < sum(task.done() for task in waiting) < 1000
    await asyncio.gather(*waiting)
