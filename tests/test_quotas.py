"""Concurrency quotas share places among owners."""

import asyncio
import time

import pytest

from graphql_api.quotas import (
    AmountQuota,
    ConcurrencyQuota,
    Metered,
    QuotaFullError,
    Usage,
    current_usage,
)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Desk:
    """Owners who enter, and the order in which they got in."""

    def __init__(self, quota: ConcurrencyQuota) -> None:
        self.quota = quota
        self.entered: list[str] = []

    async def _enter(self, name: str) -> None:
        await self.quota.enter(name[0])
        self.entered.append(name)

    async def enter(self, *names: str) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self._enter(name)) for name in names]
        await settle()
        return tasks

    async def leave(self, owner: str) -> None:
        self.quota.leave(owner)
        await settle()


async def test_each_owner_has_a_share_and_waits_for_more_in_order() -> None:
    desk = Desk(ConcurrencyQuota(2))
    await desk.enter("a1", "a2", "a3", "a4", "b1")
    assert desk.entered == ["a1", "a2", "b1"]
    await desk.leave("a")
    await desk.leave("b")
    await desk.leave("a")
    assert desk.entered == ["a1", "a2", "b1", "a3", "a4"]


async def test_a_free_place_goes_to_the_owner_who_has_the_fewest() -> None:
    desk = Desk(ConcurrencyQuota(3, total=3))
    await desk.enter("a1", "a2", "a3", "a4", "a5", "b1", "c1", "b2")
    for _ in range(3):
        await desk.leave("a")
    assert desk.entered == ["a1", "a2", "a3", "b1", "c1", "a4"]


async def test_no_more_wait_than_may() -> None:
    quota = ConcurrencyQuota(1, waiting=1)
    desk = Desk(quota)
    await desk.enter("a1", "a2")
    with pytest.raises(QuotaFullError):
        await quota.enter("a")
    await quota.enter("b")
    with pytest.raises(QuotaFullError):
        await ConcurrencyQuota(0, waiting=0).enter("a")


async def test_no_more_wait_in_all_than_may_and_who_cant_be_refused_is_not_counted() -> None:
    quota = ConcurrencyQuota(1, waiting=2, all_waiting=3)
    desk = Desk(quota)
    refusable = asyncio.create_task(quota.enter("z"))
    unrefusable = asyncio.create_task(quota.enter("z", refusable=False))
    await desk.enter("a1", "a2", "a3", "b1", "b2")
    assert desk.entered == ["a1", "b1"]
    with pytest.raises(QuotaFullError):
        await quota.enter("b")
    await desk.leave("a")
    await desk.enter("b3")
    assert desk.entered == ["a1", "b1", "a2"]
    for _ in range(2):
        await desk.leave("b")
    assert desk.entered == ["a1", "b1", "a2", "b2", "b3"]
    await desk.leave("z")
    await asyncio.gather(refusable, unrefusable)


@pytest.mark.parametrize("moment", ["before its turn", "at its turn"])
async def test_who_is_cancelled_leaves_its_place_to_the_next(moment: str) -> None:
    desk = Desk(ConcurrencyQuota(1))
    _, second, third = await desk.enter("a1", "a2", "a3")
    if moment == "at its turn":
        desk.quota.leave("a")
        second.cancel()
        await settle()
    else:
        second.cancel()
        await desk.leave("a")
    assert desk.entered == ["a1", "a3"]
    assert third.done()
    await desk.leave("a")
    assert desk.quota.taken("a") == 0
    assert desk.quota.enter_at_once("a")


async def work(seconds: float) -> None:
    """Holds the event loop, in two steps."""
    for _ in range(2):
        until = time.thread_time() + seconds / 2
        while time.thread_time() < until:
            pass
        await asyncio.sleep(0)


async def test_an_operation_has_used_what_all_its_tasks_have_worked() -> None:
    with Usage("") as outer:
        with Usage("ada") as usage:
            task: asyncio.Task[None] = asyncio.create_task(Metered(work(0.02)))
            await Metered(work(0.02))
            await task
        assert current_usage() is outer
    assert usage.cpu >= 0.04
    assert outer.cpu == 0


async def test_what_others_have_worked_meanwhile_is_not_its_own() -> None:
    with Usage("ada") as usage:
        other = asyncio.create_task(work(0.02))
        await Metered(asyncio.sleep(0))
        await other
    assert usage.cpu < 0.02


def test_each_owner_may_take_as_much_as_any_other() -> None:
    quota = AmountQuota(10)
    quota.take("ada", 6)
    with pytest.raises(QuotaFullError):
        quota.take("ada", 5)
    quota.take("ada", 4)
    quota.take("bob", 10)
    quota.give_back("ada", 6)
    quota.take("ada", 6)
