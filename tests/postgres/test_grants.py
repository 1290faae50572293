"""Serving as a role that owns nothing, with the privileges that `graphql-api grants` prints."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from graphql_api.log_feed.filter import LogFilter
from graphql_api.postgres.address import Address
from graphql_api.postgres.grants import grants
from tests.app import served
from tests.graph import opened, operator, settings_for, trader
from tests.postgres.given import fill

ROLE = 'the "server"'

EVERYTHING = """
    query {
      users { nodes { accounts { nodes {
        riskSettings { version } sessions { nodes { trades { nodes { id } } } }
      } } } }
      strategies { nodes { performance { nodes { winRate } } } }
      systemLogs { nodes { message } }
      accountPerformance { accountNumber }
      activeStrategiesPerformance { id }
    }
"""
UPDATE = """
    mutation ($account: ID!) {
      updateRiskSettings(accountId: $account, input: {riskPerTrade: "0.01"}) {
        riskSettings { riskPerTrade } userErrors { message }
      }
    }
"""


@pytest.fixture
async def serving(address: Address, connection: "asyncpg.Connection") -> AsyncIterator[Address]:
    """The address of a migrated database with rows, for a role that has just these privileges."""
    await fill(connection)
    quoted = '"the ""server"""'
    await connection.execute(f"CREATE ROLE {quoted} LOGIN")
    for statement in grants(ROLE):
        await connection.execute(statement)
    yield Address.parse(address.dsn.replace("postgres@", "the%20%22server%22@"))
    await connection.execute(f"DROP OWNED BY {quoted}")
    await connection.execute(f"DROP ROLE {quoted}")


async def test_reads_changes_and_the_log_feed_need_no_more(
    serving: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    ((user, account),) = await connection.fetch("SELECT user_id::text, id::text FROM tradelocker_accounts")

    async with opened(settings_for(serving, tmp_path, max_cost=10**9)) as graph:
        assert (await graph.as_(operator()).ask(EVERYTHING)).data["users"]["nodes"]
        changed = await graph.as_(trader(user)).ask(UPDATE, {"account": account})
        async with await graph.services.feed.subscribe(LogFilter()) as subscription:
            await connection.execute(
                "INSERT INTO system_logs (level, component, message) VALUES ('INFO', 'a', 'b')"
            )
            (event,) = await subscription.batch()

    assert changed.data["updateRiskSettings"] == {
        "riskSettings": {"riskPerTrade": "0.0100"},
        "userErrors": [],
    }
    assert event.row["message"] == "b"


async def test_signing_in_and_idempotency_keys_need_no_more(
    serving: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    hashed = "$2b$04$zvr9.QwVcTD7FfHuWJWCpOpda/FzPw8pACCtRQ/45oOkfTzoSa2eK"
    await connection.execute("UPDATE users SET password_hash = $1", hashed)
    login = 'mutation { login(email: "a@example.com", password: "a long password") { accessToken } }'

    async with served(serving, tmp_path) as app:
        answer = await app.ask(login)
        assert "errors" not in answer.json(), answer.json()
        token = answer.json()["data"]["login"]["accessToken"]
        account = await connection.fetchval("SELECT id::text FROM tradelocker_accounts")
        for _ in range(2):
            answer = await app.ask(
                UPDATE, {"account": account}, token=token, headers={"idempotency-key": "once"}
            )
            assert answer.json()["data"]["updateRiskSettings"]["userErrors"] == []

    assert await connection.fetchval("SELECT count(*) FROM system_logs WHERE component = 'risk'") == 1


async def test_the_role_cannot_change_what_it_serves(serving: Address) -> None:
    connection = await serving.connect_plain()
    for forbidden in (
        "DELETE FROM trades",
        "UPDATE trades SET pnl = 0",
        "UPDATE users SET email = ''",
        "DELETE FROM system_logs",
        "ALTER TABLE trades ADD COLUMN x int",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(forbidden)
    await connection.close()
