"""Any value that other programs have stored is read as documented, and makes no other field fail."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from graphql_api.identity.viewer import Scope
from graphql_api.postgres.vocabularies import trade_status
from tests import factories
from tests.app import App
from tests.factories import NOW
from tests.graph import Graph, operator, trader

UNKNOWN = "00000000-0000-0000-0000-000000000009"


@pytest.fixture
async def session(connection: "asyncpg.Connection") -> str:
    account = await factories.account(connection, await factories.user(connection))
    return await factories.session(connection, account)


async def trades(graph: Graph, fields: str) -> list[dict[str, Any]]:
    query = f"{{ trades(orderBy: {{field: SYMBOL, direction: ASC}}) {{ nodes {{ {fields} }} }} }}"
    return list((await graph.as_(operator()).ask(query)).data["trades"]["nodes"])


async def test_a_dangling_strategy_is_null_beside_one_that_is_not(
    graph: Graph, connection: "asyncpg.Connection", session: str
) -> None:
    strategy = await factories.strategy(connection, name="Trend")
    await factories.trade(connection, session, symbol="a", strategy_id=UNKNOWN)
    await factories.trade(connection, session, symbol="b", strategy_id=strategy)
    await factories.trade(connection, session, symbol="c")

    assert await trades(graph, "strategyId strategy { name }") == [
        {"strategyId": UNKNOWN, "strategy": None},
        {"strategyId": strategy, "strategy": {"name": "Trend"}},
        {"strategyId": None, "strategy": None},
    ]


async def test_words_that_nobody_foresaw_are_other(
    graph: Graph, connection: "asyncpg.Connection", session: str
) -> None:
    await factories.trade(connection, session, symbol="a", status="limbo", direction="up?")
    await factories.trade(connection, session, symbol="b", status=" Filled", direction="LONG ", exit_time=NOW)

    assert await trades(graph, "status statusRaw direction directionRaw") == [
        {"status": "OTHER", "statusRaw": "limbo", "direction": "OTHER", "directionRaw": "up?"},
        {"status": "CLOSED", "statusRaw": " Filled", "direction": "BUY", "directionRaw": "LONG "},
    ]


async def test_the_words_of_brokers_and_exchanges_are_known(
    graph: Graph, connection: "asyncpg.Connection", session: str
) -> None:
    stored = [
        ("PartiallyFilled", "BOT", None),
        ("PARTIALLY_FILLED", "SLD", NOW),
        ("PENDING_NEW", "Buy Limit", None),
        ("Canceling", "1", None),
        ("EXPIRED_IN_MATCH", "SELL STOP", None),
        ("Inactive", "0", None),
    ]
    for number, (status, direction, exit_time) in enumerate(stored):
        await factories.trade(
            connection, session, symbol=f"{number}", status=status, direction=direction, exit_time=exit_time
        )

    read = [(trade["status"], trade["direction"]) for trade in await trades(graph, "status direction")]
    assert read == [
        ("OPEN", "BUY"),
        ("CLOSED", "SELL"),
        ("PENDING", "BUY"),
        ("PENDING", "SELL"),
        ("CANCELLED", "SELL"),
        ("REJECTED", "BUY"),
    ]
    exposure = "{ trades { stats { exposure { symbol openTrades buySize } } } }"
    answer = await graph.as_(operator()).ask(exposure)
    assert answer.data["trades"]["stats"]["exposure"] == [
        {"symbol": "0", "openTrades": 1, "buySize": "0.10000000"}
    ]


async def test_no_emergency_hides_from_a_minimum_level(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    for level in (
        "emerg",
        "ALERT",
        "crit",
        "panic",
        "err",
        "severe",
        "0",
        "50",
        "FATAL2",
        "notice",
        "20",
        "x",
    ):
        await factories.system_log(connection, level=level)
    answer = await graph.as_(operator()).ask(
        "{ systemLogs(filter: {minLevel: WARNING}) { nodes { levelRaw } } }"
    )

    shown = {line["levelRaw"] for line in answer.data["systemLogs"]["nodes"]}
    assert shown == {"emerg", "ALERT", "crit", "panic", "err", "severe", "0", "50", "FATAL2"}


async def test_a_stored_nan_is_null_wherever_it_stands(
    graph: Graph, connection: "asyncpg.Connection", session: str
) -> None:
    nan = Decimal("NaN")
    await factories.trade(connection, session, symbol="a", pnl=nan, size=nan, entry_price=nan, exit_price=nan)
    await factories.trade(connection, session, symbol="b", pnl=Decimal(0), size=Decimal(0))

    assert await trades(graph, "pnl size entryPrice exitPrice") == [
        {"pnl": None, "size": None, "entryPrice": None, "exitPrice": None},
        {"pnl": "0.00000000", "size": "0.00000000", "entryPrice": "1.08000000", "exitPrice": None},
    ]


async def test_null_foreign_keys_are_null_edges(graph: Graph, connection: "asyncpg.Connection") -> None:
    account = await factories.account(connection, None)
    session = await factories.session(connection, None)
    query = """
      query ($account: ID!, $session: ID!) {
        account(id: $account) { user { id } }
        session(id: $session) { account { id } trades { totalCount } }
      }
    """
    answer = await graph.as_(operator()).ask(query, {"account": account, "session": session})

    assert answer.data == {
        "account": {"user": None},
        "session": {"account": None, "trades": {"totalCount": 0}},
    }


async def test_a_session_without_end_runs(graph: Graph, connection: "asyncpg.Connection") -> None:
    account = await factories.account(connection, await factories.user(connection))
    ended = await factories.session(connection, account, ended_at=NOW + timedelta(hours=30))
    older = await factories.session(connection, account, started_at=NOW - timedelta(days=1))
    running = await factories.session(connection, account)
    query = """
      query ($id: ID!) { account(id: $id) {
        currentSession { id }
        sessions { nodes { id isRunning endedAt duration } }
      } }
    """
    data = (await graph.as_(operator()).ask(query, {"id": account})).data["account"]
    rows = {row.pop("id"): row for row in data["sessions"]["nodes"]}

    assert data["currentSession"] == {"id": running}
    assert rows[running] == rows[older] == {"isRunning": True, "endedAt": None, "duration": None}
    assert rows[ended] == {"isRunning": False, "endedAt": "2026-11-21T18:00:00.000000Z", "duration": "PT30H"}


async def test_of_two_risk_rows_the_newest_counts(graph: Graph, connection: "asyncpg.Connection") -> None:
    user = await factories.user(connection)
    twice = await factories.account(connection, user, account_number="1")
    once = await factories.account(connection, user, account_number="2")
    await factories.account(connection, user, account_number="3")
    await factories.risk_settings(connection, twice, updated_at=None)
    newest = await factories.risk_settings(connection, twice, max_daily_loss=Decimal("NaN"))
    await factories.risk_settings(connection, twice, updated_at=NOW - timedelta(days=1))
    only = await factories.risk_settings(connection, once)
    query = "{ accounts { nodes { riskSettings { id hasDuplicates maxDailyLoss } } } }"

    nodes = (await graph.as_(trader(user)).ask(query)).data["accounts"]["nodes"]
    assert nodes == [
        {"riskSettings": {"id": newest, "hasDuplicates": True, "maxDailyLoss": None}},
        {"riskSettings": {"id": only, "hasDuplicates": False, "maxDailyLoss": "500.00000000"}},
        {"riskSettings": None},
    ]


async def test_an_infinity_is_an_error_of_its_field_alone(
    graph: Graph, connection: "asyncpg.Connection", session: str
) -> None:
    """A numeric with a precision can't hold one."""
    await connection.execute("ALTER TABLE trades ALTER pnl TYPE numeric")
    for symbol, pnl in (("a", "Infinity"), ("b", "-Infinity"), ("c", "NaN"), ("d", "1.50")):
        await factories.trade(connection, session, symbol=symbol, pnl=Decimal(pnl))
    query = "{ trades(orderBy: {field: SYMBOL, direction: ASC}) { nodes { symbol pnl again: pnl } } }"
    answer = await graph.as_(operator()).ask(query)
    assert [(row["pnl"], row["again"]) for row in answer.body["data"]["trades"]["nodes"]] == [
        (None, None),
        (None, None),
        (None, None),
        ("1.50", "1.50"),
    ]
    assert [(error["path"][2:], error["message"]) for error in answer.body["errors"]] == [
        ([row, key], f"the stored number is {stored}, which is no decimal number")
        for row, stored in enumerate(("Infinity", "-Infinity"))
        for key in ("pnl", "again")
    ]
    assert {error["extensions"]["code"] for error in answer.body["errors"]} == {"NOT_FINITE"}


async def test_moments_beyond_the_calendar_are_its_ends(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    await connection.execute("UPDATE users SET subscription_expires = 'infinity', last_login = '-infinity'")
    query = "query ($id: ID!) { user(id: $id) { subscriptionExpires lastLogin } }"

    assert (await graph.as_(trader(user)).ask(query, {"id": user})).data["user"] == {
        "subscriptionExpires": "9999-12-31T23:59:59.999999Z",
        "lastLogin": "0001-01-01T00:00:00.000000Z",
    }


@pytest.mark.parametrize(
    ("stored", "status"),
    [
        ("trialing", "TRIAL"),
        (" Active ", "ACTIVE"),
        ("unpaid", "PAST_DUE"),
        ("canceled", "CANCELLED"),
        ("incomplete_expired", "EXPIRED"),
        ("", "NONE"),
        ("gratis", "OTHER"),
        (None, None),
    ],
)
async def test_subscription_words_are_billings(
    graph: Graph, connection: "asyncpg.Connection", stored: str | None, status: str | None
) -> None:
    user = await factories.user(connection, subscription_status=stored)
    query = "query ($id: ID!) { user(id: $id) { subscriptionStatus subscriptionStatusRaw } }"

    answer = await graph.as_(trader(user)).ask(query, {"id": user})
    assert answer.data["user"] == {"subscriptionStatus": status, "subscriptionStatusRaw": stored}


async def test_secrets_never_leave(graph: Graph, connection: "asyncpg.Connection") -> None:
    user = await factories.user(connection, password_hash="hash-of-theirs")
    await factories.account(connection, user, api_key="key-of-theirs", account_number="1")
    await factories.account(connection, user, api_key="", account_number="2")
    await factories.account(connection, user, api_key=None, account_number="3")
    await factories.strategy(connection, parameters='{"period": 14, "api_token": "theirs"}')
    query = (
        "{ users { nodes { email accounts { nodes { hasApiKey } } } } strategies { nodes { parameters } } }"
    )
    answer = await graph.as_(trader(user)).ask(query)

    assert answer.data["users"]["nodes"][0]["accounts"]["nodes"] == [
        {"hasApiKey": True},
        {"hasApiKey": False},
        {"hasApiKey": False},
    ]
    assert answer.data["strategies"]["nodes"] == [{"parameters": {"period": 14, "api_token": "[redacted]"}}]
    assert "theirs" not in str(answer.body)


async def test_words_that_nobody_foresaw_are_counted_by_column(
    app: App, connection: "asyncpg.Connection"
) -> None:
    async def counted(column: str) -> float:
        text = (await app.client.get("/metrics")).text
        (line,) = re.findall(
            rf'^vocabulary_unknown_words_total{{column="{column}"}} (.*)$', text, re.MULTILINE
        )
        return float(line)

    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    for _ in range(3):
        await factories.trade(connection, session, status=f"limbo {uuid4().hex[:8]}")
    before = [await counted("trades.status"), await counted("system_logs.level")]
    token = await app.token(Scope.GRAPH_READ, user_id=user)
    for _ in range(2):
        await app.ask("{ trades { nodes { status } } }", token=token)

    assert [await counted("trades.status"), await counted("system_logs.level")] == [before[0] + 3, before[1]]


async def test_many_statuses_read_as_one_by_one(
    graph: Graph, connection: "asyncpg.Connection", session: str
) -> None:
    for number, status in enumerate(("open", "Filled", "closed", "PENDING", "reject ed", "?", "filled")):
        for exit_time in (None, NOW):
            await factories.trade(
                connection, session, symbol=f"{number}", status=status, exit_time=exit_time, exit_price=1
            )
    found = await trades(graph, "symbol size pnl statusRaw exitTime status")

    assert len(found) == 14
    for row in found:
        expected = trade_status(row["statusRaw"], has_exit=row["exitTime"] is not None)
        assert row["status"] == expected, row
