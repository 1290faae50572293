"""Mutations whose client has gone, or whose time is over: they are charged, and count as changes."""

import asyncio
from time import thread_time
from typing import Any

import strawberry

from graphql_api.execution.operations import GraphQLRequest, Operations
from graphql_api.gateway.gateway import Gateway, TransportLimits
from graphql_api.gateway.replica_reads import ReplicaReads
from graphql_api.identity.viewer import LoginCredential, Viewer
from graphql_api.settings import Settings
from tests.rate_limiter import unrefilled
from tests.transport.app import Context, World

ADA = Viewer(user_id="ada", credential=LoginCredential("ada"))
POINTS = 1_000_000


@strawberry.type
class Query:
    hello: str = "world"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def work(self, busy: float = 0.0, idle: float = 0.0) -> str:
        """Waits, holds the event loop, and waits again."""
        await asyncio.sleep(0.05)
        until = thread_time() + busy
        while thread_time() < until:
            pass
        await asyncio.sleep(idle)
        return "done"


class NotedChanges(ReplicaReads):
    """Notes who has changed something, and has no replica."""

    def __init__(self) -> None:
        self.owners: list[str] = []

    async def note_change(self, owner: str) -> None:
        self.owners.append(owner)


def gateway_of(limits: TransportLimits, **options: Any) -> tuple[Gateway, Operations]:
    world = World()
    operations = Operations(strawberry.Schema(Query, Mutation), mask=lambda error: error)

    def make_context(viewer: Viewer, *, client: str, database: Any = None) -> Context:
        return Context(world, viewer, client, 0)

    return Gateway(operations, world, make_context, limits=limits, **options), operations


async def test_a_mutation_is_charged_though_its_client_has_gone() -> None:
    limiter = unrefilled(POINTS)
    gateway, operations = gateway_of(TransportLimits.from_settings(Settings()), rate_limiter=limiter)
    operation = operations.prepare(GraphQLRequest("mutation { work(busy: 0.1) }"))

    asking = asyncio.create_task(gateway.run_operation(operation, ADA, "192.0.2.1"))
    await asyncio.sleep(0.01)
    asking.cancel()
    await gateway.close(60)

    assert await limiter.take("ada", 1) < POINTS - 5_000  # of a tenth of a second


async def test_a_mutation_that_runs_out_of_time_may_have_changed_something() -> None:
    noted = NotedChanges()
    limits = TransportLimits.from_settings(Settings(operation_timeout=0.2))
    gateway, operations = gateway_of(limits, replica_reads=noted)
    operation = operations.prepare(GraphQLRequest("mutation { work(idle: 60) }"))

    result = await gateway.run_operation(operation, ADA, "192.0.2.1")

    assert result.errors
    assert noted.owners == ["ada"]
