"""What a tenant's small queries wait while another tenant sends its worst, on several builds in turn."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import httpx

from benchmarks.load import Load, post
from benchmarks.servers import Server, running
from benchmarks.worst_request.data import NEIGHBOUR, PASSWORD, TENANT
from graphql_api.postgres.address import Address

SMALL = "{viewer {user {id accounts(first: 3) {nodes {id accountNumber}}}}}"
LOGIN = 'mutation($email: String!) {login(email: $email, password: "' + PASSWORD + '") {accessToken}}'
_AT_ONCE = 40
_PAUSE = 0.05
_LEAD = 2.0
"""Seconds for which the requests are sent before a wait is measured."""


@dataclass(frozen=True, slots=True)
class Waits:
    """The latencies of small queries, and how many requests the other tenant had answered meanwhile."""

    queries: Load
    answered: int


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
    loop = asyncio.get_running_loop()
    async with (
        running(server, address, logs / f"{server.name}.log") as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=60) as client,
    ):
        own, others = [await sign_in(client, email) for email in (NEIGHBOUR, TENANT)]
        requests = [post("/graphql", body, {"Authorization": f"Bearer {others}"}) for body in bodies]
        # In a process of their own, so that the waits measured here are the server's.
        with ProcessPoolExecutor(1, get_context("spawn")) as attackers:
            attack = loop.run_in_executor(attackers, _attack, process.port, requests, seconds + _LEAD)
            await asyncio.sleep(_LEAD)
            latencies = []
            until = perf_counter() + seconds
            body = json.dumps({"query": SMALL}).encode()
            while perf_counter() < until:
                began = perf_counter()
                answer = await client.post("/graphql", content=body, headers=_headers(own))
                answer.raise_for_status()
                latencies.append(perf_counter() - began)
                await asyncio.sleep(_PAUSE)
            answered = await attack
    return Waits(Load(seconds, sorted(latencies)), answered)


def _attack(port: int, requests: Sequence[bytes], seconds: float) -> int:
    """Sends requests, so many at once, for some seconds. Returns how many were answered with 200."""
    return asyncio.run(_send_all(port, requests, seconds))


async def _send_all(port: int, requests: Sequence[bytes], seconds: float) -> int:
    until = perf_counter() + seconds

    async def one(number: int) -> int:
        answered = 0
        while perf_counter() < until:
            try:
                async with asyncio.timeout(max(0.0, until - perf_counter())):
                    status = await _send(port, requests[number % len(requests)])
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                status = 0
            answered += status == HTTPStatus.OK
            if status != HTTPStatus.OK:
                await asyncio.sleep(_PAUSE)
            number += 1
        return answered

    return sum(await asyncio.gather(*map(one, range(_AT_ONCE))))


async def _send(port: int, request: bytes) -> int:
    """Sends a request on a connection of its own, and reads the answer. Returns the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head)
        left = int(length[1]) if length else 0
        while left and (read := await reader.read(2**20)):
            left -= len(read)
        return int(head.split(maxsplit=2)[1])
    finally:
        writer.transport.abort()


async def sign_in(client: httpx.AsyncClient, email: str) -> str:
    """Signs a user of the data set in, and returns the access token."""
    answer = await client.post("/graphql", json={"query": LOGIN, "variables": {"email": email}})
    token: str = answer.json()["data"]["login"]["accessToken"]
    return token


def _headers(token: str) -> Mapping[str, str]:
    return {"content-type": "application/json", "authorization": f"Bearer {token}"}
