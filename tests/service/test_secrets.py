"""What the service's log and its traces never have: variables, secrets, tokens, values of rows."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from graphql_api.identity import service_tokens
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.address import Address
from tests import factories
from tests.http_client import http_client
from tests.service.conftest import LOGIN, PASSWORD, Service, served_from
from tests.service.test_observation import collector

__all__ = ["collector"]

pytestmark = pytest.mark.slow

VARIABLE, LITERAL, ROW, HEADER, KEY, BODY, WRONG = (
    f"{name}-that-nobody-may-read"
    for name in ("variable", "literal", "row", "header", "key", "body", "wrong")
)
EMAIL = "somebody.private@example.com"
CHANGE = """
mutation ($id: ID!, $loss: Decimal) {
  updateRiskSettings(accountId: $id, input: {maxDailyLoss: $loss}) { userErrors { code } }
}
"""
ACCOUNT_BY_NUMBER = '{ viewer { user { accounts { nodes { accountNumber } } } } node(id: "%s") { id } }'
# A statement fails, and PostgreSQL quotes the row, the argument or a value.
FAILURES = (
    "RAISE EXCEPTION 'refused' USING ERRCODE = 'assert_failure', DETAIL = 'the row has %', HINT = 'none';",
    "RAISE EXCEPTION invalid_text_representation USING MESSAGE = 'not a number: %';",
)


class Secrets:
    """A service that is asked in every way with secrets in it, and what must not be read of them."""

    def __init__(self, service: Service, connection: "asyncpg.Connection") -> None:
        self.service = service
        self.connection = connection
        self.never = [VARIABLE, LITERAL, ROW, HEADER, KEY, BODY, WRONG, PASSWORD, EMAIL, "12345.67"]

    async def ask(self) -> None:
        """Sign in, read, change, follow and fail."""
        access = await self.service.user(EMAIL)
        answer = await self.service.ask(LOGIN, {"email": EMAIL, "password": PASSWORD})
        refresh = answer.json()["data"]["login"]["refreshToken"]
        await self.service.ask(LOGIN, {"email": EMAIL, "password": WRONG})
        user = await self.connection.fetchval("SELECT id::text FROM users WHERE email = $1", EMAIL)
        account = await factories.account(self.connection, user)
        made = await service_tokens.create(
            self.service.database, "bot", [Scope.GRAPH_READ, Scope.RISK_WRITE], user_id=user, lifetime=None
        )
        self.never += [access, access.rsplit(".", 1)[1], refresh, made.text]

        rotate = (
            "mutation ($token: String!) { refreshToken(refreshToken: $token) { accessToken refreshToken } }"
        )
        await self.service.ask(rotate, {"token": refresh})
        await self.service.ask(rotate, {"token": refresh})  # a second time: the login ends
        headers = {"authorization": f"Bearer {made.text}", "x-api-key": HEADER, "idempotency-key": KEY}
        change = {"query": CHANGE, "variables": {"id": account, "loss": "12345.67"}}
        url = self.service.url
        async with http_client(headers=headers) as client:
            await client.post(url, json=change)
            await client.post(url, json={"query": ACCOUNT_BY_NUMBER % LITERAL})
            await client.post(url, json={"query": CHANGE, "variables": {"id": VARIABLE, "loss": VARIABLE}})
            await client.post(url, content=b'{"query": "' + BODY.encode())
            await client.get(
                url, params={"query": "{ __typename }", "variables": json.dumps({"a": VARIABLE})}
            )
            await self.fail_with("RAISE EXCEPTION 'refused' USING DETAIL = 'the row has %';")
            refused = await client.post(url, json=change, headers={"idempotency-key": f"{KEY}-refused"})
            assert refused.json()["data"]["updateRiskSettings"]["userErrors"] == [{"code": "INVALID"}]
            for number, failure in enumerate(FAILURES):
                await self.fail_with(failure)
                again = await client.post(url, json=change, headers={"idempotency-key": f"{KEY}-{number}"})
                assert again.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        await self.follow(made.text)
        await self.service.ask("{ __typename }", token=f"{made.text}{WRONG}")

    async def fail_with(self, statement: str) -> None:
        statement = statement.replace("%", ROW)
        await self.connection.execute(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$BEGIN {statement} END$$;"
            "CREATE OR REPLACE TRIGGER refuse BEFORE UPDATE OR INSERT ON risk_settings"
            " FOR EACH ROW EXECUTE FUNCTION refuse()"
        )

    async def follow(self, token: str) -> None:
        async with connect(
            self.service.socket_url,
            subprotocols=[Subprotocol("graphql-transport-ws")],
            additional_headers={"x-api-key": HEADER},
        ) as socket:
            await socket.send(
                json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
            )
            await socket.recv()
            payload: dict[str, Any] = {"query": ACCOUNT_BY_NUMBER % LITERAL, "variables": {"a": VARIABLE}}
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            await socket.recv()
            await socket.send(BODY)
            await socket.wait_closed()

    def found_in(self, text: str) -> list[str]:
        return [secret for secret in self.never if secret in text]


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_no_level_of_the_log_has_secrets(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path, log_format: str
) -> None:
    settings = {
        "GRAPHQL_API_LOG_FORMAT": log_format,
        "GRAPHQL_API_LOG_OPERATIONS": "true",
        "GRAPHQL_API_SLOW_OPERATION": "0.000001",  # all of them, with the plans of what took long
    }
    async with served_from(address, tmp_path, module="tests.service.every_level", **settings) as service:
        await connection.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END$$;"
            "CREATE TRIGGER slow BEFORE INSERT ON risk_settings FOR EACH ROW EXECUTE FUNCTION slow()"
        )
        secrets = Secrets(service, connection)
        await secrets.ask()
        while "took long" not in service.log.read_text():
            await asyncio.sleep(0.05)
        service.stop()
    log = service.log.read_text()
    assert secrets.found_in(log) == []
    assert "slow operation" in log
    assert log.count("Traceback") >= len(FAILURES)
    assert "refused" in log  # what a trigger says is no value


async def test_no_trace_has_secrets(
    address: Address,
    connection: "asyncpg.Connection",
    tmp_path: Path,
    collector: tuple[str, list[Any]],
) -> None:
    url, spans = collector
    settings = {
        "GRAPHQL_API_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    async with served_from(address, tmp_path, **settings) as service:
        secrets = Secrets(service, connection)
        await secrets.ask()
        user = await connection.fetchval("SELECT id::text FROM users WHERE email = $1", EMAIL)
        secrets.never.append(user)
        while not any("P0004" in str(span) for span in spans):
            await asyncio.sleep(0.05)
        service.stop()
    assert secrets.found_in("\n".join(map(str, spans))) == []
    assert any(attribute.key == "error.type" for span in spans for attribute in span.attributes)
