"""A client that keeps a copy of accounts' rows: a snapshot, and then the events after its cursor."""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import asyncpg
import orjson

from graphql_api.execution.operations import GraphQLRequest, Operation
from graphql_api.execution.subscriptions import Deliver, Results
from graphql_api.relational.context import Context
from tests.graph import Graph

FIELDS = """
    fragment TradeFields on Trade { id pnl symbol session { id } }
    fragment SessionFields on Session { id pnl tradesCount account { id } }
    fragment AccountFields on Account { id server isActive user { id } }
    fragment SettingsFields on RiskSettings { id maxDailyLoss account { id } }
"""
FOLLOW = (
    """
    subscription ($accountIds: [ID!], $kinds: [ActivityKind!], $after: String) {
      accountActivity(accountIds: $accountIds, kinds: $kinds, after: $after) {
        cursor kind change rowId account { id }
        node {
          __typename
          ... on Trade { ...TradeFields } ... on Session { ...SessionFields }
          ... on Account { ...AccountFields } ... on RiskSettings { ...SettingsFields }
        }
      }
    }
"""
    + FIELDS
)
ACCOUNTS = """
    query ($after: String) { accounts(first: 100, after: $after) { nodes {
      ...AccountFields riskSettings { ...SettingsFields } sessions(first: 100) { nodes { ...SessionFields } }
    } pageInfo { hasNextPage endCursor } } activityCursor }
""" + FIELDS.replace("fragment TradeFields on Trade { id pnl symbol session { id } }", "")
TRADES = """
    query ($after: String, $account: ID!) { activityCursor account(id: $account) {
      trades(first: 100, after: $after) {
        nodes { id pnl symbol session { id } } pageInfo { hasNextPage endCursor } } } }
"""

RESETS = {"FEED_RESET_RESTORE", "FEED_RESET_FAILOVER", "CURSOR_EXPIRED"}

_READS_QUICKLY = 0.7
"""How often a client has read enough to be sent the next events directly."""

Copy = dict[str, dict[str, Any]]


class FeedEnded(Exception):  # noqa: N818 - not an error of the test
    """A subscription ended, or a query failed, with this error code, which is the exception's text."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["extensions"]["code"])
        self.message: str = error["message"]


Take = Callable[[], bool]
"""Whether results can be sent at once: the client has read enough of what came before."""


@asynccontextmanager
async def following(
    graph: Graph, take: Take | None = None, *, document: str = FOLLOW, **variables: Any
) -> AsyncIterator[AsyncIterator[list[dict[str, Any]]]]:
    """Yields the events of a subscription in the lists in which they come; an empty list is progress.

    With `take`, results may be delivered directly while the next ones are awaited, whenever it returns true.
    """
    operation = graph.operations.prepare(GraphQLRequest(document, None, variables))
    async with aclosing(
        _results(graph, operation) if take is None else _sent(graph, operation, take)
    ) as sent:
        yield _events(sent)


def _results(
    graph: Graph, operation: Operation, deliver: Deliver | None = None
) -> AsyncGenerator[Results, None]:
    return graph.subscriptions.subscribe(
        operation, lambda: Context(graph.viewer, graph.services), lambda: graph.viewer.read_access, deliver
    )


async def _sent(graph: Graph, operation: Operation, take: Take) -> AsyncGenerator[Results, None]:
    """Yields all results in order, whether they were delivered directly or not, as a socket sends them."""
    sent: asyncio.Queue[Results | None] = asyncio.Queue()

    def deliver(results: Results) -> bool:
        if taken := take():
            sent.put_nowait(results)
        return taken

    async def follow() -> None:
        try:
            async with aclosing(_results(graph, operation, deliver)) as results:
                async for each in results:
                    sent.put_nowait(each)
        finally:
            sent.put_nowait(None)

    following = asyncio.create_task(follow())
    try:
        while (each := await sent.get()) is not None:
            yield each
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def _events(sent: AsyncIterator[Results]) -> AsyncIterator[list[dict[str, Any]]]:
    async for each in sent:
        bodies = [orjson.loads(result.render()) for result in each]
        for body in bodies:
            if "errors" in body:
                raise FeedEnded(body["errors"][0])
        yield [body["data"]["accountActivity"] for body in bodies]


async def until_up_to_date(graph: Graph, **variables: Any) -> list[dict[str, Any]]:
    """Returns the events up to the first one of the kind UP_TO_DATE, which is included."""
    found: list[dict[str, Any]] = []
    async with following(graph, **variables) as batches:
        async for batch in batches:
            found += batch
            if batch and batch[-1]["kind"] == "UP_TO_DATE":
                break
    return found


async def read(graph: Graph, query: str, **variables: Any) -> dict[str, Any]:
    """Returns the data of a query. Raises FeedEnded if it has errors."""
    answer = await graph.ask(query, variables)
    if answer.errors:
        raise FeedEnded(answer.errors[0])
    data: dict[str, Any] = answer.data
    return data


class Client:
    """Keeps a copy of the rows of some accounts, is disconnected at random, and resumes from its cursor."""

    def __init__(self, graphs: list[Graph], accounts: list[str] | None, seed: int) -> None:
        self._graphs = graphs
        self._accounts = accounts
        self._random = random.Random(seed)
        self.copy: Copy = {}
        self.cursor: str | None = None
        self.resets = self.resumes = self.events = self.delivered = 0

    async def snapshot(self) -> None:
        """Reads all rows, and the cursor after which to subscribe."""
        graph = self._random.choice(self._graphs)
        data = await read(graph, ACCOUNTS)
        self.copy, self.cursor = {}, data["activityCursor"]  # of the first page
        nodes = data["accounts"]["nodes"]
        while (page := data["accounts"]["pageInfo"])["hasNextPage"]:
            data = await read(graph, ACCOUNTS, after=page["endCursor"])
            nodes += data["accounts"]["nodes"]
        for account in nodes:
            if self._accounts is not None and account["id"] not in self._accounts:
                continue
            sessions, settings = account.pop("sessions")["nodes"], account.pop("riskSettings")
            for row in (account, *sessions, *([settings] if settings else ())):
                self.copy[row["id"]] = row
            after: str | None = None
            while True:
                found = (await read(graph, TRADES, account=account["id"], after=after))["account"]
                if found is None:
                    break
                self.copy.update((row["id"], row) for row in found["trades"]["nodes"])
                page = found["trades"]["pageInfo"]
                if not page["hasNextPage"]:
                    break
                after = page["endCursor"]

    async def follow(self, *, cut_off: bool) -> None:
        """Apply events until up to date, or until it is cut off, maybe within a list of events."""
        if self.cursor is None:
            await self.snapshot()
        if cut_off:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._random.random()):
                    await self._follow(cut_off=True)
        else:
            await self._follow(cut_off=False)

    async def _follow(self, *, cut_off: bool) -> None:
        graph, left = self._random.choice(self._graphs), self._random.randint(1, 30)
        try:
            async with following(graph, self._take, accountIds=self._accounts, after=self.cursor) as batches:
                self.resumes += 1
                async for batch in batches:
                    for event in batch:
                        self._apply(event)
                        left -= 1
                        if (cut_off and left == 0) or (not cut_off and event["kind"] == "UP_TO_DATE"):
                            return
        except FeedEnded as error:
            if str(error) not in RESETS:
                raise
            self.resets += 1
            self.cursor = None
            if not cut_off:
                await self.follow(cut_off=False)

    def _take(self) -> bool:
        taken = self._random.random() < _READS_QUICKLY
        self.delivered += taken
        return taken

    def _apply(self, event: Mapping[str, Any]) -> None:
        self.cursor = event["cursor"]
        if event["kind"] == "UP_TO_DATE":
            assert event["rowId"] is event["node"] is event["account"] is event["change"] is None
            return
        self.events += 1
        if event["node"] is None:
            self.copy.pop(event["rowId"], None)
        else:
            assert event["change"] in ("ADDED", "CHANGED")
            assert event["node"]["id"] == event["rowId"]
            row = {key: part for key, part in event["node"].items() if key != "__typename"}
            self.copy[event["rowId"]] = row


_TRUTH = """
    SELECT account.id::text, jsonb_build_object('id', account.id, 'server', server, 'isActive', is_active,
        'user', CASE WHEN user_id IS NOT NULL THEN jsonb_build_object('id', user_id) END) AS row
    FROM tradelocker_accounts account WHERE account.id = ANY ($1)
    UNION ALL
    SELECT id::text, jsonb_build_object('id', id, 'pnl', pnl::text, 'tradesCount', trades_count,
                                  'account', jsonb_build_object('id', account_id))
    FROM trading_sessions WHERE account_id = ANY ($1)
    UNION ALL
    SELECT id::text, jsonb_build_object('id', id, 'maxDailyLoss', max_daily_loss::text,
                                  'account', jsonb_build_object('id', account_id))
    FROM risk_settings WHERE account_id = ANY ($1)
    UNION ALL
    SELECT trade.id::text, jsonb_build_object('id', trade.id, 'pnl', trade.pnl::text, 'symbol', symbol,
                                        'session', jsonb_build_object('id', session_id))
    FROM trades trade JOIN trading_sessions session ON session.id = session_id
    WHERE account_id = ANY ($1)
"""


async def truth(connection: "asyncpg.Connection", accounts: list[str]) -> Copy:
    """Returns the rows that the database has of some accounts."""
    rows = await connection.fetch(_TRUTH, accounts)
    return {row["id"]: orjson.loads(row["row"]) for row in rows}
