"""The log lines that traders may read: which they are, and how an account's are found."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from graphql_api.domain.account_logs import AccountLogRecording, account_logs
from graphql_api.domain.policy import ACCOUNT_LOGS, ACCOUNTS
from graphql_api.domain.system_log import ACCOUNT_LOG_LIST
from graphql_api.identity.viewer import Scope, ServiceTokenCredential, Viewer
from graphql_api.log_feed.recorder import Recorder, RecorderOptions
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.relational import page_query
from graphql_api.relational.filters import ALL_ROWS
from graphql_api.relational.page_query import PageShape, count_statement, page_statement
from graphql_api.relational.pagination import PageRequest
from graphql_api.relational.relation import RelationReader
from tests import factories
from tests.domain.conftest import cut_recorders
from tests.factories import NOW
from tests.graph import Graph, opened, operator, settings_for, trader

COMPONENTS = ("bot", "execution")
LOGS = """
query ($id: ID!, $first: Int, $after: String, $filter: SystemLogFilter) {
  account(id: $id) { logs(first: $first, after: $after, filter: $filter) {
    totalCount nodes { id message details timestamp } pageInfo { hasNextPage endCursor }
  } }
}
"""


@pytest.fixture
async def graph(address: Address, tmp_path: Path) -> AsyncIterator[Graph]:
    """The graph of a service whose traders may read lines of COMPONENTS."""
    settings = settings_for(address, tmp_path, trader_log_components=COMPONENTS, max_cost=10**9)
    async with opened(settings) as graph:
        yield graph


@asynccontextmanager
async def recording(
    address: Address, components: tuple[str, ...] = COMPONENTS, **options: Any
) -> AsyncIterator[Callable[[], Any]]:
    """A recording over a connection of its own; what this yields records all that is committed."""
    job = AccountLogRecording(components, **options)
    connection = await address.connect()

    async def record() -> None:
        while True:
            result = await job.poll(connection)
            if not result.found and result.due:
                return

    try:
        await job.begin(connection)
        yield record
    finally:
        await connection.close()


async def record_all(address: Address, components: tuple[str, ...] = COMPONENTS) -> None:
    async with recording(address, components) as record:
        await record()


async def line(connection: "asyncpg.Connection", details: Any, **values: Any) -> str:
    return await factories.system_log(connection, details=json.dumps(details), **values)


async def read(graph: Graph, account: str, **variables: Any) -> Any:
    answer = await graph.ask(LOGS, {"id": account, **variables})
    return answer.data["account"]["logs"]


async def messages(graph: Graph, account: str, **variables: Any) -> list[str]:
    return [node["message"] for node in (await read(graph, account, **variables))["nodes"]]


async def messages_alone(graph: Graph, account: str) -> list[str]:
    """The messages of a page whose lines are not counted."""
    query = "query ($id: ID!) { account(id: $id) { logs { nodes { message } } } }"
    nodes = (await graph.ask(query, {"id": account})).data["account"]["logs"]["nodes"]
    return [node["message"] for node in nodes]


async def test_lines_that_name_an_account_its_sessions_or_trades_are_its_owners(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    session = await factories.session(connection, account)
    trade = await factories.trade(connection, session)
    named = [
        {"account_id": account},
        {"session_id": session.upper()},
        {"trade_id": trade, "account_id": None},
        {"tradeId": trade, "sessionId": session, "accountId": account},
        {"trade_ids": [trade, trade], "reason": "basket"},
        {"order": {"legs": [{"session_id": session}]}},
    ]
    for number, details in enumerate(named):
        await line(connection, details, message=str(number), timestamp=NOW + timedelta(seconds=number))
    await record_all(address)

    found = await read(graph.as_(trader(user)), account)
    assert [node["message"] for node in found["nodes"]] == ["5", "4", "3", "2", "1", "0"]
    assert found["totalCount"] == 6
    assert found["nodes"][-1]["details"] == {"account_id": account}
    assert await messages(graph.as_(operator()), account) == ["5", "4", "3", "2", "1", "0"]


@pytest.mark.parametrize(
    "details",
    [
        {},
        [],
        "account_id",
        {"account_id": None},
        {"account": "ACCOUNT"},
        {"my_account_id": "ACCOUNT"},
        {"account_id": "ACCOUNT", "trade_id": "NOBODY"},
        {"account_id": "ACCOUNT", "trade_id": "17"},
        {"account_id": "ACCOUNT", "trade_id": ""},
        {"account_id": "ACCOUNT", "trade_id": 17},
        {"account_id": "ACCOUNT", "trade_id": {"id": "ACCOUNT"}},
        {"account_id": "{ACCOUNT}"},
        {"session_id": "ACCOUNT"},
        {"account_id": ["ACCOUNT", "OTHER"]},
        {"account_id": "ACCOUNT", "hedge": {"deep": [{"accountId": "OTHER"}]}},
        {"account_id": "ACCOUNT", "ownerless": {"account_id": "OWNERLESS"}},
    ],
)
async def test_lines_that_name_nobody_or_somebody_else_besides_are_the_operators_alone(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str, account: str, details: Any
) -> None:
    other = await factories.account(connection, await factories.user(connection))
    ownerless = await factories.account(connection, None)
    known = {"ACCOUNT": account, "OTHER": other, "NOBODY": str(uuid4()), "OWNERLESS": ownerless}
    text = json.dumps(details)
    for word, id_ in known.items():
        text = text.replace(f'"{word}"', f'"{id_}"').replace(f"{{{word}}}", f"{{{id_}}}")
    id_ = await factories.system_log(connection, details=text)
    await record_all(address)

    for each in (account, other, ownerless):
        assert await messages(graph.as_(operator()), each) == []
    query = "query ($id: ID!) { node(id: $id) { id } }"
    assert (await graph.as_(trader(user)).ask(query, {"id": id_})).data == {"node": None}
    assert (await graph.as_(operator()).ask(query, {"id": id_})).data == {"node": {"id": id_}}


async def test_lines_of_other_components_are_the_operators_alone(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    await line(connection, {"account_id": account}, component="scheduler")
    await line(connection, {"account_id": account}, component="execution", message="readable")
    await record_all(address, ("scheduler", *COMPONENTS))

    assert await messages(graph.as_(trader(user)), account) == ["readable"]


async def test_a_trader_finds_a_line_by_its_id_whether_it_is_recorded_or_not(
    graph: Graph, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    id_ = await line(connection, {"account_id": account}, message="mine")
    other = await factories.user(connection)
    query = "query ($id: ID!) { node(id: $id) { id ... on SystemLog { message } } }"

    assert (await graph.as_(trader(user)).ask(query, {"id": id_})).data["node"]["message"] == "mine"
    assert (await graph.as_(trader(other)).ask(query, {"id": id_})).data == {"node": None}


async def test_a_service_for_every_tenant_reads_no_line_that_is_nobodys(
    graph: Graph, connection: "asyncpg.Connection", account: str
) -> None:
    of_account, of_nobody = await line(connection, {"account_id": account}), await line(connection, {})
    scopes = frozenset({Scope.GRAPH_READ_ANY})
    service = Viewer(user_id=None, scopes=scopes, credential=ServiceTokenCredential(b"service"))
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    answer = await graph.as_(service).ask(query, {"ids": [of_account, of_nobody]})

    assert answer.data == {"nodes": [{"id": of_account}, None]}


async def test_whoever_gets_an_account_gets_its_lines_and_a_line_of_two_owners_is_nobodys(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    second = await factories.account(connection, user)
    await line(connection, {"account_id": account}, message="one")
    await line(connection, {"account_id": [account, second]}, message="both")
    await record_all(address)
    assert sorted(await messages(graph.as_(trader(user)), account)) == ["both", "one"]

    buyer = await factories.user(connection)
    await connection.execute("UPDATE tradelocker_accounts SET user_id = $1 WHERE id = $2", buyer, second)
    assert await messages(graph.as_(trader(user)), account) == ["one"]
    assert await messages(graph.as_(trader(buyer)), second) == []


async def test_pages_go_on_after_a_cursor_and_filters_narrow_them(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    for number in range(7):
        await line(
            connection,
            {"account_id": account},
            message=f"line {number}",
            level="ERROR" if number % 2 else "INFO",
            timestamp=None if number == 0 else NOW + timedelta(seconds=number // 2),
        )
    await record_all(address)
    viewer = graph.as_(trader(user))

    found: list[str] = []
    after, more = None, True
    while more:
        page = await read(viewer, account, first=2, after=after)
        found += [node["message"] for node in page["nodes"]]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert sorted(found) == [f"line {number}" for number in range(7)]
    assert found[-1] == "line 0"
    assert await messages(viewer, account, filter={"levels": ["ERROR"]}) == ["line 5", "line 3", "line 1"]
    since = {"gte": (NOW + timedelta(seconds=3)).isoformat()}
    assert await messages(viewer, account, filter={"timestamp": since}) == ["line 6"]
    assert await messages(viewer, account, filter={"timestamp": {"isNull": True}}) == ["line 0"]


async def test_lines_are_counted_up_to_a_limit_that_a_range_of_time_narrows(
    graph: Graph,
    address: Address,
    connection: "asyncpg.Connection",
    user: str,
    account: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_query, "MAX_COUNTED", 100)
    assert ACCOUNT_LOGS.count_limit is not None
    assert ACCOUNT_LOGS.count_limit.weight == 20
    other = await factories.account(connection, user)
    for number in range(7):
        at = NOW + timedelta(minutes=number)
        await line(connection, {"account_id": account}, message=str(number), timestamp=at)
    await line(connection, {"account_id": other}, message="other")
    await record_all(address)
    counted = (
        "query ($id: ID!, $filter: SystemLogFilter)"
        " { account(id: $id) { logs(filter: $filter) { totalCount } } }"
    )

    for viewer in (graph.as_(trader(user)), graph.as_(operator())):
        for filter_ in (None, {"search": "3"}):
            refused = await viewer.ask(counted, {"id": account, "filter": filter_})
            assert refused.error["message"] == (
                "filter: more than 5 rows would have to be counted; filter by a shorter range of timestamp"
            )
            assert refused.error["path"] == ["account", "logs", "totalCount"]
        for first, last, total in ((2, 7, 5), (3, 4, 1), (0, 5, 5)):
            bounds = (NOW + timedelta(minutes=first), NOW + timedelta(minutes=last))
            range_ = dict(zip(("gte", "lt"), (bound.isoformat() for bound in bounds), strict=True))
            answer = await viewer.ask(counted, {"id": account, "filter": {"timestamp": range_}})
            assert answer.data["account"]["logs"]["totalCount"] == total
        assert (await read(viewer, other))["totalCount"] == 1
        newest = await messages_alone(viewer, account)
        assert newest == ["6", "5", "4", "3", "2", "1", "0"]


async def test_a_filter_that_few_lines_fit_examines_a_limited_number(
    graph: Graph,
    address: Address,
    connection: "asyncpg.Connection",
    user: str,
    account: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_query, "MAX_EXAMINED", 50)  # ten of these
    for number in range(15):
        at = NOW + timedelta(minutes=number)
        level = "ERROR" if number in (0, 13, 14) else "INFO"
        await line(connection, {"account_id": account}, message=str(number), timestamp=at, level=level)
    await record_all(address)
    query = """query ($id: ID!, $first: Int, $after: String, $filter: SystemLogFilter) {
        account(id: $id) { logs(first: $first, after: $after, filter: $filter) {
            nodes { message } pageInfo { hasNextPage endCursor } } } }"""
    errors = {"levels": ["ERROR"]}
    early = {"lt": (NOW + timedelta(minutes=9)).isoformat()}

    for viewer in (graph.as_(trader(user)), graph.as_(operator())):

        async def lines(viewer: Graph = viewer, **arguments: Any) -> Any:
            answer = await viewer.ask(query, {"id": account, **arguments})
            if answer.errors:
                return answer.error["message"]
            return [node["message"] for node in answer.data["account"]["logs"]["nodes"]]

        assert len(await lines(first=20)) == 15
        assert await lines(first=1, filter=errors) == ["14"]
        refusal = (
            "filter: fewer rows than a page has fit among the first 10;"
            " filter by a shorter range of timestamp"
        )
        assert await lines(first=3, filter=errors) == refusal
        assert await lines(first=3, filter=errors | {"timestamp": early}) == ["0"]
        answer = await viewer.ask(query, {"id": account, "first": 1, "filter": errors})
        after = answer.data["account"]["logs"]["pageInfo"]["endCursor"]
        assert await lines(first=2, filter=errors, after=after) == refusal
    stranger = await graph.as_(trader(await factories.user(connection))).ask(
        query, {"id": account, "filter": errors}
    )
    assert stranger.data["account"] is None


async def test_lines_beyond_the_limit_are_not_examined(
    address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    for _ in range(20):
        await line(connection, {"account_id": account})
    await record_all(address)
    relation = RelationReader(ACCOUNT_LOGS, ACCOUNTS, account_logs.c.account_id)
    statement = count_statement(relation, ALL_ROWS.predicate, True)
    values = {"keys": [account], "tenants": [user], "trader_log_components": COMPONENTS}

    async def lines_examined(limit: int) -> tuple[int | None, bool]:
        arguments = statement.arguments(values | {"count_limit": limit})
        (row,) = await connection.fetch(statement.sql, *arguments)
        plan = await connection.fetch(f"EXPLAIN (ANALYZE, TIMING OFF) {statement.sql}", *arguments)
        (scan,) = (row[0] for row in plan if "on system_logs" in row[0])
        return row["total"], "never executed" not in scan

    assert await lines_examined(21) == (20, True)
    assert await lines_examined(20) == (None, False)


async def test_fifty_accounts_cost_as_many_statements_as_one(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str
) -> None:
    for _ in range(50):
        await line(connection, {"account_id": await factories.account(connection, user)})
    await record_all(address)
    query = "query ($n: Int) { accounts(first: $n) { nodes { logs { totalCount nodes { message } } } } }"
    one = await graph.as_(trader(user)).ask(query, {"n": 1})
    fifty = await graph.as_(trader(user)).ask(query, {"n": 50})

    assert [node["logs"]["totalCount"] for node in fifty.data["accounts"]["nodes"]] == [1] * 50
    assert one.statements == fifty.statements == 3


async def test_a_page_reads_an_accounts_lines_in_the_order_of_their_index(
    address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    await connection.execute(
        """
        INSERT INTO system_logs (timestamp, level, component, message, details)
        SELECT now() - n * interval '1 s', 'INFO', 'bot', 'line ' || n,
               CASE WHEN n % 2 = 0 THEN jsonb_build_object('account_id', $1::uuid) END
        FROM generate_series(1, 5000) n
        """,
        account,
    )
    await record_all(address)
    await connection.execute("ANALYZE")
    request = PageRequest(ACCOUNT_LOG_LIST.default_order, size=10)
    relation = RelationReader(ACCOUNT_LOGS, ACCOUNTS, account_logs.c.account_id)
    statement = page_statement(relation, PageShape.of(request), True)
    values = {"keys": [account], "tenants": [user], "trader_log_components": COMPONENTS}
    arguments = statement.arguments(values | request.parameters())
    plan = await connection.fetch(f"EXPLAIN (ANALYZE, TIMING OFF) {statement.sql}", *arguments)
    text = "\n".join(row[0] for row in plan)

    assert "Index Only Scan Backward using account_logs_pkey" in text
    assert "Index Scan using system_logs_pkey on system_logs log_1" in text
    assert "(actual rows=1.00 loops=11)" in text, text


async def test_a_line_waits_for_the_trade_that_it_names(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    session, trade = await factories.session(connection, account), str(uuid4())
    async with recording(address) as record:
        await line(connection, {"trade_id": trade}, message="before its trade")
        await record()
        assert await messages(graph.as_(trader(user)), account) == []

        await factories.trade(connection, session, id=trade)
        await connection.execute("UPDATE graphql_api.unattributed_logs SET retry_at = '-infinity'")
        await record()
        assert await messages(graph.as_(trader(user)), account) == ["before its trade"]
        assert await connection.fetchval("SELECT count(*) FROM graphql_api.unattributed_logs") == 0


async def test_a_line_that_waited_is_announced_though_the_history_came_to_it_first(
    address: Address, connection: "asyncpg.Connection", account: str
) -> None:
    session, trade = await factories.session(connection, account), str(uuid4())
    announced = "SELECT account_id::text FROM activity.entries WHERE kind = 'LOG' AND row_id = $1"
    async with recording(address) as record:
        id_ = await line(connection, {"trade_id": trade})
        await record()
        await connection.execute("UPDATE graphql_api.unattributed_logs SET retry_at = 'infinity'")
        await factories.trade(connection, session, id=trade)
    async with recording(address, (*COMPONENTS, "risk")) as record:  # begins its history again
        await record()
        assert await connection.fetch(announced, id_) == []

        await connection.execute("UPDATE graphql_api.unattributed_logs SET retry_at = '-infinity'")
        await record()
        assert [row["account_id"] for row in await connection.fetch(announced, id_)] == [account]


async def test_a_line_whose_trade_never_comes_waits_ever_longer_and_then_no_more(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    async with recording(address) as record:
        await line(connection, {"trade_id": str(uuid4())})
        await record()
        assert await connection.fetchval("SELECT count(*) FROM graphql_api.unattributed_logs") == 1
        for age, left in (("5 minutes", 1), ("11 minutes", 0)):
            await connection.execute(
                "UPDATE graphql_api.unattributed_logs"
                " SET retry_at = '-infinity', noted_at = now() - $1::text::interval",
                age,
            )
            await record()
            waiting = await connection.fetch(
                "SELECT retry_at - now() AS wait FROM graphql_api.unattributed_logs"
            )
            assert len(waiting) == left
            assert all(row["wait"] > timedelta(minutes=4) for row in waiting)


async def test_a_component_that_is_named_later_brings_its_history(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    await line(connection, {"account_id": account}, component="bot", message="bot before")
    await line(connection, {"account_id": account}, component="execution", message="execution before")
    await record_all(address, ("bot",))
    assert await messages(graph.as_(trader(user)), account) == ["bot before"]

    await record_all(address)
    assert sorted(await messages(graph.as_(trader(user)), account)) == ["bot before", "execution before"]


async def test_each_line_is_recorded_once_whichever_process_records(
    address: Address, database: Database, connection: "asyncpg.Connection", account: str
) -> None:
    quick = RecorderOptions(idle_interval=0.02, retry_interval=0.02)
    recorders = [Recorder(database, address, AccountLogRecording(COMPONENTS), quick) for _ in range(3)]
    for recorder in recorders:
        recorder.start()
    try:
        for number in range(30):
            await line(connection, {"account_id": account}, message=str(number))
            if number % 5 == 4:
                await cut_recorders(connection)
            if number == 15:
                await recorders.pop().close()
        async with asyncio.timeout(100):
            while await connection.fetchval("SELECT count(*) FROM graphql_api.account_logs") < 30:
                await asyncio.sleep(0.02)
        sessions = await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            AccountLogRecording.lock % 2**32,
        )
        assert sessions <= 1
    finally:
        for recorder in recorders:
            await recorder.close()
    assert await connection.fetchval("SELECT count(DISTINCT id) FROM graphql_api.account_logs") == 30


async def test_lines_past_the_retention_of_the_feed_are_found_in_the_history(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    await record_all(address)
    await line(connection, {"account_id": account}, message="while nobody recorded")
    await connection.execute(
        "INSERT INTO log_feed.horizon (xid) SELECT xid FROM log_feed.entries ORDER BY xid DESC LIMIT 1"
    )
    await connection.execute("DELETE FROM log_feed.entries")
    await record_all(address)

    assert await messages(graph.as_(trader(user)), account) == ["while nobody recorded"]
    assert await connection.fetchval("SELECT count(*) FROM activity.resets") == 1


async def test_lines_that_are_recorded_unannounced_end_the_cursors_of_those_who_missed_them(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    async def starts_over() -> int:
        await connection.execute("SELECT log_feed.reset()")
        await record_all(address)
        return int(await connection.fetchval("SELECT count(*) FROM activity.resets"))

    await line(connection, {"account_id": account}, message="before")
    await record_all(address)
    assert await starts_over() == 0
    await connection.execute("ALTER TABLE system_logs DISABLE TRIGGER log_feed_insert")
    await line(connection, {"account_id": account}, message="without an entry")
    await connection.execute("ALTER TABLE system_logs ENABLE TRIGGER log_feed_insert")
    assert await starts_over() == 1
    assert len(await messages(graph.as_(trader(user)), account)) == 2
    assert await starts_over() == 1


async def test_rows_of_deleted_lines_are_swept(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    kept = await line(connection, {"account_id": account}, message="kept")
    await line(connection, {"account_id": account}, message="deleted")
    async with recording(address, sweep_interval=0) as record:
        await record()
        await connection.execute("DELETE FROM system_logs WHERE message = 'deleted'")
        assert await messages(graph.as_(trader(user)), account) == ["kept"]
        await record()
        await record()
    rows = await connection.fetch("SELECT id::text FROM graphql_api.account_logs")
    assert [row["id"] for row in rows] == [kept]


async def test_details_of_any_depth_stop_no_recorder(
    graph: Graph, address: Address, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    deep = '{"a":' * 5000 + "1" + "}" * 5000
    await factories.system_log(connection, details=f'{{"account_id": "{account}", "deep": {deep}}}')
    await line(connection, {"account_id": account}, message="after it")
    await record_all(address)

    assert "after it" in await messages(graph.as_(trader(user)), account)
