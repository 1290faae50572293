"""With any moment that PostgreSQL can store, in any column, all queries succeed and all numbers are right."""

from itertools import product

import asyncpg
import orjson
import pytest
from sqlalchemy import DateTime

from graphql_api.domain.time_buckets import Interval
from graphql_api.postgres.tables import metadata
from tests import factories
from tests.graph import Graph, operator
from tests.security.tenants import TABLES, Tenant
from tests.security.walk import Question, ask_all, every_filter, every_path, unlimited

LOWEST, HIGHEST = "4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"
MOMENTS = (
    "-infinity",
    LOWEST,
    "0001-12-31 23:59:59.999999+00 BC",
    "0001-01-01 00:00:00+00",
    "2026-11-20 12:00:00+00",
    "9999-12-31 23:59:59.999999+00",
    "10000-01-01 00:00:00+00",
    HIGHEST,
    "infinity",
)
SEEN = dict.fromkeys(MOMENTS[:4], "0001-01-01") | dict.fromkeys(MOMENTS[5:], "9999-12-31")
ZONES = ("UTC", "Pacific/Kiritimati", "America/Los_Angeles", "Europe/Berlin")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"), [(LOWEST, HIGHEST), (HIGHEST, LOWEST), ("-infinity", "infinity"), (HIGHEST, HIGHEST)]
)
async def test_every_question_is_answered(
    graph: Graph, connection: "asyncpg.Connection", first: str, second: str
) -> None:
    """All columns of the documented tables have these moments in turn."""
    strategy = await factories.strategy(connection)
    await factories.performance(connection, strategy)
    tenant = Tenant.make("far", strategy)
    await tenant.insert(connection)
    for table in (table for table in metadata.tables.values() if table.schema is None):
        columns = [column.name for column in table.c if isinstance(column.type, DateTime)]
        changes = [
            f"{name} = '{second if number % 2 else first}'::timestamptz"
            for number, name in enumerate(columns)
        ]
        await connection.execute(f"UPDATE {table.name} SET {', '.join(changes)}")
    ids = {type_: [tenant.ids()[type_]] for type_ in TABLES} | {"Strategy": [strategy]}
    stats = [
        Question(f"{interval} {zone}", _curve(interval, zone)) for interval, zone in product(Interval, ZONES)
    ] + [
        Question(f"log {interval}", f"{{ systemLogStats(interval: {interval.name}) {{ time count }} }}")
        for interval in Interval
    ]
    questions = [*every_path(3, ids), *every_filter(["far"], ids), *stats]
    walking = Graph(graph.services, unlimited()).as_(operator())
    answers = {name: orjson.loads(answer) for name, answer in (await ask_all(walking, questions)).items()}

    assert {name: answer["errors"] for name, answer in answers.items() if "errors" in answer} == {}
    assert answers["trades"]["data"]["trades"]["nodes"] != []


@pytest.mark.parametrize(("interval", "zone"), [*product(Interval, ZONES)])
async def test_a_curve_has_every_trade_once_and_no_time_twice(
    graph: Graph, connection: "asyncpg.Connection", interval: Interval, zone: str
) -> None:
    await _trades_of_all_moments(connection)
    answer = await graph.as_(operator()).ask(_curve(interval, zone))
    stats = answer.data["trades"]["stats"]
    points = stats["equityCurve"]

    count = len(MOMENTS) ** 2
    assert (stats["tradesCount"], stats["netPnl"]) == (count, f"{count}.00000000")
    assert [point["tradesCount"] for point in points] == [4 * 9, 9, 4 * 9]
    assert points[-1]["cumulativePnl"] == stats["netPnl"]
    times = [point["time"] for point in points]
    assert times == sorted(set(times))
    assert [time[:4] for time in times] == ["0001", "2026", "9999"]


async def test_a_curve_by_day(graph: Graph, connection: "asyncpg.Connection") -> None:
    """A trade whose exit is beyond the calendar is in the day on which clients see it."""
    await _trades_of_all_moments(connection)
    answer = await graph.as_(operator()).ask(_curve(Interval.DAY, "UTC"))

    assert [(point["time"], point["netPnl"]) for point in answer.data["trades"]["stats"]["equityCurve"]] == [
        ("0001-01-01T00:00:00.000000Z", "36.00000000"),
        ("2026-11-20T00:00:00.000000Z", "9.00000000"),
        ("9999-12-31T00:00:00.000000Z", "36.00000000"),
    ]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_one_row_leaves_the_others_of_its_account_as_they_are(
    graph: Graph, connection: "asyncpg.Connection", moment: str
) -> None:
    account = await factories.account(connection, await factories.user(connection))
    session = await factories.session(connection, account)
    far = await factories.trade(connection, session, status="closed", pnl=1)
    await factories.trade(connection, session, status="closed", pnl=2, exit_time=factories.NOW)
    await connection.execute(
        "UPDATE trades SET entry_time = $2::text::timestamptz, exit_time = $3::text::timestamptz"
        " WHERE id = $1::text::uuid",
        *(far, LOWEST, moment),
    )
    answer = await graph.as_(operator()).ask(
        """query ($id: ID!) { account(id: $id) {
          stats { tradesCount netPnl maxDrawdown averageDuration equityCurve(interval: MONTH) { netPnl } }
          riskStatus { openPositions breached }
        } }""",
        {"id": account},
    )
    account_ = answer.data["account"]

    assert account_["riskStatus"] == {"openPositions": 0, "breached": []}
    assert account_["stats"].pop("equityCurve")
    assert account_["stats"] == {
        "tradesCount": 2,
        "netPnl": "3.00000000",
        "maxDrawdown": "0.00000000",
        "averageDuration": "PT0S",
    }


@pytest.mark.parametrize("moment", MOMENTS)
async def test_lines_of_the_log_are_counted_where_clients_see_them(
    graph: Graph, connection: "asyncpg.Connection", moment: str
) -> None:
    await factories.system_log(connection)
    await connection.execute("UPDATE system_logs SET timestamp = $1::text::timestamptz", moment)
    answer = await graph.as_(operator()).ask("{ systemLogStats(interval: DAY) { time count } }")

    day = SEEN.get(moment, "2026-11-20")
    assert answer.data["systemLogStats"] == [{"time": f"{day}T00:00:00.000000Z", "count": 1}]


def _curve(interval: Interval, zone: str) -> str:
    return f"""{{ trades {{ stats {{
      tradesCount netPnl
      equityCurve(interval: {interval.name}, timezone: "{zone}") {{
        time netPnl cumulativePnl tradesCount drawdown equity
      }}
    }} }} }}"""


async def _trades_of_all_moments(connection: "asyncpg.Connection") -> None:
    """Inserts a trade of 1 for each two moments: one as its entry, the other as its exit."""
    session = await factories.session(
        connection, await factories.account(connection, await factories.user(connection))
    )
    await connection.executemany(
        "INSERT INTO trades"
        " (session_id, symbol, direction, entry_price, size, status, pnl, entry_time, exit_time)"
        " SELECT $1::text::uuid, 'EURUSD', 'buy', 1, 1, 'closed', 1,"
        " $2::text::timestamptz, $3::text::timestamptz",
        [(session, *moments) for moments in product(MOMENTS, MOMENTS)],
    )
