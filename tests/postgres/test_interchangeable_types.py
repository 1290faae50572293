"""Databases whose columns have other types than the documented ones, where adoption says that values fit.

The questions of the tenancy walk, the feeds and the recorders must do over them what they do over the
documented types.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest
import pytest_asyncio
from sqlalchemy import Integer, Numeric, String

from graphql_api.domain.account_logs import AccountLogRecording
from graphql_api.domain.risk.event_recording import RiskEventRecording
from graphql_api.postgres.address import Address
from graphql_api.postgres.documented_schema import Severity, find_differences
from graphql_api.postgres.migrate import migrate
from graphql_api.postgres.tables import metadata
from tests import factories
from tests.conftest import temporary_database
from tests.graph import Graph, opened, operator, settings_for, trader
from tests.postgres.given import make_given, statements
from tests.security.tenants import Tenant
from tests.security.walk import (
    ask_all,
    every_change,
    every_filter,
    every_path,
    every_subscription,
    follow_all,
    unlimited,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DEPTH = 1
FILLED = (
    *("users", "tradelocker_accounts", "trading_sessions", "ai_strategies", "strategy_performance"),
    *("trades", "risk_settings", "system_logs", "graphql_api.risk_events"),
)
VIEWS = ("active_strategies_performance", "account_performance")
# Decimals, of which another scale shows more zeros; and what has such a decimal or the time in it.
DECIMAL = re.compile(r'"(-?\d+)\.(\d*?)0*"')
GENERATED = re.compile(r'"(cursor|startCursor|endCursor|updatedAt|version)":"[^"]*"')


def altered(kind: type, type_: str) -> str:
    """The statements that give every documented column of a kind another type."""
    changes = [
        f"ALTER TABLE {table.name} ALTER {column.name} TYPE {type_};"
        for table in metadata.tables.values()
        if table.schema is None
        for column in table.columns
        if isinstance(column.type, kind)
    ]
    views = [f"{text};" for text in statements() if text.upper().startswith("CREATE VIEW")]
    assert len(views) == len(VIEWS)
    return " ".join([f"DROP VIEW {', '.join(VIEWS)};", *changes, *views])


@asynccontextmanager
async def adopted(
    server: Address, change: str = "SELECT"
) -> AsyncIterator[tuple[Address, "asyncpg.Connection"]]:
    """A database of documented tables that were changed before the service adopted it."""
    async with temporary_database(server) as address:
        connection = await address.connect_plain(application="another program")
        try:
            await make_given(connection)
            await connection.execute(change)
            await migrate(address)
            yield address, connection
        finally:
            await connection.close()


@dataclass(frozen=True)
class Documented:
    """What is seen over the documented types."""

    tenant: Tenant
    rows: Mapping[str, str]
    """The tenant's rows, and what traders share, by table as JSON."""
    answers: Mapping[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def documented(server: Address, tmp_path_factory: pytest.TempPathFactory) -> Documented:
    tenant = Tenant.make("own", str(uuid4()))
    async with adopted(server) as (_, connection):
        strategy = await factories.strategy(
            connection, id=tenant.rows["Trade"]["strategy_id"], parameters='{"period": 14}'
        )
        await factories.performance(connection, strategy, trades_count=3)
        await tenant.insert(connection)
        rows = {
            table: await connection.fetchval(f"SELECT json_agg(t)::text FROM {table} t") for table in FILLED
        }
    async with adopted(server) as (address, connection):
        folder = tmp_path_factory.mktemp("documented")
        return Documented(tenant, rows, await observed(address, connection, folder, tenant, rows))


async def observed(
    address: Address, connection: "asyncpg.Connection", folder: Path, tenant: Tenant, rows: Mapping[str, str]
) -> Mapping[str, str]:
    """What is answered and sent over a database that gets these rows, by viewer and question."""
    ids = {type_: [id_] for type_, id_ in tenant.ids().items()}
    ids["Strategy"] = [tenant.rows["Trade"]["strategy_id"]]
    component = tenant.rows["SystemLog"]["component"]
    texts = [tenant.rows["Trade"]["symbol"], tenant.rows["User"]["email"]]
    recordings = (AccountLogRecording((component,)), RiskEventRecording("UTC"))
    found: dict[str, str] = {}
    settings = settings_for(address, folder, trader_log_components=(component,))
    async with opened(settings) as graph:
        recorder = await address.connect()
        try:
            for recording in recordings:
                await recording.begin(recorder)
            cursor = await graph.services.activity.now()
            for table, values in rows.items():
                await connection.execute(
                    f"INSERT INTO {table} SELECT * FROM json_populate_recordset(NULL::{table}, $1)", values
                )
            await recordings[0].poll(recorder)
            asked = {
                name: Graph(graph.services, unlimited(), viewer)
                for name, viewer in (("trader", trader(tenant.ids()["User"])), ("operator", operator()))
            }
            for name, each in asked.items():
                questions = [*every_path(DEPTH, ids), *every_filter(texts, ids)]
                answers: dict[str, Any] = dict(await ask_all(each, questions))
                answers |= await follow_all(each, [*every_subscription(ids["Account"])], cursor)
                found |= {f"{name}: {question}": comparable(answer) for question, answer in answers.items()}
            for name, each in asked.items():
                answers = dict(await ask_all(each, [*every_change(ids["Account"][0])]))
                found |= {f"{name}: {question}": comparable(answer) for question, answer in answers.items()}
            await recordings[1].poll(recorder)
        finally:
            await recorder.close()
    found["recorded"] = str(await connection.fetchval("SELECT count(*) FROM graphql_api.risk_events"))
    return found


def comparable(answer: Any) -> str:
    """An answer without what differs between equal databases."""
    text = answer if isinstance(answer, str) else orjson.dumps(answer).decode()
    return GENERATED.sub("", DECIMAL.sub(r'"\1.\2"', text))


@pytest.mark.parametrize(
    ("kind", "type_", "severities"),
    [
        (String, "text", {Severity.HARMLESS}),
        (Numeric, "numeric(30,10)", {Severity.HARMLESS}),
        (Numeric, "numeric", {Severity.DEGRADED}),
        (Integer, "bigint", {Severity.DEGRADED}),
        (Integer, "smallint", {Severity.HARMLESS, Severity.DEGRADED}),
    ],
)
async def test_values_that_fit_are_served_as_those_of_the_documented_types(
    server: Address,
    tmp_path: Path,
    documented: Documented,
    kind: type,
    type_: str,
    severities: set[Severity],
) -> None:
    async with adopted(server, altered(kind, type_)) as (address, connection):
        differences = await find_differences(connection)
        assert {each.severity for each in differences} == severities
        found = await observed(address, connection, tmp_path, documented.tenant, documented.rows)
    assert [name for name, answer in documented.answers.items() if found[name] != answer] == []
