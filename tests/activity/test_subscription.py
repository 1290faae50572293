"""What a subscriber of `accountActivity` is shown."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from graphql_api.domain.account_changes import ChangeFilter
from graphql_api.log_feed import UnfitDatabaseError, tail
from graphql_api.postgres.address import Address
from graphql_api.postgres.errors import DatabaseUnavailableError
from tests import factories
from tests.activity.client import FeedEnded, Take, following, until_up_to_date
from tests.graph import Graph, opened, operator, settings_for, trader


@pytest.fixture
async def graph(address: Address, tmp_path: Path) -> AsyncIterator[Graph]:
    async with opened(settings_for(address, tmp_path)) as graph:
        yield graph


CURSOR = "query { activityCursor }"


async def cursor(graph: Graph) -> str:
    found: str = (await graph.ask(CURSOR)).data["activityCursor"]
    return found


def shown(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (each["kind"], each["change"], each["rowId"], (each["account"] or {}).get("id"))
        for each in events[:-1]
    ]


async def test_each_kind_of_row(graph: Graph, connection: "asyncpg.Connection") -> None:
    user = await factories.user(connection)
    graph = graph.as_(trader(user))
    after = await cursor(graph)
    account = await factories.account(connection, user)
    session = await factories.session(connection, account)
    settings = await factories.risk_settings(connection, account)
    trade = await factories.trade(connection, session, pnl=3)
    events = await until_up_to_date(graph, after=after)
    assert shown(events) == [
        ("ACCOUNT", "ADDED", account, account),
        ("SESSION", "ADDED", session, account),
        ("RISK_SETTINGS", "ADDED", settings, account),
        ("TRADE", "ADDED", trade, account),
    ]
    assert events[3]["node"] == {
        "__typename": "Trade",
        "id": trade,
        "pnl": "3.00000000",
        "symbol": "EURUSD",
        "session": {"id": session},
    }
    after = events[-1]["cursor"]
    await connection.execute("UPDATE trades SET pnl = 4")
    await connection.execute("DELETE FROM risk_settings")
    events = await until_up_to_date(graph, after=after)
    assert shown(events) == [
        ("TRADE", "CHANGED", trade, account),
        ("RISK_SETTINGS", "REMOVED", settings, account),
    ]
    assert events[1]["node"] is None
    assert shown(await until_up_to_date(graph, after=events[0]["cursor"])) == shown(events)[1:]
    only = await until_up_to_date(graph, after=after, kinds=["TRADE"])
    assert [event["kind"] for event in only] == ["TRADE", "UP_TO_DATE"]


async def next_or_end(batches: AsyncIterator[list[dict[str, Any]]]) -> list[dict[str, Any]] | str:
    """The next events, or the code with which the subscription has ended."""
    try:
        return await anext(batches)
    except FeedEnded as end:
        return str(end)


@pytest.mark.parametrize("take", [None, lambda: True], ids=["awaited", "delivered"])
async def test_who_may_read_less_is_sent_nothing_more(
    graph: Graph, connection: "asyncpg.Connection", take: Take | None
) -> None:
    mine, theirs = [
        await factories.session(
            connection, await factories.account(connection, await factories.user(connection))
        )
        for _ in range(2)
    ]
    graph = graph.as_(operator())
    async with following(graph, take) as batches:
        assert await anext(batches) == []
        await factories.trade(connection, mine)
        while not any(event["kind"] == "TRADE" for event in await anext(batches)):
            pass
        graph.viewer = trader(await factories.user(connection))
        await factories.trade(connection, theirs)
        while (ended := await next_or_end(batches)) == []:
            pass
        assert ended == "PERMISSIONS_CHANGED"


async def test_events_come_live(graph: Graph, connection: "asyncpg.Connection") -> None:
    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    async with following(graph.as_(trader(user))) as batches:
        assert await anext(batches) == []
        assert [event["kind"] for event in await anext(batches)] == ["UP_TO_DATE"]
        trade = await factories.trade(connection, session)
        (event,) = await anext(batches)
        assert (event["rowId"], event["change"]) == (trade, "ADDED")
        async with connection.transaction():
            await connection.execute("DELETE FROM trades")
            await connection.execute("DELETE FROM trading_sessions")
            await connection.execute("DELETE FROM tradelocker_accounts")
        found = await anext(batches)
        assert {(each["kind"], each["change"]) for each in found} == {
            ("TRADE", "REMOVED"),
            ("SESSION", "REMOVED"),
            ("ACCOUNT", "REMOVED"),
        }


async def test_a_row_that_moves_leaves_one_account_and_arrives_at_the_other(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    users = [await factories.user(connection) for _ in range(2)]
    accounts = [await factories.account(connection, user) for user in (users[0], users[0], users[1])]
    sessions = [await factories.session(connection, account) for account in accounts]
    trade = await factories.trade(connection, sessions[0])
    whole = await factories.session(connection, accounts[0])
    below = await factories.trade(connection, whole)
    after = await cursor(graph.as_(operator()))
    await connection.execute("UPDATE trades SET session_id = $1 WHERE id = $2", sessions[1], trade)
    await connection.execute("UPDATE trading_sessions SET account_id = $1 WHERE id = $2", accounts[2], whole)

    async def seen(viewer: Any, *ids: str) -> set[tuple[Any, ...]]:
        chosen = list(ids) or None
        return set(shown(await until_up_to_date(graph.as_(viewer), after=after, accountIds=chosen)))

    left, right = accounts[0], accounts[2]
    gone = {("SESSION", "REMOVED", whole, left), ("TRADE", "REMOVED", below, left)}
    assert await seen(trader(users[0])) == {("TRADE", "CHANGED", trade, accounts[1])} | gone
    assert await seen(trader(users[0]), left) == {("TRADE", "REMOVED", trade, left)} | gone
    assert await seen(trader(users[0]), accounts[1]) == {("TRADE", "ADDED", trade, accounts[1])}
    arrived = {("SESSION", "ADDED", whole, right), ("TRADE", "ADDED", below, right)}
    assert await seen(trader(users[1])) == arrived
    assert await seen(operator()) == {
        ("TRADE", "CHANGED", trade, accounts[1]),
        ("SESSION", "CHANGED", whole, right),
        ("TRADE", "CHANGED", below, right),
    }
    assert await seen(operator(), right) == arrived


async def test_another_tenants_account_is_like_one_that_does_not_exist(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    users = [await factories.user(connection) for _ in range(2)]
    account = await factories.account(connection, users[1])
    session = await factories.session(connection, account)
    after = await cursor(graph.as_(operator()))
    await factories.trade(connection, session)
    await connection.execute("DELETE FROM trades")
    nobody = "00000000-0000-4000-8000-000000000000"
    for ids in (None, [account], [nobody], []):
        events = await until_up_to_date(graph.as_(trader(users[0])), after=after, accountIds=ids)
        assert [event["kind"] for event in events] == ["UP_TO_DATE"]


async def test_truncate_ends_subscriptions_and_cursors(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    graph = graph.as_(operator())
    after = await cursor(graph)
    async with following(graph) as batches:
        await anext(batches)
        await anext(batches)
        await connection.execute("TRUNCATE trades")
        with pytest.raises(FeedEnded, match="FEED_RESET_RESTORE"):
            await anext(batches)
    with pytest.raises(FeedEnded, match="FEED_RESET_RESTORE"):
        await until_up_to_date(graph, after=after)
    assert [event["kind"] for event in await until_up_to_date(graph, after=await cursor(graph))] == [
        "UP_TO_DATE"
    ]


@pytest.mark.parametrize("others", ["an uncommitted trade", "10,001 trades"])
async def test_the_message_of_a_reset_names_the_moves_that_cause_one(
    graph: Graph,
    connection: "asyncpg.Connection",
    address: Address,
    caplog: pytest.LogCaptureFixture,
    others: str,
) -> None:
    user = await factories.user(connection)
    accounts = [await factories.account(connection, user) for _ in range(2)]
    session = await factories.session(connection, accounts[0])
    writer = await address.connect_plain()
    if others == "10,001 trades":
        await writer.execute(
            "INSERT INTO trades (session_id, symbol, direction, entry_price, size, entry_time, status)"
            " SELECT $1, 'EURUSD', 'buy', 1, 1, now(), 'open' FROM generate_series(1, 10001)",
            session,
        )
    graph = graph.as_(trader(user))
    async with following(graph, after=await cursor(graph)) as batches:
        while not (batch := await anext(batches)) or batch[-1]["kind"] != "UP_TO_DATE":
            pass
        if others == "an uncommitted trade":
            await writer.execute("BEGIN")
            await factories.trade(writer, session)
        await connection.execute(
            "UPDATE trading_sessions SET account_id = $1 WHERE id = $2", accounts[1], session
        )
        with pytest.raises(FeedEnded, match="FEED_RESET_RESTORE") as ended:
            _ = [batch async for batch in batches]
    await writer.close()

    for part in ("restored", "while a trade was added to it or left it, or with more than 10,000 trades"):
        assert part in ended.value.message
    assert f"the feed of changes starts again, and ends all subscriptions: {ended.value.message}" in (
        caplog.messages
    )


async def test_cursors_end_again_after_what_was_in_progress_during_a_move(
    graph: Graph, connection: "asyncpg.Connection", address: Address
) -> None:
    user = await factories.user(connection)
    accounts = [await factories.account(connection, user) for _ in range(2)]
    session = await factories.session(connection, accounts[0])
    trade = await factories.trade(connection, session)
    graph = graph.as_(trader(user))
    bot = await address.connect_plain(application="bot")
    await bot.execute("BEGIN")
    await bot.execute("DELETE FROM trades")  # its entry says that the trade has left the first account
    await connection.execute(
        "UPDATE trading_sessions SET account_id = $1 WHERE id = $2", accounts[1], session
    )
    data = (await graph.ask("query { activityCursor trades(first: 1) { nodes { id } } }")).data
    assert data["trades"]["nodes"] == [{"id": trade}]
    await bot.execute("COMMIT")
    await bot.close()

    with pytest.raises(FeedEnded, match="FEED_RESET_RESTORE"):
        await until_up_to_date(graph, after=data["activityCursor"], accountIds=[accounts[1]])


async def test_a_cursor_past_the_retention(graph: Graph, connection: "asyncpg.Connection") -> None:
    user = await factories.user(connection)
    after = await cursor(graph.as_(trader(user)))
    await factories.account(connection, user)
    xid = await connection.fetchval("SELECT max(xid) FROM activity.entries")
    await connection.execute("INSERT INTO activity.horizon (xid) VALUES ($1)", xid)
    await connection.execute("DELETE FROM activity.entries")
    with pytest.raises(FeedEnded, match="CURSOR_EXPIRED"):
        await until_up_to_date(graph.as_(trader(user)), after=after)


async def test_a_cursor_of_the_log_is_none_of_activity(graph: Graph) -> None:
    graph = graph.as_(operator())
    log_cursor = await graph.services.feed.now()
    with pytest.raises(FeedEnded, match="INVALID_CURSOR"):
        await until_up_to_date(graph, after=log_cursor)


@pytest.mark.parametrize(
    "document",
    [
        "{ activityCursor accounts { nodes { id } } }",
        "{ accounts { nodes { id } } ...Cursor } fragment Cursor on Query { c: activityCursor }",
    ],
)
async def test_the_cursor_is_read_before_anything_else(
    graph: Graph, document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, order = graph.services.database, []
    fetch = database.fetch

    async def noted(statement: Any, **values: Any) -> Any:
        order.append("cursor" if "activity.entries" in statement.sql else "rows")
        found = await fetch(statement, **values)
        order.append("end")
        return found

    monkeypatch.setattr(type(database), "fetch", lambda _, statement, **values: noted(statement, **values))
    answer = await graph.as_(operator()).ask(document)
    assert answer.data
    assert "rows" not in order[: order.index("cursor") + 2], order


async def test_a_query_that_is_cancelled_reads_the_cursor_no_further(
    graph: Graph, connection: "asyncpg.Connection", address: Address
) -> None:
    waiting = """
        SELECT count(*) FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()
    """
    graph = graph.as_(operator())
    await cursor(graph)
    observer = await address.connect_plain()
    # The statement itself would wait for ten seconds, and then be repeated.
    async with asyncio.timeout(9), connection.transaction():
        await connection.execute("LOCK TABLE activity.entries")
        asking = asyncio.create_task(graph.ask(CURSOR))
        while await observer.fetchval(waiting) == 0:
            await asyncio.sleep(0.01)
        asking.cancel()
        while await observer.fetchval(waiting):
            await asyncio.sleep(0.01)
    await observer.close()
    assert asking.cancelled()


async def test_many_events_are_loaded_by_one_statement_a_kind(
    graph: Graph, connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    sessions = [await factories.session(connection, account) for _ in range(20)]
    graph = graph.as_(trader(user))
    after = await cursor(graph)
    async with connection.transaction():
        for session in sessions:
            await factories.trade(connection, session)
            await connection.execute("UPDATE trading_sessions SET pnl = 1 WHERE id = $1", session)
    database, count = graph.services.database, 0
    by_key = type(database).fetch_by_key

    async def counted(self: Any, *arguments: Any, **values: Any) -> Any:
        nonlocal count
        count += 1
        return await by_key(self, *arguments, **values)

    monkeypatch.setattr(type(database), "fetch_by_key", counted)
    events = await until_up_to_date(graph, after=after)
    assert len(events) == 41
    assert count <= 8, count


@pytest.mark.parametrize("trigger", ["activity_update", "activity_truncate"])
async def test_a_trigger_that_is_off_ends_subscriptions_and_cursors(
    graph: Graph, connection: "asyncpg.Connection", trigger: str
) -> None:
    graph = graph.as_(operator())
    after = await cursor(graph)
    await connection.execute(f"ALTER TABLE risk_settings DISABLE TRIGGER {trigger}")
    with pytest.raises(FeedEnded, match="FEED_UNFIT_DATABASE"):
        await until_up_to_date(graph, after=after)
    assert (await graph.ask(CURSOR)).error["extensions"]["code"] == "FEED_UNFIT_DATABASE"
    await connection.execute(f"ALTER TABLE risk_settings ENABLE TRIGGER {trigger}")
    with pytest.raises(FeedEnded, match="FEED_RESET_RESTORE"):
        await until_up_to_date(graph, after=after)


async def test_a_crash_ends_no_cursor(graph: Graph, connection: "asyncpg.Connection") -> None:
    """What PostgreSQL does to unlogged tables after a crash."""
    user = await factories.user(connection)
    graph = graph.as_(trader(user))
    after = await cursor(graph)
    await factories.account(connection, user)
    await connection.execute("TRUNCATE activity.incarnation")
    await connection.close()
    events = await until_up_to_date(graph, after=after)
    assert [event["kind"] for event in events] == ["ACCOUNT", "UP_TO_DATE"]


async def test_who_may_not_read_the_graph(graph: Graph) -> None:
    assert (await graph.ask(CURSOR)).error["extensions"]["code"] == "UNAUTHENTICATED"
    with pytest.raises(FeedEnded, match="UNAUTHENTICATED"):
        await until_up_to_date(graph)


async def test_arguments_that_break_a_rule(graph: Graph) -> None:
    graph = graph.as_(operator())
    for ids in (["no id"], ["00000000-0000-4000-8000-000000000000"] * 1001):
        with pytest.raises(FeedEnded, match="BAD_USER_INPUT"):
            await until_up_to_date(graph, accountIds=ids)


async def test_subscribers_of_one_account_share_what_is_loaded(
    graph: Graph, connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    graph = graph.as_(trader(user))
    statements = await statements_for(graph, connection, monkeypatch, session, subscribers=2)
    assert statements == await statements_for(graph, connection, monkeypatch, session, subscribers=20)


async def statements_for(
    graph: Graph,
    connection: "asyncpg.Connection",
    monkeypatch: pytest.MonkeyPatch,
    session: str,
    subscribers: int,
) -> int:
    """How many statements load the rows that so many subscribers are sent after one change."""
    database, count = type(graph.services.database), 0
    by_key = database.fetch_by_key

    async def counted(self: Any, *arguments: Any, **values: Any) -> Any:
        nonlocal count
        count += 1
        return await by_key(self, *arguments, **values)

    async with AsyncExitStack() as subscriptions:
        batches = [await subscriptions.enter_async_context(following(graph)) for _ in range(subscribers)]
        for each in batches:
            await anext(each)
            await anext(each)
        with monkeypatch.context() as patch:
            patch.setattr(database, "fetch_by_key", counted)
            await factories.trade(connection, session)
            for each in batches:
                assert [event["kind"] for event in await anext(each)] == ["TRADE"]
    return count


async def test_rows_that_are_deleted_together_while_what_is_above_changes(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    session = await factories.session(connection, account)
    trade = await factories.trade(connection, session)
    graph = graph.as_(trader(user))
    after = await cursor(graph)
    async with connection.transaction():
        await connection.execute("UPDATE trading_sessions SET pnl = 1")
        await connection.execute("UPDATE tradelocker_accounts SET server = 'another'")
        await connection.execute("WITH trade AS (DELETE FROM trades) DELETE FROM trading_sessions")
    assert set(shown(await until_up_to_date(graph, after=after))) == {
        ("TRADE", "REMOVED", trade, account),
        ("SESSION", "REMOVED", session, account),
        ("ACCOUNT", "CHANGED", account, account),
    }
    after = await cursor(graph)
    session = await factories.session(connection, account)
    trade = await factories.trade(connection, session)
    await connection.execute("""
        WITH trade AS (DELETE FROM trades), session AS (DELETE FROM trading_sessions)
        DELETE FROM tradelocker_accounts
    """)
    assert set(shown(await until_up_to_date(graph, after=after))) == {
        ("TRADE", "REMOVED", trade, None),
        ("SESSION", "REMOVED", session, None),
        ("ACCOUNT", "REMOVED", account, None),
    }


async def test_no_event_is_sent_without_the_rows_that_cannot_be_read_now(
    graph: Graph, connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    graph = graph.as_(trader(user))
    after = await cursor(graph)
    await factories.trade(connection, session)

    async def unreachable(*_: Any, **__: Any) -> Any:
        raise DatabaseUnavailableError("the database can't be reached")

    with monkeypatch.context() as patch:
        patch.setattr(type(graph.services.database), "fetch_by_key", unreachable)
        with pytest.raises(FeedEnded, match="SERVICE_UNAVAILABLE"):
            await until_up_to_date(graph, after=after)
    assert [event["kind"] for event in await until_up_to_date(graph, after=after)] == ["TRADE", "UP_TO_DATE"]


async def test_nor_without_those_that_fail_to_be_read_for_a_reason_that_nobody_expected(
    graph: Graph, connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    graph = graph.as_(trader(user))
    after = await cursor(graph)
    await factories.trade(connection, session)

    async def failing(*_: Any, **__: Any) -> Any:
        raise KeyError("hunter2")

    with monkeypatch.context() as patch:
        patch.setattr(type(graph.services.database), "fetch_by_key", failing)
        with pytest.raises(FeedEnded, match="INTERNAL_SERVER_ERROR"):
            await until_up_to_date(graph, after=after)
    assert [event["kind"] for event in await until_up_to_date(graph, after=after)] == ["TRADE", "UP_TO_DATE"]


async def accepts_subscriptions(graph: Graph, user: str) -> bool:
    """Whether the feed takes a subscriber, as it does once the database can be read."""
    try:
        subscription = await graph.services.activity.subscribe(ChangeFilter(user))
    except UnfitDatabaseError:
        return False
    await subscription.aclose()
    return True


async def test_a_column_that_becomes_another_type_ends_subscriptions_until_it_is_mended(
    graph: Graph, connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_FIRST_RECHECK", 3)
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    graph = graph.as_(trader(user))
    async with following(graph) as batches:
        await anext(batches), await anext(batches)  # progress, and UP_TO_DATE
        after = await cursor(graph)
        await connection.execute("ALTER TABLE system_logs ALTER details TYPE json")
        with pytest.raises(FeedEnded, match="FEED_UNFIT_DATABASE"):
            await anext(batches)
    reconnects = graph.services.activity.stats.reconnects
    for _ in range(10):
        with pytest.raises(UnfitDatabaseError, match=r"system_logs\.details is of type json"):
            await graph.services.activity.subscribe(ChangeFilter(user))
    assert graph.services.activity.stats.reconnects == reconnects
    await connection.execute("ALTER TABLE system_logs ALTER details TYPE jsonb")
    session = await factories.session(connection, account)
    while not await accepts_subscriptions(graph, user):  # until the database is checked again
        await asyncio.sleep(0.05)
    assert shown(await until_up_to_date(graph, after=after)) == [("SESSION", "ADDED", session, account)]
