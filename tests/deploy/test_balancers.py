"""A rolling restart behind the samples of deploy/: no request is lost."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from graphql_api.postgres.address import Address
from tests.deploy.balancers import haproxy, nginx
from tests.http_client import http_client
from tests.service.conftest import Service, served_from

pytestmark = pytest.mark.slow

Balancer = Callable[..., AbstractAsyncContextManager[str]]
BALANCERS: dict[str, Balancer] = {"haproxy": haproxy, "nginx": nginx}
# What loses nothing without retries loses nothing with them.
RESTARTED_BEHIND: dict[str, Balancer] = {
    "haproxy without retries": partial(haproxy, retries=False),
    "nginx": nginx,
}
CLIENTS = 8


@pytest.fixture
async def services(address: Address, tmp_path: Path) -> AsyncIterator[list[Service]]:
    """Two processes of one deployment."""
    async with AsyncExitStack() as stack:
        started = []
        for number in range(2):
            folder = tmp_path / str(number)
            folder.mkdir()
            service = served_from(
                address,
                folder,
                GRAPHQL_API_LAME_DUCK_TIME="2.5",
                GRAPHQL_API_SECRET_KEY="k" * 32,
                GRAPHQL_API_DRAIN_TIME="0.2",
            )
            started.append(await stack.enter_async_context(service))
        yield started


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Counter[object]]:
    """Clients that ask without a pause and never repeat; yields what they got."""
    got: Counter[object] = Counter()

    async def ask() -> None:
        async with http_client() as client:
            while True:
                try:
                    response = await client.post(f"{url}/graphql", json={"query": "{ __typename }"})
                    got[response.status_code] += 1
                except httpx.TransportError as error:
                    got[repr(error)] += 1
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(ask()) for _ in range(CLIENTS)]
    try:
        yield got
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("name", RESTARTED_BEHIND)
async def test_a_rolling_restart_loses_no_request(name: str, services: list[Service], tmp_path: Path) -> None:
    async with (
        RESTARTED_BEHIND[name](tmp_path, [service.port for service in services]) as url,
        asking(url) as got,
    ):
        await asyncio.sleep(1)
        for service in services:
            assert await asyncio.to_thread(service.stop) == 0
            await service.start()
            await asyncio.sleep(6)  # until the balancer has noticed: nginx tries a server again after five

    assert set(got) == {200}, got
    assert got[200] > 100


async def test_metrics_are_not_public(services: list[Service], tmp_path: Path) -> None:
    ports = [service.port for service in services]
    for name in ("haproxy", "nginx"):
        async with BALANCERS[name](tmp_path, ports) as url, http_client() as client:
            assert (await client.get(f"{url}/metrics")).status_code == 403


async def test_clients_cant_say_where_they_come_from(services: list[Service], tmp_path: Path) -> None:
    """A balancer that passed X-Forwarded-For on would let each client choose whose limits it uses up."""
    ports = [service.port for service in services]
    forged = {"X-Forwarded-For": "203.0.113.9"}
    for name in ("haproxy", "nginx"):
        async with BALANCERS[name](tmp_path, ports) as url, http_client() as client:
            await client.post(f"{url}/graphql", json={"query": "{ __typename }"}, headers=forged)
    for service in services:
        assert "203.0.113.9" not in service.log.read_text()
