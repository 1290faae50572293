"""Concurrency quotas for operations and connections, and the measured usage of an operation."""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar, Token, copy_context
from hashlib import sha256
from ipaddress import IPv6Address, IPv6Network, ip_address
from time import perf_counter, thread_time
from typing import Any, Self, TypeVar

T = TypeVar("T")


def client_network(address: str) -> str:
    """Returns the network by which anonymous clients are counted: the address, or of an IPv6 address its /64.

    A client can use any address of its /64 network. Another text, such as a proxy's name, gives its SHA-256.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return sha256(address.encode("utf-8", "surrogatepass")).hexdigest()
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped or IPv6Network((int(ip), 64), strict=False))
    return str(ip)


class QuotaFullError(Exception):
    """Too many are waiting for a place already, or too little of an owner's amount is left."""


class ConcurrencyQuota:
    """Gives each owner at most `own` places at once, and all owners at most `total`; others wait.

    Only `enter_anyway` may exceed these numbers.

    A place that becomes free goes to the owner who has the fewest places, and of this owner's waiters to the
    one that has waited longest. So a thousand waiters of one owner don't delay a single one of another.
    """

    def __init__(
        self,
        own: int,
        total: int | None = None,
        *,
        waiting: int | None = None,
        all_waiting: int | None = None,
    ) -> None:
        """`waiting` is how many may wait for each owner, and `all_waiting` how many in all.

        Those that enter with `refusable=False` are not counted.
        """
        self._own = own
        self._total = total
        self._most_waiting = waiting
        self._most_waiting_of_all = all_waiting
        self._taken: dict[str, int] = {}
        """Places taken, by owner; owners without any have no entry."""
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """Waiters by owner; owners without any have no entry."""
        self._sum = 0
        self._refusable_waiting = 0
        """How many of the waiters have entered with `refusable`."""

    def taken(self, owner: str) -> int:
        """Returns how many places an owner has."""
        return self._taken.get(owner, 0)

    def has_place(self, owner: str) -> bool:
        """Whether an owner can have a place without waiting."""
        return self.taken(owner) < self._own and (self._total is None or self._sum < self._total)

    def enter_at_once(self, owner: str) -> bool:
        """Takes a place if one is free. Returns whether it was."""
        is_free = self.has_place(owner)
        if is_free:
            self.enter_anyway(owner)
        return is_free

    def enter_anyway(self, owner: str) -> None:
        """Takes a place even if none is free: later ones then wait longer."""
        self._sum += 1
        self._taken[owner] = self.taken(owner) + 1

    async def enter(self, owner: str, *, refusable: bool = True) -> None:
        """Takes a place, after waiting until one is free; `leave` gives it back.

        With `refusable`, raises QuotaFullError if too many wait already.
        """
        if self.enter_at_once(owner):
            return
        if not refusable:
            await self._wait(owner)
            return
        queued = len(self._waiting.get(owner, ()))
        if (self._most_waiting is not None and queued >= self._most_waiting) or (
            self._most_waiting_of_all is not None and self._refusable_waiting >= self._most_waiting_of_all
        ):
            raise QuotaFullError
        self._refusable_waiting += 1
        try:
            await self._wait(owner)
        finally:
            self._refusable_waiting -= 1

    async def _wait(self, owner: str) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._forget(owner, waiter)
            else:  # it came at the last moment, and is for another waiter
                self.leave(owner)
            raise

    def leave(self, owner: str) -> None:
        """Gives a place back, which the next waiter takes."""
        self._sum -= 1
        taken = self._taken.pop(owner) - 1
        if taken:
            self._taken[owner] = taken
        while self._waiting:
            candidates = [each for each in self._waiting if self.taken(each) < self._own]
            if not candidates:
                return
            following = min(candidates, key=self.taken)
            waiter = self._waiting[following][0]
            self._forget(following, waiter)
            if waiter.done():  # it was cancelled, and hasn't run since
                continue
            self.enter_anyway(following)
            if following in self._waiting:  # at the end, so that owners with equally many alternate
                self._waiting[following] = self._waiting.pop(following)
            waiter.set_result(None)
            return

    def _forget(self, owner: str, waiter: asyncio.Future[None]) -> None:
        queue = self._waiting.get(owner)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self._waiting[owner]


class AmountQuota:
    """Limits how much of something, such as bytes, each owner may have at once. Nobody waits for more."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = Counter[str]()
        """The amount that each owner has now. Owners who have nothing are left out."""

    def take(self, owner: str, amount: int) -> None:
        """Takes an amount, until `give_back`.

        Raises QuotaFullError, without taking any, if it is too much.
        """
        if self._taken[owner] + amount > self._most:
            raise QuotaFullError
        self._taken[owner] += amount

    def give_back(self, owner: str, amount: int) -> None:
        """Gives back an amount that was taken."""
        self._taken[owner] -= amount
        if not self._taken[owner]:
            del self._taken[owner]


_CLOCK_AGE = 0.001
"""Seconds for which a reading of the thread's CPU clock is used again."""


class _ThreadClock(threading.local):
    """The CPU seconds that the thread has used, as of at most a millisecond ago.

    Reading them takes a system call, of which an operation would need several.
    """

    read_at = -1.0
    worked = 0.0

    def read(self) -> float:
        now = perf_counter()
        if now - self.read_at > _CLOCK_AGE:
            self.read_at, self.worked = now, thread_time()
        return self.worked


recent_thread_time = _ThreadClock().read


class Usage:
    """What one operation has used so far, in all its tasks, and the owner that it counts for.

    As a context manager it counts what is used in the block, and in tasks that begin in it.
    """

    __slots__ = (
        "_began",
        "_outer",
        "_steps",
        "database",
        "new_statements",
        "other_threads",
        "owner",
        "rows",
        "statements",
    )

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.database = 0.0
        """Seconds of statements that took long, without times that have other causes."""
        self.other_threads = 0.0
        """CPU seconds that threads other than the event loop's have used for it."""
        self.rows = 0
        """Rows that its statements have returned."""
        self.new_statements = 0
        """Statements that were built for it, which PostgreSQL has to plan for the first time."""
        self.statements: list[tuple[float, str]] = []
        """Statements that took long: seconds, and their text."""
        self._steps = 0.0
        self._began = recent_thread_time()
        self._outer: Token[Usage]

    @property
    def cpu(self) -> float:
        """Seconds for which it held the event loop.

        They are measured by the wall clock, which is quick to read, and reduced by the time in which the
        thread had no CPU, because another program had it.
        """
        if self._steps <= _CLOCK_AGE:
            return self._steps
        return min(self._steps, thread_time() - self._began)

    def add_step(self, seconds: float) -> None:
        """Adds the time for which one of its tasks ran."""
        self._steps += seconds

    def add_part(self, usage: "Usage", parts: int) -> None:
        """Adds an equal part of what was used for several owners at once."""
        self._steps += usage.cpu / parts
        self.database += usage.database / parts
        self.rows += -(-usage.rows // parts)
        self.new_statements += -(-usage.new_statements // parts)

    def __enter__(self) -> Self:
        self._outer = _usage.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _usage.reset(self._outer)

    @contextmanager
    def charged(self) -> Iterator[None]:
        """Counts what is used in the block, in another task than that which it was made in."""
        outer = _usage.set(self)
        try:
            yield
        finally:
            _usage.reset(outer)

    def is_ready(self) -> bool:
        """Whether `reserve` doesn't have to wait."""
        return True

    async def settle(self) -> None:
        """Waits until its owner has paid for what was used.

        Only subscriptions are paid for while they run.
        """

    @asynccontextmanager
    async def reserve(self) -> AsyncIterator[None]:
        """Waits until its owner may run one more operation, which the block is."""
        yield


_NOBODYS = Usage("")
_usage: ContextVar[Usage] = ContextVar("usage", default=_NOBODYS)


def current_usage() -> Usage:
    """Returns the usage of the operation that the caller works for; outside of any, one without owner."""
    return _usage.get()


def create_own_task(work: Coroutine[Any, Any, T], name: str) -> "asyncio.Task[T]":
    """Starts a task of the process itself, whose usage doesn't count for the caller."""
    context = copy_context()
    context.run(_usage.set, _NOBODYS)
    return asyncio.get_running_loop().create_task(work, name=name, context=context)


async def run_aside(executor: Executor, work: Callable[[], T]) -> T:
    """Returns what `work` returns, which runs in another thread than the event loop's.

    The time that it takes is added to the usage of the operation that the caller works for.
    """

    def timed() -> tuple[T, float]:
        began = thread_time()
        return work(), thread_time() - began

    usage = current_usage()
    result, seconds = await asyncio.get_running_loop().run_in_executor(executor, timed)
    usage.other_threads += seconds
    return result


class Metered(Coroutine[Any, Any, T]):
    """A coroutine whose time on the event loop is added to the usage of the operation that it works for."""

    __slots__ = ("_coroutine", "_usage")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._usage = _usage.get()

    def send(self, value: Any) -> Any:
        """Runs it until it next waits."""
        began = perf_counter()
        try:
            return self._coroutine.send(value)
        finally:
            self._usage.add_step(perf_counter() - began)

    def throw(self, *error: Any) -> Any:
        """Raises an error where it waits, and runs it until it next waits."""
        began = perf_counter()
        try:
            return self._coroutine.throw(*error)
        finally:
            self._usage.add_step(perf_counter() - began)

    def close(self) -> None:
        """Ends it where it waits."""
        self._coroutine.close()

    def __await__(self) -> "Metered[T]":
        return self

    def __iter__(self) -> "Metered[T]":
        return self

    def __next__(self) -> Any:
        return self.send(None)
