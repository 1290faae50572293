"""What an account's risk events show, and to whom."""

from datetime import timedelta
from typing import Any

import asyncpg

from graphql_api.identity.viewer import Role, Scope, ServiceTokenCredential, Viewer, scopes_of
from tests import factories
from tests.factories import NOW
from tests.graph import Graph, operator, trader

EVENTS = """
query ($id: ID!, $first: Int, $after: String, $filter: RiskEventFilter) {
  account(id: $id) { riskEvents(first: $first, after: $after, filter: $filter) {
    totalCount
    nodes { id kind occurredAt limit value allowed since trades { id }
      before { maxDailyLoss maxOpenPositions } after { maxDailyLoss maxOpenPositions riskPerTrade }
      author authorId account { id } }
    pageInfo { hasNextPage endCursor }
  } }
}
"""
UPDATE = """
mutation ($id: ID!, $input: UpdateRiskSettingsInput!) {
  updateRiskSettings(accountId: $id, input: $input) { userErrors { code } }
}
"""


async def event(connection: "asyncpg.Connection", account: str, **values: Any) -> str:
    defaults = {"account_id": account, "at": NOW, "kind": "LIMIT_CROSSED", "risk_limit": "MAX_DAILY_LOSS"}
    return await factories.insert(connection, "graphql_api.risk_events", **defaults | values)


async def read(graph: Graph, account: str, **variables: Any) -> Any:
    return (await graph.ask(EVENTS, {"id": account, **variables})).data["account"]["riskEvents"]


async def update(graph: Graph, account: str, **given: Any) -> list[str]:
    payload = (await graph.ask(UPDATE, {"id": account, "input": given})).data["updateRiskSettings"]
    return [error["code"] for error in payload["userErrors"]]


async def test_who_changes_limits_is_on_record_for_the_owner(graph: Graph, user: str, account: str) -> None:
    admin_id = "5f0c2d6e-9d0a-4f3e-8a55-0f6f2a3c9b11"
    admin = Viewer(user_id=admin_id, scopes=scopes_of({Role.ADMIN}), credential=operator(admin_id).credential)
    service = Viewer(
        user_id=user,
        scopes=frozenset({Scope.GRAPH_READ, Scope.RISK_WRITE}),
        credential=ServiceTokenCredential(b"service"),
    )
    assert await update(graph.as_(trader(user)), account, maxDailyLoss="500") == []
    assert await update(graph.as_(admin), account, maxOpenPositions=3, riskPerTrade="0.01") == []
    assert await update(graph.as_(service), account, maxDailyLoss=None) == []

    found = (await read(graph.as_(trader(user)), account))["nodes"]
    assert [(node["kind"], node["author"], node["authorId"]) for node in found] == [
        ("LIMITS_CHANGED", "SERVICE", user),
        ("LIMITS_CHANGED", "USER", admin_id),
        ("LIMITS_CHANGED", "USER", user),
    ]
    assert [node["before"] for node in found] == [
        {"maxDailyLoss": "500.00000000", "maxOpenPositions": 3},
        {"maxDailyLoss": "500.00000000", "maxOpenPositions": None},
        None,
    ]
    assert found[0]["after"] == {"maxDailyLoss": None, "maxOpenPositions": 3, "riskPerTrade": "0.0100"}
    assert {node["limit"] for node in found} == {None}


async def test_a_change_that_changes_nothing_is_no_event(graph: Graph, user: str, account: str) -> None:
    for _ in range(2):
        await update(graph.as_(trader(user)), account, maxDailyLoss="500")
    assert await update(graph.as_(trader(user)), account, maxDailyLoss="-1") == ["OUT_OF_RANGE"]

    assert (await read(graph.as_(trader(user)), account))["totalCount"] == 1


async def test_a_crossing_says_which_limit_by_how_much_since_when_and_by_which_trades(
    graph: Graph, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    session = await factories.session(connection, account)
    trades = [await factories.trade(connection, session) for _ in range(3)]
    gone = "00000000-0000-4000-8000-000000000000"
    id_ = await event(
        connection, account, value=600, allowed=500, since=NOW, trades=[trades[2], gone, trades[0]]
    )
    await event(
        connection, account, kind="LIMIT_KEPT", value=0, allowed=500, since=NOW, at=NOW + timedelta(1)
    )
    kept, crossed = (await read(graph.as_(trader(user)), account))["nodes"]

    assert crossed == {
        "id": id_,
        "kind": "LIMIT_CROSSED",
        "occurredAt": "2026-11-20T12:00:00.000000Z",
        "limit": "MAX_DAILY_LOSS",
        "value": "600",
        "allowed": "500",
        "since": "2026-11-20T12:00:00.000000Z",
        "trades": [{"id": trades[2]}, {"id": trades[0]}],
        "before": None,
        "after": None,
        "author": None,
        "authorId": None,
        "account": {"id": account},
    }
    assert (kept["kind"], kept["since"], kept["trades"]) == ("LIMIT_KEPT", crossed["since"], [])


async def test_trades_that_belong_to_somebody_else_by_now_are_left_out(
    graph: Graph, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    other = await factories.account(connection, await factories.user(connection))
    trade = await factories.trade(connection, await factories.session(connection, other))
    await event(connection, account, trades=[trade])

    (node,) = (await read(graph.as_(trader(user)), account))["nodes"]
    assert node["trades"] == []
    (node,) = (await read(graph.as_(operator()), account))["nodes"]
    assert node["trades"] == [{"id": trade}]


async def test_pages_and_filters_and_another_tenants_event(
    graph: Graph, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    ids = [
        await event(
            connection,
            account,
            at=NOW + timedelta(hours=number // 2),
            risk_limit="MAX_OPEN_POSITIONS" if number % 2 else "MAX_DAILY_LOSS",
        )
        for number in range(7)
    ]
    viewer = graph.as_(trader(user))
    found, after, more = [], None, True
    while more:
        page = await read(viewer, account, first=3, after=after)
        found += [node["id"] for node in page["nodes"]]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert found[0] == ids[6]
    assert sorted(found) == sorted(ids)
    odd = await read(viewer, account, filter={"limits": ["MAX_OPEN_POSITIONS"], "kinds": ["LIMIT_CROSSED"]})
    assert {node["id"] for node in odd["nodes"]} == set(ids[1::2])
    assert (await read(viewer, account, filter={"kinds": ["LIMIT_KEPT"]}))["totalCount"] == 0

    query = "query ($id: ID!) { node(id: $id) { id } }"
    other = graph.as_(trader(await factories.user(connection)))
    assert (await viewer.ask(query, {"id": ids[0]})).data == {"node": {"id": ids[0]}}
    assert (await other.ask(query, {"id": ids[0]})).data == {"node": None}


async def test_fifty_accounts_cost_as_many_statements_as_one(
    graph: Graph, connection: "asyncpg.Connection", user: str
) -> None:
    for _ in range(50):
        account = await factories.account(connection, user)
        trade = await factories.trade(connection, await factories.session(connection, account))
        await event(connection, account, trades=[trade])
    query = """query ($n: Int) { accounts(first: $n) { nodes { riskEvents {
        totalCount nodes { kind trades { symbol } account { id } } } } } }"""
    one = await graph.as_(trader(user)).ask(query, {"n": 1})
    fifty = await graph.as_(trader(user)).ask(query, {"n": 50})

    counts = [len(node["riskEvents"]["nodes"][0]["trades"]) for node in fifty.data["accounts"]["nodes"]]
    assert counts == [1] * 50
    assert one.statements == fifty.statements == 5
