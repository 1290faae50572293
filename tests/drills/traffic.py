"""Clients of a service whose database fails and returns. Their answers are compared with what is stored."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import httpx

from graphql_api.identity import service_tokens
from graphql_api.identity.viewer import Scope
from tests import factories
from tests.service.conftest import Service

CHANGE = """
mutation ($id: ID!, $loss: Decimal!) {
  updateRiskSettings(accountId: $id, input: {maxDailyLoss: $loss}) {
    riskSettings { maxDailyLoss } userErrors { code }
  }
}
"""
READ = "query ($id: ID!) { account(id: $id) { riskSettings { maxDailyLoss } } }"
MADE = """
SELECT (details -> 'after' ->> 'max_daily_loss')::numeric::int AS number FROM system_logs
WHERE component = 'risk' AND details ->> 'account_id' = $1
"""
TIMEOUT = 20.0
"""Seconds after which a client takes an answer for one that never comes."""
AWAY = {"SERVICE_UNAVAILABLE", "TIMEOUT"}
"""Codes of what is said while the database is away."""


@dataclass
class Client:
    """Sets a limit of its own account to one number after another, and reads it after each change."""

    http: httpx.AsyncClient
    url: str
    account: str
    token: str
    keyed: bool
    """Whether each change has a key, and is sent until it is answered. Without one it is sent once."""
    number: int = 0
    acknowledged: list[int] = field(default_factory=list)
    refused: int = 0
    """How often it got the error that the database is away."""
    served: bool = False
    """Whether there was an answer since this was unset."""

    async def run(self) -> None:
        """Runs until cancelled. Raises AssertionError if an answer is wrong."""
        while True:
            self.number += 1
            while not await self._change() and self.keyed:
                await asyncio.sleep(0.1)
            await self._read()

    async def _change(self) -> bool:
        """Sends the change, and returns whether it is known to be made."""
        variables = {"id": self.account, "loss": str(self.number)}
        key = {"idempotency-key": str(self.number)} if self.keyed else {}
        response = await self._ask(CHANGE, variables, key)
        if response is None:
            return False
        if response.status_code == 409:
            (error,) = response.json()["errors"]
            return bool(error["extensions"]["code"] == "IDEMPOTENCY_ANSWER_LOST")
        assert response.json() == {
            "data": {
                "updateRiskSettings": {
                    "riskSettings": {"maxDailyLoss": f"{self.number}.00000000"},
                    "userErrors": [],
                }
            }
        }
        self.acknowledged.append(self.number)
        return True

    async def _read(self) -> None:
        response = await self._ask(READ, {"id": self.account}, {})
        if response is not None and self.acknowledged:
            settings = response.json()["data"]["account"]["riskSettings"]
            assert self.acknowledged[-1] <= float(settings["maxDailyLoss"]) <= self.number

    async def _ask(
        self, query: str, variables: dict[str, str], headers: dict[str, str]
    ) -> httpx.Response | None:
        """Returns the response; None if it says that the database is away."""
        headers = {"authorization": f"Bearer {self.token}", **headers}
        response = await self.http.post(
            self.url, json={"query": query, "variables": variables}, headers=headers
        )
        codes = {error["extensions"]["code"] for error in response.json().get("errors", [])}
        if codes and codes <= AWAY:
            # What was read before the database went away is an answer, with an error beside what was not.
            assert "data" in response.json() or response.status_code in (503, 504)
            assert response.status_code != 503 or response.headers["retry-after"] == "1"
            self.refused += 1
            return None
        assert response.status_code == 200 or (self.keyed and response.status_code == 409), response.text
        self.served |= response.status_code == 200
        return response

    async def lost_or_repeated(self, connection: "asyncpg.Connection") -> tuple[set[int], set[int]]:
        """Returns the numbers that were acknowledged but aren't stored, and those that are stored twice."""
        made = Counter(row["number"] for row in await connection.fetch(MADE, self.account))
        return set(self.acknowledged) - set(made), {number for number, times in made.items() if times > 1}


@dataclass
class Probe:
    """A balancer, which polls /healthz and /readyz."""

    http: httpx.AsyncClient
    url: str
    lives: Counter[int] = field(default_factory=Counter)
    ready: Counter[int] = field(default_factory=Counter)

    async def run(self) -> None:
        """Sends requests until cancelled."""
        while True:
            self.lives[(await self.http.get(f"{self.url}/healthz")).status_code] += 1
            self.ready[(await self.http.get(f"{self.url}/readyz")).status_code] += 1
            await asyncio.sleep(0.05)


@dataclass
class Traffic:
    """All clients that send requests at the same time."""

    clients: Sequence[Client]
    probe: Probe
    tasks: Sequence[asyncio.Task[None]]

    async def everybody_is_served(self) -> None:
        """Waits until each client has got data. If a client has ended with an error, raises it."""
        for client in self.clients:
            client.served = False
        while not all(client.served for client in self.clients):
            for task in self.tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.02)


@asynccontextmanager
async def traffic(service: Service, connection: "asyncpg.Connection", clients: int) -> AsyncIterator[Traffic]:
    """Runs clients, every second one with keys, each with a user and an account of its own."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=TIMEOUT, limits=limits) as http:
        asking = [await _client(service, connection, http, keyed=bool(n % 2)) for n in range(clients)]
        probe = Probe(http, service.url.removesuffix("/graphql"))
        tasks = [asyncio.create_task(client.run()) for client in asking]
        tasks.append(asyncio.create_task(probe.run()))
        try:
            yield Traffic(asking, probe, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _client(
    service: Service, connection: "asyncpg.Connection", http: httpx.AsyncClient, *, keyed: bool
) -> Client:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    scopes = [Scope.GRAPH_READ, Scope.RISK_WRITE]
    made = await service_tokens.create(service.database, "test", scopes, user_id=user, lifetime=None)
    return Client(http, service.url, account, made.text, keyed)
