"""Which transaction changed which row of an account is recorded, however the row was changed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Literal

import asyncpg
import pytest

from graphql_api.postgres.address import Address
from tests import factories
from tests.lock_waits import until_waiting

Entry = tuple[str, str, str]
"""The kind, the change and the row's id."""


@dataclass(frozen=True)
class Rows:
    """Two accounts of one user; the first has risk settings and a session with two trades."""

    user: str
    account: str
    other_account: str
    session: str
    other_session: str
    trades: tuple[str, str]
    settings: str


@pytest.fixture
async def rows(connection: "asyncpg.Connection") -> Rows:
    user = await factories.user(connection)
    account, other_account = [await factories.account(connection, user) for _ in range(2)]
    session = await factories.session(connection, account)
    other_session = await factories.session(connection, other_account)
    trades = (await factories.trade(connection, session), await factories.trade(connection, session))
    settings = await factories.risk_settings(connection, account)
    await connection.execute("DELETE FROM activity.entries")
    return Rows(user, account, other_account, session, other_session, trades, settings)


async def recorded(connection: "asyncpg.Connection") -> list[Entry]:
    found = await connection.fetch(
        "SELECT kind, change, coalesce(row_id, id)::text FROM activity.entries ORDER BY xid, kind, 3"
    )
    return [tuple(row) for row in found]


async def left(connection: "asyncpg.Connection", kind: str) -> list[tuple[str | None, ...]]:
    """The session, the account and the user that rows of a kind have left."""
    found = await connection.fetch(
        "SELECT session_id::text, account_id::text, user_id::text FROM activity.entries WHERE kind = $1", kind
    )
    return [tuple(row) for row in found]


async def has_reset(connection: "asyncpg.Connection") -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM activity.resets"))


async def test_each_kind_of_row_is_recorded_when_it_is_added(connection: "asyncpg.Connection") -> None:
    async with connection.transaction():
        user = await factories.user(connection)
        account = await factories.account(connection, user)
        session = await factories.session(connection, account)
        trade = await factories.trade(connection, session)
        settings = await factories.risk_settings(connection, account)
    assert await recorded(connection) == [
        ("ACCOUNT", "ADDED", account),
        ("RISK_SETTINGS", "ADDED", settings),
        ("SESSION", "ADDED", session),
        ("TRADE", "ADDED", trade),
    ]


TRADE = "session_id, symbol, direction, entry_price, size, entry_time, status"
VALUES = "(SELECT id FROM trading_sessions LIMIT 1), 'EURUSD', 'buy', 1, 1, now(), 'open'"
MERGE = f"""
    MERGE INTO trades USING generate_series(1, 3) n ON false
    WHEN NOT MATCHED THEN INSERT ({TRADE}) VALUES ({VALUES})
"""
WITH = f"""
    WITH two AS (INSERT INTO trades ({TRADE}) VALUES ({VALUES}), ({VALUES}))
    INSERT INTO trades ({TRADE}) VALUES ({VALUES})
"""
INSERT = f"INSERT INTO trades ({TRADE}) VALUES ({VALUES}), ({VALUES}), ({VALUES})"
MANY = f"INSERT INTO trades ({TRADE}) SELECT $1::uuid, 'X', 'buy', 1, 1, now(), 'open' FROM"
REPLICA = f"SET session_replication_role = replica; {INSERT}"
ENABLED_AGAIN = f"ALTER TABLE trades DISABLE TRIGGER ALL; ALTER TABLE trades ENABLE TRIGGER ALL; {INSERT}"


@pytest.mark.parametrize("statement", [INSERT, WITH, MERGE, REPLICA, ENABLED_AGAIN])
async def test_every_way_of_inserting(connection: "asyncpg.Connection", rows: Rows, statement: str) -> None:
    await connection.execute(statement)
    await connection.execute("SET session_replication_role = origin")
    assert [(kind, change) for kind, change, _ in await recorded(connection)] == [("TRADE", "ADDED")] * 3


async def test_copy_without_a_list_of_columns(connection: "asyncpg.Connection", rows: Rows) -> None:
    (trade,) = await connection.fetch("SELECT * FROM trades LIMIT 1")
    await connection.execute("DELETE FROM trades")
    await connection.execute("DELETE FROM activity.entries")
    await connection.copy_records_to_table("trades", records=[tuple(trade)])
    assert await recorded(connection) == [("TRADE", "ADDED", str(trade["id"]))]


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_an_update_is_recorded_if_it_changes_something(
    connection: "asyncpg.Connection", rows: Rows, role: str
) -> None:
    await connection.execute(f"SET session_replication_role = {role}")
    await connection.execute("UPDATE trades SET pnl = pnl, symbol = symbol")
    await connection.execute("UPDATE trading_sessions SET trades_count = 0 WHERE false")
    assert await recorded(connection) == []
    await connection.execute("UPDATE trades SET pnl = 5 WHERE id = $1", rows.trades[0])
    assert await recorded(connection) == [("TRADE", "CHANGED", rows.trades[0])]
    assert await left(connection, "TRADE") == [(None, None, None)]


async def test_columns_that_cannot_be_compared(connection: "asyncpg.Connection", rows: Rows) -> None:
    await connection.execute("ALTER TABLE trades ADD note json, ADD place point")
    await connection.execute("""UPDATE trades SET note = '{"a": 1}', place = '(1, 2)'""")
    assert len(await recorded(connection)) == 2
    await connection.execute("""UPDATE trades SET note = '{"a": 1}', place = '(1, 2)'""")
    assert len(await recorded(connection)) == 2


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_a_row_that_is_deleted_has_left_its_account(
    connection: "asyncpg.Connection", rows: Rows, role: str
) -> None:
    await connection.execute(f"SET session_replication_role = {role}")
    async with connection.transaction():
        await connection.execute("DELETE FROM trades WHERE id = $1", rows.trades[0])
        await connection.execute("DELETE FROM risk_settings")
        await connection.execute("DELETE FROM trading_sessions WHERE id = $1", rows.other_session)
        await connection.execute("DELETE FROM tradelocker_accounts WHERE id = $1", rows.other_account)
    assert await recorded(connection) == [
        ("ACCOUNT", "REMOVED", rows.other_account),
        ("RISK_SETTINGS", "REMOVED", rows.settings),
        ("SESSION", "REMOVED", rows.other_session),
        ("TRADE", "REMOVED", rows.trades[0]),
    ]
    assert await left(connection, "TRADE") == [(rows.session, rows.account, rows.user)]
    assert await left(connection, "SESSION") == [(None, rows.other_account, rows.user)]
    assert await left(connection, "RISK_SETTINGS") == [(None, rows.account, rows.user)]
    assert await left(connection, "ACCOUNT") == [(None, rows.other_account, rows.user)]


async def test_several_changes_of_a_transaction_are_one_entry(
    connection: "asyncpg.Connection", rows: Rows
) -> None:
    async with connection.transaction():
        first, second = [await factories.trade(connection, rows.session) for _ in range(2)]
        await connection.execute("UPDATE trades SET pnl = 1")
        await connection.execute("UPDATE trades SET pnl = 2")
        await connection.execute("DELETE FROM trades WHERE id = ANY ($1)", [second, rows.trades[1]])
    assert set(await recorded(connection)) == {
        ("TRADE", "ADDED", first),
        ("TRADE", "NONE", second),
        ("TRADE", "CHANGED", rows.trades[0]),
        ("TRADE", "REMOVED", rows.trades[1]),
    }


async def test_a_second_statement_of_a_transaction_adds_no_entry(
    connection: "asyncpg.Connection", rows: Rows
) -> None:
    """Also if a program has reset its settings, ours included, or has written as a replica before."""
    for between in ("SELECT", "RESET ALL", "SET session_replication_role = origin"):
        await connection.execute("DELETE FROM activity.entries")
        async with connection.transaction():
            if "replication" in between:
                await connection.execute("SET session_replication_role = replica")
            added = await factories.trade(connection, rows.session)
            await connection.execute("UPDATE trading_sessions SET pnl = 0 WHERE id = $1", rows.session)
            await connection.execute(between)
            await connection.execute("UPDATE trades SET size = size + 1")
            await connection.execute("UPDATE trading_sessions SET pnl = 1")
        assert set(await recorded(connection)) == {
            ("SESSION", "CHANGED", rows.session),
            ("SESSION", "CHANGED", rows.other_session),
            ("TRADE", "ADDED", added),
            *(("TRADE", "CHANGED", trade) for trade in rows.trades),
        }, between
        await connection.execute("DELETE FROM trades WHERE id = $1", added)
        await connection.execute("UPDATE trading_sessions SET pnl = NULL")


async def test_settings_that_are_reset_after_a_deletion(connection: "asyncpg.Connection", rows: Rows) -> None:
    async with connection.transaction():
        await connection.execute("DELETE FROM trades WHERE id = $1", rows.trades[0])
        await connection.execute("RESET ALL")
        await factories.trade(connection, rows.other_session, id=rows.trades[0])
    assert await recorded(connection) == [("TRADE", "CHANGED", rows.trades[0])]
    assert await left(connection, "TRADE") == [(rows.session, rows.account, rows.user)]


async def test_a_row_that_comes_back_has_changed(connection: "asyncpg.Connection", rows: Rows) -> None:
    async with connection.transaction():
        await connection.execute("DELETE FROM trades WHERE id = $1", rows.trades[0])
        await factories.trade(connection, rows.other_session, id=rows.trades[0])
    assert await recorded(connection) == [("TRADE", "CHANGED", rows.trades[0])]
    assert await left(connection, "TRADE") == [(rows.session, rows.account, rows.user)]


async def test_what_is_rolled_back_leaves_nothing(connection: "asyncpg.Connection", rows: Rows) -> None:
    async with connection.transaction():
        undone = connection.transaction()
        await undone.start()
        await connection.execute("UPDATE trades SET pnl = 1")
        await undone.rollback()
    assert await recorded(connection) == []


@pytest.mark.parametrize("role", ["origin", "replica"])
async def test_a_trade_that_moves_says_what_it_left_first(
    connection: "asyncpg.Connection", rows: Rows, role: str
) -> None:
    third = await factories.session(connection, rows.other_account)
    await connection.execute("DELETE FROM activity.entries")
    await connection.execute(f"SET session_replication_role = {role}")
    async with connection.transaction():
        for session in (rows.other_session, third):
            await connection.execute(
                "UPDATE trades SET session_id = $1 WHERE id = $2", session, rows.trades[0]
            )
    assert await recorded(connection) == [("TRADE", "CHANGED", rows.trades[0])]
    assert await left(connection, "TRADE") == [(rows.session, rows.account, rows.user)]


async def test_a_trade_that_changed_before_it_moves_says_what_it_left(
    connection: "asyncpg.Connection", rows: Rows
) -> None:
    async with connection.transaction():
        await connection.execute("UPDATE trades SET pnl = 1 WHERE id = $1", rows.trades[0])
        await connection.execute(
            "UPDATE trades SET session_id = $1 WHERE id = $2", rows.other_session, rows.trades[0]
        )
    assert await recorded(connection) == [("TRADE", "CHANGED", rows.trades[0])]
    assert await left(connection, "TRADE") == [(rows.session, rows.account, rows.user)]


async def test_one_statement_moves_a_trade_and_changes_others(
    connection: "asyncpg.Connection", rows: Rows
) -> None:
    third = await factories.trade(connection, rows.session, pnl=1)
    await connection.execute("DELETE FROM activity.entries")
    await connection.execute(
        "UPDATE trades SET pnl = 1, session_id = CASE id WHEN $1 THEN $2 ELSE session_id END",
        rows.trades[0],
        rows.other_session,
    )
    assert set(await recorded(connection)) == {("TRADE", "CHANGED", trade) for trade in rows.trades}
    assert third not in {id_ for _, _, id_ in await recorded(connection)}
    assert set(await left(connection, "TRADE")) == {
        (rows.session, rows.account, rows.user),
        (None, None, None),
    }


async def test_a_move_that_is_rolled_back_leaves_later_changes_alone(
    connection: "asyncpg.Connection", rows: Rows
) -> None:
    async with connection.transaction():
        undone = connection.transaction()
        await undone.start()
        await connection.execute("UPDATE trades SET session_id = $1", rows.other_session)
        await undone.rollback()
        await connection.execute("UPDATE trades SET pnl = 1 WHERE id = $1", rows.trades[0])
    assert await recorded(connection) == [("TRADE", "CHANGED", rows.trades[0])]
    assert await left(connection, "TRADE") == [(None, None, None)]


async def test_a_row_that_gets_another_id_is_another_row(
    connection: "asyncpg.Connection", rows: Rows
) -> None:
    new = await connection.fetchval(
        "UPDATE trades SET id = gen_random_uuid() WHERE id = $1 RETURNING id", rows.trades[0]
    )
    assert set(await recorded(connection)) == {
        ("TRADE", "ADDED", str(new)),
        ("TRADE", "CHANGED", rows.trades[0]),
    }
    assert (rows.session, rows.account, rows.user) in await left(connection, "TRADE")


async def test_a_session_that_moves_takes_its_trades_with_it(
    connection: "asyncpg.Connection", rows: Rows
) -> None:
    await connection.execute(
        "UPDATE trading_sessions SET account_id = $1 WHERE id = $2", rows.other_account, rows.session
    )
    assert await recorded(connection) == [
        ("SESSION", "CHANGED", rows.session),
        *sorted(("TRADE", "CHANGED", trade) for trade in rows.trades),
    ]
    assert await left(connection, "SESSION") == [(None, rows.account, rows.user)]
    assert await left(connection, "TRADE") == [(rows.session, rows.account, rows.user)] * 2
    assert not await has_reset(connection)


@pytest.fixture
async def patient(connection: "asyncpg.Connection") -> None:
    """Moves wait for each other for as long as a test may take, also on a busy machine."""
    await connection.execute(
        "ALTER FUNCTION activity.lock_rows(regclass, uuid[]) SET lock_timeout = '120s';"
        "ALTER FUNCTION activity.lock_moves(regclass, uuid[], boolean) SET lock_timeout = '120s'"
    )


@pytest.mark.usefixtures("patient")
async def test_a_session_that_moves_waits_for_trades_that_are_on_their_way(
    connection: "asyncpg.Connection", rows: Rows, address: Address
) -> None:
    bot = await address.connect_plain(application="bot")
    transaction = bot.transaction()
    await transaction.start()
    trade = await factories.trade(bot, rows.session)
    move = asyncio.create_task(
        connection.execute(
            "UPDATE trading_sessions SET account_id = $1 WHERE id = $2", rows.other_account, rows.session
        )
    )
    await until_waiting(address, future=move)
    await transaction.commit()
    await move
    assert ("TRADE", "CHANGED", trade) in await recorded(connection)
    assert not await has_reset(connection)
    await bot.close()


async def test_a_session_that_cannot_wait_ends_all_cursors(
    connection: "asyncpg.Connection", rows: Rows, address: Address
) -> None:
    bot = await address.connect_plain(application="bot")
    transaction = bot.transaction()
    await transaction.start()
    await factories.trade(bot, rows.session)
    await connection.execute(
        "UPDATE trading_sessions SET account_id = $1 WHERE id = $2", rows.other_account, rows.session
    )
    await bot.execute("UPDATE trading_sessions SET trades_count = 1 WHERE id = $1", rows.session)
    await transaction.commit()
    await bot.close()
    assert await has_reset(connection)


LEAVING = pytest.mark.parametrize("leave", ["DELETE FROM trades", "UPDATE trades SET session_id = $2"])
MOVE = "UPDATE trading_sessions SET account_id = $1 WHERE id = $2"


@dataclass(frozen=True)
class Bot:
    """A program with an open transaction, in which trades of a session leave it."""

    connection: "asyncpg.Connection"
    rows: Rows
    leave: str

    async def take_away(self) -> None:
        """Deletes the first trade, or moves it to the other session."""
        given = (self.rows.trades[0], self.rows.other_session)[: 2 if "$2" in self.leave else 1]
        await self.connection.execute(f"{self.leave} WHERE id = $1", *given)


@pytest.fixture
async def bot(address: Address, rows: Rows, leave: str) -> AsyncIterator[Bot]:
    connection = await address.connect_plain(application="bot")
    yield Bot(connection, rows, leave)
    await connection.close()


@LEAVING
@pytest.mark.usefixtures("patient")
async def test_a_session_moves_after_the_trades_that_are_leaving_it(
    connection: "asyncpg.Connection", rows: Rows, address: Address, bot: Bot
) -> None:
    await bot.connection.execute("BEGIN")
    await bot.take_away()
    move = asyncio.create_task(connection.execute(MOVE, rows.other_account, rows.session))
    await until_waiting(address, future=move)
    await bot.connection.execute("COMMIT")
    await move
    # The trade has left once, and only the other one has moved with the session.
    assert await left(connection, "TRADE") == [(rows.session, rows.account, rows.user)] * 2
    assert not await has_reset(connection)


@LEAVING
@pytest.mark.usefixtures("patient")
async def test_a_trade_leaves_after_the_session_that_is_moving(
    connection: "asyncpg.Connection", rows: Rows, address: Address, bot: Bot
) -> None:
    await bot.connection.execute("BEGIN")
    async with connection.transaction():
        await connection.execute(MOVE, rows.other_account, rows.session)
        leaving = asyncio.create_task(bot.take_away())
        await until_waiting(address, future=leaving)
    await leaving
    await bot.connection.execute("COMMIT")
    assert sorted(await left(connection, "TRADE")) == sorted(
        [(rows.session, rows.account, rows.user)] * 2 + [(rows.session, rows.other_account, rows.user)]
    )
    assert not await has_reset(connection)


@LEAVING
@pytest.mark.parametrize("first", ["the trade", "the session"])
async def test_a_trade_and_a_session_that_cannot_wait_for_each_other_end_all_cursors(
    connection: "asyncpg.Connection", rows: Rows, bot: Bot, first: str
) -> None:
    async with connection.transaction(), bot.connection.transaction():
        if first == "the trade":
            await bot.take_away()
            await connection.execute(MOVE, rows.other_account, rows.session)
        else:
            await connection.execute(MOVE, rows.other_account, rows.session)
            await bot.take_away()
    assert await has_reset(connection)


@LEAVING
@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
@pytest.mark.parametrize("change", [None, "pnl = 1", "account_id = $1"])
async def test_a_snapshot_that_is_older_than_the_session_ends_all_cursors(
    connection: "asyncpg.Connection",
    rows: Rows,
    bot: Bot,
    isolation: Literal["repeatable_read", "serializable"],
    change: str | None,
) -> None:
    async with bot.connection.transaction(isolation=isolation):
        await bot.connection.execute("SELECT FROM trades")
        if change is not None:
            given = (rows.other_account,) if "$1" in change else ()
            await connection.execute(f"UPDATE trading_sessions SET {change}", *given)
        await bot.take_away()
        await connection.execute("UPDATE trading_sessions SET pnl = 2")  # waits for no lock
    assert await has_reset(connection) == (change is not None)
    if change is None:
        assert await left(connection, "TRADE") == [(rows.session, rows.account, rows.user)]


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize(
    "leave",
    [
        "DELETE FROM trades WHERE id = '{trade}'",
        "UPDATE trades SET session_id = '{other_session}' WHERE id = '{trade}'",
        "DELETE FROM trading_sessions WHERE id = '{other_session}'",
        "DELETE FROM risk_settings WHERE id = '{settings}'",
        "UPDATE risk_settings SET account_id = NULL WHERE id = '{settings}'",
    ],
)
@pytest.mark.parametrize("is_given_away", [True, False])
async def test_a_snapshot_that_is_older_than_the_accounts_owner_ends_all_cursors(
    connection: "asyncpg.Connection",
    address: Address,
    rows: Rows,
    role: str,
    leave: str,
    is_given_away: bool,
) -> None:
    heir = await factories.user(connection)
    program = await address.connect_plain(application="program")
    await program.execute(f"SET session_replication_role = {role}")
    async with program.transaction(isolation="repeatable_read"):
        await program.execute("SELECT FROM trades")
        if is_given_away:
            await connection.execute("UPDATE tradelocker_accounts SET user_id = $1", heir)
        else:
            await connection.execute("UPDATE tradelocker_accounts SET last_sync = now()")
        await connection.execute("DELETE FROM activity.resets")  # as the next reader does
        await program.execute(leave.format(trade=rows.trades[0], **asdict(rows)))
        await connection.execute("UPDATE tradelocker_accounts SET last_sync = NULL")  # waits for no lock
    await program.close()
    assert await has_reset(connection) == is_given_away


async def test_a_deletion_of_very_many_trades_takes_few_locks(
    connection: "asyncpg.Connection", rows: Rows
) -> None:
    await connection.execute(
        "INSERT INTO trading_sessions (account_id, started_at)"
        " SELECT $1, now() FROM generate_series(1, 2000)",
        rows.account,
    )
    await connection.execute(f"{MANY.replace('$1', 'session.id')} trading_sessions AS session")
    async with connection.transaction():
        await connection.execute("DELETE FROM trades")
        locks = await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE classid = 781358537 AND pid = pg_backend_pid()"
        )
        assert 0 < locks <= 256
    assert not await has_reset(connection)


async def test_more_rows_than_a_move_records_end_all_cursors(
    connection: "asyncpg.Connection", rows: Rows
) -> None:
    await connection.execute(f"{MANY} generate_series(1, 10001)", rows.session)
    assert not await has_reset(connection)
    await connection.execute(
        "UPDATE trading_sessions SET account_id = $1 WHERE id = $2", rows.other_account, rows.session
    )
    assert await has_reset(connection)


@pytest.mark.parametrize(
    "table", ["trades", "risk_settings", "trading_sessions CASCADE", "tradelocker_accounts CASCADE"]
)
async def test_truncate_ends_all_cursors(connection: "asyncpg.Connection", rows: Rows, table: str) -> None:
    await connection.execute(f"TRUNCATE {table}")
    assert await has_reset(connection)


@pytest.mark.parametrize(
    "row",
    [
        None,
        "trading_sessions (account_id) VALUES ($1)",
        "risk_settings (account_id) VALUES ($1)",
        "graphql_api.risk_events (account_id, kind) VALUES ($1, '')",
        "graphql_api.account_logs (account_id, at, id) VALUES ($1, now(), gen_random_uuid())",
    ],
)
async def test_an_account_with_rows_that_changes_hands_ends_all_cursors(
    connection: "asyncpg.Connection", rows: Rows, row: str | None
) -> None:
    heir = await factories.user(connection)
    account = await factories.account(connection, rows.user)
    if row is not None:
        await connection.execute(f"INSERT INTO {row}", account)
    await connection.execute("DELETE FROM activity.entries")
    await connection.execute("UPDATE tradelocker_accounts SET user_id = $1 WHERE id = $2", heir, account)
    assert await has_reset(connection) == (row is not None)
    assert await recorded(connection) == [("ACCOUNT", "CHANGED", account)]
    assert await left(connection, "ACCOUNT") == [(None, account, rows.user)]


async def test_a_session_deleted_with_its_trades_in_one_statement(
    connection: "asyncpg.Connection", rows: Rows
) -> None:
    await connection.execute(
        """
        WITH trade AS (DELETE FROM trades WHERE session_id = $1),
             session AS (DELETE FROM trading_sessions WHERE id = $1),
             settings AS (DELETE FROM risk_settings)
        DELETE FROM tradelocker_accounts WHERE id = $2
    """,
        rows.session,
        rows.account,
    )
    assert [(kind, change) for kind, change, _ in await recorded(connection)] == [
        ("ACCOUNT", "REMOVED"),
        ("RISK_SETTINGS", "REMOVED"),
        ("SESSION", "REMOVED"),
        ("TRADE", "REMOVED"),
        ("TRADE", "REMOVED"),
    ]


async def test_trades_whose_session_is_deleted_without_them(
    connection: "asyncpg.Connection", rows: Rows
) -> None:
    await connection.execute("ALTER TABLE trades DROP CONSTRAINT trades_session_id_fkey")
    await connection.execute("DELETE FROM trading_sessions WHERE id = $1", rows.session)
    assert await left(connection, "TRADE") == [(rows.session, rows.account, rows.user)] * 2


async def test_a_large_update_takes_no_longer_for_each_row_than_a_small_one(
    connection: "asyncpg.Connection", rows: Rows
) -> None:
    """The plan that PostgreSQL caches for a first, small update must not compare each row with all others."""
    await connection.execute("UPDATE trades SET pnl = 0 WHERE id = $1", rows.trades[0])
    await connection.execute(f"{MANY} generate_series(1, 30000)", rows.session)
    # To compare each row with all others would take hours.
    await connection.execute("DELETE FROM activity.entries; SET statement_timeout = '60s'")
    await connection.execute("UPDATE trades SET pnl = 1")
    assert len(await recorded(connection)) == 30002


async def test_a_dump_that_is_restored_ends_all_cursors(connection: "asyncpg.Connection", rows: Rows) -> None:
    await connection.execute("SET check_function_bodies = off; SET row_security = off")
    await factories.trade(connection, rows.session)
    assert await recorded(connection) == []
    assert await has_reset(connection)


async def test_a_program_without_rights_in_our_schema(connection: "asyncpg.Connection", rows: Rows) -> None:
    await connection.execute("CREATE ROLE plain_bot; GRANT ALL ON trades, trading_sessions TO plain_bot")
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL ROLE plain_bot")
            await connection.execute("UPDATE trades SET session_id = $1", rows.other_session)
            await connection.execute("DELETE FROM trades")
    finally:
        await connection.execute("DROP OWNED BY plain_bot; DROP ROLE plain_bot")
    assert len(await recorded(connection)) == 2


async def test_two_phase_commit(connection: "asyncpg.Connection", rows: Rows) -> None:
    await connection.execute("SET log_feed.notify = off")
    await connection.execute("BEGIN")
    await connection.execute("UPDATE trades SET pnl = 1 WHERE id = $1", rows.trades[0])
    await connection.execute("PREPARE TRANSACTION 'activity'")
    assert await recorded(connection) == []
    await connection.execute("COMMIT PREPARED 'activity'")
    assert await recorded(connection) == [("TRADE", "CHANGED", rows.trades[0])]
