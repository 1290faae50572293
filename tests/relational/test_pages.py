"""Pages: keyset cursors, both directions, every order, and what is refused."""

import base64
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
import pytest

from graphql_api.identity.viewer import NO_TENANT
from tests import factories
from tests.factories import NOW
from tests.graph import Graph, trader

PAGE = """
query ($first: Int, $after: String, $last: Int, $before: String, $orderBy: TradeOrder, $filter: TradeFilter) {
  trades(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy, filter: $filter) {
    totalCount
    edges { cursor node { id pnl } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
ORDERS = [
    {"field": field, "direction": direction}
    for field in ("ENTRY_TIME", "EXIT_TIME", "PNL", "SIZE", "SYMBOL", "AI_CONFIDENCE")
    for direction in ("ASC", "DESC")
]


@pytest.fixture
async def desk(graph: Graph, connection: "asyncpg.Connection") -> Graph:
    """A trader with 23 trades full of ties, nulls and NaNs."""
    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    for place in range(23):
        pnl = (None, Decimal("NaN"), Decimal(place % 4), Decimal(-place))[place % 4]
        await factories.trade(
            connection,
            session,
            symbol=("EURUSD", "XAUUSD")[place % 2],
            size=Decimal("NaN") if place == 7 else Decimal(place % 3),
            entry_time=NOW + timedelta(minutes=place % 5),
            exit_time=None if place % 3 else NOW + timedelta(hours=place),
            pnl=pnl,
            ai_confidence=None if place % 2 else Decimal("0.5"),
        )
    return graph.as_(trader(user))


OTHER_ORDER = "before: is a cursor of another order; start again, or keep orderBy as it was"


def cursor(*parts: Any) -> str:
    """A cursor as somebody might forge it."""
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


async def walk(graph: Graph, size: int, order: dict[str, str], *, backward: bool = False) -> list[str]:
    """All ids of a list, page by page."""
    found: list[str] = []
    cursor = None
    while True:
        forward_arguments = {"first": size, "after": cursor}
        arguments: dict[str, Any] = {"last": size, "before": cursor} if backward else forward_arguments
        page = (await graph.ask(PAGE, {**arguments, "orderBy": order})).data["trades"]
        ids = [edge["node"]["id"] for edge in page["edges"]]
        found = ids + found if backward else found + ids
        info = page["pageInfo"]
        if not info["hasPreviousPage" if backward else "hasNextPage"]:
            return found
        cursor = info["startCursor" if backward else "endCursor"]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"{order['field']} {order['direction']}")
async def test_pages_tile_the_list_in_both_directions(desk: Graph, order: dict[str, str]) -> None:
    whole = await walk(desk, 100, order)

    assert len(set(whole)) == 23
    assert await walk(desk, 3, order) == whole
    assert await walk(desk, 4, order, backward=True) == whole


@pytest.mark.parametrize("field", ["ENTRY_TIME", "PNL", "SYMBOL"])
async def test_ascending_is_descending_reversed(desk: Graph, field: str) -> None:
    ascending = await walk(desk, 100, {"field": field, "direction": "ASC"})
    descending = await walk(desk, 100, {"field": field, "direction": "DESC"})

    assert ascending == descending[::-1]


async def test_nulls_and_nans_are_smaller_than_every_number(desk: Graph) -> None:
    page = (await desk.ask(PAGE, {"first": 100, "orderBy": {"field": "PNL"}})).data["trades"]
    values = [edge["node"]["pnl"] for edge in page["edges"]]
    numbers = [value for value in values if value is not None]

    assert values == numbers + [None] * 12
    assert numbers == sorted(numbers, key=Decimal, reverse=True)


async def test_a_page_between_two_cursors(desk: Graph) -> None:
    whole = (await desk.ask(PAGE, {"first": 10})).data["trades"]["edges"]
    between = {"after": whole[2]["cursor"], "before": whole[6]["cursor"]}
    page = (await desk.ask(PAGE, between)).data["trades"]

    assert page["edges"] == whole[3:6]


async def test_the_total_is_of_the_list_not_the_page(desk: Graph) -> None:
    page = (await desk.ask(PAGE, {"first": 2, "filter": {"symbol": {"eq": "XAUUSD"}}})).data["trades"]

    assert (len(page["edges"]), page["totalCount"]) == (2, 11)


async def test_an_empty_page_has_no_cursors(desk: Graph) -> None:
    page = (await desk.ask(PAGE, {"filter": {"symbol": {"eq": "none"}}})).data["trades"]

    assert page == {
        "totalCount": 0,
        "edges": [],
        "pageInfo": {"hasNextPage": False, "hasPreviousPage": False, "startCursor": None, "endCursor": None},
    }


async def test_25_rows_unless_told(desk: Graph, connection: "asyncpg.Connection") -> None:
    session = await connection.fetchval("SELECT id FROM trading_sessions")
    for _ in range(5):
        await factories.trade(connection, session)
    page = (await desk.ask(PAGE)).data["trades"]

    assert len(page["edges"]) == 25


NO_CURSOR = "after: is not a cursor that this list gave out"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first": 0}, "first: must be between 1 and 100"),
        ({"first": 101}, "first: must be between 1 and 100"),
        ({"last": -1}, "last: must be between 1 and 100"),
        ({"first": 1, "last": 1}, "last: can't be combined with first"),
        ({"after": "no cursor"}, NO_CURSOR),
        ({"after": ""}, NO_CURSOR),
        ({"after": "bnVsbA"}, NO_CURSOR),
        ({"after": cursor("trades.entry_time-", "yesterday", NO_TENANT)}, NO_CURSOR),
        ({"after": cursor("trades.entry_time-", NOW, "no id")}, NO_CURSOR),
        ({"after": cursor(1, 2, 3)}, NO_CURSOR),
        ({"before": cursor("trades.pnl+", None, NO_TENANT)}, OTHER_ORDER),
    ],
)
async def test_a_bad_argument_is_named_with_its_rule(
    graph: Graph, arguments: dict[str, Any], message: str
) -> None:
    answer = await graph.as_(trader("00000000-0000-0000-0000-000000000001")).ask(PAGE, arguments)

    assert answer.error["message"] == message
    assert answer.error["extensions"]["code"] == "BAD_USER_INPUT"
    assert answer.statements == 0


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
async def test_pages_tile_moments_beyond_the_calendar(
    graph: Graph, connection: "asyncpg.Connection", direction: str
) -> None:
    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    odd = (
        "infinity",
        "-infinity",
        "infinity",
        "10000-01-01",
        "0044-03-15 BC",
        None,
        "2026-11-20",
        "10000-01-02",
    )
    for moment in odd:
        trade = await factories.trade(connection, session)
        await connection.execute(f"UPDATE trades SET exit_time = $${moment or 'now'}$$ WHERE id = '{trade}'")
        if moment is None:
            await connection.execute(f"UPDATE trades SET exit_time = NULL WHERE id = '{trade}'")
    order = {"field": "EXIT_TIME", "direction": direction}
    whole = await walk(graph.as_(trader(user)), 100, order)

    assert len(set(whole)) == len(odd)
    assert await walk(graph.as_(trader(user)), 1, order) == whole
    assert await walk(graph.as_(trader(user)), 1, order, backward=True) == whole


async def test_a_cursor_of_another_order_is_refused(desk: Graph) -> None:
    cursor = (await desk.ask(PAGE, {"first": 1})).data["trades"]["pageInfo"]["endCursor"]
    answer = await desk.ask(PAGE, {"after": cursor, "orderBy": {"field": "SIZE"}})

    assert answer.error["message"].startswith("after: is a cursor of another order")
