"""The layer between every transport and execution: authentication, limits, deadlines, metrics.

For a request, a transport calls these methods of `Gateway`, in this order:

    find_operation      finds the operation (`execution.operations`); a new document costs points
    authenticate_for    finds the viewer of its token (`identity.authenticator`)
    run_operation       runs a query or a mutation: takes its points (`rate_limit`), waits until few enough
                        operations run (`quotas`), cancels it at its deadline (`deadline`), and carries out a
                        mutation with an Idempotency-Key once (`idempotency`)
    subscription        runs a subscription, whose events cost points as they come

Operations are counted (`metrics`), and unexpected errors are masked (`errors`).
"""

import asyncio
import math
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterator,
)
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from http import HTTPStatus
from math import inf
from time import monotonic, perf_counter
from typing import Any, Final, Protocol, TypeVar

from graphql import OperationType
from starlette.types import Receive

from graphql_api.execution.costs import POINT
from graphql_api.execution.inputs import dump_json
from graphql_api.execution.operations import GraphQLRequest, Operation, Operations, Result
from graphql_api.execution.projection import OperationContext
from graphql_api.execution.subscriptions import Deliver, Results, Subscriptions
from graphql_api.execution.yielding import YieldScheduler
from graphql_api.gateway.deadline import BackgroundTasks, ClientGoneError, Deadline
from graphql_api.gateway.errors import (
    HTTPError,
    database_unavailable,
    masked_result,
    unavailable,
)
from graphql_api.gateway.idempotency import Idempotency, IdempotencyKeys
from graphql_api.gateway.metrics import Metrics
from graphql_api.gateway.operation_log import OperationLog
from graphql_api.gateway.rate_limit import RateLimiter, RateLimitExceededError
from graphql_api.gateway.replica_reads import ReplicaReads
from graphql_api.gateway.tracing import Tracing
from graphql_api.identity.errors import ExpiredTokenError, InvalidTokenError
from graphql_api.identity.viewer import ANONYMOUS, Viewer
from graphql_api.postgres.database import Database
from graphql_api.postgres.errors import DatabaseUnavailableError
from graphql_api.quotas import (
    AmountQuota,
    ConcurrencyQuota,
    Metered,
    QuotaFullError,
    Usage,
    client_network,
    current_usage,
)
from graphql_api.settings import Settings

T = TypeVar("T")

LARGE_RESPONSE: Final = 256 * 1024
"""Bytes from which a response counts as an operation until its client has read it.

A smaller one fits the kernel's buffer.
"""
FREE_SIZE = 4_096
"""Bytes of a request that cost no points: most requests have fewer."""
_BYTES_PER_POINT = 2_000
_VALUES_PER_POINT = 7
"""Bytes, and values, of a request's JSON that cost a point: as long to parse and free as a row is to send."""
NEW_DOCUMENT = 500
"""Points for a document that is new to the process, in addition to one for each character."""
_OVERRUN = 750
"""Points that an operation may use beyond its cost for free, since measured times are inexact."""
_OVERRUN_SHARE = 2 / 3
"""The share of its cost that an operation may use beyond it for free."""
_DECODING = 1e-6
"""Seconds to decode a row, which happens outside of the operation's tasks and so isn't measured with them."""
_PLANNING = 1e-3
"""Seconds that PostgreSQL takes to parse and plan a statement for the first time."""
_UNKNOWN_TOKEN = 50
"""Points for a token that the process has to look up in the database."""
_SUBSCRIPTION_SIZE = 4 * 1024
_VARIABLES_FACTOR = 12
"""Bytes that a subscription takes, and for each byte of its variables' JSON: measured, and rounded up."""
_SUBSCRIBED_PER_SOCKET = 128 * 1024
"""Bytes of a viewer's subscriptions for each socket that a viewer may have; one socket may have them all."""
_NETWORKS = 2
"""All anonymous requests of a process together may spend the points of so many networks; then 429."""
_TOKENS = "tokens"
_SIGN_IN = "sign-in"
_SIGN_IN_DOCUMENTS = "documents of sign-in"
"""Budgets of points for such requests alone, so that a flood of other requests can't use them up.

The operations that run at once are limited for each budget, too: sign-ins can't take all places, nor can
others.
"""


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """Sizes in bytes, times in seconds. `Settings` has a field of each name, and describes it."""

    max_body_size: int
    max_header_size: int
    max_message_size: int
    max_concurrent_operations: int
    max_viewer_operations: int
    max_connections: int
    max_sockets: int
    max_anonymous_sockets: int
    max_viewer_sockets: int
    max_socket_subscriptions: int
    receive_timeout: float
    send_timeout: float
    operation_timeout: float
    socket_init_timeout: float
    anonymous_socket_timeout: float
    heartbeat: float
    identity_recheck: float
    drain_time: float
    shutdown_timeout: int

    @classmethod
    def from_settings(cls, settings: Settings) -> "TransportLimits":
        """Returns the limits of a deployment."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})


class TokenAuthenticator(Protocol):
    """Finds the viewer of a token. All methods raise InvalidTokenError, or DatabaseUnavailableError."""

    def cached_viewer(self, token: str) -> Viewer | None:
        """Returns the viewer of a token that was looked up before, without waiting for anything."""

    async def authenticate(
        self, token: str, before_lookup: Callable[[], Awaitable[object]] | None = None
    ) -> Viewer:
        """Returns the viewer of an access or service token. Awaits `before_lookup` before a statement."""

    async def recheck(self, viewer: Viewer) -> Viewer:
        """Returns the viewer with their present permissions, read without any cache."""


class ViewerContext(OperationContext, Protocol):
    """The context of an operation, with the viewer who sent it."""

    viewer: Viewer
    """The viewer: another one after an operation has signed somebody in."""


OperationLogFactory = Callable[[Callable[[Coroutine[Any, Any, Any]], object]], OperationLog]
"""Makes the log of operations, given a function that runs a coroutine in the background."""
_NOTHING: Final[AbstractContextManager[object]] = nullcontext()
_RECHECK_MOMENTS: Final = 30
"""Moments within `identity_recheck` seconds at which open connections are rechecked."""
_LONGEST_NAME: Final = 100


class ContextFactory(Protocol):
    """Makes the context of one operation, or of one event of a subscription."""

    def __call__(self, viewer: Viewer, *, client: str, database: Database | None = None) -> ViewerContext:
        """Returns the context. `client` is the client's network address; `database` a replica to read."""


class Gateway:
    """Authenticates, limits, times and counts the operations of all transports. A process has one.

    `client` is always the client's network address, as the nearest trusted proxy reports it; empty if
    unknown.
    """

    def __init__(
        self,
        operations: Operations,
        authenticator: TokenAuthenticator,
        make_context: ContextFactory,
        *,
        limits: TransportLimits,
        metrics: Metrics | None = None,
        rate_limiter: RateLimiter | None = None,
        idempotency_keys: IdempotencyKeys | None = None,
        open_fields: Collection[str] = (),
        replica_reads: ReplicaReads | None = None,
        operation_log: OperationLogFactory | None = None,
        log_from: float = inf,
        tracing: Tracing | None = None,
    ) -> None:
        """`open_fields` are root fields that anyone may ask for, and that return secrets (tokens).

        So an invalid token doesn't prevent them, and their responses are never stored under an
        Idempotency-Key. Operations that take `log_from` seconds or more are written to `operation_log`.
        """
        self.limits = limits
        self.metrics = metrics or Metrics()
        self._operations = operations
        self._subscriptions = Subscriptions(operations)
        self._authenticator = authenticator
        self._make_context = make_context
        self._replica_reads = replica_reads
        self._tracing = tracing
        self._log_from = log_from
        self._rate_limiter = rate_limiter
        self._background = BackgroundTasks()
        self._operation_log = operation_log(self._background.start) if operation_log else None
        self._idempotency = (
            Idempotency(idempotency_keys, open_fields, self._background.start) if idempotency_keys else None
        )
        self._sign_in_fields = frozenset(open_fields)
        self._open_fields = self._sign_in_fields | {"__typename"}
        total = limits.max_concurrent_operations
        self._quota = ConcurrencyQuota(
            limits.max_viewer_operations, waiting=total // 4, all_waiting=total // 2
        )
        self._parsing = ConcurrencyQuota(1, 1, waiting=total // 2, all_waiting=total)
        """Lets one new document at a time be parsed and validated."""
        self._large_requests = YieldScheduler()
        self._new_documents: dict[str, asyncio.Event] = {}
        """New documents that are being parsed, by their texts.

        The event is set when one is parsed or refused.
        """
        self._running = Counter[str]()
        """Operations under way, by budget."""
        self._most_running = {"": total, _SIGN_IN: max(1, total // 2)}
        self.metrics.running.set_function(self._running.total)
        self._connections = 0
        self._owned: Counter[str] = Counter()
        """Open connections by owner: the viewer, or the client's network if anonymous."""
        self._subscription_memory = AmountQuota(limits.max_viewer_sockets * _SUBSCRIBED_PER_SOCKET)
        """Bytes that the subscriptions of an owner take."""
        self._keyed = AmountQuota(limits.max_viewer_operations + total // 4)
        """Counts mutations under an idempotency key, which aren't counted by `_quota` until they run."""
        self._most_of_network = min(limits.max_anonymous_sockets, max(1, limits.max_sockets // 4))
        self._most_of_viewer = min(limits.max_viewer_sockets, max(1, limits.max_sockets // 2))

    async def close(self, grace_period: float) -> None:
        """Waits at most `grace_period` seconds for mutations whose clients are gone, and closes Redis."""
        await self._background.finish(grace_period)
        if self._rate_limiter is not None:
            await self._rate_limiter.close()

    async def authenticate(self, authorization: str | None, client: str) -> Viewer:
        """Returns the viewer of an Authorization header; the anonymous viewer without one.

        A token that the process doesn't know costs the client's address points, from a budget for tokens.
        Raises HTTPError: 401, 429, or 503 while the database can't be reached.
        """
        if not authorization:
            return ANONYMOUS
        token = bearer_token(authorization)
        try:
            return await self._authenticator.authenticate(
                token, lambda: self._take_points(_UNKNOWN_TOKEN, ANONYMOUS, client, _TOKENS)
            )
        except InvalidTokenError as error:
            raise unauthenticated(str(error)) from None
        except (DatabaseUnavailableError, TimeoutError) as error:
            raise database_unavailable(error) from None

    async def authenticate_for(
        self, operation: Operation | Result, authorization: str, client: str
    ) -> Viewer:
        """Returns the viewer of an operation, before its deadline. Raises as `authenticate` does.

        An invalid token doesn't prevent an operation that is open to anyone: clients send their token with
        every request, even with one for a new token.
        """
        if not authorization:
            return ANONYMOUS
        try:
            if (viewer := self._cached_viewer(authorization)) is not None:
                return viewer
            time_left = self._time_left(operation) if isinstance(operation, Operation) else None
            async with asyncio.timeout(time_left):
                return await self.authenticate(authorization, client)
        except TimeoutError as error:
            raise database_unavailable(error) from None
        except HTTPError as error:
            is_open = isinstance(operation, Operation) and operation.root_fields <= self._open_fields
            if is_open and error.status is HTTPStatus.UNAUTHORIZED:
                return ANONYMOUS
            raise

    def known_viewer(self, authorization: str) -> Viewer:
        """Returns the viewer of an Authorization header that was looked up before; anonymous for others."""
        try:
            return (authorization and self._cached_viewer(authorization)) or ANONYMOUS
        except HTTPError:
            return ANONYMOUS

    def _cached_viewer(self, authorization: str) -> Viewer | None:
        try:
            return self._authenticator.cached_viewer(bearer_token(authorization))
        except InvalidTokenError as error:
            raise unauthenticated(str(error)) from None

    async def wait_and_recheck(self, viewer: Viewer) -> Viewer:
        """Waits until the token of a connected viewer has to be checked, and returns the viewer.

        Raises HTTPError (401) if the token isn't valid any more. While the database can't be reached, the
        viewer stays as before.
        """
        wait = self.limits.identity_recheck
        # Times are rounded down to a few moments, so that one statement checks many viewers.
        step = wait / _RECHECK_MOMENTS
        wait -= (monotonic() + wait) % step
        if viewer.valid_until is not None:
            wait = min(wait, (viewer.valid_until - datetime.now(UTC)).total_seconds())
        await asyncio.sleep(max(0.0, wait))
        if viewer.valid_until is not None and viewer.valid_until <= datetime.now(UTC):
            raise unauthenticated(str(ExpiredTokenError()))
        try:
            return await self._authenticator.recheck(viewer)
        except InvalidTokenError as error:
            raise unauthenticated(str(error)) from None
        except (DatabaseUnavailableError, TimeoutError):
            return viewer

    def check_permission(self, operation: Operation, viewer: Viewer, client: str) -> Result | None:
        """Returns a result with errors if a viewer may not run an operation (any more); None if they may."""
        return self._operations.check_root_fields(operation, self._make_context(viewer, client=client))

    async def pay_for_size(self, body: bytes, client: str, viewer: Viewer = ANONYMOUS) -> None:
        """Takes the points of a request whose JSON is larger than FREE_SIZE, before it is parsed.

        Takes them from the viewer, or from the client's address while nobody is known. Returns in an
        iteration of the event loop in which no other such JSON is parsed, which takes up to 20 ms. Raises
        HTTPError (429) if too few points are left.
        """
        await self._take_points(points_of_request(body), viewer, client)
        await self._large_requests.pause()

    async def find_operation(
        self, request: GraphQLRequest, client: str, identify: Callable[[], Awaitable[Viewer]]
    ) -> Operation:
        """Returns the operation that a request names, its document parsed and validated.

        A document that is new to the process costs the client's address NEW_DOCUMENT points, and one for each
        character that is read. If the address has too few left, they are taken from the viewer that
        `identify` returns. Raises HTTPError (429) if that one has too few, too, or (503) if too many new
        documents are waiting; and RequestError.
        """
        text = self._operations.text_of(request)
        while text not in self._operations.documents:
            if (parsed := self._new_documents.get(text)) is None:
                return await self._prepare_new(request, text, client, identify)
            await parsed.wait()  # another request with the same document is parsing it
        return self._operations.prepare(request, text)

    async def _prepare_new(
        self, request: GraphQLRequest, text: str, client: str, identify: Callable[[], Awaitable[Viewer]]
    ) -> Operation:
        self._new_documents[text] = parsed = asyncio.Event()
        try:
            await self._pay_for_document(text, client, identify)
            async with self._turn_to_parse(client):
                return self._operations.prepare(request, text)
        finally:
            del self._new_documents[text]
            parsed.set()

    async def _pay_for_document(
        self, text: str, client: str, identify: Callable[[], Awaitable[Viewer]]
    ) -> None:
        points = NEW_DOCUMENT + min(len(text), self._operations.limits.characters)
        try:
            await self._take_points(points, ANONYMOUS, client)
        except HTTPError:
            if any(field in text for field in self._sign_in_fields):
                await self._take_points(points, ANONYMOUS, client, _SIGN_IN_DOCUMENTS)
            elif (viewer := await identify()).is_authenticated:
                await self._take_points(points, viewer, client)
            else:
                raise

    @asynccontextmanager
    async def _turn_to_parse(self, client: str) -> AsyncIterator[None]:
        """Waits until no other new document is being parsed. Parsing one in the block takes up to 40 ms.

        After the block, no document is parsed for as long as the block took, so that other work runs even if
        clients send many new documents. Networks take turns. Raises HTTPError (503) if too many are waiting.
        """
        network = owner_of(ANONYMOUS, client)
        try:
            await self._parsing.enter(network)
        except QuotaFullError:
            raise unavailable("too many new documents are waiting to be parsed: try again") from None
        began = perf_counter()
        try:
            yield
        finally:
            loop = asyncio.get_running_loop()
            loop.call_later(perf_counter() - began, self._parsing.leave, network)

    async def run_operation(
        self,
        operation: Operation,
        viewer: Viewer,
        client: str,
        receive: Receive | None = None,
        *,
        on_sign_in: Callable[[Viewer], object] | None = None,
    ) -> Result:
        """Runs a query or a mutation until its deadline. Calls `on_sign_in` if it has signed somebody in.

        Raises HTTPError if too many operations are running (503), if the viewer has too few points left
        (429), and for an invalid Idempotency-Key; ClientGoneError once `receive` reports that the client has
        disconnected. A mutation that has begun then goes on, until operation_timeout.
        """
        signs_in = not viewer.is_authenticated and operation.root_fields & self._sign_in_fields
        budget = _SIGN_IN if signs_in and operation.root_fields <= self._open_fields else ""
        remaining = await self._take_points(operation.cost, viewer, client, budget)
        with Usage(owner_of(viewer, client)) as usage:
            if operation.type is OperationType.MUTATION:
                mutation = self._charged(
                    operation, viewer, budget, self._mutate(operation, viewer, client, budget, on_sign_in)
                )
                result, charged = await asyncio.shield(self._background.start(mutation))
            else:
                query = self._execute(operation, viewer, client, budget, receive)
                result, charged = await self._charged(operation, viewer, budget, query)
        if (operation.request.extensions or {}).get("cost"):
            result.add_extension("cost", self._cost(operation, remaining, usage, charged))
        return result

    async def _charged(
        self, operation: Operation, viewer: Viewer, budget: str, running: Awaitable[Result]
    ) -> tuple[Result, int]:
        """Returns the result of an operation, and the points that it was charged afterwards."""
        usage, started = current_usage(), perf_counter()
        try:
            if self._tracing is None:
                result = await running
            else:
                with self._tracing.operation(operation):
                    result = await running
        finally:
            self._note(operation, viewer, usage, perf_counter() - started)
            charged = await self._charge(operation, usage, budget)
        return result, charged

    def _note(self, operation: Operation, viewer: Viewer, usage: Usage, seconds: float) -> None:
        """Counts what an operation has used, and logs the operation if it was slow."""
        name = operation.parsed.definition.name
        client = (operation.request.extensions or {}).get("clientName")
        self.metrics.count_operation(
            name.value[:_LONGEST_NAME] if name else "",
            client[:_LONGEST_NAME] if isinstance(client, str) else "",
            seconds,
            usage,
        )
        if seconds >= self._log_from and self._operation_log is not None:
            self._operation_log.finished(operation, viewer, usage, seconds)

    def count_unread(self, size: int, viewer: Viewer, client: str) -> AbstractContextManager[object]:
        """Counts a response of `size` bytes among its viewer's operations until its client has read it.

        So a viewer who reads slowly has at most twice as many responses in memory as they may run operations.
        """
        return _NOTHING if size < LARGE_RESPONSE else self._count_operation(owner_of(viewer, client))

    @contextmanager
    def _count_operation(self, owner: str) -> Iterator[None]:
        self._quota.enter_anyway(owner)
        try:
            yield
        finally:
            self._quota.leave(owner)

    @asynccontextmanager
    async def subscription(
        self,
        operation: Operation,
        viewer: Callable[[], Viewer],
        client: str,
        deliver: Deliver | None = None,
    ) -> AsyncIterator[AsyncGenerator[Results, None]]:
        """Yields the results of a subscription, which ends with the block.

        Results that come while the next ones are awaited may be given to `deliver` instead of being yielded.
        `viewer` is called for each event, since permissions may change. The cost of the operation is paid at
        its start, and what its events use beyond that is paid as they come: a viewer who has no points left
        gets them later. Raises HTTPError (429) if too few points are left for the start, and (503) if all
        subscriptions of the viewer together would take too much memory.
        """
        await self._take_points(operation.cost, viewer(), client)
        owner = owner_of(viewer(), client)
        usage = SubscriptionUsage(owner, operation.cost, self._quota, self._rate_limiter)
        size = _SUBSCRIPTION_SIZE + _VARIABLES_FACTOR * len(dump_json(operation.request.variables))
        too_much = "too many subscriptions of yours are open, or their variables are too long"
        with (
            _taking(self._subscription_memory, owner, size, too_much),
            usage,
            self.metrics.subscriptions.track_inprogress(),
        ):
            results = self._subscriptions.subscribe(
                operation,
                lambda: self._make_context(viewer(), client=client),
                lambda: viewer().read_access,
                deliver,
            )
            try:
                async with aclosing(results):
                    yield results
            finally:
                await usage.pay_rest()

    @contextmanager
    def connection(
        self, transport: str, client: str, viewer: Viewer = ANONYMOUS
    ) -> Iterator["ClientConnection"]:
        """Counts an open socket or event stream. Raises HTTPError (503) if there are too many.

        They are also counted for each viewer, or for each network address if anonymous, so that no client can
        use up all connections.
        """
        if self._connections >= self.limits.max_sockets:
            raise unavailable("too many connections are open: try again")
        connection = ClientConnection(self._count_connection)
        connection.count_for(viewer, client)
        self._connections += 1
        gauge = self.metrics.connections.labels(transport)
        gauge.inc()
        try:
            yield connection
        finally:
            connection.end()
            self._connections -= 1
            gauge.dec()

    def _count_connection(self, viewer: Viewer, owner: str, change: int) -> None:
        """Adds `change` to the connections of an owner. Raises HTTPError (503) if there are too many."""
        count = self._owned[owner] + change
        if change > 0 and viewer.is_authenticated and count > self._most_of_viewer:
            raise unavailable("too many connections of yours are open")
        if change > 0 and not viewer.is_authenticated and count > self._most_of_network:
            raise unavailable("too many connections of nobody signed in are open from your address")
        self._owned[owner] = count
        if not count:
            del self._owned[owner]

    async def _mutate(
        self,
        operation: Operation,
        viewer: Viewer,
        client: str,
        budget: str,
        on_sign_in: Callable[[Viewer], object] | None,
    ) -> Result:
        owners = {current_usage().owner}

        def signed_in(viewer: Viewer) -> None:
            owners.add(owner_of(viewer, client))
            if on_sign_in is not None:
                on_sign_in(viewer)

        async def run() -> Result:
            try:
                return await self._execute(operation, viewer, client, budget, None, signed_in)
            finally:
                # Also after an error: an operation that has timed out may have committed.
                if self._replica_reads is not None:
                    for owner in owners:
                        await self._replica_reads.note_change(owner)

        if self._idempotency is None or "idempotencyKey" not in (operation.request.extensions or {}):
            return await run()
        too_many = "too many changes of yours under a key are under way: try again"
        with _taking(self._keyed, current_usage().owner, 1, too_many):
            return await self._idempotency.once(operation, viewer, run, self._time_left(operation))

    def _time_left(self, operation: Operation) -> float:
        """Returns the seconds until an operation's deadline: its time begins with its preparation."""
        return max(0.0, operation.prepared_at + self.limits.operation_timeout - monotonic())

    async def _execute(
        self,
        operation: Operation,
        viewer: Viewer,
        client: str,
        budget: str,
        receive: Receive | None,
        on_sign_in: Callable[[Viewer], object] | None = None,
    ) -> Result:
        if self._running[budget] >= self._most_running[budget]:
            self.metrics.shed.inc()
            raise unavailable("too many operations are under way: try again")
        self._running[budget] += 1
        owner = current_usage().owner
        try:
            with Deadline(self._time_left(operation), receive):
                if not self._quota.enter_at_once(owner):
                    await self._quota.enter(owner)
                try:
                    database = None
                    if (
                        self._replica_reads is not None
                        and operation.type is OperationType.QUERY
                        and not self._operations.requires_primary(operation)
                    ):
                        database = await self._replica_reads.choose(owner)
                    context = self._make_context(viewer, client=client, database=database)
                    result: Result = await Metered(self._operations.execute(operation, context))
                    if on_sign_in is not None and context.viewer is not viewer:
                        on_sign_in(context.viewer)
                    return result
                finally:
                    self._quota.leave(owner)
        except (ClientGoneError, HTTPError):
            raise
        except QuotaFullError:
            self.metrics.shed.inc()
            raise unavailable("too many operations are waiting, of yours or in all: try again") from None
        except Exception as error:  # noqa: BLE001 - masked and logged
            return masked_result(error)
        finally:
            self._running[budget] -= 1

    async def _take_points(self, points: int, viewer: Viewer, client: str, budget: str = "") -> int | None:
        """Takes points from the viewer, and returns how many are left; None where there is no rate limit."""
        if self._rate_limiter is None:
            return None
        try:
            remaining = await self._rate_limiter.take(owner_of(viewer, client), points, budget)
            # Afterwards, so that a request that its own network has too few points for costs the others none.
            if not viewer.is_authenticated and not budget:
                self._rate_limiter.take_here("anonymous requests", points // _NETWORKS)
        except RateLimitExceededError as error:
            status = HTTPStatus.TOO_MANY_REQUESTS
            raise HTTPError(status, "RATE_LIMITED", str(error), retry_after=error.retry_after) from None
        return remaining

    async def _charge(self, operation: Operation, usage: Usage, budget: str) -> int:
        """Charges an operation that has used far more than its cost for the difference, and returns that.

        An operation for which statements had to be built is charged for all that it used: otherwise other
        shapes of the same document would be free. Takes at most as many points as its owner has left.
        """
        lacking = points_of(usage) - operation.cost
        if lacking <= (0 if usage.new_statements else max(_OVERRUN, _OVERRUN_SHARE * operation.cost)):
            return 0
        if self._rate_limiter is not None:
            await self._rate_limiter.charge(usage.owner, lacking, budget)
        return lacking

    def _cost(
        self, operation: Operation, remaining: int | None, usage: Usage, charged: int
    ) -> dict[str, float]:
        cost: dict[str, float] = {"requested": operation.cost}
        if self._operations.limits.cost is not None:
            cost["maximum"] = self._operations.limits.cost
        if remaining is not None:
            cost["remaining"] = max(0, remaining - charged)
        measured = {"milliseconds": round(usage.cpu * 1e3, 1), "rows": usage.rows}
        return {**cost, **measured, "charged": charged}


class SubscriptionUsage(Usage):
    """What a subscription has used. Its owner pays from time to time, and waits while it has no points.

    Work that takes long waits until its owner may run one more operation.
    """

    __slots__ = ("_paid", "_quota", "_rate_limiter")

    def __init__(
        self, owner: str, paid: int, quota: ConcurrencyQuota, rate_limiter: RateLimiter | None
    ) -> None:
        """`paid` are the points that were paid at its start."""
        super().__init__(owner)
        self._paid = paid
        self._quota = quota
        self._rate_limiter = rate_limiter

    def _due(self) -> int:
        """Returns the points that are due; few are left until there are more."""
        due = points_of(self) - self._paid
        return 0 if due < _OVERRUN else due

    def is_ready(self) -> bool:
        """Whether nothing is due, and a place is free."""
        return not self._due() and self._quota.has_place(self.owner)

    async def settle(self) -> None:
        """Takes the points that are due. If the owner has none left, waits until there are some."""
        due = self._due()
        if not due:
            return
        self._paid += due
        if self._rate_limiter is not None:
            wait = await self._rate_limiter.charge(self.owner, due)
            if wait:
                await asyncio.sleep(wait)

    async def pay_rest(self) -> None:
        """Takes the points of what was used since the last time, as far as its owner has any."""
        due = points_of(self) - self._paid
        if due > 0 and self._rate_limiter is not None:
            self._paid += due
            await self._rate_limiter.charge(self.owner, due)

    @asynccontextmanager
    async def reserve(self) -> AsyncIterator[None]:
        """Waits until what was used is paid and the owner may run one more operation, which the block is."""
        await self.settle()
        await self._quota.enter(self.owner, refusable=False)
        try:
            yield
        finally:
            self._quota.leave(self.owner)


class ClientConnection:
    """An open socket or event stream, counted for its viewer; for its network while nobody has signed in."""

    __slots__ = ("_count", "_counted", "_has_ended")

    def __init__(self, count: Callable[[Viewer, str, int], None]) -> None:
        """`count` adds 1 or -1 to an owner's connections. It raises HTTPError (503) if there are too many."""
        self._count = count
        self._counted: tuple[Viewer, str] | None = None
        self._has_ended = False

    def count_for(self, viewer: Viewer, client: str) -> None:
        """Counts it for another viewer than before. Raises HTTPError (503) without a change.

        Does nothing after `end`: a mutation that signs in may end only after its socket has closed.
        """
        owner = owner_of(viewer, client)
        if self._has_ended or (self._counted is not None and self._counted[1] == owner):
            return
        self._count(viewer, owner, 1)
        self._uncount()
        self._counted = (viewer, owner)

    def end(self) -> None:
        """Removes it from the count; it isn't counted again."""
        self._has_ended = True
        self._uncount()

    def _uncount(self) -> None:
        if self._counted is not None:
            self._count(*self._counted, -1)
            self._counted = None


@contextmanager
def _taking(quota: AmountQuota, owner: str, amount: int, refusal: str) -> Iterator[None]:
    """Takes an amount of an owner's quota for the block. Raises HTTPError (503) if too little is left."""
    try:
        quota.take(owner, amount)
    except QuotaFullError:
        raise unavailable(refusal) from None
    try:
        yield
    finally:
        quota.give_back(owner, amount)


def bearer_token(authorization: str) -> str:
    """Returns the token of an Authorization header. Raises HTTPError (401)."""
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise unauthenticated("Authorization: must be Bearer and an access token")
    return token


def unauthenticated(message: str) -> HTTPError:
    """Returns the error for an Authorization that isn't valid."""
    challenge = (b"www-authenticate", b'Bearer error="invalid_token"')
    return HTTPError(HTTPStatus.UNAUTHORIZED, "UNAUTHENTICATED", message, (challenge,))


def points_of(usage: Usage) -> int:
    """Returns the points for what was used: seconds of CPU and of PostgreSQL, rows, and new statements."""
    seconds = usage.cpu + usage.other_threads + usage.database + usage.rows * _DECODING
    seconds += usage.new_statements * _PLANNING
    return math.ceil(seconds / POINT)


def points_of_request(body: bytes) -> int:
    """Returns the points for a request's JSON: for its bytes, and for its values."""
    if len(body) <= FREE_SIZE:
        return 0
    return len(body) // _BYTES_PER_POINT + body.count(b",") // _VALUES_PER_POINT


def owner_of(viewer: Viewer, address: str) -> str:
    """Returns the owner that operations are counted for: the viewer, or the client's network if anonymous."""
    return viewer.principal or f"address {client_network(address) if address else 'unknown'}"
