"""Over the project's own schema and a real database, plans answer as the stock executor does."""

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings

from graphql_api.identity.viewer import Viewer
from graphql_api.relational.context import Context
from graphql_api.schema import schema
from tests import factories
from tests.execution.executors import Executors, assert_equivalent
from tests.execution.generated_documents import Inputs, Request, documents
from tests.execution.test_equality import often
from tests.graph import Graph, operator, trader

# graphql-core leaves coroutines behind where an error ends a selection early. Python warns wherever it finds
# them, even inside a named tuple, where nothing can be imported to warn with.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

NAN = Decimal("NaN")


async def desk(connection: "asyncpg.Connection") -> tuple[str, list[str]]:
    """Two users with a bit of everything, NaN, unknown words and dangling ids included: one's id, and all."""
    strategies = [
        await factories.strategy(connection, parameters='{"token": 1, "x": 1.50}') for _ in range(2)
    ]
    ids = [*strategies, await factories.performance(connection, strategies[0], sharpe_ratio=NAN)]
    users = [
        await factories.user(connection, subscription_status=status) for status in ("Active ", "who knows")
    ]
    for user in users:
        for number in ("A", "B"):
            account = await factories.account(connection, user, account_number=number)
            ids += [account, await factories.risk_settings(connection, account)]
            for balance in (Decimal(1000), None):
                session = await factories.session(connection, account, initial_balance=balance)
                ids += [session, *await trades(connection, session, strategies[0])]
    ids.append(await factories.system_log(connection, level="warn", details='{"password": "p", "n": 1e400}'))
    return users[0], [*users, *ids]


async def trades(connection: "asyncpg.Connection", session: str, strategy: str) -> list[str]:
    closed = {
        "status": "closed",
        "exit_time": factories.NOW,
        "exit_price": Decimal("1.1"),
        "strategy_id": strategy,
    }
    return [
        await factories.trade(connection, session, pnl=Decimal("2.5"), **closed),
        await factories.trade(connection, session, pnl=Decimal(-1), direction="Sideways", **closed),
        await factories.trade(connection, session, pnl=NAN, size=NAN, **closed),
        await factories.trade(connection, session, strategy_id="00000000-0000-0000-0000-000000000001"),
    ]


def inputs(ids: list[str], cursors: list[str]) -> Inputs:
    """Arguments that mostly find something."""
    size = [*[1, 2, 3, 4] * 10, 0]
    places = [*[None] * 50, *cursors]
    return {
        "ID": [*ids, "00000000-0000-0000-0000-000000000001", "no id"],
        "after": places,
        "before": places,
        "first": size,
        "last": size,
        "maxPoints": [*size, 100],
        "timezone": [*["UTC", "Europe/Berlin"] * 10, "Nowhere"],
        "Decimal": [*["0", "1.5", "-1"] * 10, "NaN"],
        "DateTime": ["2026-11-20T12:00:00Z", "2026-01-01T00:00:00+01:00"],
        "String": ["", "A", "EURUSD", "closed"],
    }


async def cursors(graph: Graph) -> list[str]:
    """Some that lists give out, and one that none does."""
    lists = ("accounts", "sessions", "trades", "strategies")
    selected = " ".join(f"{name} {{ edges {{ cursor }} }}" for name in lists)
    answer = await graph.ask(f"{{ {selected} }}")
    return [*(edge["cursor"] for name in lists for edge in answer.data[name]["edges"]), "a cursor"]


@often(120, 3000)
@pytest.mark.parametrize("asks", ["trader", "operator"])
async def test_bytes_are_the_same_and_errors_equivalent(
    graph: Graph, connection: "asyncpg.Connection", examples: int, asks: str
) -> None:
    user, ids = await desk(connection)
    viewer = operator(user) if asks == "operator" else trader(user)
    executors = Executors(schema)
    statements = Counter[str]()

    async def check(request: Request) -> None:
        contexts = [Context(viewer, graph.services) for _ in range(3)]
        stock = await executors.run(executors.stock, request, contexts[0])
        compiled = await executors.run(executors.compiled, request, contexts[1])
        assert_equivalent(stock, compiled, await executors.every_error(request, contexts[2]))
        if not stock.errors:  # errors end a selection early in the one, and a level late in the other
            statements.update(stock=contexts[0].db.statements, compiled=contexts[1].db.statements)

    # What only operators may ask for would end nearly every document of another.
    moment = frozenset({"activityCursor"})  # another each time
    excluded = moment if asks == "operator" else moment | {"systemLogs", "systemLogStats"}
    await try_out(check, examples, inputs(ids, await cursors(graph.as_(viewer))), excluded)
    assert not executors.compiled.fallbacks
    # Two branches that ask for the same may meet in one batch or miss each other, in either executor.
    assert 0 < statements["compiled"] <= statements["stock"] * 1.05


async def try_out(check: Any, examples: int, inputs: Inputs, excluded: frozenset[str] = frozenset()) -> None:
    """Draw in a thread, since hypothesis waits; check on the loop that the fixtures belong to."""
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
    )
    @given(documents(schema._schema, inputs=inputs, excluded=excluded, depth=9, budget=50))
    def run(request: Request) -> None:
        asyncio.run_coroutine_threadsafe(check(request), loop).result()

    await asyncio.to_thread(run)


async def test_somebody_who_is_not_signed_in_is_told_the_same(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    _, ids = await desk(connection)
    executors = Executors(schema)

    async def check(request: Request) -> None:
        stock, compiled = await executors.both(request, lambda: Context(Viewer(), graph.services))
        possible = await executors.every_error(request, Context(Viewer(), graph.services))
        assert_equivalent(stock, compiled, possible)

    await try_out(check, 40, inputs(ids, ["a cursor"]))
