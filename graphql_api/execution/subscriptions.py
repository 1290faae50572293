"""Subscriptions: the results of each event, computed once for all subscribers who may share them, and sent.

    subscribe            yields the results of the events of an operation's source
    sharing              subscribers with the same operation, variables and permissions share results, which
                         are cached with the event (`SharedEvent`): one computes them, the others wait
    direct delivery      a subscriber who waits for the next event offers those that come (`Recipient.offer`),
                         and is sent their results without its task being woken (`DirectDeliveries`)

Events that are delivered directly are executed at once for viewers of several tenants, where the operation
allows that. A subscriber who can't be sent results without waiting is woken, and its own task computes and
sends them, as if nothing had been offered: one who reads slowly, who may read less than before, who has
points to pay first, or whose results have errors.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AsyncExitStack, aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from inspect import isawaitable
from itertools import accumulate, islice, pairwise
from typing import Any, Final, Protocol, cast

import orjson
from graphql import ExecutionResult, located_error
from graphql.execution import create_source_event_stream

from graphql_api.execution.errors import PermissionsChangedError
from graphql_api.execution.fields import AroundHook
from graphql_api.execution.inputs import dump_json
from graphql_api.execution.operations import Operation, Operations, Result
from graphql_api.execution.projection import JointContext, OperationContext
from graphql_api.execution.stock_executor import Invocation
from graphql_api.quotas import Metered, Usage, create_own_task, current_usage

MAX_SHARED_RESULTS: Final = 8
"""Results cached with one event. Those of further subscribers are computed for each of them."""
_BEGUN_AT_ONCE: Final = 50
"""Computations that begin in one iteration of the event loop, so that other tasks run in between."""
_SENT_AT_ONCE: Final = 100
"""Subscribers who are sent the same results in one iteration."""

log = logging.getLogger(__name__)

NewContext = Callable[[], OperationContext]
"""Makes the context of one event."""
ReadAccess = Callable[[], Hashable]
"""Returns a subscriber's permissions as they are now. Subscribers with equal values may share results."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a subscription's source has come: yielded while it has no events.

    It is no result, and no part of GraphQL. Transports send it to their clients between the results.
    """

    cursor: str
    """Where a client that has had every event so far may resume."""
    up_to_date: bool = False
    """Whether every event from before the subscription has been sent."""

    @property
    def message(self) -> dict[str, Any]:
        """Returns it as clients are sent it."""
        message: dict[str, Any] = {"cursor": self.cursor}
        if self.up_to_date:
            message["upToDate"] = True
        return message


class Results(list[Result]):
    """The results of events that were due at the same time, which many subscribers may share.

    Empty where there is `progress`. `encoded` is a cache for transports, by keys of their own: the results as
    they send them.
    """

    __slots__ = ("encoded", "progress")

    def __init__(self, results: Iterable[Result] = (), progress: Progress | None = None) -> None:
        super().__init__(results)
        self.encoded: dict[Any, Any] = {}
        self.progress = progress

    @property
    def are_sharable(self) -> bool:
        """Whether other subscribers may get them: errors are everyone's own."""
        return all(result.executed and not result.errors for result in self)


Deliver = Callable[[Results], bool]
"""Sends results without waiting. Returns False if that can't be done, and nothing was sent then."""
Compute = Callable[[Any], Awaitable[Results]]
"""Computes the results of events for one subscriber; for others with the same key they are the same."""


class SharedEvent(Protocol):
    """An event that many subscribers get as the same object, with results that they share.

    A list of events that are due at the same time may be one, too.
    """

    results: dict[Any, Any]
    """Results by `Subscriber.key`; kept as long as the event."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """What one subscriber asked for, and what they might read when the subscription began."""

    operation: Operation
    make_context: NewContext
    read_access: ReadAccess | None
    access: Hashable
    result_key: Hashable

    @classmethod
    def of(
        cls, operation: Operation, make_context: NewContext, read_access: ReadAccess | None
    ) -> "Subscriber":
        """Returns a subscriber with the permissions of now."""
        access = None if read_access is None else read_access()
        return cls(operation, make_context, read_access, access, _result_key(operation))

    @property
    def key(self) -> Hashable | None:
        """Equal for subscribers whose results are the same; None for one who shares none."""
        return None if self.read_access is None else (self.result_key, self.access)

    def has_access(self) -> bool:
        """Whether the subscriber may still read the same."""
        return self.read_access is None or self.read_access() == self.access

    def check_access(self) -> None:
        """Raises PermissionsChangedError unless the subscriber may still read the same."""
        if not self.has_access():
            raise PermissionsChangedError(self.operation.parsed.definition)

    def new_context(self) -> OperationContext:
        """Returns the context of one event. Raises PermissionsChangedError."""
        self.check_access()
        return self.make_context()


def _result_key(operation: Operation) -> Hashable:
    """Returns a key that is equal for subscribers whose results differ only by what they may read."""
    given = operation.request.variables or {}
    names = operation.parsed.analysis.result_variables
    values = {name: given[name] for name in names if name in given}
    return operation.parsed, dump_json(values, sort_keys=True)


class Subscriptions:
    """Runs the subscriptions of one schema."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._deliveries = DirectDeliveries()

    async def subscribe(
        self,
        operation: Operation,
        new_context: NewContext,
        read_access: ReadAccess | None = None,
        deliver: Deliver | None = None,
    ) -> AsyncGenerator[Results, None]:
        """Runs a subscription: a result for each event, each with a context of its own.

        Yields together the results of events that are due at the same time. Subscribers with equal
        `read_access` share the results of a `SharedEvent`; without it, none are shared. A source's `Progress`
        is yielded with an empty list. A result that wasn't executed is the last one: the subscription was
        refused, or its source failed. The subscription also ends, before anything more is yielded, once
        `read_access` differs from its first value, since the source may have chosen events by that. Close the
        generator to end it.

        With `read_access`, results that come while the next ones are awaited may be given to `deliver`
        instead of being yielded.
        """
        subscriber = Subscriber.of(operation, new_context, read_access)
        context = new_context()
        refusal = self._operations.check_root_fields(operation, context)
        invocation = refusal or self._operations.invocation(operation, context)
        if isinstance(invocation, Result):
            yield Results([invocation])
            return
        if deliver is not None and read_access is not None:
            context.on_due = self._recipient(subscriber, invocation, deliver).offer
        source = create_source_event_stream(invocation.stock_executor())
        if isawaitable(source):
            source = await source
        if isinstance(source, ExecutionResult):
            yield Results([self._operations.refusal(source.errors or ())])
            return
        try:
            async with aclosing(cast("AsyncGenerator[Any, None]", source)) as events:
                async for event in events:
                    if isinstance(event, Progress):
                        subscriber.check_access()
                        yield Results(progress=event)
                        continue
                    results = await self._results(event, subscriber, invocation)
                    subscriber.check_access()
                    yield results
                    if not results[-1].executed:
                        return
        except PermissionsChangedError as error:
            yield Results([self._operations.refusal([error])])
        except Exception as error:  # noqa: BLE001 - any error of the source is the subscription's last result
            node = operation.parsed.analysis.root_fields[0]
            root_field = (node.alias or node.name).value
            yield Results([self._operations.refusal([located_error(error, [node], [root_field])])])

    def _recipient(self, subscriber: Subscriber, invocation: Invocation, deliver: Deliver) -> "Recipient":
        """Returns what takes the events that come while a subscriber waits for the next ones."""
        context = invocation.context
        return Recipient(
            self._deliveries,
            subscriber.key,
            lambda events: self._results(events, subscriber, invocation),
            deliver,
            subscriber.has_access,
            JointOperation((subscriber.result_key, context.joint_key), self, invocation, context),
        )

    async def _results(self, due: Any, subscriber: Subscriber, invocation: Invocation) -> Results:
        """Returns the results of an event, or of the events in a list of them that is shared."""
        cache = _cache_of(due) if isinstance(due, list) else None
        if cache is None:
            return Results([await self._result(due, subscriber, invocation, subscriber.new_context)])
        key = subscriber.key
        results = await _cached(cache, key)
        if results is None:
            around = self._around_loading(invocation)
            if around is None:
                results = Results(
                    [
                        await self._result(event, subscriber, invocation, subscriber.new_context)
                        for event in due
                    ]
                )
                _keep(cache, key, results)
            else:
                async with current_usage().reserve():
                    results = await _cached(cache, key)
                    if results is None:
                        with _computing(cache, key):
                            results = await self._load_results(due, subscriber, invocation, around)
                            _keep(cache, key, results)
        return results

    async def _load_results(
        self, due: Sequence[Any], subscriber: Subscriber, invocation: Invocation, around: AroundHook
    ) -> Results:
        """Returns the results of events that share a context, so that their loads share statements."""
        context = subscriber.new_context()
        async with around(context):
            each = [self._result(event, subscriber, invocation, lambda: context, len(due)) for event in due]
            if len(each) == 1:  # it needs no task of its own
                results = Results([await Metered(each[0])])
            else:
                results = Results(await asyncio.gather(*map(Metered, each)))
        failed = next((result for result in results if result.is_incomplete), None)
        if failed is not None:
            # Sent without its rows, the event would tell clients that they are gone: end, so that they
            # resume.
            return Results([Result(errors=failed.errors, executed=False)])
        return results

    async def _result(
        self,
        event: Any,
        subscriber: Subscriber,
        invocation: Invocation,
        new_context: NewContext,
        executions_in_context: int = 1,
    ) -> Result:
        """Returns the result of one event. So many executions share its context at the same time."""
        cache, key = _cache_of(event), subscriber.key
        if cache is not None and (known := cache.get(key)) is not None:
            return cast("Result", known)
        invocation = replace(invocation, root_value=event, context=new_context())
        result = await self._operations.run(invocation, executions_in_context)
        if cache is not None and key is not None and not result.errors:
            # Cached as bytes, which take less memory than the data.
            result = Result.rendered(result.render())
            _keep(cache, key, result)
        return result

    def _around_loading(self, invocation: Invocation) -> AroundHook | None:
        """Returns what runs around the execution of results; None if they need nothing but their events."""
        plan = self._operations.plan(invocation)
        if plan is not None and not any(each.completion.may_await for each in plan.root.fields):
            return None
        return self._operations.around(invocation.operation) or nullcontext

    async def compute_together(
        self, due: "Sequence[Delivery]", invocation: Invocation, context: JointContext
    ) -> list[Results] | None:
        """Returns the results of several viewers' events, executed at once.

        None if an error came of it, or they can't be: then they have to be executed one by one.
        """
        plan = self._operations.plan(invocation)
        if plan is None or plan.needs_viewer:
            return None
        invocation = replace(invocation, context=context)
        events = [event for delivery in due for event in delivery.events]
        async with (self._around_loading(invocation) or nullcontext)(context):
            data = await self._operations.execution(plan, invocation).run_each(events)
        if data is None or context.needs_viewer:
            plan.needs_viewer = context.needs_viewer
            return None
        rendered = [Result.rendered(orjson.dumps({"data": each})) for each in data]
        ends = accumulate((len(delivery.events) for delivery in due), initial=0)
        computed = []
        for delivery, (start, end) in zip(due, pairwise(ends), strict=True):
            results = Results(rendered[start:end])
            _keep(delivery.events.results, delivery.key, results)
            computed.append(results)
        return computed


def _cache_of(event: Any) -> dict[Any, Any] | None:
    """Returns the results that subscribers share of an event; None unless it is a SharedEvent."""
    return getattr(event, "results", None)


def _keep(cache: dict[Any, Any], key: Hashable | None, value: Result | Results) -> None:
    """Caches results without errors, for subscribers to share."""
    errors = value.errors if isinstance(value, Result) else any(result.errors for result in value)
    if key is not None and not errors and (key in cache or len(cache) < MAX_SHARED_RESULTS):
        cache[key] = value


class _Computation:
    """Results that one subscriber computes, and others wait for."""

    __slots__ = ("_waiters", "is_cancelled")

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []
        self.is_cancelled = False

    async def wait(self) -> None:
        """Returns when the computation has ended, with or without results."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def end(self) -> None:
        """Wakes all who wait."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


async def _cached(cache: dict[Any, Any], key: Hashable | None) -> Results | None:
    """Returns the results that another subscriber has computed, or waits for them; None if there are none."""
    while isinstance(found := cache.get(key), _Computation):
        await found.wait()
        if not found.is_cancelled:
            found = cache.get(key)
            return found if isinstance(found, Results) else None
    return cast("Results | None", found)


@contextmanager
def _computing(cache: dict[Any, Any], key: Hashable | None) -> Iterator[None]:
    """Makes other subscribers wait for the block's results; if it is cancelled, one of them computes them."""
    computation = _Computation()
    if key is not None and len(cache) < MAX_SHARED_RESULTS:
        cache[key] = computation
    try:
        yield
    except asyncio.CancelledError:
        computation.is_cancelled = True
        raise
    finally:
        if cache.get(key) is computation:
            del cache[key]
        computation.end()


@dataclass(frozen=True, slots=True)
class JointOperation:
    """An operation that executes the events of several viewers together. Equal keys make equal operations."""

    key: Hashable
    subscriptions: Subscriptions = field(compare=False)
    invocation: Invocation = field(compare=False)
    context: OperationContext = field(compare=False)

    async def compute(self, due: "Sequence[Delivery]") -> list[Results] | None:
        """Returns the results of each delivery's events; None if they have to be computed one by one."""
        context = self.context.joint()
        if context is None:
            return None
        return await self.subscriptions.compute_together(due, self.invocation, context)


class Waiting(Protocol):
    """A source's subscription whose consumer waits for events, and which has offered some."""

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
    """Whether the subscriber may still read the same."""
    operation: JointOperation | None = None
    """What computes the results together with those of other keys, if it can."""
    usage: Usage = field(default_factory=current_usage)

    def offer(self, events: Any, subscription: Waiting) -> None:
        """Notes that these events are due, to be delivered in the event loop's next iteration."""
        self.deliveries.add(events, self, subscription)


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
        together: defaultdict[JointOperation, list[Delivery]] = defaultdict(list)
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


async def _run_together(operation: JointOperation, deliveries: Sequence[Delivery]) -> None:
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
