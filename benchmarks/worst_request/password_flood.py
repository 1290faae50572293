"""A flood of guessed passwords from many addresses: how soon each is answered, and what others notice."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx

from benchmarks.load import Load, post
from benchmarks.report import table
from benchmarks.servers import OURS, running
from benchmarks.worst_request.data import NEIGHBOUR, PASSWORD, TENANT
from benchmarks.worst_request.neighbour import SMALL, sign_in
from graphql_api.postgres.address import Address

_GUESS = """
mutation ($email: String!, $password: String!) {
  login(email: $email, password: $password) { accessToken userErrors { code } }
}
"""
_LEAD = 2.0
"""Seconds for which the flood runs before others are measured."""

Answers = Sequence[tuple[float, str]]
"""Of each request the seconds that its answer took, and its outcome."""


def measure(address: Address, seconds: float, logs: Path, rates: Sequence[int] = (50, 200)) -> str:
    """Floods our server with so many guesses a second, half of them at one e-mail. Returns the table."""
    rows = []
    for rate in rates:
        guesses, sign_ins, small = asyncio.run(_measure(address, rate, seconds, logs))
        for title, answers in (
            (f"{rate} guesses a second", guesses),
            ("another's right password", sign_ins),
            ("another's small query", small),
        ):
            load = Load(seconds, sorted(time for time, _ in answers))
            counted = ", ".join(
                f"{count:,} {outcome}"
                for outcome, count in Counter(outcome for _, outcome in answers).most_common()
            )
            rows.append((title, counted, *(f"{load.percentile(part):.3f} s" for part in (0.5, 0.99, 1.0))))
    return table(("", "outcomes", "median", "99 %", "longest"), rows)


async def _measure(
    address: Address, rate: int, seconds: float, logs: Path
) -> tuple[Answers, Answers, Answers]:
    proxied = {**OURS.environment, "GRAPHQL_API_TRUSTED_PROXIES": '["127.0.0.1"]'}
    ours = replace(OURS, environment=proxied)
    async with running(ours, address, logs / "passwords.log") as process:
        # In a process of its own, so that the times measured here are the server's.
        with ProcessPoolExecutor(1, get_context("spawn")) as attackers:
            loop = asyncio.get_running_loop()
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=60) as client:
                token = await sign_in(client, TENANT)
                attack = loop.run_in_executor(attackers, _attack, process.port, rate, seconds + _LEAD)
                await asyncio.sleep(_LEAD)
                variables = {"email": NEIGHBOUR, "password": PASSWORD}
                sign_ins, small = await asyncio.gather(
                    _repeat(client, {"query": _GUESS, "variables": variables}, {}, 0.5, seconds),
                    _repeat(client, {"query": SMALL}, {"authorization": f"Bearer {token}"}, 0.05, seconds),
                )
            return await attack, sign_ins, small


async def _repeat(
    client: httpx.AsyncClient, body: Any, headers: dict[str, str], pause: float, seconds: float
) -> Answers:
    answers = []
    until = perf_counter() + seconds
    while perf_counter() < until:
        began = perf_counter()
        answer = await client.post(
            "/graphql", json=body, headers={"x-forwarded-for": "198.51.100.1", **headers}
        )
        answers.append((perf_counter() - began, _outcome(answer.content)))
        await asyncio.sleep(pause)
    return answers


def _attack(port: int, rate: int, seconds: float) -> Answers:
    return asyncio.run(_guess_all(port, rate, seconds))


async def _guess_all(port: int, rate: int, seconds: float) -> Answers:
    guesses = []
    began = perf_counter()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - perf_counter()))
        guesses.append(asyncio.create_task(_guess(port, number)))
    return await asyncio.gather(*guesses)


async def _guess(port: int, number: int) -> tuple[float, str]:
    """Guesses from one of 250 addresses, every other time at the e-mail of one user."""
    email = TENANT if number % 2 else f"{number}@worst.example"
    body = json.dumps({"query": _GUESS, "variables": {"email": email, "password": "wrong"}}).encode()
    began = perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        headers = {"x-forwarded-for": f"203.0.113.{number % 250}", "connection": "close"}
        writer.write(post("/graphql", body, headers))
        answer = await reader.read()
    finally:
        writer.transport.abort()
    return perf_counter() - began, _outcome(answer.partition(b"\r\n\r\n")[2])


def _outcome(body: bytes) -> str:
    answer = json.loads(body)
    if errors := answer.get("errors"):
        return str(errors[0]["extensions"]["code"])
    if errors := answer["data"].get("login", {}).get("userErrors"):
        return str(errors[0]["code"])
    return "answered"
