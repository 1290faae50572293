"""Code generators read the schema, and type its scalars as docs/clients.md says."""

import asyncio
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from graphql_api.postgres.address import Address
from tests import factories
from tests.clients.page import FOLDER, ROOT, modules, prepared_node, python_packages
from tests.service.conftest import PASSWORD, served_from

pytestmark = pytest.mark.slow

SOURCE = """
import { graphql } from './gql';

export const Trades = graphql(`
  query Trades { trades(first: 1) { nodes { id pnl entryTime duration strategy { parameters } } } }
`);
"""


def test_the_client_preset_types_every_scalar(tmp_path: Path) -> None:
    node = prepared_node()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "trades.ts").write_text(SOURCE)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "codegen.js").write_text(modules()["codegen.js"])
    (tmp_path / "schema.graphql").write_text((ROOT / "schema.graphql").read_text())
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    command = [node, "node_modules/@graphql-codegen/cli/esm/bin.js", "--config", "codegen.js"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr

    generated = (tmp_path / "src" / "gql" / "graphql.ts").read_text()
    assert "any" not in generated.split("TradesQuery = ")[1].split(";")[0]
    for field, type_ in (("pnl", "string"), ("entryTime", "string"), ("parameters", "unknown")):
        assert f"{field}: {type_}" in generated


PYTHON_QUERIES = """
mutation Login($email: String!, $password: String!) {
  login(email: $email, password: $password) { accessToken }
}
query Closed($account: ID!, $filter: TradeFilter) {
  account(id: $account) { id }
  trades(filter: $filter) { nodes { id pnl entryTime duration strategy { parameters } } }
}
mutation Limit($account: ID!, $input: UpdateRiskSettingsInput!) {
  updateRiskSettings(accountId: $account, input: $input) { riskSettings { riskPerTrade } userErrors { code } }
}
"""

PROGRAM = """
import asyncio, datetime, decimal, json, sys

from graphql_client import Client, DateTimeFilter, TradeFilter, UpdateRiskSettingsInput

async def main(url, email, password, account):
    async with Client(url) as client:
        token = (await client.login(email, password)).login.access_token
    async with Client(url, headers={"Authorization": f"Bearer {token}"}) as client:
        since = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
        read = await client.closed(account, TradeFilter(entryTime=DateTimeFilter(gte=since)))
        [trade] = read.trades.nodes
        changed = await client.limit(account, UpdateRiskSettingsInput(riskPerTrade=decimal.Decimal("1E-2")))
        values = (read.account.id, trade.id, trade.pnl, trade.entry_time, trade.duration)
        limit = changed.update_risk_settings.risk_settings.risk_per_trade
        print(json.dumps([[type(value).__name__, str(value)] for value in (*values, limit)]))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_generated_python_client_reads_and_writes_every_scalar(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    environment = os.environ | {"PYTHONPATH": f"{python_packages()}{os.pathsep}{tmp_path}"}

    def run(*arguments: str) -> str:
        command = (sys.executable, *arguments)
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    (tmp_path / "pyproject.toml").write_text(modules()["ariadne.toml"])
    (tmp_path / "queries.graphql").write_text(PYTHON_QUERIES)
    (tmp_path / "schema.graphql").write_text((ROOT / "schema.graphql").read_text())
    run("-c", "from ariadne_codegen.main import main; main()")
    (tmp_path / "program.py").write_text(PROGRAM)

    service_folder = tmp_path / "service"
    service_folder.mkdir()
    async with served_from(address, service_folder) as service:
        await service.user("trader@example.org")
        user = await connection.fetchval("SELECT id FROM users WHERE email = 'trader@example.org'")
        account = await factories.account(connection, str(user))
        session = await factories.session(connection, account)
        trade = await factories.trade(
            connection, session, status="closed", pnl=Decimal("0.1"), exit_time=factories.NOW
        )
        command = (service.url, "trader@example.org", PASSWORD, account)
        values = json.loads(await asyncio.to_thread(run, "program.py", *command))
    assert values == [
        ["str", account],
        ["str", trade],
        ["Decimal", "0.10000000"],
        ["datetime", str(factories.NOW)],
        ["str", "PT0S"],
        ["Decimal", "0.0100"],
    ]
