"""Risk events and a trader's own log lines, live: each once, and to their owner alone."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest

from graphql_api.domain.account_logs import AccountLogRecording
from graphql_api.domain.risk.event_recording import RiskEventRecording
from graphql_api.execution.operations import GraphQLRequest
from graphql_api.identity.viewer import Viewer
from graphql_api.log_feed.recorder import Recorder, RecorderOptions
from graphql_api.postgres.address import Address
from graphql_api.relational.context import Context
from tests import factories
from tests.graph import Graph, opened, operator, settings_for, trader

CHANGED = """
subscription ($accountIds: [ID!], $after: String) {
  riskStatusChanged(accountIds: $accountIds, after: $after) {
    cursor upToDate event { id kind limit value trades { id } account { id riskStatus { breached } } }
  }
}
"""
ACTIVITY = """
subscription ($kinds: [ActivityKind!], $after: String) {
  accountActivity(kinds: $kinds, after: $after) {
    cursor kind change rowId account { id }
    node { __typename ... on SystemLog { message } ... on RiskEvent { kind limit } }
  }
}
"""
TIMEOUT = 100
Events = Callable[[], Any]


@pytest.fixture
async def graph(address: Address, tmp_path: Path) -> AsyncIterator[Graph]:
    settings = settings_for(address, tmp_path, trader_log_components=("bot",), max_cost=10**9)
    async with opened(settings) as graph:
        yield graph


@pytest.fixture
async def session(connection: "asyncpg.Connection", account: str) -> str:
    return await factories.session(connection, account)


@pytest.fixture
async def recorders(graph: Graph, address: Address, connection: "asyncpg.Connection") -> AsyncIterator[None]:
    """Both recorders, as a process has them; each has polled."""
    options = RecorderOptions(idle_interval=0.05, retry_interval=0.05)
    database = graph.services.database
    running = [
        Recorder(database, address, recording, options)
        for recording in (RiskEventRecording("UTC"), AccountLogRecording(("bot",)))
    ]
    for recorder in running:
        recorder.start()
    async with asyncio.timeout(TIMEOUT):
        while await connection.fetchval("SELECT count(*) FROM graphql_api.recorders") < 2:
            await asyncio.sleep(0.01)
    yield
    for recorder in running:
        await recorder.close()


@asynccontextmanager
async def following(graph: Graph, document: str, **variables: Any) -> AsyncIterator[Events]:
    """What this yields waits for the next event."""
    operation = graph.operations.prepare(GraphQLRequest(document, None, variables))

    async def events() -> AsyncGenerator[dict[str, Any], None]:
        results = graph.subscriptions.subscribe(
            operation, lambda: Context(graph.viewer, graph.services), lambda: graph.viewer.read_access
        )
        async with aclosing(results):
            async for batch in results:
                for result in batch:
                    (event,) = orjson.loads(result.render())["data"].values()
                    yield event

    async with aclosing(events()) as found:

        async def following_event() -> dict[str, Any]:
            async with asyncio.timeout(TIMEOUT):
                return await anext(found)

        yield following_event


async def limit(connection: "asyncpg.Connection", account: str, most: int) -> None:
    limits = {"max_daily_loss": None, "max_open_positions": most}
    await factories.risk_settings(connection, account, **limits)


@pytest.mark.usefixtures("recorders")
async def test_a_crossing_arrives_and_a_client_resumes_after_any_event(
    graph: Graph, connection: "asyncpg.Connection", user: str, account: str, session: str
) -> None:
    viewer = graph.as_(trader(user))
    async with following(viewer, CHANGED) as following_event:
        first = await following_event()
        assert (first["upToDate"], first["event"]) == (True, None)
        await limit(connection, account, 0)
        changed = await following_event()
        assert changed["event"]["kind"] == "LIMITS_CHANGED"
        trade = await factories.trade(connection, session)
        crossed = (await following_event())["event"]

    assert (crossed["kind"], crossed["limit"], crossed["value"]) == (
        "LIMIT_CROSSED",
        "MAX_OPEN_POSITIONS",
        "1",
    )
    assert crossed["trades"] == [{"id": trade}]
    assert crossed["account"] == {"id": account, "riskStatus": {"breached": ["MAX_OPEN_POSITIONS"]}}

    await connection.execute("UPDATE trades SET status = 'closed'")
    async with following(viewer, CHANGED, after=changed["cursor"], accountIds=[account]) as following_event:
        assert (await following_event())["event"]["id"] == crossed["id"]
        event = await following_event()
        if event["upToDate"]:  # before the recorder has polled
            event = await following_event()
        assert event["event"]["kind"] == "LIMIT_KEPT"


@pytest.mark.usefixtures("recorders")
async def test_nobody_else_is_sent_an_event(
    graph: Graph, connection: "asyncpg.Connection", user: str, account: str, session: str
) -> None:
    other_user = await factories.user(connection)
    other = await factories.account(connection, other_user)
    other_session = await factories.session(connection, other)
    async with following(graph.as_(operator()), CHANGED) as following_event:
        cursor = (await following_event())["cursor"]
        for each, its_session in ((account, session), (other, other_session)):
            await limit(connection, each, 0)
            await factories.trade(connection, its_session)
        every = [(await following_event())["event"]["account"]["id"] for _ in range(4)]
    assert sorted(every) == sorted([account, account, other, other])

    async def sent(viewer: Viewer, **variables: Any) -> list[str]:
        async with following(graph.as_(viewer), CHANGED, after=cursor, **variables) as following_event:
            found = []
            while not (event := await following_event())["upToDate"]:
                found.append(event["event"]["account"]["id"])
            return found

    assert await sent(trader(user)) == [account] * 2
    assert await sent(trader(user), accountIds=[other]) == []
    assert await sent(operator(), accountIds=[other]) == [other] * 2


async def test_a_change_by_a_mutation_is_sent_at_once(graph: Graph, user: str, account: str) -> None:
    viewer = graph.as_(trader(user))
    async with following(viewer, CHANGED) as following_event:
        await following_event()
        mutation = "mutation ($id: ID!) { resetRiskSettings(accountId: $id) { userErrors { code } } }"
        await viewer.ask(mutation, {"id": account})
        assert (await following_event())["event"]["kind"] == "LIMITS_CHANGED"


@pytest.mark.usefixtures("recorders")
async def test_own_log_lines_and_risk_events_are_activity(
    graph: Graph, connection: "asyncpg.Connection", user: str, account: str, session: str
) -> None:
    kinds = {"kinds": ["LOG", "RISK"]}
    async with following(graph.as_(trader(user)), ACTIVITY, **kinds) as following_event:
        assert (await following_event())["kind"] == "UP_TO_DATE"
        await factories.system_log(connection, message="nobody's")
        await factories.system_log(
            connection, component="scheduler", details=json.dumps({"account_id": account})
        )
        line = await factories.system_log(
            connection, message="mine", details=json.dumps({"session_id": session})
        )
        event = await following_event()
        assert (event["kind"], event["change"], event["rowId"]) == ("LOG", "ADDED", line)
        assert event["account"] == {"id": account}
        assert event["node"] == {"__typename": "SystemLog", "message": "mine"}

        await limit(connection, account, 0)
        event = await following_event()
        assert (event["kind"], event["node"]["kind"]) == ("RISK", "LIMITS_CHANGED")


@dataclass
class Trader:
    """One of two traders, and the rows of theirs that a line may name."""

    user: str
    account: str
    session: str
    trade: str

    @classmethod
    async def make(cls, connection: "asyncpg.Connection") -> "Trader":
        user = await factories.user(connection)
        account = await factories.account(connection, user)
        session = await factories.session(connection, account)
        return cls(user, account, session, await factories.trade(connection, session))


async def lines_sent(graph: Graph, after: str) -> list[tuple[str, str | None]]:
    """The lines that are sent after a cursor, each with the account that it is sent for."""
    found = []
    async with following(graph, ACTIVITY, kinds=["LOG"], after=after) as following_event:
        while (event := await following_event())["kind"] != "UP_TO_DATE":
            found.append((event["account"]["id"], event["node"] and event["node"]["message"]))
    return sorted(found)


async def lines_listed(graph: Graph, *accounts: str) -> list[tuple[str, str]]:
    """The lines that the accounts list, as `lines_sent` has them."""
    query = "query ($id: ID!) { account(id: $id) { logs { totalCount nodes { message } } } }"
    found = []
    for account in accounts:
        listed = (await graph.ask(query, {"id": account})).data["account"]
        if listed is not None:
            assert listed["logs"]["totalCount"] == len(listed["logs"]["nodes"])
            found += [(account, node["message"]) for node in listed["logs"]["nodes"]]
    return sorted(found)


@pytest.mark.usefixtures("recorders")
async def test_a_line_is_shown_to_the_trader_alone_who_has_all_that_it_names(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    ada, bob = await Trader.make(connection), await Trader.make(connection)
    second = await factories.account(connection, ada.user)
    accounts = (ada.account, second, bob.account)
    viewers = [graph.as_(trader(ada.user)), graph.as_(trader(bob.user)), graph.as_(operator())]

    async def write(message: str, details: Any) -> str:
        return await factories.system_log(connection, message=message, details=json.dumps(details))

    async def seen() -> list[list[tuple[str, str]]]:
        """What each viewer's accounts list, which must be what is sent to one who resumes from the start."""
        listed = [await lines_listed(viewer, *accounts) for viewer in viewers]
        assert [await lines_sent(viewer, start) for viewer in viewers] == listed
        return listed

    live: list[list[str]] = [[], []]
    async with AsyncExitStack() as subscriptions:
        events = [
            await subscriptions.enter_async_context(following(viewer, ACTIVITY, kinds=["LOG"]))
            for viewer in viewers[:2]
        ]
        (start, _) = [(await following_event())["cursor"] for following_event in events]
        for name, each in (("ada", ada), ("bob", bob)):
            await write(f"{name}'s account", {"account_id": each.account})
            await write(f"{name}'s session", {"session_id": each.session})
            await write(f"{name}'s trade", {"trade_id": each.trade, "accountId": each.account})
        two_tenants = await write("ada's and bob's", {"account_id": ada.account, "trade_id": bob.trade})
        await write("both of ada's", {"account_ids": [ada.account, second]})
        await write("nobody's", {})
        await write("nobody else's", {"account_id": ada.account, "trade_id": str(uuid4())})
        async with asyncio.timeout(TIMEOUT):  # what is recorded in one transaction comes in any order
            while await connection.fetchval("SELECT count(*) FROM graphql_api.account_logs") < 10:
                await asyncio.sleep(0.01)
        await write("last", {"account_id": ada.account})
        await write("last", {"account_id": bob.account})
        for following_event, messages in zip(events, live, strict=True):
            while not messages or messages[-1] != "last":
                event = await following_event()
                messages.append(str(event["node"] and event["node"]["message"]))

    of_ada = [(ada.account, f"ada's {row}") for row in ("account", "session", "trade")]
    of_ada += [(account, "both of ada's") for account in (ada.account, second)] + [(ada.account, "last")]
    of_bob = [(bob.account, f"bob's {row}") for row in ("account", "session", "trade")]
    of_bob.append((bob.account, "last"))
    assert [sorted(messages) for messages in live] == [
        sorted(message for _, message in lines) for lines in (of_ada, of_bob)
    ]
    assert await seen() == [sorted(of_ada), sorted(of_bob), sorted(of_ada + of_bob)]
    by_id = "query ($id: ID!) { node(id: $id) { id } }"
    found = [(await viewer.ask(by_id, {"id": two_tenants})).data["node"] for viewer in viewers]
    assert found == [None, None, {"id": two_tenants}]

    # A session that goes to another tenant leaves its lines, and those of its trades, to nobody.
    await connection.execute(
        "UPDATE trading_sessions SET account_id = $1 WHERE id = $2", bob.account, ada.session
    )
    for row in ("session", "trade"):
        of_ada.remove((ada.account, f"ada's {row}"))
    assert await seen() == [sorted(of_ada), sorted(of_bob), sorted(of_ada + of_bob)]


async def test_lines_of_the_past_are_no_activity(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    await factories.system_log(connection, details=json.dumps({"account_id": account}))
    recorder = Recorder(graph.services.database, address, AccountLogRecording(("bot",)))
    recorder.start()
    try:
        async with asyncio.timeout(TIMEOUT):
            while not await connection.fetchval("SELECT count(*) FROM graphql_api.account_logs"):
                await asyncio.sleep(0.01)
    finally:
        await recorder.close()
    assert await connection.fetchval("SELECT count(*) FROM activity.entries WHERE kind = 'LOG'") == 0
