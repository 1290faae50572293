"""Subscribers who wait are sent their events together, and each of them its own tenant's alone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from graphql_api.domain.policy import TRADES
from graphql_api.execution.executor import Execution
from graphql_api.execution.stock_executor import StockExecutor
from graphql_api.relational.context import Context, NeedsViewerError
from tests import factories
from tests.activity.client import following
from tests.graph import Graph, operator, trader

FLAT = """
    subscription ($accountIds: [ID!]) { accountActivity(accountIds: $accountIds) {
      kind change rowId account { id accountNumber }
      node { __typename ... on Trade { id pnl symbol } ... on Session { id pnl } }
    } }
"""
NESTED = """
    subscription ($accountIds: [ID!]) { accountActivity(accountIds: $accountIds) {
      kind change rowId account { id accountNumber }
      node { __typename ... on Trade { id pnl symbol session { account { id } } } ... on Session { id pnl } }
    } }
"""

Batches = AsyncIterator[list[dict[str, Any]]]


async def begin(stack: AsyncExitStack, graph: Graph, document: str, **variables: Any) -> Batches:
    """The events of a subscriber who is up to date, and is sent what follows as it comes."""
    batches = await stack.enter_async_context(following(graph, lambda: True, document=document, **variables))
    assert await anext(batches) == []
    assert [event["kind"] for event in await anext(batches)] == ["UP_TO_DATE"]
    return batches


@pytest.fixture
async def accounts(connection: "asyncpg.Connection") -> list[tuple[str, str, str]]:
    """Three users, each with an account and a session in it."""
    made = []
    for _ in range(3):
        user = await factories.user(connection)
        account = await factories.account(connection, user)
        made.append((user, account, await factories.session(connection, account)))
    return made


@pytest.fixture
def executions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each execution was for."""
    counted: list[int] = []
    run, run_each, run_stock = Execution.run, Execution.run_each, StockExecutor.run

    async def one(self: Execution) -> Any:
        counted.append(1)
        return await run(self)

    async def one_by_the_stock_executor(self: StockExecutor) -> Any:
        counted.append(1)
        return await run_stock(self)

    async def several(self: Execution, events: Any) -> Any:
        counted.append(len(events))
        return await run_each(self, events)

    monkeypatch.setattr(Execution, "run", one)
    monkeypatch.setattr(Execution, "run_each", several)
    monkeypatch.setattr(StockExecutor, "run", one_by_the_stock_executor)
    return counted


@pytest.mark.parametrize(("document", "expected"), [(FLAT, [3]), (NESTED, [1, 1, 1])], ids=["flat", "nested"])
async def test_events_of_several_tenants(
    graph: Graph,
    connection: "asyncpg.Connection",
    accounts: list[tuple[str, str, str]],
    executions: list[int],
    document: str,
    expected: list[int],
) -> None:
    async with AsyncExitStack() as stack:
        subscribers = [
            (account, await begin(stack, graph.as_(trader(user)), document))
            for user, account, _ in accounts
            for _ in range(2)
        ]
        for _ in range(2):  # once, an operation may be found to need its viewer
            executions.clear()
            async with connection.transaction():
                trades = {
                    account: await factories.trade(connection, session) for _, account, session in accounts
                }
            for account, batches in subscribers:
                (event,) = await anext(batches)
                assert (event["change"], event["account"]["id"]) == ("ADDED", account)
                assert event["node"]["id"] == event["rowId"] == trades[account]
        one_by_one = graph.services.settings.engine == "stock"  # it executes no events at once
        assert executions == ([1, 1, 1] if one_by_one else expected)


async def test_an_operator_and_two_tenants_who_follow_one_account(
    graph: Graph, connection: "asyncpg.Connection", accounts: list[tuple[str, str, str]]
) -> None:
    (user, account, session), (stranger, _, others_session), _ = accounts
    async with AsyncExitStack() as stack:
        owner, everyone = [
            await begin(stack, graph.as_(viewer), FLAT, accountIds=[account])
            for viewer in (trader(user), operator())
        ]
        other = await begin(stack, graph.as_(trader(stranger)), FLAT)
        trade = await factories.trade(connection, session)
        others_trade = await factories.trade(connection, others_session)
        for batches, expected in ((owner, trade), (everyone, trade), (other, others_trade)):
            (event,) = await anext(batches)
            assert event["rowId"] == event["node"]["id"] == expected


async def test_rows_are_read_for_the_tenant_that_stands_beside_them(
    graph: Graph, connection: "asyncpg.Connection", accounts: list[tuple[str, str, str]]
) -> None:
    (user, _, session), (other, _, others_session), _ = accounts
    mine, theirs = [await factories.trade(connection, each) for each in (session, others_session)]
    context = Context(trader(user), graph.services).joint()
    assert context is not None
    found = await TRADES.load_by_tenant(context.db, [(mine, user), (mine, other), (theirs, other)])
    assert {key: row["id"] for key, row in found.items()} == {(mine, user): mine, (theirs, other): theirs}
    everybody = Context(operator(), graph.services).joint()
    assert everybody is not None
    assert (mine, None) in await TRADES.load_by_tenant(everybody.db, [(mine, None)])
    for db, tenants in ((context.db, [None]), (context.db, [user, None]), (everybody.db, [user, None])):
        with pytest.raises(ValueError, match="without naming a tenant"):
            await TRADES.load_by_tenant(db, [(mine, tenant) for tenant in tenants])


def test_a_context_for_several_viewers_has_nothing_of_one(graph: Graph) -> None:
    context = Context(trader("a user"), graph.services).joint()
    assert context is not None
    assert not context.needs_viewer
    for read in (
        lambda: context.viewer.user_id,
        lambda: context.viewer.tenant,
        lambda: context.db.tenant,
        lambda: context.loaders.get(lambda *_: None),  # type: ignore[arg-type]
    ):
        with pytest.raises(NeedsViewerError):
            read()
    assert context.needs_viewer
    assert Context(graph.viewer, graph.services).joint() is None
