"""Direct delivery: sends the results of events to subscribers who wait, without waking their tasks.

A subscriber who waits for the next event offers those that come (`Recipient.offer`). Those who are due the
same results share one computation, and are sent them in one go; results for viewers of several tenants are
computed at once, where the operation allows that. Whoever can't be sent theirs without waiting is woken, and
has them computed and sent by its own task, as if nothing had been offered: one who reads slowly, who may read
less than before, who has points to pay first, or whose results have errors.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, Protocol

from graphql_api.quotas import Metered, Usage, create_own_task, current_usage


class Results(Protocol):
    """The results of events."""

    @property
    def are_sharable(self) -> bool:
        """Whether other subscribers may get them."""


Compute = Callable[[Any], Awaitable[Results]]
"""Computes the results of events for one subscriber; for others with the same key they are the same."""
Deliver = Callable[[Any], bool]
"""Sends results without waiting. Returns False if that can't be done, and nothing was sent then."""

_BEGUN_AT_ONCE: Final = 50
"""Computations that begin in one iteration of the event loop, so that other tasks run in between."""
_SENT_AT_ONCE: Final = 100
"""Subscribers who are sent the same results in one iteration."""

log = logging.getLogger(__name__)


class Waiting(Protocol):
    """A subscription whose consumer waits for events, and which has offered some."""

    def is_due(self, events: Any) -> bool:
        """Whether nobody has had these events yet, and the consumer still waits."""

    def delivered(self) -> None:
        """Goes on behind the events that were offered."""

    def wake(self) -> None:
        """Wakes the consumer, which takes them itself."""


@dataclass(frozen=True, eq=False, slots=True)
class Recipient:
    """One subscriber, as far as results may be delivered to it directly."""

    deliveries: "DirectDeliveries"
    key: Hashable
    """Equal for those who have the same results of the same events."""
    compute: Compute
    deliver: Deliver
    has_access: Callable[[], bool]
    """Whether the viewer may still read what the results are computed for."""
    operation: "SharedOperation | None" = None
    """What results may be computed by together with those of other keys."""
    usage: Usage = field(default_factory=current_usage)

    def offer(self, events: Any, subscription: Waiting) -> None:
        """Notes that these events are due, to be delivered in the event loop's next iteration."""
        self.deliveries.add(events, self, subscription)


class SharedOperation(Protocol):
    """An operation that can be executed at once for events of several viewers. Equal ones are the same."""

    async def compute(self, due: "Sequence[Delivery]") -> "Sequence[Results] | None":
        """Returns the results of each delivery's events; None if they have to be computed one by one."""


class DirectDeliveries:
    """The events that subscribers of a process are due, until they have been delivered."""

    def __init__(self) -> None:
        self._due: dict[tuple[int, Hashable], Delivery] = {}
        """What hasn't begun yet, by the identity of the events and the recipients' key."""
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, events: Any, recipient: Recipient, subscription: Waiting) -> None:
        """Has events delivered to a recipient, together with others of its key who are due the same."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._begin)
        identity = id(events), recipient.key
        delivery = self._due.get(identity)
        if delivery is None:
            delivery = self._due[identity] = Delivery(events, recipient.key)
        delivery.recipients.append((recipient, subscription))

    def _begin(self) -> None:
        together: defaultdict[SharedOperation, list[Delivery]] = defaultdict(list)
        for identity in tuple(islice(self._due, _BEGUN_AT_ONCE)):
            delivery = self._due.pop(identity)
            operation = delivery.recipients[0][0].operation
            if operation is None:
                self._start(delivery.run())
            else:
                together[operation].append(delivery)
        for operation, deliveries in together.items():
            alone = len(deliveries) == 1
            self._start(deliveries[0].run() if alone else _run_together(operation, deliveries))
        if self._due:
            asyncio.get_running_loop().call_soon(self._begin)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = create_own_task(work, "direct delivery")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@dataclass(eq=False, slots=True)
class Delivery:
    """Events, and those who are due the same results of them."""

    events: Any
    key: Hashable
    recipients: list[tuple[Recipient, Waiting]] = field(default_factory=list)

    async def run(self, results: Results | None = None) -> None:
        """Computes the results once, if they aren't known, and sends them.

        Wakes those whom they can't be sent to.
        """
        try:
            if results is None:
                results = await self._compute()
            if results is not None:
                await self._send(results)
        except Exception:
            log.debug("events are left to the subscribers' own tasks, which will fail too", exc_info=True)
        finally:
            for _, subscription in self.recipients:
                if subscription.is_due(self.events):
                    subscription.wake()

    def payer(self) -> Recipient | None:
        """Returns one of those for whom the results can be computed now, without waiting."""
        for recipient, subscription in self.recipients:
            if subscription.is_due(self.events) and recipient.has_access() and recipient.usage.is_ready():
                return recipient
        return None

    async def _compute(self) -> Results | None:
        """Returns results that are everybody's; None where each subscriber has to compute its own."""
        payer = self.payer()
        if payer is None:
            return None
        with payer.usage.charged():
            results = await payer.compute(self.events)
        return results if results.are_sharable else None

    async def _send(self, results: Results) -> None:
        for number, (recipient, subscription) in enumerate(self.recipients, 1):
            if subscription.is_due(self.events) and recipient.has_access() and recipient.deliver(results):
                subscription.delivered()
            if number % _SENT_AT_ONCE == 0:
                await asyncio.sleep(0)


async def _run_together(operation: SharedOperation, deliveries: Sequence[Delivery]) -> None:
    """Computes the results of several deliveries at once, and sends them."""
    payers: dict[Delivery, Recipient] = {}
    computed: dict[Delivery, Results] = {}
    try:
        async with AsyncExitStack() as places:
            for delivery in deliveries:
                payer = delivery.payer()
                if payer is not None:
                    await places.enter_async_context(payer.usage.reserve())
                    payers[delivery] = payer
            usage = Usage("")
            with usage.charged():
                results = await Metered(operation.compute(tuple(payers)))
            for payer in payers.values():
                payer.usage.add_part(usage, len(payers))
        if results is not None:
            computed = dict(zip(payers, results, strict=True))
    except Exception:
        log.debug("events are executed for each viewer by themselves", exc_info=True)
    for delivery, results in computed.items():
        await delivery.run(results)
    await asyncio.gather(*(delivery.run() for delivery in deliveries if delivery not in computed))
