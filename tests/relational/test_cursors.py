"""Cursors that clients made up: each is refused by an error that names the argument, or is a valid place."""

import base64
import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from graphql_api.domain.account import ACCOUNT_LIST
from graphql_api.domain.session import SESSION_LIST
from graphql_api.domain.strategy import STRATEGY_LIST
from graphql_api.domain.trade import TRADE_LIST
from graphql_api.domain.user import USER_LIST
from graphql_api.identity.viewer import NO_TENANT
from graphql_api.relational.pagination import _STORED_MOMENT
from graphql_api.relational.relation import ListSpec
from tests import factories
from tests.factories import NOW
from tests.graph import Graph, operator

LISTS: dict[str, ListSpec] = {
    "users": USER_LIST,
    "accounts": ACCOUNT_LIST,
    "sessions": SESSION_LIST,
    "trades": TRADE_LIST,
    "strategies": STRATEGY_LIST,
}
ORDERS = [
    (name, field.value, direction)
    for name, listing in LISTS.items()
    for field in listing.order_columns or ()
    for direction in ("ASC", "DESC")
]
fuzzed = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def encoded(payload: bytes) -> str:
    return base64.urlsafe_b64encode(payload).decode().rstrip("=")


def query(name: str, argument: str = "after") -> str:
    """One page of a root list, in an order, from a cursor."""
    order_type = f"{LISTS[name].entity.name}Order"
    return (
        f"query ($order: {order_type}, $cursor: String) {{"
        f" {name}(first: 2, orderBy: $order, {argument}: $cursor)"
        " { edges { cursor } pageInfo { hasNextPage hasPreviousPage } } }"
    )


async def ask(graph: Graph, order: tuple[str, str, str], cursor: str, argument: str = "after") -> Any:
    name, field, direction = order
    variables = {"order": {"field": field, "direction": direction}, "cursor": cursor}
    return await graph.ask(query(name, argument), variables)


@pytest.fixture
async def desk(graph: Graph, connection: "asyncpg.Connection") -> Graph:
    """An operator, who sees three rows of everything."""
    for number in range(3):
        user = await factories.user(connection)
        account = await factories.account(connection, user, account_number=f"number é {number}")
        session = await factories.session(connection, account)
        await factories.strategy(connection)
        await factories.trade(connection, session, entry_time=NOW + timedelta(days=number))
    return graph.as_(operator())


def assert_is_refused(answer: Any, name: str, argument: str, rule: str) -> None:
    assert answer.error["message"] == f"{argument}: {rule}"
    assert answer.error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
    assert answer.error["path"] == [name]
    assert answer.error["locations"]
    assert answer.statements == 0


NOT_GIVEN_OUT = "is not a cursor that this list gave out"


@fuzzed
@given(st.text() | st.binary().map(encoded) | st.from_regex(r"[A-Za-z0-9_+/=-]*", fullmatch=True))
@example("=")
@example("a")
@example("\ud83d\ude00")
@example(encoded(b"null"))
@example(encoded(b'"abc"'))
@example(encoded(b'{"a": 1, "b": 2, "c": 3}'))
@example(encoded(b"[" * 100_000))
async def test_any_text_is_refused(desk: Graph, text: str) -> None:
    answer = await ask(desk, ("trades", "PNL", "DESC"), text)
    assert_is_refused(answer, "trades", "after", NOT_GIVEN_OUT)


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.from_regex(r"[+-]?(\d{0,120}(\.\d{0,120})?)|NaN|-?Infinity", fullmatch=True)
    | st.from_regex(_STORED_MOMENT, fullmatch=True)
    | st.sampled_from(
        [
            "2026-02-29 00:00:00+00",
            "2026-01-01 00:00:00+15:59:59",
            "2026-01-01 00:00:00+16",
            "0000-01-01 00:00:00+00",
            "0001-01-01 00:00:00+15",
            "9999-12-31 23:59:59.999999-15",
            "10001-02-29 00:00:00+00",
            "294276-12-31 23:59:59.999999+00",
            "294276-12-31 23:59:59.999999-01",
            "294277-01-01 00:00:00+00",
            "4714-11-24 00:00:00+00 BC",
            "4714-11-23 00:00:00+00 BC",
            "0000-01-01 00:00:00+00 BC",
            "0005-02-29 00:00:00+00 BC",
            "0004-02-29 00:00:00+00 BC",
            "\ud800",
            "a\x00b",
            10**400,
            -(2**31) - 1,
            [],
            {},
        ]
    )
)


@fuzzed
@given(
    st.sampled_from(ORDERS),
    values,
    st.just(NO_TENANT) | st.uuids().map(str) | values,
    st.sampled_from(["after", "before"]),
)
async def test_a_forged_cursor_is_a_place_or_refused(
    desk: Graph, order: tuple[str, str, str], value: Any, id_: Any, argument: str
) -> None:
    name, field, direction = order
    columns = {each.value: column for each, column in (LISTS[name].order_columns or {}).items()}
    column = columns[field]
    made_for = f"{column.table.name}.{column.name}{'-' if direction == 'DESC' else '+'}"
    answer = await ask(desk, order, encoded(json.dumps([made_for, value, id_]).encode()), argument)
    if answer.errors:
        assert_is_refused(answer, name, argument, NOT_GIVEN_OUT)
    else:
        assert len(answer.data[name]["edges"]) <= 2


async def test_a_cursor_cut_short_or_changed_in_a_letter_is_refused_or_a_place(desk: Graph) -> None:
    order = ("trades", "ENTRY_TIME", "DESC")
    first = await desk.ask("{ trades(first: 1) { edges { cursor } } }")
    cursor = first.data["trades"]["edges"][0]["cursor"]
    for length in range(len(cursor)):
        assert_is_refused(await ask(desk, order, cursor[:length]), "trades", "after", NOT_GIVEN_OUT)
    for place in range(len(cursor)):
        changed = f"{cursor[:place]}{'A' if cursor[place] != 'A' else 'B'}{cursor[place + 1 :]}"
        for error in (await ask(desk, order, changed)).errors:
            assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_cursor_of_another_list_or_order_is_refused(desk: Graph) -> None:
    for own in ORDERS:
        page = await desk.ask(query(own[0]), {"order": {"field": own[1], "direction": own[2]}})
        cursor = page.data[own[0]]["edges"][0]["cursor"]
        for other in ORDERS:
            answer = await ask(desk, other, cursor)
            if other == own:
                assert not answer.errors
            elif other[0] == own[0]:
                rule = "is a cursor of another order; start again, or keep orderBy as it was"
                assert_is_refused(answer, other[0], "after", rule)
            else:
                assert_is_refused(answer, other[0], "after", NOT_GIVEN_OUT)
