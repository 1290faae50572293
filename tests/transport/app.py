"""A small application for tests of the transports. Its schema has nothing to do with trading."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import strawberry
from graphql import GraphQLError
from prometheus_client.registry import Collector

from graphql_api.execution.fields import resolved
from graphql_api.execution.operations import Operations
from graphql_api.execution.persisted_documents import PersistedDocuments
from graphql_api.execution.subscriptions import Progress
from graphql_api.gateway.errors import mask
from graphql_api.gateway.gateway import Gateway, TransportLimits
from graphql_api.gateway.metrics import Metrics
from graphql_api.gateway.rate_limit import RateLimiter
from graphql_api.identity.errors import ExpiredTokenError, InvalidTokenError
from graphql_api.identity.viewer import CLOCK_SKEW, LoginCredential, ServiceTokenCredential, Viewer
from graphql_api.postgres.errors import DatabaseUnavailableError
from graphql_api.settings import Settings
from graphql_api.transport.application import Application, routes
from tests.execution.contexts import BareContext


class RefusedError(GraphQLError):
    """An error that is meant for clients."""

    def __init__(self) -> None:
        super().__init__("refused", extensions={"code": "REFUSED"})


@dataclass
class World:
    """What the application's resolvers depend on. Tests change it and read it."""

    revoked: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    expires_at: datetime | None = None
    down: bool = False
    broken: bool = False
    started: int = 0
    finished: int = 0
    cancelled: int = 0
    closed: int = 0
    contexts: int = 0

    def cached_viewer(self, token: str) -> Viewer | None:
        return None

    async def authenticate(
        self, token: str, before_lookup: Callable[[], Awaitable[object]] | None = None
    ) -> Viewer:
        if self.broken:
            raise ValueError("the password is hunter2")
        if self.down:
            raise DatabaseUnavailableError
        if self.expires_at is not None and self.expires_at + CLOCK_SKEW <= datetime.now(UTC):
            raise ExpiredTokenError
        if token in self.revoked or token == "forged":
            raise InvalidTokenError
        if token.startswith("service"):
            return Viewer(credential=ServiceTokenCredential(token.encode()))
        user, _, _ = token.partition("#")  # "ada#2" is another token of ada's
        return Viewer(user_id=user, expires_at=self.expires_at, credential=LoginCredential(token))

    async def recheck(self, viewer: Viewer) -> Viewer:
        if isinstance(viewer.credential, ServiceTokenCredential):
            return viewer
        assert isinstance(viewer.credential, LoginCredential)
        return await self.authenticate(viewer.credential.login_id)

    async def ready(self) -> None:
        if self.down:
            raise DatabaseUnavailableError


@dataclass
class Context(BareContext):
    world: World
    viewer: Viewer
    client: str
    number: int


Info = strawberry.Info[Context, None]


def permitted(context: Context) -> None:
    if context.viewer.user_id in context.world.forbidden:
        raise RefusedError


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str = "world") -> str:
        return f"hello {name}"

    @strawberry.field
    def busy(self, seconds: float) -> str:
        """Holds the event loop."""
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass
        return "done"

    @strawberry.field
    def whoami(self, info: Info) -> str | None:
        return info.context.viewer.user_id

    @strawberry.field
    def address(self, info: Info) -> str:
        return info.context.client

    @strawberry.field
    def broken(self) -> str | None:
        raise ValueError("the password is hunter2")

    @strawberry.field
    def refused(self) -> str | None:
        raise RefusedError

    @strawberry.field
    def unrepresentable(self) -> int | None:
        return "the password is hunter2"  # type: ignore[return-value]

    @strawberry.field
    def surrogate(self) -> str:
        return "\ud800"

    @strawberry.field
    def unavailable(self) -> str | None:
        raise DatabaseUnavailableError

    @strawberry.field
    async def cancelled(self) -> str | None:
        raise asyncio.CancelledError

    @strawberry.field
    async def slow(self, info: Info, seconds: float = 60.0) -> str | None:
        world = info.context.world
        world.started += 1
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            world.cancelled += 1
            raise
        world.finished += 1
        return "done"

    @strawberry.field
    def many_errors(self, count: int) -> list[str | None]:
        return [object() for _ in range(count)]  # type: ignore[misc]

    @strawberry.field
    def text(self, size: int) -> str:
        return "x" * size


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def write(self, info: Info, seconds: float = 0.0) -> int:
        world = info.context.world
        world.started += 1
        await asyncio.sleep(seconds)
        world.finished += 1
        return world.finished

    @strawberry.mutation
    async def sign_in(self, info: Info, token: str) -> str | None:
        info.context.viewer = await info.context.world.authenticate(token)
        return info.context.viewer.user_id


@strawberry.type
class Numbered:
    @strawberry.field
    def number(self, info: Info) -> int:
        return info.context.number


@strawberry.type
class Wrong:
    @strawberry.field
    def field(self) -> str | None:
        raise RefusedError


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, info: Info, to: int = 3, size: int = 0) -> AsyncIterator[str]:
        try:
            for number in range(to):
                yield f"{number}" + "x" * size
        finally:
            info.context.world.closed += 1

    @strawberry.subscription
    async def forever(self, info: Info, seconds: float = 0.01) -> AsyncIterator[int]:
        world = info.context.world
        world.started += 1
        number = 0
        try:
            while True:
                yield number
                number += 1
                await asyncio.sleep(seconds)
        finally:
            world.closed += 1

    @strawberry.subscription
    async def resting(self) -> AsyncIterator[int]:
        yield 0
        yield Progress("there")  # type: ignore[misc]
        yield 1

    @resolved("What not everybody may follow.", check=permitted, subscription=True)
    async def guarded(self, info: Info) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(3600)
        finally:
            info.context.world.closed += 1

    @strawberry.subscription
    async def contexts(self) -> AsyncIterator[Numbered]:
        for _ in range(3):
            yield Numbered()

    @strawberry.subscription
    async def wrong(self) -> AsyncIterator[Wrong]:
        yield Wrong()

    @strawberry.subscription
    async def failing(self, *, kind: str = "broken") -> AsyncIterator[int]:
        yield 1
        raise RefusedError if kind == "refused" else ValueError("the password is hunter2")

    @strawberry.subscription
    async def forbidden(self) -> AsyncIterator[int]:
        raise RefusedError
        yield 1


schema = strawberry.Schema(Query, Mutation, Subscription)


def create_app(
    world: World | None = None,
    limits: TransportLimits | None = None,
    *,
    persisted: PersistedDocuments | None = None,
    rate_limiter: RateLimiter | None = None,
    collectors: Iterable[Collector] = (),
    **options: Any,
) -> Application:
    """Creates the application, with a new World unless one is given. `options` are those of `routes`."""
    world = world or World()

    def make_context(viewer: Viewer, *, client: str, database: object = None) -> Context:
        world.contexts += 1
        return Context(world, viewer, client, world.contexts)

    gateway = Gateway(
        Operations(schema, mask=mask, persisted=persisted),
        world,
        make_context,
        limits=limits or TransportLimits.from_settings(Settings()),
        metrics=Metrics(collectors),
        rate_limiter=rate_limiter,
    )
    options.setdefault("get_requests", "open")
    return Application(routes=routes(gateway, ready=world.ready, **options))


def some_time() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def limited(**limits: Any) -> TransportLimits:
    """Returns the default limits, except for these."""
    return replace(TransportLimits.from_settings(Settings()), **limits)
