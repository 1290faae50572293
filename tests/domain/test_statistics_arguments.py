"""Which arguments of statistics are refused, and how."""

import asyncpg
import pytest

from tests import factories
from tests.graph import Graph, trader


@pytest.fixture
async def user(connection: "asyncpg.Connection") -> str:
    return await factories.user(connection)


@pytest.mark.parametrize(
    ("field", "argument", "rule"),
    [
        ('equityCurve(timezone: "Mars/Olympus_Mons") { time }', "timezone", "time zone's name"),
        ('equityCurve(timezone: "") { time }', "timezone", "time zone's name"),
        ('equityCurve(timezone: "XYZ5") { time }', "timezone", "time zone's name"),
        # Many systems know it, as whichever zone they are in.
        ('equityCurve(timezone: "localtime") { time }', "timezone", "time zone's name"),
        ("equityCurve(maxPoints: 0) { time }", "maxPoints", "between 1 and 2000"),
        ("equityCurve(maxPoints: -1) { time }", "maxPoints", "between 1 and 2000"),
        ("equityCurve(maxPoints: 2001) { time }", "maxPoints", "between 1 and 2000"),
        ("bySymbol(first: 0) { symbol }", "first", "between 1 and 100"),
        ("byStrategy(first: 101) { strategyId }", "first", "between 1 and 100"),
    ],
)
async def test_an_argument_out_of_range_is_named_with_its_rule(
    graph: Graph, user: str, field: str, argument: str, rule: str
) -> None:
    answer = await graph.as_(trader(user)).ask(f"{{ trades {{ stats {{ {field} }} }} }}")

    assert answer.error["extensions"] == {"code": "BAD_USER_INPUT", "argument": argument}
    assert rule in answer.error["message"]


@pytest.mark.parametrize("parent", ["user", "account", "strategy"])
async def test_a_range_that_ends_before_it_begins_is_refused(
    graph: Graph, connection: "asyncpg.Connection", user: str, parent: str
) -> None:
    ids = {
        "user": user,
        "account": await factories.account(connection, user),
        "strategy": await factories.strategy(connection),
    }
    query = f"""query ($id: ID!) {{ {parent}(id: $id) {{
      stats(range: {{ from: "2026-11-22T09:00:00Z", to: "2026-11-22T10:00:00+02:00" }}) {{ netPnl }}
    }} }}"""
    answer = await graph.as_(trader(user)).ask(query, {"id": ids[parent]})

    assert answer.error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "range.to"}
    assert answer.error["message"] == "range.to: must not be before range.from"


async def test_a_null_argument_is_its_default(graph: Graph, user: str) -> None:
    query = """{ trades { stats {
      equityCurve(interval: null, timezone: null, maxPoints: null) { time } bySymbol(first: null) { symbol }
    } } }"""
    answer = await graph.as_(trader(user)).ask(query)

    assert answer.data["trades"]["stats"] == {"equityCurve": [], "bySymbol": []}
