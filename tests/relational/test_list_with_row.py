"""An only row and the list below it are one statement, where nothing else is loaded for the row."""

from typing import Any

import asyncpg
import pytest

from tests import factories
from tests.graph import Graph, operator, trader

pytestmark = pytest.mark.usefixtures("compiled")

SESSIONS = """query ($id: ID!, $first: Int) {
    account(id: $id) { id sessions(first: $first) { nodes { id } } } }"""
TRADES = "query ($id: ID!) { session(id: $id) { trades { nodes { id } } } }"


async def test_viewers_and_roots_rows_come_with_their_lists(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    session = await factories.session(connection, account)
    trade = await factories.trade(connection, session)
    viewer = graph.as_(trader(user))

    mine = await viewer.ask("{ viewer { user { email accounts { nodes { id } } } } }")
    sessions = await viewer.ask(SESSIONS, {"id": account, "first": 5})
    trades = await viewer.ask(TRADES, {"id": session})

    assert [node["id"] for node in mine.data["viewer"]["user"]["accounts"]["nodes"]] == [account]
    assert sessions.data == {"account": {"id": account, "sessions": {"nodes": [{"id": session}]}}}
    assert trades.data == {"session": {"trades": {"nodes": [{"id": trade}]}}}
    assert [mine.statements, sessions.statements, trades.statements] == [1, 1, 1]


async def test_a_parent_comes_with_its_list(graph: Graph, connection: "asyncpg.Connection") -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    session = await factories.session(connection, account)
    query = "query ($id: ID!) { session(id: $id) { account { sessions { nodes { id } } } } }"

    answer = await graph.as_(trader(user)).ask(query, {"id": session})

    assert answer.data == {"session": {"account": {"sessions": {"nodes": [{"id": session}]}}}}
    assert answer.statements == 2  # the session's, and that of its account with the sessions


async def test_an_empty_list_leaves_the_row(graph: Graph, connection: "asyncpg.Connection") -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    query = """query ($id: ID!) { account(id: $id) { accountNumber
        sessions(last: 3) { nodes { id } pageInfo { hasPreviousPage hasNextPage endCursor } } } }"""

    answer = await graph.as_(trader(user)).ask(query, {"id": account})

    found = answer.data["account"]
    assert found["accountNumber"]
    page_info = {"hasPreviousPage": False, "hasNextPage": False, "endCursor": None}
    assert found["sessions"] == {"nodes": [], "pageInfo": page_info}
    assert answer.statements == 1


async def test_another_tenants_row_brings_no_list(graph: Graph, connection: "asyncpg.Connection") -> None:
    account = await factories.account(connection, await factories.user(connection))
    session = await factories.session(connection, account)
    stranger = graph.as_(trader(await factories.user(connection)))

    assert (await stranger.ask(SESSIONS, {"id": account})).data == {"account": None}
    answer = await graph.as_(operator()).ask(SESSIONS, {"id": account})
    assert answer.data["account"]["sessions"] == {"nodes": [{"id": session}]}


async def test_several_rows_share_a_statement_and_their_lists_another(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    accounts = [await factories.account(connection, user) for _ in range(2)]
    sessions = [await factories.session(connection, account) for account in accounts]
    query = """query ($one: ID!, $two: ID!) {
        one: account(id: $one) { sessions { nodes { id } } }
        two: account(id: $two) { sessions { nodes { id } } } }"""

    answer = await graph.as_(trader(user)).ask(query, dict(zip(("one", "two"), accounts, strict=True)))

    found = [answer.data[name]["sessions"]["nodes"] for name in ("one", "two")]
    assert found == [[{"id": session}] for session in sessions]
    assert answer.statements == 2


@pytest.mark.parametrize(
    ("fields", "statements"),
    [
        ("a: sessions(first: 1) { nodes { id } } b: sessions(first: 2) { nodes { id } }", 3),
        ("sessions { nodes { id } } riskSettings { version }", 3),
        ("sessions(filter: {isRunning: true}) { nodes { id } }", 2),
        ("sessions { totalCount }", 2),
    ],
)
async def test_what_else_is_loaded_keeps_them_apart(
    graph: Graph, connection: "asyncpg.Connection", fields: str, statements: int
) -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    await factories.session(connection, account)
    await factories.risk_settings(connection, account)

    query = f"query ($id: ID!) {{ account(id: $id) {{ {fields} }} }}"
    answer = await graph.as_(trader(user)).ask(query, {"id": account})

    assert not answer.errors
    assert answer.statements == statements


async def test_a_bad_argument_is_the_lists_own_error(graph: Graph, connection: "asyncpg.Connection") -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)

    answer = await graph.as_(trader(user)).ask(SESSIONS, {"id": account, "first": 0})

    errors: list[dict[str, Any]] = answer.errors
    assert [error["path"] for error in errors] == [["account", "sessions"]]
