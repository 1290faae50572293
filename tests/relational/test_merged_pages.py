"""Lists that are merged from many parents' own: the same rows in the same order as one list would have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from tests import factories
from tests.factories import NOW
from tests.graph import Graph, operator, trader

pytestmark = pytest.mark.slow

VARIABLES = """$first: Int, $after: String, $last: Int, $before: String, $orderBy: TradeOrder,
  $filter: TradeFilter"""
TRADES = """
  trades(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy, filter: $filter) {
    totalCount nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
"""
ORDERS = ["ENTRY_TIME", "EXIT_TIME", "PNL", "SIZE", "SYMBOL", "AI_CONFIDENCE"]
Trade = Mapping[str, Any]


@dataclass(frozen=True)
class Desk:
    """Two tenants who share a strategy: the first one's ids, and every trade with whose it is."""

    user: str
    account: str
    session: str
    strategy: str
    trades: list[Trade]


@pytest.fixture
async def desk(connection: "asyncpg.Connection") -> Desk:
    """Three accounts, two of the first tenant's, with three sessions each and nine trades a session."""
    users = [await factories.user(connection) for _ in range(2)]
    accounts = [await factories.account(connection, user) for user in (users[0], users[0], users[1])]
    strategy = await factories.strategy(connection)
    sessions = []
    for place in range(81):
        if place % 9 == 0:
            sessions.append(await factories.session(connection, accounts[place // 27]))
        await factories.trade(
            connection,
            sessions[-1],
            symbol=("EURUSD", "XAUUSD", "USDJPY")[place % 3],
            size=Decimal("NaN") if place % 10 == 7 else Decimal(place % 4),
            entry_time=NOW + timedelta(minutes=place * 7 % 5),
            exit_time=None if place % 3 else NOW + timedelta(hours=place % 4),
            pnl=(None, Decimal("NaN"), Decimal(place % 4), Decimal(-place))[place % 4],
            ai_confidence=None if place % 2 else Decimal("0.5"),
            strategy_id=strategy if place % 5 else None,
        )
    rows = await connection.fetch("""
        SELECT trades.*, account_id, user_id FROM trades
        JOIN trading_sessions ON trading_sessions.id = session_id
        JOIN tradelocker_accounts ON tradelocker_accounts.id = account_id
    """)
    trades: list[Trade] = [
        {key: str(value) if key.endswith("id") else value for key, value in row.items()} for row in rows
    ]
    return Desk(users[0], accounts[0], sessions[0], strategy, trades)


def expected(trades: list[Trade], order: Mapping[str, str]) -> list[str]:
    """The ids in an order, nulls and NaNs being the smallest."""
    column = order["field"].lower()

    def key(trade: Trade) -> Any:
        value = trade[column]
        known = value is not None and not (isinstance(value, Decimal) and value.is_nan())
        return known, value if known else 0, trade["id"]

    return [trade["id"] for trade in sorted(trades, key=key, reverse=order["direction"] == "DESC")]


async def walk(
    graph: Graph, parent: str | None, *, backward: bool = False, size: int = 4, **given: Any
) -> list[str]:
    """All ids of the list below a parent, or at the root, so many at a time."""
    query = f"query ({VARIABLES}) {{ {TRADES if parent is None else f'parent: {parent} {{ {TRADES} }}'} }}"
    found: list[str] = []
    cursor = None
    while True:
        part = {"last": size, "before": cursor} if backward else {"first": size, "after": cursor}
        data = (await graph.ask(query, {**given, **part})).data
        page = data.get("parent", data)["trades"]
        ids = [node["id"] for node in page["nodes"]]
        found = ids + found if backward else found + ids
        info = page["pageInfo"]
        if not info["hasPreviousPage" if backward else "hasNextPage"]:
            assert page["totalCount"] == len(found)
            return found
        cursor = info["startCursor" if backward else "endCursor"]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
@pytest.mark.parametrize("field", ORDERS)
async def test_pages_tile_a_merged_list(
    graph: Graph, desk: Desk, field: str, direction: str, backward: bool
) -> None:
    order = {"field": field, "direction": direction}
    own = [trade for trade in desk.trades if trade["user_id"] == desk.user]
    of_account = [trade for trade in own if trade["account_id"] == desk.account]
    by_strategy = [trade for trade in own if trade["strategy_id"] == desk.strategy]
    viewer = graph.as_(trader(desk.user))
    lists = [
        (None, own),
        (f'account(id: "{desk.account}")', of_account),
        (f'strategy(id: "{desk.strategy}")', by_strategy),
    ]
    for parent, trades in lists:
        found = await walk(viewer, parent, backward=backward, orderBy=order)
        assert found == expected(trades, order)


@pytest.mark.parametrize("rests", [False, True])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_pages_tile_a_list_of_many_sessions(
    graph: Graph, desk: Desk, connection: "asyncpg.Connection", direction: str, backward: bool, rests: bool
) -> None:
    """Whether its trades are among the first of everybody's, or behind as many as it has sessions."""
    account = await factories.account(connection, desk.user)
    sessions = [await factories.session(connection, account) for _ in range(20)]
    long = timedelta(days=400) * (-1 if direction == "DESC" else 1) if rests else timedelta()
    for place in range(45):
        at = NOW + long + timedelta(minutes=place * 7 % 11)
        symbol = "EURUSD" if place % 3 else "XAUUSD"
        await factories.trade(connection, sessions[place * 13 % 19], entry_time=at, symbol=symbol)
    rows = await connection.fetch(
        "SELECT trades.* FROM trades JOIN trading_sessions s ON s.id = session_id WHERE account_id = $1",
        account,
    )
    trades: list[Trade] = [{**row, "id": str(row["id"])} for row in rows]
    order = {"field": "ENTRY_TIME", "direction": direction}
    viewer, parent = graph.as_(trader(desk.user)), f'account(id: "{account}")'

    assert await walk(viewer, parent, backward=backward, orderBy=order) == expected(trades, order)
    chosen = {"symbol": {"eq": "EURUSD"}}
    found = await walk(viewer, parent, backward=backward, orderBy=order, filter=chosen)
    assert found == expected([trade for trade in trades if trade["symbol"] == "EURUSD"], order)
    of_user = [*(trade for trade in desk.trades if trade["user_id"] == desk.user), *trades]
    assert await walk(viewer, None, backward=backward, orderBy=order) == expected(of_user, order)


@pytest.mark.parametrize("backward", [False, True])
async def test_conditions_on_a_trade_or_its_account_find_each_trade_once(
    graph: Graph, desk: Desk, connection: "asyncpg.Connection", backward: bool
) -> None:
    """In a list of more sessions than a page has trades, which is read from all tenants' newest."""
    for place in range(12):
        session = await factories.session(connection, desk.account)
        await factories.trade(connection, session, entry_time=NOW + timedelta(hours=place), symbol="EURUSD")
    rows = await connection.fetch(
        "SELECT trades.* FROM trades JOIN trading_sessions s ON s.id = session_id JOIN tradelocker_accounts a"
        " ON a.id = account_id WHERE user_id = $1 AND (account_id = $2 OR symbol = 'XAUUSD')",
        desk.user,
        desk.account,
    )
    trades: list[Trade] = [{**row, "id": str(row["id"])} for row in rows]
    order = {"field": "ENTRY_TIME", "direction": "DESC"}
    chosen = {"or": [{"accountId": desk.account}, {"symbol": {"eq": "XAUUSD"}}]}
    viewer = graph.as_(trader(desk.user))
    found = await walk(viewer, None, backward=backward, size=5, orderBy=order, filter=chosen)
    assert found == expected(trades, order)


FILTERS: list[tuple[Callable[[Desk], Any], Callable[[Desk, Trade], bool]]] = [
    (lambda desk: {"strategyId": desk.strategy}, lambda desk, trade: trade["strategy_id"] == desk.strategy),
    (lambda desk: {"accountId": desk.account}, lambda desk, trade: trade["account_id"] == desk.account),
    (lambda desk: {"sessionId": desk.session}, lambda desk, trade: trade["session_id"] == desk.session),
    (lambda _: {"symbol": {"in": ["EURUSD", "USDJPY"]}}, lambda _, trade: trade["symbol"] != "XAUUSD"),
    (
        lambda desk: {"not": {"or": [{"symbol": {"eq": "EURUSD"}}, {"strategyId": desk.strategy}]}},
        lambda desk, trade: trade["symbol"] != "EURUSD" and trade["strategy_id"] != desk.strategy,
    ),
]


@pytest.mark.parametrize(("filter_of", "fits"), FILTERS)
async def test_filters_mean_the_same_in_a_merged_list(
    graph: Graph,
    desk: Desk,
    filter_of: Callable[[Desk], Any],
    fits: Callable[[Desk, Trade], bool],
) -> None:
    order = {"field": "PNL", "direction": "DESC"}
    own = [trade for trade in desk.trades if trade["user_id"] == desk.user and fits(desk, trade)]
    of_account = [trade for trade in own if trade["account_id"] == desk.account]
    given = {"orderBy": order, "filter": filter_of(desk)}
    viewer = graph.as_(trader(desk.user))

    assert await walk(viewer, None, **given) == expected(own, order)
    assert await walk(viewer, f'account(id: "{desk.account}")', **given) == expected(of_account, order)


async def test_an_operators_account_and_strategy_have_every_tenants_trades(graph: Graph, desk: Desk) -> None:
    order = {"field": "SIZE", "direction": "ASC"}
    by_strategy = [trade for trade in desk.trades if trade["strategy_id"] == desk.strategy]
    of_account = [trade for trade in desk.trades if trade["account_id"] == desk.account]
    viewer = graph.as_(operator())

    by = await walk(viewer, f'strategy(id: "{desk.strategy}")', orderBy=order)
    assert by == expected(by_strategy, order)
    of = await walk(viewer, f'account(id: "{desk.account}")', orderBy=order)
    assert of == expected(of_account, order)


async def test_an_operators_list_of_one_account_is_that_accounts_list(graph: Graph, desk: Desk) -> None:
    order = {"field": "SIZE", "direction": "DESC"}
    of_account = [trade for trade in desk.trades if trade["account_id"] == desk.account]
    viewer = graph.as_(operator())

    found = await walk(viewer, None, orderBy=order, filter={"accountId": desk.account})
    assert found == expected(of_account, order)
    within = await walk(
        viewer, f'session(id: "{desk.session}")', orderBy=order, filter={"accountId": desk.account}
    )
    assert within == expected([trade for trade in of_account if trade["session_id"] == desk.session], order)


async def test_many_accounts_each_get_their_own_merged_page(graph: Graph, desk: Desk) -> None:
    query = "{ accounts { nodes { id trades(first: 100, orderBy: { field: PNL }) { nodes { id } } } } }"
    answer = await graph.as_(operator()).ask(query)

    for account in answer.data["accounts"]["nodes"]:
        of_account = [trade for trade in desk.trades if trade["account_id"] == account["id"]]
        ids = [node["id"] for node in account["trades"]["nodes"]]
        assert ids == expected(of_account, {"field": "PNL", "direction": "DESC"})


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_a_list_that_is_known_to_have_few_sessions_has_the_same_pages(
    graph: Graph, desk: Desk, direction: str, backward: bool
) -> None:
    """Once a page has counted them, the next ones are merged from all of them by a simpler statement."""
    order = {"field": "ENTRY_TIME", "direction": direction}
    own = [trade for trade in desk.trades if trade["user_id"] == desk.user]
    viewer, hints = graph.as_(trader(desk.user)), graph.services.database.hints
    assert not hints
    for _ in range(2):
        assert await walk(viewer, None, backward=backward, size=7, orderBy=order) == expected(own, order)
        assert list(hints.values()) == [6]
    of_account = [trade for trade in own if trade["account_id"] == desk.account]
    account = f'account(id: "{desk.account}")'
    for _ in range(2):
        found = await walk(viewer, account, backward=backward, size=7, orderBy=order)
        assert found == expected(of_account, order)
        assert sorted(hints.values()) == [3, 6]


async def test_what_is_known_of_few_sessions_is_of_no_use_where_there_may_be_more(
    graph: Graph, desk: Desk
) -> None:
    """Neither for a page with fewer rows than there are sessions, nor from a filter that leaves few."""
    viewer, hints = graph.as_(trader(desk.user)), graph.services.database.hints
    trades = "trades(first: $first, filter: $filter) { nodes { id } }"
    query = f"query ($first: Int, $filter: TradeFilter) {{ {trades} }}"
    await viewer.ask(query, {"first": 5})
    await viewer.ask(query, {"first": 50, "filter": {"accountId": desk.account}})
    assert not hints
    await viewer.ask(query, {"first": 6})
    assert list(hints.values()) == [6]
