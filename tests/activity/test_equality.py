"""Either executor sends the subscribers of accounts the same, whether they share results or not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import orjson
import pytest

from graphql_api.app import build_operations
from graphql_api.execution.operations import GraphQLRequest, Operations
from graphql_api.execution.projection import JointContext
from graphql_api.execution.stock_executor import Invocation
from graphql_api.execution.subscriptions import Delivery, Results, Subscriptions
from graphql_api.identity.viewer import Viewer
from graphql_api.postgres.address import Address
from graphql_api.relational.context import Context, Services
from graphql_api.schema import schema
from tests import factories
from tests.execution.generated_documents import Drafter, Inputs, Request
from tests.graph import opened, operator, settings_for, trader

pytestmark = pytest.mark.slow

INPUTS: Inputs = {
    "first": [1, 2],
    "last": [1, 2],
    "after": [None],
    "before": [None],
    "maxPoints": [10],
    "timezone": ["UTC", "Europe/Berlin"],
    "Decimal": ["0", "1.5"],
    "DateTime": ["2026-01-01T00:00:00+01:00"],
    "String": ["EURUSD", "OSP-DEMO"],
    "ID": ["00000000-0000-0000-0000-000000000001"],
}


def document(seed: int) -> Request:
    """A subscription with a random selection of each event."""
    type_ = schema._schema.get_type("AccountActivity")
    drafter = Drafter(schema._schema, Random(seed), INPUTS, frozenset(), budget=15)
    selected = drafter.selection_set(type_, 4).removeprefix("{")
    declared = ", ".join(f"${name}: {type_}" for name, type_ in drafter.variables.items())
    head = f"subscription ({declared})" if declared else "subscription"
    text = f"{head} {{ accountActivity {{ key: rowId {selected} }}"
    return Request("\n".join([text, *drafter.fragments.values()]), drafter.values)


class CountingSubscriptions(Subscriptions):
    """Counts how often events of several viewers were executed at once."""

    together = 0

    async def compute_together(
        self, due: Sequence[Delivery], invocation: Invocation, context: JointContext
    ) -> list[Results] | None:
        results = await super().compute_together(due, invocation, context)
        self.together += results is not None
        return results


@dataclass
class Subscriber:
    """Somebody who follows all accounts that they may read, and what they were sent."""

    viewer: Viewer
    subscriptions: Subscriptions
    operations: Operations
    shares: bool
    """Whether results that others have, too, are sent, and directly."""
    events: list[dict[str, Any]] = field(default_factory=list)

    async def follow(self, services: Services, request: Request) -> None:
        operation = self.operations.prepare(GraphQLRequest(request.query, None, request.variables))
        subscription = self.subscriptions.subscribe(
            operation,
            lambda: Context(self.viewer, services),
            (lambda: self.viewer.read_access) if self.shares else None,
            self._take if self.shares else None,
        )
        async with aclosing(subscription):
            async for results in subscription:
                self._take(results)

    def _take(self, results: Results) -> bool:
        self.events += [orjson.loads(result.render()) for result in results]
        return True

    @property
    def keys(self) -> set[str | None]:
        return {event["data"]["accountActivity"]["key"] for event in self.events}

    def answers(self) -> list[tuple[Any, bool]]:
        """What came of each event. Of several errors that could explain a null, any may be reported."""
        return [(event["data"], "errors" in event) for event in self.events]


@asynccontextmanager
async def following(
    subscribers: Sequence[Subscriber], services: Services, request: Request
) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.follow(services, request)) for each in subscribers]
        yield
        for task in tasks:
            task.cancel()


async def until_sent(expected: Sequence[tuple[Subscriber, set[str | None]]]) -> None:
    """Waits until each subscriber has had the events of some rows."""
    while not all(keys <= subscriber.keys for subscriber, keys in expected):
        await asyncio.sleep(0.01)


class Accounts:
    """Some users' accounts, each with a session and what belongs to it."""

    def __init__(self, connection: "asyncpg.Connection") -> None:
        self._connection = connection
        self._open: dict[str, str] = {}
        """The last trade, by user."""
        self.sessions: dict[str, tuple[str, str]] = {}
        """The session and the account, by user."""

    async def add_user(self) -> str:
        user = await factories.user(self._connection)
        account = await factories.account(self._connection, user)
        self.sessions[user] = await factories.session(self._connection, account), account
        self._open[user] = await factories.trade(self._connection, self.sessions[user][0])
        await factories.risk_settings(self._connection, account)
        return user

    async def change(self) -> dict[str, set[str | None]]:
        """Makes a transaction about each account; returns the rows that it changed, by user."""
        changed: dict[str, set[str | None]] = {}
        async with self._connection.transaction():
            for user, (session, account) in self.sessions.items():
                closed, self._open[user] = (
                    self._open[user],
                    await factories.trade(self._connection, session, pnl=2),
                )
                await self._connection.execute("DELETE FROM trades WHERE id = $1", closed)
                await self._connection.execute(
                    "UPDATE trading_sessions SET trades_count = coalesce(trades_count, 0) + 1 WHERE id = $1",
                    session,
                )
                await self._connection.execute(
                    "UPDATE tradelocker_accounts SET is_active = NOT is_active WHERE id = $1", account
                )
                changed[user] = {closed, self._open[user], session, account}
        return changed


async def test_shared_results_are_those_of_a_subscriber_who_shares_none(
    address: Address, tmp_path: Path, connection: "asyncpg.Connection"
) -> None:
    accounts = Accounts(connection)
    users = [await accounts.add_user() for _ in range(2)]
    viewers = [trader(users[0]), trader(users[0]), trader(users[1]), operator()]
    settings = settings_for(address, tmp_path, max_cost=10**9)
    stock, compiled = [
        build_operations(settings.model_copy(update={"engine": engine})) for engine in ("stock", "compiled")
    ]
    together = 0
    async with opened(settings) as graph:
        for seed in range(25):
            request, subscriptions = document(seed), CountingSubscriptions(compiled)
            alone, *sharing = [
                [Subscriber(viewer, made, operations, shares) for viewer in viewers]
                for made, operations, shares in (
                    (Subscriptions(stock), stock, False),
                    (Subscriptions(stock), stock, True),
                    (subscriptions, compiled, True),
                )
            ]
            everyone = [*alone, *sharing[0], *sharing[1]]
            async with following(everyone, graph.services, request):
                await until_sent([(each, {None}) for each in everyone])
                changed = await accounts.change()
                all_rows = set[str | None]().union(*changed.values())
                await until_sent(
                    [(each, changed.get(str(each.viewer.user_id), all_rows)) for each in everyone]
                )
            for subscribers in sharing:
                assert [each.answers() for each in subscribers] == [each.answers() for each in alone]
            together += subscriptions.together
    assert together
    assert compiled.compiled > 0
    assert not compiled.fallbacks
