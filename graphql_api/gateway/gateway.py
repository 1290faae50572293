"""What every transport needs: who asks, what they run, and how much of it at once."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from graphql import OperationType
from starlette.datastructures import Headers
from starlette.types import Receive

from graphql_api.execution.operations import GraphQLRequest, Operation, Operations
from graphql_api.execution.results import Result, Results
from graphql_api.gateway.background import Background
from graphql_api.gateway.deadline import ClientGoneError, Deadline
from graphql_api.gateway.errors import HTTPError, masked, rate_limited, unavailable
from graphql_api.gateway.idempotency import Idempotency
from graphql_api.gateway.limits import Limits
from graphql_api.gateway.metrics import Metrics
from graphql_api.identity.errors import InvalidTokenError
from graphql_api.identity.rate_limit import Budget, BudgetSpentError
from graphql_api.identity.viewer import ANONYMOUS, Viewer
from graphql_api.postgres.database import DatabaseUnavailableError


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request came from."""

    address: str
    """The network address, as the nearest trusted proxy tells it; empty if unknown."""
    headers: Headers


Authenticate = Callable[[str], Awaitable[Viewer]]
"""Tells the viewer of a bearer token. Raises InvalidTokenError or DatabaseUnavailableError."""
Recheck = Callable[[Viewer], Awaitable[Viewer]]
"""Tells what has become of a viewer, past any cache. Raises as Authenticate does."""
MakeContext = Callable[[Viewer, Caller], Any]
"""Makes the context of one operation, or of one event of a subscription."""


def unauthenticated(message: str) -> HTTPError:
    """An Authorization that doesn't count. Without one a request is served as nobody's."""
    challenge = (b"www-authenticate", b'Bearer error="invalid_token"')
    return HTTPError(HTTPStatus.UNAUTHORIZED, "UNAUTHENTICATED", message, (challenge,))


class Service:
    """One for the process: the operations, with the edge's rules around them."""

    def __init__(
        self,
        operations: Operations,
        authenticate: Authenticate,
        recheck: Recheck,
        make_context: MakeContext,
        limits: Limits,
        metrics: Metrics,
        budget: Budget | None = None,
        idempotency: Idempotency | None = None,
        background: Background | None = None,
        open_fields: Collection[str] = (),
    ) -> None:
        self.operations = operations
        self.limits = limits
        self.metrics = metrics
        self._budget = budget
        self._idempotency = idempotency
        self._background = background or Background()
        self._open_fields = frozenset(open_fields) | {"__typename"}
        self._authenticate = authenticate
        self._recheck = recheck
        self._make_context = make_context
        self._running = 0
        metrics.running.set_function(lambda: self._running)
        self._connections = 0

    async def identify(self, authorization: str | None) -> Viewer:
        """The viewer of an Authorization header. Raises HTTPError: 401, or 503 if that can't be told now."""
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated("Authorization: must be Bearer and an access token")
        try:
            return await self._authenticate(token)
        except InvalidTokenError as error:
            raise unauthenticated(str(error)) from None
        except (DatabaseUnavailableError, TimeoutError):
            raise unavailable("the database can't be reached at the moment: try again") from None

    async def identify_for(self, operation: Operation | Result, authorization: str) -> Viewer:
        """Who asks for an operation. Raises as `identify` does.

        A token that doesn't count is no hindrance to what is open to anyone: clients send theirs with
        everything, even with what gets them a new one.
        """
        try:
            return await self.identify(authorization)
        except HTTPError as error:
            is_open = isinstance(operation, Operation) and operation.root_fields <= self._open_fields
            if is_open and error.status is HTTPStatus.UNAUTHORIZED:
                return ANONYMOUS
            raise

    async def recheck(self, viewer: Viewer) -> Viewer:
        """Wait until a viewer who stays connected is due to be checked, and tell the viewer anew.

        Raises HTTPError (401) if the token has ended. An outage says nothing about it: the viewer stays.
        """
        wait = self.limits.identity_recheck
        if viewer.expires_at is not None:
            wait = min(wait, (viewer.expires_at - datetime.now(UTC)).total_seconds())
        await asyncio.sleep(max(0.0, wait))
        if viewer.expires_at is not None and viewer.expires_at <= datetime.now(UTC):
            raise unauthenticated("the token has expired")
        try:
            return await self._recheck(viewer)
        except InvalidTokenError as error:
            raise unauthenticated(str(error)) from None
        except (DatabaseUnavailableError, TimeoutError):
            return viewer

    def refuse(self, operation: Operation, viewer: Viewer, caller: Caller) -> Result | None:
        """Why a viewer may not run an operation (any more); None if they may."""
        return self.operations.refuse(operation, self._make_context(viewer, caller))

    async def prepare(self, request: GraphQLRequest, caller: Caller) -> Operation:
        """Find the operation that a request names.

        A document that is new to the process has to be read, which costs the caller's address a point for
        each character. Raises HTTPError (429) if they are spent, and RequestError.
        """
        if request.query and not self.operations.documents.knows(request.query):
            await self._spend(len(request.query), ANONYMOUS, caller)
        return self.operations.prepare(request)

    async def execute(
        self, operation: Operation, viewer: Viewer, caller: Caller, receive: Receive | None = None
    ) -> Result:
        """Run a query or a mutation within its time.

        Raises HTTPError if too many are under way (503), if the viewer's points are spent (429) or for what
        is wrong with an Idempotency-Key, and ClientGoneError once `receive` tells that the client has hung
        up. A mutation that has begun runs to its end all the same.
        """
        left = await self._spend(operation.cost, viewer, caller)
        if operation.kind is not OperationType.MUTATION:
            result = await self._execute(operation, viewer, caller, receive)
        else:
            result = await asyncio.shield(self._background.start(self._change(operation, viewer, caller)))
        if (operation.request.extensions or {}).get("cost"):
            result.extensions = {**(result.extensions or {}), "cost": self._cost(operation, left)}
        return result

    async def _change(self, operation: Operation, viewer: Viewer, caller: Caller) -> Result:
        def run() -> Awaitable[Result]:
            return self._execute(operation, viewer, caller, None)

        return await (self._idempotency.once(operation, viewer, run) if self._idempotency else run())

    async def _execute(
        self, operation: Operation, viewer: Viewer, caller: Caller, receive: Receive | None
    ) -> Result:
        if self._running >= self.limits.max_concurrent_operations:
            self.metrics.shed.inc()
            raise unavailable("too many operations are under way: try again")
        self._running += 1
        try:
            async with Deadline(self.limits.operation_timeout, receive):
                return await self.operations.execute(operation, self._make_context(viewer, caller))
        except ClientGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - masked and logged
            return masked(error)
        finally:
            self._running -= 1

    async def subscribe(
        self, operation: Operation, viewer: Callable[[], Viewer], caller: Caller
    ) -> AsyncGenerator[Results, None]:
        """Run a subscription. `viewer` is asked anew for each event, since rights can change meanwhile.

        Its points are spent when it begins. Raises HTTPError (429) if they can't be.
        """
        await self._spend(operation.cost, viewer(), caller)
        return self.operations.subscribe(
            operation, lambda: self._make_context(viewer(), caller), lambda: viewer().reading
        )

    async def _spend(self, points: int, viewer: Viewer, caller: Caller) -> int | None:
        """Take points from the viewer's budget, if there is one, and tell what is left of it."""
        if self._budget is None:
            return None
        try:
            return await self._budget.spend(viewer, caller.address, points)
        except BudgetSpentError as error:
            raise rate_limited(error) from None

    def _cost(self, operation: Operation, left: int | None) -> dict[str, int]:
        cost = {"requested": operation.cost}
        if self.operations.max_cost is not None:
            cost["maximum"] = self.operations.max_cost
        return cost if left is None else {**cost, "remaining": left}

    @contextmanager
    def connection(self, transport: str) -> Iterator[None]:
        """Hold a place for an open socket or stream. Raises HTTPError (503) if there is none."""
        if self._connections >= self.limits.max_sockets:
            raise unavailable("too many connections are open: try again")
        self._connections += 1
        gauge = self.metrics.connections.labels(transport)
        gauge.inc()
        try:
            yield
        finally:
            self._connections -= 1
            gauge.dec()
