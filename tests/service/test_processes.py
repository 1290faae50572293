"""Several processes, and the end of one, as balancers and monitors see them."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from graphql_api.postgres.address import Address
from tests.http_client import http_client
from tests.service.conftest import Service, served_from

pytestmark = pytest.mark.slow


def host(service: Service) -> str:
    return service.url.removesuffix("/graphql")


async def test_a_process_that_is_to_stop_says_so_and_still_serves(address: Address, tmp_path: Path) -> None:
    async with served_from(address, tmp_path, GRAPHQL_API_LAME_DUCK_TIME="1.5") as service:
        service.process.send_signal(signal.SIGTERM)
        async with http_client() as client:
            while (response := await client.get(f"{host(service)}/readyz")).status_code == 200:
                await asyncio.sleep(0.01)
            assert (response.status_code, response.json()) == (503, {"status": "leaving"})
            assert (await client.get(f"{host(service)}/healthz")).status_code == 200
        assert (await service.ask("{ __typename }")).json() == {"data": {"__typename": "Query"}}

        assert await asyncio.to_thread(service.process.wait, 100) == 0
    assert "the port closes in 1.5 s" in service.log.read_text()


async def test_a_second_signal_ends_it_at_once(address: Address, tmp_path: Path) -> None:
    async with served_from(address, tmp_path, GRAPHQL_API_LAME_DUCK_TIME="60") as service:
        service.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        service.process.send_signal(signal.SIGTERM)

        assert await asyncio.to_thread(service.process.wait, 100) == 0


async def test_one_scrape_sees_all_workers(address: Address, tmp_path: Path) -> None:
    async def scrape() -> list[Sample]:
        """The samples of all workers."""
        async with http_client() as client:  # a connection kept alive could be one to a killed worker
            text = (await client.get(f"{host(service)}/metrics")).text
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def processes(samples: list[Sample]) -> set[str]:
        return {sample.labels["process"] for sample in samples}

    async with served_from(address, tmp_path, GRAPHQL_API_WORKERS="2") as service:
        while len(processes(await scrape())) < 2:  # the service answers once one of them does
            await asyncio.sleep(0.1)
        for _ in range(20):
            await service.ask("{ __typename }")
        for _ in range(3):  # whichever of them answers
            samples = await scrape()
            counts = [each.value for each in samples if each.name == "graphql_operation_seconds_count"]
            assert sum(counts) == 20
        both = processes(samples)
        assert len(both) == 2
        killed = min(both)
        os.kill(int(killed), signal.SIGKILL)
        while killed in processes(await scrape()):
            await asyncio.sleep(0.1)


async def test_a_port_has_one_service(service: Service) -> None:
    second = await asyncio.create_subprocess_exec(
        *(service.python, "-m", "graphql_api", "serve", "--port", str(service.port)),
        env=service.environment,
        cwd=service.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await second.communicate()

    assert second.returncode == 1
    assert said.decode().startswith(f"graphql-api: 127.0.0.1:{service.port} is taken by another program")


async def test_a_proxy_that_is_not_trusted_is_named_once(address: Address, tmp_path: Path) -> None:
    async with served_from(address, tmp_path, GRAPHQL_API_TRUSTED_PROXIES='["192.0.2.1"]') as service:
        async with http_client() as client:
            for _ in range(3):
                await client.post(
                    service.url, json={"query": "{ __typename }"}, headers={"X-Forwarded-For": "203.0.113.9"}
                )
        said = service.log.read_text()
    assert said.count("X-Forwarded-For from 127.0.0.1 is ignored") == 1


async def test_a_trusted_proxy_is_no_reason_for_a_warning(service: Service) -> None:
    async with http_client() as client:
        await client.post(
            service.url, json={"query": "{ __typename }"}, headers={"X-Forwarded-For": "203.0.113.9"}
        )
    assert "X-Forwarded-For" not in service.log.read_text()
