"""The main job, end to end: sign in, ask deeply, change a setting, see a log line arrive."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
from gql import Client, GraphQLRequest
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

from graphql_api.identity.viewer import Role
from tests import factories
from tests.factories import NOW
from tests.service.conftest import Service

DEEP = """
query ($accounts: Int, $before: String) {
  viewer { roles user { email accounts(last: $accounts, before: $before) {
    pageInfo { hasPreviousPage startCursor }
    nodes { accountNumber sessions(first: 1, orderBy: {field: STARTED_AT, direction: ASC}) {
      totalCount
      nodes { startedAt trades(filter: {direction: [BUY]}, orderBy: {field: PNL}) {
        nodes { symbol pnl strategy { name } }
      } }
    } }
  } } }
}
"""
FOLLOW = """
subscription ($after: String) {
  systemLogAdded(after: $after, filter: {minLevel: WARNING, components: ["bot"]}) {
    cursor replayed log { id level component message details }
  }
}
"""


async def seed(connection: "asyncpg.Connection", email: str) -> None:
    user = await connection.fetchval("SELECT id FROM users WHERE email = $1", email)
    strategy = await factories.strategy(connection, name="Trend")
    for number in ("1", "2", "3"):
        account = await factories.account(connection, user, account_number=number)
        for day in (0, 1):
            session = await factories.session(connection, account, started_at=NOW + timedelta(days=day))
            for pnl in (1, 3, 2):
                await factories.trade(connection, session, pnl=pnl, strategy_id=strategy)
            await factories.trade(connection, session, direction="sell", pnl=9)


async def test_a_trader_asks_three_levels_deep_in_pages_backwards(
    service: Service, connection: "asyncpg.Connection"
) -> None:
    token = await service.user("trader@example.org")
    await seed(connection, "trader@example.org")
    transport = HTTPXAsyncTransport(url=service.url, headers={"Authorization": f"Bearer {token}"})
    async with Client(transport=transport) as client:

        async def accounts(before: str | None) -> Any:
            request = GraphQLRequest(DEEP, variable_values={"accounts": 2, "before": before})
            return (await client.execute(request))["viewer"]["user"]["accounts"]

        last = await accounts(None)
        first = await accounts(last["pageInfo"]["startCursor"])

    assert [node["accountNumber"] for node in first["nodes"] + last["nodes"]] == ["1", "2", "3"]
    assert (last["pageInfo"]["hasPreviousPage"], first["pageInfo"]["hasPreviousPage"]) == (True, False)
    sessions = first["nodes"][0]["sessions"]
    assert (sessions["totalCount"], sessions["nodes"][0]["startedAt"]) == (2, "2026-11-20T12:00:00.000000Z")
    assert [trade["pnl"] for trade in sessions["nodes"][0]["trades"]["nodes"]] == [
        "3.00000000",
        "2.00000000",
        "1.00000000",
    ]
    assert sessions["nodes"][0]["trades"]["nodes"][0]["strategy"] == {"name": "Trend"}


async def test_an_operator_sees_a_line_arrive_that_another_program_inserted(
    service: Service, connection: "asyncpg.Connection"
) -> None:
    token = await service.user("operator@example.org", role=Role.OPERATOR)
    transport = WebsocketsTransport(
        url=service.socket_url,
        init_payload={"Authorization": f"Bearer {token}"},
        subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
    )
    async with Client(transport=transport) as client:
        events = client.subscribe(GraphQLRequest(FOLLOW))
        first = asyncio.ensure_future(anext(events))
        await transport.ping_received.wait()  # the service listens
        await factories.system_log(connection, level="warn", message="first", details='{"token": "x"}')
        seen = (await first)["systemLogAdded"]
        await factories.system_log(connection, level="info", message="too low")
        await factories.system_log(connection, level="error", component="risk", message="elsewhere")
        await factories.system_log(connection, level="fatal", message="last")
        event = (await anext(events))["systemLogAdded"]
        await events.aclose()

    assert (seen["replayed"], seen["log"]["level"], seen["log"]["details"]) == (
        False,
        "WARNING",
        {"token": "[redacted]"},
    )
    assert (event["log"]["message"], event["log"]["level"]) == ("last", "CRITICAL")


async def test_a_subscription_goes_on_after_its_cursor(
    service: Service, connection: "asyncpg.Connection"
) -> None:
    token = await service.user("operator@example.org", role=Role.OPERATOR)

    async def follow(after: str | None, count: int) -> list[dict[str, Any]]:
        transport = WebsocketsTransport(
            url=service.socket_url,
            init_payload={"Authorization": f"Bearer {token}"},
            subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
        )
        async with Client(transport=transport) as client:
            events = client.subscribe(GraphQLRequest(FOLLOW, variable_values={"after": after}))
            pending = asyncio.ensure_future(anext(events))
            await transport.ping_received.wait()  # the service listens
            if after is None:
                await factories.system_log(connection, level="ERROR", message="start")
            found = [(await pending)["systemLogAdded"]]
            while len(found) < count:
                found.append((await anext(events))["systemLogAdded"])
            await events.aclose()
            return found

    (start,) = await follow(None, 1)
    for number in range(5):
        await factories.system_log(connection, level="ERROR", message=str(number))
    missed = await follow(start["cursor"], 5)

    assert [event["log"]["message"] for event in missed] == list(map(str, range(5)))
    assert len({event["log"]["id"] for event in [start, *missed]}) == 6
    assert all(event["replayed"] for event in missed)
