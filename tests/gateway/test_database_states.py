"""What clients read, and what is logged, while PostgreSQL can't run statements."""

import logging
from pathlib import Path

import asyncpg
import httpx
import pytest

from graphql_api.gateway import errors
from graphql_api.identity import service_tokens
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.database import Database
from tests import factories
from tests.app import codes, served
from tests.conftest import AsRole

QUERY = "{ accounts { nodes { accountNumber } } }"
CHANGE = """mutation ($id: ID!) {
  updateRiskSettings(accountId: $id, input: {maxOpenPositions: 3}) { userErrors { code } }
}"""


@pytest.fixture(autouse=True)
def _no_incidents() -> None:
    errors._incidents.clear()


@pytest.fixture
async def trader(connection: "asyncpg.Connection") -> str:
    return await factories.user(connection)


@pytest.fixture
async def token(database: Database, trader: str) -> str:
    scopes = {Scope.GRAPH_READ, Scope.RISK_WRITE}
    return (await service_tokens.create(database, "test", scopes, user_id=trader, lifetime=None)).text


def outcome(response: httpx.Response) -> tuple[int, str | None, list[str]]:
    return response.status_code, response.headers.get("retry-after"), list(codes(response))


def incident_of(response: httpx.Response) -> str:
    return str(response.json()["errors"][0]["extensions"]["incident"])


async def test_a_read_only_database_is_read_and_says_that_it_takes_no_changes(
    as_role: AsRole,
    connection: "asyncpg.Connection",
    trader: str,
    token: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    account = await factories.account(connection, trader)
    async with served(await as_role("SET default_transaction_read_only = on"), tmp_path) as app:
        read = await app.ask(QUERY, token=token)
        answers = [await app.ask(CHANGE, {"id": account}, token=token) for _ in range(3)]

    assert len(read.json()["data"]["accounts"]["nodes"]) == 1
    for answer in answers:
        assert outcome(answer) == (503, "5", ["SERVICE_UNAVAILABLE"])
        assert "takes no changes" in answer.text
        assert "25006" not in answer.text
    (incident,) = {incident_of(answer) for answer in answers}
    (line,) = [record.getMessage() for record in caplog.records if incident in record.getMessage()]
    assert "25006: cannot execute" in line


async def test_a_lock_that_the_role_does_not_wait_for_is_a_timeout(
    as_role: AsRole,
    connection: "asyncpg.Connection",
    token: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with served(await as_role("SET lock_timeout = '50ms'"), tmp_path) as app, connection.transaction():
        await connection.execute("LOCK TABLE tradelocker_accounts")
        answer = await app.ask(QUERY, token=token)

    assert codes(answer) == ["TIMEOUT"]
    (line,) = [r.getMessage() for r in caplog.records if incident_of(answer) in r.getMessage()]
    assert "at accounts" in line
    assert "55P03: canceling statement due to lock timeout" in line


async def test_a_role_that_may_not_read_a_table_has_to_be_mended(
    as_role: AsRole, connection: "asyncpg.Connection", token: str, tmp_path: Path
) -> None:
    address = await as_role("")
    role = address.dsn.split("//")[1].split("@")[0]
    await connection.execute(f"REVOKE ALL ON tradelocker_accounts FROM {role}")
    async with served(address, tmp_path) as app:
        answer = await app.ask(QUERY, token=token)
    assert outcome(answer) == (503, "30", ["SERVICE_UNAVAILABLE"])
    assert "tradelocker_accounts" not in answer.text


async def test_a_token_that_cant_be_checked_is_not_refused(
    as_role: AsRole, connection: "asyncpg.Connection", token: str, tmp_path: Path
) -> None:
    async with served(await as_role("CONNECTION LIMIT 0"), tmp_path) as app:
        answer = await app.ask(QUERY, token=token)
    assert outcome(answer) == (503, "5", ["SERVICE_UNAVAILABLE"])
    assert answer.json()["errors"][0]["extensions"]["retryAfter"] == 5


async def test_incidents_with_different_causes_differ(
    as_role: AsRole, connection: "asyncpg.Connection", trader: str, token: str, tmp_path: Path
) -> None:
    account = await factories.account(connection, trader)
    address = await as_role("SET default_transaction_read_only = on")
    async with served(address, tmp_path) as app:
        first = await app.ask(CHANGE, {"id": account}, token=token)
        await connection.execute("ALTER TABLE tradelocker_accounts RENAME TO elsewhere")
        second = await app.ask(QUERY, token=token)
    assert incident_of(first) != incident_of(second)
