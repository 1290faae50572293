"""While PostgreSQL doesn't answer, each request is answered in time, whichever step has to wait."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from graphql_api.identity.viewer import Scope
from graphql_api.postgres.address import Address
from tests import factories
from tests.app import App, codes, served
from tests.postgres.proxy import Proxy, proxy_to

TIMEOUT = 0.5
"""Seconds: of an operation. A statement has ten, and so has the wait for a connection."""
READ = "{ accounts { totalCount } }"
CHANGE = """mutation ($id: ID!) {
  updateRiskSettings(accountId: $id, input: {maxOpenPositions: 5}) { riskSettings { version } }
}"""


@pytest.fixture
async def proxy(address: Address) -> AsyncIterator[Proxy]:
    async with proxy_to(address) as proxy:
        yield proxy


@pytest.fixture
async def app(proxy: Proxy, address: Address, tmp_path: Path) -> AsyncIterator[App]:
    through = Address.parse(proxy.url(address))
    async with served(through, tmp_path, operation_timeout=TIMEOUT, database_pool_size=4) as app:
        yield app


@pytest.mark.parametrize("is_known", [True, False], ids=["a token it knows", "a token it has to look up"])
@pytest.mark.parametrize("query", [READ, CHANGE], ids=["a query", "a mutation"])
async def test_each_request_is_answered_within_its_time(
    app: App, proxy: Proxy, connection: "asyncpg.Connection", query: str, is_known: bool
) -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    token = await app.token(Scope.GRAPH_READ, Scope.RISK_WRITE, user_id=user)
    if is_known:
        await app.ask(READ, token=token)
    proxy.thawed.clear()
    try:
        async with asyncio.timeout(10 * TIMEOUT):
            answers = await asyncio.gather(
                *(
                    app.ask(query, {"id": account} if query is CHANGE else None, token=token, headers=headers)
                    for headers in [{}, {"idempotency-key": str(uuid4())}] * 5
                )
            )
    finally:
        proxy.thawed.set()
    assert {code for answer in answers for code in codes(answer)} <= {"TIMEOUT", "SERVICE_UNAVAILABLE"}
    assert "errors" not in (await app.ask("{ __typename }")).json()


async def test_signing_in_is_answered_too(app: App, proxy: Proxy) -> None:
    login = 'mutation { login(email: "%s@example.com", password: "wrong") { userErrors { code } } }'
    proxy.thawed.clear()
    try:
        async with asyncio.timeout(10 * TIMEOUT):
            answers = await asyncio.gather(*(app.ask(login % name) for name in "abcde"))
    finally:
        proxy.thawed.set()
    assert {code for answer in answers for code in codes(answer)} <= {"TIMEOUT", "SERVICE_UNAVAILABLE"}
