"""Subscribers who wait are sent shared results together; the others are left to their own tasks."""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from graphql import GraphQLError

from graphql_api.execution.operations import Result
from graphql_api.execution.subscriptions import DirectDeliveries, Recipient, Results
from graphql_api.quotas import Usage, current_usage

EVENTS = ["an event"]
OTHERS = ["another"]


@dataclass(eq=False)
class Subscriber:
    """One who waits, with what the results are computed from and where they are sent."""

    deliveries: DirectDeliveries
    key: Hashable = "document"
    results: Results = field(default_factory=lambda: Results([Result({"n": 1})]))
    takes: bool = True
    may_read: bool = True
    fails: bool = False
    ready: bool = True
    due: Any = None
    woken: bool = False
    computed: int = 0
    sent: list[Results] = field(default_factory=list)
    usage: Usage = field(init=False)

    def __post_init__(self) -> None:
        self.usage = _Ready("someone", self.ready)

    def is_due(self, events: Any) -> bool:
        return self.due is events and not self.woken

    def delivered(self) -> None:
        self.due = None

    def wake(self) -> None:
        self.woken = True

    async def compute(self, _: Any) -> Results:
        self.computed += 1
        assert current_usage() is self.usage
        await asyncio.sleep(0)
        if self.fails:
            raise ValueError
        return self.results

    def deliver(self, results: Results) -> bool:
        if self.takes:
            self.sent.append(results)
        return self.takes

    def offer(self, events: Any = EVENTS) -> None:
        self.due = events
        recipient = Recipient(
            self.deliveries, self.key, self.compute, self.deliver, lambda: self.may_read, usage=self.usage
        )
        recipient.offer(events, self)


class _Ready(Usage):
    def __init__(self, owner: str, ready: bool) -> None:
        super().__init__(owner)
        self._ready = ready

    def is_ready(self) -> bool:
        return self._ready


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_is_due_the_same_shares_one_computation() -> None:
    deliveries = DirectDeliveries()
    same = [Subscriber(deliveries) for _ in range(250)]
    other = Subscriber(deliveries, key="another document")
    later = Subscriber(deliveries)
    for each in (*same, other):
        each.offer()
    later.offer(OTHERS)
    await settle()
    assert [each.sent for each in same] == [[same[0].results]] * 250
    assert (other.sent, later.sent) == ([other.results], [later.results])
    assert sum(each.computed for each in same) == 1
    assert not any(each.woken or each.due for each in (*same, other, later))


async def test_who_cannot_be_sent_anything_at_once_is_woken() -> None:
    deliveries = DirectDeliveries()
    slow, quick = Subscriber(deliveries, takes=False), Subscriber(deliveries)
    slow.offer()
    quick.offer()
    await settle()
    assert (slow.woken, slow.due, slow.sent) == (True, EVENTS, [])
    assert (quick.woken, len(quick.sent)) == (False, 1)


async def test_who_may_read_less_than_before_is_sent_nothing_and_woken() -> None:
    deliveries = DirectDeliveries()
    former, present = Subscriber(deliveries, may_read=False), Subscriber(deliveries)
    former.offer()
    present.offer()
    await settle()
    assert (former.woken, former.computed, former.sent) == (True, 0, [])
    assert (present.computed, len(present.sent)) == (1, 1)


async def test_rights_that_end_while_results_are_computed() -> None:
    deliveries = DirectDeliveries()
    subscriber = Subscriber(deliveries)
    subscriber.offer()
    while not subscriber.computed:
        await asyncio.sleep(0)
    subscriber.may_read = False
    await settle()
    assert (subscriber.woken, subscriber.sent) == (True, [])


async def test_who_has_points_to_pay_computes_nothing_for_others() -> None:
    deliveries = DirectDeliveries()
    owing, ready = Subscriber(deliveries, ready=False), Subscriber(deliveries)
    for each in (owing, ready):
        each.offer()
    await settle()
    assert (owing.computed, ready.computed) == (0, 1)
    assert (len(owing.sent), len(ready.sent)) == (1, 1)
    alone = Subscriber(deliveries, ready=False)
    alone.offer()
    await settle()
    assert (alone.computed, alone.woken) == (0, True)


async def test_errors_are_everyones_own() -> None:
    broken = Results([Result({"n": None}, [GraphQLError("broken")])])
    ended = Results([Result(errors=[GraphQLError("refused")], executed=False)])
    for results in (broken, ended):
        deliveries = DirectDeliveries()
        both = [Subscriber(deliveries, results=results) for _ in range(2)]
        for each in both:
            each.offer()
        await settle()
        assert [(each.woken, each.sent) for each in both] == [(True, [])] * 2


async def test_a_computation_that_fails_is_left_to_everyones_own_task() -> None:
    deliveries = DirectDeliveries()
    both = [Subscriber(deliveries, fails=True) for _ in range(2)]
    for each in both:
        each.offer()
    await settle()
    assert [(each.woken, each.sent) for each in both] == [(True, [])] * 2


async def test_who_has_gone_on_meanwhile_gets_nothing_twice() -> None:
    deliveries = DirectDeliveries()
    gone, there = Subscriber(deliveries), Subscriber(deliveries)
    gone.offer()
    there.offer()
    gone.due = OTHERS
    await settle()
    assert (gone.sent, gone.woken, len(there.sent)) == ([], False, 1)
