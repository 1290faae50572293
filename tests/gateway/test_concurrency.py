"""Concurrency: sign-ins and other operations, running or waiting, don't take each other's places."""

import asyncio
from typing import Any

import pytest
import strawberry

from graphql_api.execution.operations import GraphQLRequest, Operations
from graphql_api.gateway.errors import HTTPError
from graphql_api.gateway.gateway import Gateway, TransportLimits
from graphql_api.identity.viewer import ANONYMOUS, LoginCredential, Viewer
from graphql_api.settings import Settings
from tests.transport.app import Context, World

READ, SIGN_IN = "{ read }", "mutation { signIn }"


def viewer(name: str) -> Viewer:
    return Viewer(user_id=name, credential=LoginCredential(name))


class Operating:
    """A gateway whose operations wait until they are let go."""

    def __init__(self, **settings: Any) -> None:
        self.go_on = asyncio.Event()
        go_on = self.go_on

        @strawberry.type
        class Query:
            @strawberry.field
            async def read(self) -> bool:
                return await go_on.wait()

        @strawberry.type
        class Mutation:
            @strawberry.mutation
            async def sign_in(self) -> bool:
                return await go_on.wait()

        world = World()
        self._operations = Operations(strawberry.Schema(Query, Mutation), mask=lambda error: error)
        self._gateway = Gateway(
            self._operations,
            world,
            lambda viewer, *, client, database=None: Context(world, viewer, client, 0),
            limits=TransportLimits.from_settings(Settings(**settings)),
            open_fields={"signIn"},
        )

    async def begin(self, times: int, text: str, viewer: Viewer = ANONYMOUS) -> list["asyncio.Task[Any]"]:
        """Begins an operation from so many addresses, and returns when each waits or has been refused."""
        operation = self._operations.prepare(GraphQLRequest(text))
        tasks = [
            asyncio.create_task(self._gateway.run_operation(operation, viewer, f"192.0.2.{number}"))
            for number in range(times)
        ]
        for _ in range(10):
            await asyncio.sleep(0)
        return tasks

    async def refused(self, *groups: list["asyncio.Task[Any]"]) -> list[int]:
        """Lets all go on. Returns how many of each group were refused."""
        self.go_on.set()
        ends = [await asyncio.gather(*group, return_exceptions=True) for group in groups]
        return [sum(isinstance(end, HTTPError) for end in each) for each in ends]


@pytest.mark.parametrize("flood", [READ, SIGN_IN])
async def test_operations_and_sign_ins_leave_each_other_their_part(flood: str) -> None:
    operating = Operating(max_concurrent_operations=8)
    most = {READ: 8, SIGN_IN: 4}
    others = SIGN_IN if flood == READ else READ
    first = await operating.begin(20, flood)
    second = await operating.begin(most[others], others)
    assert await operating.refused(first, second) == [20 - most[flood], 0]


async def test_those_who_wait_leave_others_room_to_run() -> None:
    operating = Operating(max_concurrent_operations=16, max_viewer_operations=2)
    floods = [await operating.begin(20, READ, viewer(f"flood {number}")) for number in range(3)]
    others = await operating.begin(2, READ, viewer("ada"))
    assert await operating.refused(*floods, others) == [20 - 2 - 4, 20 - 2 - 4, 20 - 2, 0]
