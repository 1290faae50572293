"""What a tenant's small queries wait while another tenant sends its worst, on several builds in turn."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import httpx

from benchmarks.servers import Server, running
from benchmarks.worst_request.data import NEIGHBOUR, PASSWORD, TENANT
from graphql_api.postgres.address import Address

_SMALL = "{viewer {user {id accounts(first: 3) {nodes {id accountNumber}}}}}"
_LOGIN = 'mutation($email: String!) {login(email: $email, password: "' + PASSWORD + '") {accessToken}}'
_AT_ONCE = 40
_PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Waits:
    """Sorted latencies of small queries in seconds, and how many requests the other tenant had answered."""

    latencies: Sequence[float]
    answered: int

    def percentile(self, part: float) -> float:
        """Returns a percentile of the latency, in seconds."""
        return self.latencies[min(int(len(self.latencies) * part), len(self.latencies) - 1)]


async def measure(
    servers: Sequence[Server],
    databases: Mapping[str, Address],
    bodies: Sequence[bytes],
    seconds: float,
    logs: Path,
) -> Mapping[str, Waits]:
    """Returns what small queries wait on each server while these requests are sent 40 at once."""
    return {
        server.name: await _measure(server, databases[server.name], bodies, seconds, logs)
        for server in servers
    }


async def _measure(
    server: Server, address: Address, bodies: Sequence[bytes], seconds: float, logs: Path
) -> Waits:
    async with running(server, address, logs / f"{server.name}.log") as process:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{process.port}", timeout=60, limits=limits
        ) as client:
            own, others = [await _token(client, email) for email in (NEIGHBOUR, TENANT)]
            answered = 0
            until = perf_counter() + seconds

            async def worst(number: int) -> None:
                nonlocal answered
                while perf_counter() < until:
                    answer = await client.post(
                        "/graphql", content=bodies[number % len(bodies)], headers=_headers(others)
                    )
                    answered += answer.status_code == 200
                    if answer.status_code != 200:
                        await asyncio.sleep(_PAUSE)
                    number += 1

            attackers = [asyncio.create_task(worst(number)) for number in range(_AT_ONCE)]
            await asyncio.sleep(1)
            latencies = []
            body = json.dumps({"query": _SMALL}).encode()
            while perf_counter() < until:
                began = perf_counter()
                answer = await client.post("/graphql", content=body, headers=_headers(own))
                answer.raise_for_status()
                latencies.append(perf_counter() - began)
                await asyncio.sleep(_PAUSE)
            await asyncio.gather(*attackers)
    return Waits(sorted(latencies), answered)


async def _token(client: httpx.AsyncClient, email: str) -> str:
    answer = await client.post("/graphql", json={"query": _LOGIN, "variables": {"email": email}})
    token: str = answer.json()["data"]["login"]["accessToken"]
    return token


def _headers(token: str) -> Mapping[str, str]:
    return {"content-type": "application/json", "authorization": f"Bearer {token}"}
