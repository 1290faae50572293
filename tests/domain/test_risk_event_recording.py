"""Crossings of limits are recorded once each, whichever process records and however it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
import pytest

from graphql_api.domain.risk import event_recording
from graphql_api.domain.risk.event_recording import RiskEventRecording
from graphql_api.log_feed.errors import FeedUnavailableError
from graphql_api.log_feed.recorder import Recorder, RecorderOptions
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from tests import factories
from tests.domain.conftest import cut_recorders
from tests.graph import Graph, trader

NOW = datetime.now(UTC)
# A zone in which it is noon or so: today has hours on both sides, whenever these tests run.
OFFSET = 12 - NOW.hour
NOON = f"Etc/GMT{-OFFSET:+d}" if OFFSET else "Etc/GMT"
YESTERDAY = NOW - timedelta(hours=13)
NO_LIMITS = dict.fromkeys(("max_daily_loss", "max_position_size", "max_open_positions", "risk_per_trade"))

Poll = Callable[[], Awaitable[None]]


@asynccontextmanager
async def recording(address: Address, zone: str = NOON) -> AsyncIterator[Poll]:
    """A recording over a connection of its own; what this yields polls once."""
    job = RiskEventRecording(zone)
    connection = await address.connect()

    async def poll() -> None:
        await job.poll(connection)

    try:
        await job.begin(connection)
        yield poll
    finally:
        await connection.close()


@pytest.fixture
async def poll(address: Address) -> AsyncIterator[Poll]:
    """Polls once, after a first poll."""
    async with recording(address) as poll:
        await poll()
        yield poll


async def limit(connection: "asyncpg.Connection", account: str, **limits: Any) -> str:
    return await factories.risk_settings(connection, account, **NO_LIMITS | limits)


async def closed(connection: "asyncpg.Connection", session: str, pnl: Any, at: datetime = NOW) -> str:
    values = {"status": "closed", "entry_time": at, "exit_time": at, "pnl": Decimal(pnl)}
    return await factories.trade(connection, session, **values)


async def crossings(connection: "asyncpg.Connection") -> list[Any]:
    """The events of limits, in order: kind, limit, value, allowed."""
    rows = await connection.fetch(
        "SELECT kind, risk_limit, value, allowed FROM graphql_api.risk_events"
        " WHERE kind <> 'LIMITS_CHANGED' ORDER BY number"
    )
    return [(row["kind"], row["risk_limit"], row["value"], row["allowed"]) for row in rows]


async def test_a_days_losses_cross_the_limit_once_and_a_profit_keeps_it_again(
    connection: "asyncpg.Connection", poll: Poll, account: str, session: str
) -> None:
    await limit(connection, account, max_daily_loss=Decimal(100))
    await closed(connection, session, -1000, at=YESTERDAY)
    first = await closed(connection, session, -60)
    await poll()
    assert await crossings(connection) == []

    second = await closed(connection, session, -70)
    await poll()
    await closed(connection, session, -10)
    await poll()
    assert await crossings(connection) == [("LIMIT_CROSSED", "MAX_DAILY_LOSS", Decimal(130), Decimal(100))]
    trades = await connection.fetchval(
        "SELECT trades::text[] FROM graphql_api.risk_events WHERE kind = 'LIMIT_CROSSED'"
    )
    assert trades == [second, first]

    await closed(connection, session, 50)
    await poll()
    kept = (await crossings(connection))[1:]
    assert kept == [("LIMIT_KEPT", "MAX_DAILY_LOSS", Decimal(90), Decimal(100))]
    since = await connection.fetch(
        "SELECT DISTINCT since FROM graphql_api.risk_events WHERE since IS NOT NULL"
    )
    assert len(since) == 1


async def test_polls_are_planned_once(
    address: Address, connection: "asyncpg.Connection", account: str, session: str
) -> None:
    await limit(connection, account, max_daily_loss=Decimal(100))
    job, own = RiskEventRecording(NOON), await address.connect()
    try:
        await job.begin(own)
        for _ in range(8):
            await job.poll(own)
            await closed(connection, session, -1)
        plans = await own.fetch(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements"
            " WHERE statement LIKE '%activity.entries%trading_sessions%'"
        )
    finally:
        await own.close()
    assert max(row["generic_plans"] for row in plans) == 7
    assert max(row["custom_plans"] for row in plans) == 0


async def test_positions_cross_limits_of_size_and_number(
    connection: "asyncpg.Connection", poll: Poll, account: str, session: str
) -> None:
    await limit(connection, account, max_position_size=Decimal(2), max_open_positions=1)
    small = await factories.trade(connection, session, size=Decimal(2))
    large = await factories.trade(connection, session, size=Decimal(3))
    await poll()
    assert await crossings(connection) == [
        ("LIMIT_CROSSED", "MAX_POSITION_SIZE", Decimal(3), Decimal(2)),
        ("LIMIT_CROSSED", "MAX_OPEN_POSITIONS", Decimal(2), Decimal(1)),
    ]
    rows = await connection.fetch(
        "SELECT trades::text[] FROM graphql_api.risk_events WHERE kind = 'LIMIT_CROSSED' ORDER BY number"
    )
    assert [sorted(row["trades"]) for row in rows] == [[large], sorted([large, small])]

    await connection.execute("DELETE FROM trades WHERE id = $1", large)
    await poll()
    assert (await crossings(connection))[2:] == [
        ("LIMIT_KEPT", "MAX_POSITION_SIZE", Decimal(2), Decimal(2)),
        ("LIMIT_KEPT", "MAX_OPEN_POSITIONS", Decimal(1), Decimal(1)),
    ]


async def test_a_trade_risks_more_than_its_part_of_the_balance(
    connection: "asyncpg.Connection", poll: Poll, account: str, session: str
) -> None:
    await limit(connection, account, risk_per_trade=Decimal("0.02"))
    await closed(connection, session, "-20.5")
    await poll()
    await connection.execute("UPDATE trading_sessions SET initial_balance = 2000 WHERE id = $1", session)
    await poll()
    assert await crossings(connection) == [
        ("LIMIT_CROSSED", "RISK_PER_TRADE", Decimal("0.02050000"), Decimal("0.02")),
        ("LIMIT_KEPT", "RISK_PER_TRADE", Decimal("0.01025000"), Decimal("0.02")),
    ]


async def test_rows_that_move_to_another_account_leave_one_and_arrive_at_the_other(
    connection: "asyncpg.Connection", poll: Poll, user: str, account: str, session: str
) -> None:
    other = await factories.account(connection, user)
    other_session = await factories.session(connection, other)
    for each in (account, other):
        await limit(connection, each, max_open_positions=0)
    trade = await factories.trade(connection, session)
    await poll()

    async def exceeded() -> list[str]:
        rows = await connection.fetch(
            "SELECT account_id::text FROM graphql_api.risk_standings WHERE exceeded <> '{}'"
        )
        return [row["account_id"] for row in rows]

    assert await exceeded() == [account]
    await connection.execute("UPDATE trades SET session_id = $1 WHERE id = $2", other_session, trade)
    await poll()
    assert await exceeded() == [other]
    await connection.execute(
        "UPDATE trading_sessions SET account_id = $1 WHERE id = $2", account, other_session
    )
    await poll()
    assert await exceeded() == [account]
    assert len(await crossings(connection)) == 5


async def test_limits_cross_what_is_there_when_they_are_lowered_and_keep_it_when_they_go(
    connection: "asyncpg.Connection", poll: Poll, account: str, session: str
) -> None:
    await factories.trade(connection, session, size=Decimal(5))
    await poll()
    settings = await limit(connection, account, max_position_size=Decimal(1))
    await poll()
    await connection.execute("UPDATE risk_settings SET max_position_size = 'NaN' WHERE id = $1", settings)
    await poll()
    await connection.execute("UPDATE risk_settings SET max_position_size = 4 WHERE id = $1", settings)
    await poll()
    await connection.execute("DELETE FROM risk_settings WHERE id = $1", settings)
    await poll()

    assert [(kind, allowed) for kind, _, _, allowed in await crossings(connection)] == [
        ("LIMIT_CROSSED", Decimal(1)),
        ("LIMIT_KEPT", None),
        ("LIMIT_CROSSED", Decimal(4)),
        ("LIMIT_KEPT", None),
    ]
    rows = await connection.fetch(
        "SELECT author, limits_before, limits_after FROM graphql_api.risk_events"
        " WHERE kind = 'LIMITS_CHANGED' ORDER BY number"
    )
    sizes = [
        [value and orjson.loads(value)["max_position_size"] for value in (before, after)]
        for _, before, after in rows
    ]
    assert sizes == [[None, "1.00000000"], ["1.00000000", "NaN"], ["NaN", "4.00000000"], ["4.00000000", None]]
    assert {row["author"] for row in rows} == {"PROGRAM"}


async def test_a_change_by_a_mutation_is_no_other_programs(
    graph: Graph, connection: "asyncpg.Connection", poll: Poll, user: str, account: str
) -> None:
    mutation = """mutation ($id: ID!, $most: Int) {
        updateRiskSettings(accountId: $id, input: {maxOpenPositions: $most}) { userErrors { code } } }"""
    for most in (3, 2):
        await graph.as_(trader(user)).ask(mutation, {"id": account, "most": most})
        await poll()
    await connection.execute("UPDATE risk_settings SET max_open_positions = 1")
    await graph.as_(trader(user)).ask(mutation, {"id": account, "most": 5})
    await poll()
    await connection.execute("UPDATE risk_settings SET max_open_positions = 2")
    await poll()

    rows = await connection.fetch("SELECT author FROM graphql_api.risk_events ORDER BY number")
    assert [row["author"] for row in rows] == ["USER", "USER", "USER", "PROGRAM"]


async def test_the_last_mutation_is_found_without_reading_the_other_events(
    connection: "asyncpg.Connection", account: str
) -> None:
    for author, first in ("USER", 1), ("PROGRAM", 3001):
        await connection.execute(
            "INSERT INTO graphql_api.risk_events (account_id, kind, author, limits_after)"
            " SELECT $1, 'LIMITS_CHANGED', $2, to_jsonb(number)"
            " FROM generate_series(CAST($3 AS integer), $3 + 2999) AS number",
            *(account, author, first),
        )
    await connection.execute("ANALYZE graphql_api.risk_events")
    statement = event_recording.UNSEEN_MUTATIONS
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.sql}"
    plan = orjson.loads(await connection.fetchval(explain, *statement.arguments({"ids": [account]})))
    (row,) = await connection.fetch(statement.sql, *statement.arguments({"ids": [account]}))
    assert row["limits_after"] == "3000"
    assert plan[0]["Plan"]["Shared Hit Blocks"] < 10


@pytest.mark.parametrize("taken_over", [False, True])
async def test_a_mutation_during_a_look_at_a_programs_change_is_not_recorded_again(
    address: Address,
    graph: Graph,
    connection: "asyncpg.Connection",
    user: str,
    account: str,
    taken_over: bool,
) -> None:
    mutation = """mutation ($id: ID!) {
        updateRiskSettings(accountId: $id, input: {maxOpenPositions: 7}) { userErrors { code } } }"""
    await limit(connection, account, max_open_positions=1)
    job, reader = RiskEventRecording(NOON), await address.connect()
    await job.begin(reader)
    await job.poll(reader)

    await connection.execute("UPDATE risk_settings SET max_open_positions = 2")
    async with reader.transaction(isolation="repeatable_read"):
        await reader.execute("SELECT FROM risk_settings")  # takes the poll's snapshot, without the mutation
        await graph.as_(trader(user)).ask(mutation, {"id": account})
        await job.poll(reader)
    if taken_over:
        job = RiskEventRecording(NOON)
        await job.begin(reader)
    for most in (None, None, 3):
        if most is not None:
            await connection.execute("UPDATE risk_settings SET max_open_positions = $1", most)
        await job.poll(reader)
    await reader.close()

    rows = await connection.fetch(
        "SELECT author, limits_before->'max_open_positions', limits_after->'max_open_positions'"
        " FROM graphql_api.risk_events ORDER BY author DESC, number"
    )
    assert [tuple(row) for row in rows] == [("USER", "2", "7"), ("PROGRAM", "1", "2"), ("PROGRAM", "7", "3")]


async def test_trades_that_change_nothing_compared_with_a_limit_take_one_statement(
    address: Address, connection: "asyncpg.Connection", account: str, session: str
) -> None:
    await limit(connection, account, max_open_positions=1, max_position_size=Decimal(5))
    trade = await factories.trade(connection, session, size=Decimal(1))
    job, reader, statements = RiskEventRecording(NOON), await address.connect(), list[str]()
    await job.begin(reader)
    for _ in range(2):
        await job.poll(reader)

    reader.add_query_logger(lambda record: statements.append(record.query))
    for pnl in range(3):
        await connection.execute("UPDATE trades SET pnl = $1 WHERE id = $2", Decimal(pnl), trade)
        assert (await job.poll(reader)).found
    assert not (await job.poll(reader)).found
    await asyncio.sleep(0)  # the driver reports a statement once it is done
    assert len(statements) == 4
    await connection.execute("UPDATE trades SET size = 6 WHERE id = $1", trade)
    await job.poll(reader)
    await reader.close()
    assert await crossings(connection) == [("LIMIT_CROSSED", "MAX_POSITION_SIZE", Decimal(6), Decimal(5))]


async def test_a_program_that_undoes_a_mutation_before_a_look_has_changed_the_limits(
    graph: Graph, connection: "asyncpg.Connection", poll: Poll, user: str, account: str
) -> None:
    await limit(connection, account, max_open_positions=2)
    await poll()
    mutation = """mutation ($id: ID!) {
        updateRiskSettings(accountId: $id, input: {maxOpenPositions: 5}) { userErrors { code } } }"""
    await graph.as_(trader(user)).ask(mutation, {"id": account})
    await connection.execute("UPDATE risk_settings SET max_open_positions = 2")
    for _ in range(2):
        await poll()

    rows = await connection.fetch(
        "SELECT author, limits_after -> 'max_open_positions' AS most FROM graphql_api.risk_events"
        " ORDER BY number"
    )
    assert [(row["author"], int(row["most"])) for row in rows] == [
        ("PROGRAM", 2),
        ("USER", 5),
        ("PROGRAM", 2),
    ]


async def test_a_program_that_undoes_a_mutation_while_nobody_records_has_changed_the_limits(
    address: Address, graph: Graph, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    mutation = """mutation ($id: ID!, $most: Int) {
        updateRiskSettings(accountId: $id, input: {maxOpenPositions: $most}) { userErrors { code } } }"""
    await limit(connection, account, max_open_positions=1)
    for _ in range(2):
        async with recording(address) as poll:
            await poll()
        await graph.as_(trader(user)).ask(mutation, {"id": account, "most": 2})
        await connection.execute("UPDATE risk_settings SET max_open_positions = 1")
    for _ in range(2):
        async with recording(address) as poll:
            await poll()

    rows = await connection.fetch(
        "SELECT author, limits_after->>'max_open_positions' FROM graphql_api.risk_events ORDER BY number"
    )
    assert [tuple(row) for row in rows] == [("USER", "2"), ("PROGRAM", "1")] * 2


async def test_limits_that_were_there_before_anybody_recorded_are_no_change(
    address: Address, connection: "asyncpg.Connection", account: str, session: str
) -> None:
    await limit(connection, account, max_open_positions=0)
    await factories.trade(connection, session)
    async with recording(address) as poll:
        await poll()
    kinds = [row["kind"] for row in await connection.fetch("SELECT kind FROM graphql_api.risk_events")]
    assert kinds == ["LIMIT_CROSSED"]

    await connection.execute("UPDATE risk_settings SET max_open_positions = 7")
    async with recording(address) as poll:
        await poll()
    rows = await connection.fetch("SELECT kind FROM graphql_api.risk_events ORDER BY number")
    assert [row["kind"] for row in rows] == ["LIMIT_CROSSED", "LIMITS_CHANGED", "LIMIT_KEPT"]


@pytest.mark.parametrize("taken_over", [False, True])
async def test_an_account_that_is_gone_takes_its_events_along(
    address: Address,
    connection: "asyncpg.Connection",
    poll: Poll,
    user: str,
    account: str,
    session: str,
    taken_over: bool,
) -> None:
    kept = await factories.account(connection, user)
    for each in (account, kept):
        await limit(connection, each, max_open_positions=0)
    await factories.trade(connection, session)
    await poll()
    await connection.execute(  # as mutations do, of an account that no poll has seen
        "INSERT INTO graphql_api.risk_events (account_id, kind, author, limits_after)"
        " VALUES (gen_random_uuid(), 'LIMITS_CHANGED', 'USER', '{}'), ($1, 'LIMITS_CHANGED', 'USER', '{}')",
        account,
    )
    await connection.execute("DELETE FROM trades; DELETE FROM trading_sessions")
    await connection.execute("DELETE FROM risk_settings WHERE account_id = $1", account)
    await connection.execute("DELETE FROM tradelocker_accounts WHERE id = $1", account)
    if taken_over:
        async with recording(address) as another:
            await another()
        assert await connection.fetchval("SELECT count(*) FROM activity.entries WHERE kind = 'RISK'") == 3
    else:
        await poll()

    for table in ("risk_events", "risk_standings"):
        rows = await connection.fetch(
            f"SELECT DISTINCT account_id::text FROM graphql_api.{table} WHERE account_id IN ($1, $2)",
            *(account, kept),
        )
        assert [row["account_id"] for row in rows] == [kept]
    events = await connection.fetchval("SELECT count(*) FROM graphql_api.risk_events")
    assert events == (1 if taken_over else 2)


async def test_tables_that_are_truncated_keep_every_limit(
    address: Address, connection: "asyncpg.Connection", poll: Poll, account: str, session: str
) -> None:
    await limit(connection, account, max_open_positions=0)
    await factories.trade(connection, session)
    await poll()
    for _ in range(2):  # the second time, no reader has been there since the first
        await connection.execute("TRUNCATE trades")
        with pytest.raises(FeedUnavailableError):
            await poll()
    async with recording(address) as poll_again:
        await poll_again()
    assert [kind for kind, *_ in await crossings(connection)] == ["LIMIT_CROSSED", "LIMIT_KEPT"]


async def test_more_changes_than_are_read_one_by_one_are_read_anew(
    connection: "asyncpg.Connection", poll: Poll, account: str, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphql_api.domain.risk.event_recording._MAX_CHANGES", 3)
    await limit(connection, account, max_open_positions=5)
    for _ in range(7):
        await factories.trade(connection, session)
    await poll()
    assert await crossings(connection) == [("LIMIT_CROSSED", "MAX_OPEN_POSITIONS", 7, 5)]


async def test_a_transaction_that_takes_long_is_seen_when_it_commits_and_no_part_of_it_before(
    address: Address, connection: "asyncpg.Connection", poll: Poll, account: str, session: str
) -> None:
    await limit(connection, account, max_daily_loss=Decimal(100), max_open_positions=1)
    slow = await address.connect_plain()
    try:
        transaction = slow.transaction()
        await transaction.start()
        await closed(slow, session, -500)
        await factories.trade(connection, session)
        await poll()
        await factories.trade(slow, session)
        await closed(slow, session, 450)
        await poll()
        assert await crossings(connection) == []
        await transaction.commit()
    finally:
        await slow.close()
    await poll()
    assert await crossings(connection) == [("LIMIT_CROSSED", "MAX_OPEN_POSITIONS", 2, 1)]


async def test_looks_at_fifty_accounts_take_as_many_statements_as_at_one(
    address: Address, connection: "asyncpg.Connection", user: str
) -> None:
    counts = []
    job, reader = RiskEventRecording(NOON), await address.connect()
    await job.begin(reader)

    async def poll() -> int:
        statements = 0

        def count(_: Any) -> None:
            nonlocal statements
            statements += 1

        reader.add_query_logger(count)
        await job.poll(reader)
        reader.remove_query_logger(count)
        return statements

    await poll()
    for accounts in (1, 1, 50):  # the first time, the driver reads types too
        for _ in range(accounts):
            account = await factories.account(connection, user)
            await limit(connection, account, max_open_positions=0)
            await factories.trade(connection, await factories.session(connection, account))
        counts.append(await poll())
    await reader.close()

    assert len(await crossings(connection)) == 52
    assert counts[1] == counts[2] <= 12


async def test_each_crossing_is_recorded_once_by_whichever_process_records(
    address: Address, database: Database, connection: "asyncpg.Connection", account: str, session: str
) -> None:
    quick = RecorderOptions(idle_interval=0.02, retry_interval=0.02)
    recorders = [Recorder(database, address, RiskEventRecording(NOON), quick) for _ in range(3)]
    await limit(connection, account, max_open_positions=0)
    for recorder in recorders:
        recorder.start()
    try:
        for number in range(1, 25):
            if number % 2:
                trade = await factories.trade(connection, session)
            else:
                await connection.execute("UPDATE trades SET status = 'closed' WHERE id = $1", trade)
            if number % 4 == 0:
                await cut_recorders(connection)
            if number == 12:
                await recorders.pop().close()
            async with asyncio.timeout(100):
                while len(await crossings(connection)) < number:
                    await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
    finally:
        for recorder in recorders:
            await recorder.close()
    kinds = [kind for kind, *_ in await crossings(connection)]
    assert kinds == ["LIMIT_CROSSED", "LIMIT_KEPT"] * 12


async def test_a_look_that_fails_records_nothing_and_the_next_one_all(
    address: Address, connection: "asyncpg.Connection", account: str, session: str
) -> None:
    job, reader = RiskEventRecording(NOON), await address.connect()
    await job.begin(reader)
    await limit(connection, account, max_open_positions=0)
    await factories.trade(connection, session)
    transaction = reader.transaction(isolation="repeatable_read")
    await transaction.start()
    await job.poll(reader)
    await reader.close()  # before its commit
    assert await crossings(connection) == []

    async with recording(address) as poll:
        await poll()
        await poll()
    assert len(await crossings(connection)) == 1
