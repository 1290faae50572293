"""A mutation under a key is carried out once, whenever its process is killed."""

import asyncio
from dataclasses import dataclass

import asyncpg
import httpx
import pytest

from graphql_api.identity import service_tokens
from graphql_api.identity.viewer import Scope
from tests import factories
from tests.http_client import http_client
from tests.service.conftest import Service

pytestmark = pytest.mark.slow

CHANGE = """
mutation ($id: ID!) {
  updateRiskSettings(accountId: $id, input: {maxDailyLoss: "10"}) {
    riskSettings { maxDailyLoss } userErrors { code }
  }
}
"""
HOLD = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END $$;
"""
BEFORE_THE_CHANGE_IS_COMMITTED = """
CREATE TRIGGER hold BEFORE INSERT ON system_logs FOR EACH ROW EXECUTE FUNCTION hold()
"""
BEFORE_THE_ANSWER_IS_STORED = """
CREATE TRIGGER hold BEFORE UPDATE ON graphql_api.idempotency_keys FOR EACH ROW
WHEN (NEW.answer IS NOT NULL) EXECUTE FUNCTION hold()
"""
HELD = """
FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE datname = current_database() AND locktype = 'advisory' AND objid = 42 AND NOT granted
"""


@dataclass
class Trader:
    """Somebody with an account, who changes its limits under one key."""

    service: Service
    connection: "asyncpg.Connection"
    account: str
    token: str

    async def change(self) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.token}", "idempotency-key": "key"}
        body = {"query": CHANGE, "variables": {"id": self.account}}
        async with http_client() as client:
            return await client.post(self.service.url, json=body, headers=headers)

    async def changes(self) -> int:
        return int(await self.connection.fetchval("SELECT count(*) FROM risk_settings"))

    async def killed(self, moment: str) -> None:
        """Change the limits in a process that is killed at that moment, and start another."""
        await self.connection.execute(HOLD + moment)
        async with self.connection.transaction():
            await self.connection.execute("SELECT pg_advisory_xact_lock(42)")
            change = asyncio.create_task(self.change())
            while not await self.connection.fetchval(f"SELECT count(*) {HELD}"):
                await asyncio.sleep(0.01)
            self.service.kill()
            with pytest.raises(httpx.TransportError):
                await change
            # What the killed process left at the server ends with its connections.
            await self.connection.execute(f"SELECT pg_terminate_backend(pid, 10000) {HELD}")
        await self.connection.execute("DROP FUNCTION hold CASCADE")
        await self.service.start()


@pytest.fixture
async def trader(service: Service, connection: "asyncpg.Connection") -> Trader:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    made = await service_tokens.create(
        service.database, "test", [Scope.GRAPH_READ, Scope.RISK_WRITE], user_id=user, lifetime=None
    )
    return Trader(service, connection, account, made.text)


def codes(response: httpx.Response) -> list[str]:
    return [error["extensions"]["code"] for error in response.json()["errors"]]


async def test_a_change_that_was_not_committed_is_made_when_it_is_sent_again(trader: Trader) -> None:
    await trader.killed(BEFORE_THE_CHANGE_IS_COMMITTED)
    assert await trader.changes() == 0

    assert (await trader.change()).status_code == 200
    assert await trader.changes() == 1


async def test_a_change_that_was_committed_is_not_made_again(trader: Trader) -> None:
    await trader.killed(BEFORE_THE_ANSWER_IS_STORED)
    assert await trader.changes() == 1

    answer = await trader.change()
    assert (answer.status_code, codes(answer)) == (409, ["IDEMPOTENCY_ANSWER_LOST"])
    assert await trader.changes() == 1


async def test_an_answer_outlives_its_process(trader: Trader) -> None:
    first = await trader.change()
    trader.service.kill()
    await trader.service.start()
    assert (await trader.change()).content == first.content
