import asyncio

import httpx
from starlette.requests import Request

from graphql_api.transport.lame_duck import LameDuck
from graphql_api.transport.ops import readiness
from tests.transport.conftest import Served


async def test_a_live_process_says_so_whatever_its_database_does(
    client: httpx.AsyncClient, served: Served
) -> None:
    served.world.down = True
    assert (await client.get("/healthz")).status_code == 200


async def test_a_process_with_its_database_is_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz")).status_code == 200


async def test_a_process_without_its_database_is_not_ready(client: httpx.AsyncClient, served: Served) -> None:
    served.world.down = True
    response = await client.get("/readyz")
    assert (response.status_code, response.json()) == (503, {"status": "unavailable"})


async def test_those_who_ask_at_the_same_time_share_one_look_at_the_database() -> None:
    looks = 0

    async def ready() -> None:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0.01)

    endpoint, request = readiness(ready, LameDuck(0)), Request({"type": "http"})
    for _ in range(2):
        answers = await asyncio.gather(*(endpoint(request) for _ in range(20)))
        assert {answer.status_code for answer in answers} == {200}
    assert looks == 2
