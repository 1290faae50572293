import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from graphql_api.dev.demo.bot import Bot, run, work
from graphql_api.dev.demo.desk import TRADER
from graphql_api.dev.demo.ledger import Ledger
from graphql_api.dev.demo.load import load
from graphql_api.dev.demo.market import INSTRUMENTS
from graphql_api.dev.demo.rows import DAY, chance
from graphql_api.dev.embedded import EmbeddedPostgres
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import migrate
from tests.dev.demo.conftest import NOW

NOON = int(NOW.timestamp())
SATURDAY = NOON + 3 * DAY
FAST = 0.001

BROKEN_TOTALS = """
    SELECT s.id FROM trading_sessions s WHERE s.account_id IS NOT NULL AND (
        s.trades_count <> (SELECT count(*) FROM trades WHERE session_id = s.id)
        OR s.pnl <> (SELECT coalesce(sum(nullif(pnl, 'NaN')), 0) FROM trades WHERE session_id = s.id)
        OR s.final_balance <> s.initial_balance + s.pnl
    )
"""
RUNNING = """
    SELECT s.id FROM trading_sessions s JOIN tradelocker_accounts a ON a.id = s.account_id
    JOIN users u ON u.id = a.user_id WHERE u.email = $1 AND s.ended_at IS NULL ORDER BY a.account_number
"""
OPEN = """
    INSERT INTO trades (session_id, symbol, direction, entry_price, size, entry_time, status)
    VALUES ($1, 'BTCUSD', 'short', 90000, 0.5, now(), 'active') RETURNING id
"""
BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name = 'simulated bot' AND datname = current_database()
"""
STARTS = "(SELECT count(*) FROM system_logs WHERE message = 'Bot started')"


@asynccontextmanager
async def working(address: Address) -> AsyncIterator["asyncio.Task[None]"]:
    """The bot at work for the block, as a program of its own would be."""
    task = asyncio.create_task(run(address, pace=FAST))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(
    bot: "asyncio.Task[None]", witness: "asyncpg.Connection", condition: str, *arguments: object
) -> None:
    """Wait until a condition holds; a bot that fails before fails the test."""
    while not await witness.fetchval(f"SELECT {condition}", *arguments):
        if bot.done() and not bot.cancelled():
            bot.result()
        await asyncio.sleep(0.02)


async def watch(witness: "asyncpg.Connection", events: int, now: int = NOON) -> None:
    """So many events of a bot, at one moment, on the witness's own connection."""
    bot = await Bot.begin(Ledger(witness), chance(1, "bot"))
    for _ in range(events):
        await bot.tick(now)


async def said(witness: "asyncpg.Connection") -> Counter[str]:
    """What was logged since the sample was made."""
    rows = await witness.fetch("SELECT message FROM system_logs WHERE timestamp > $1", NOW)
    return Counter(row["message"] for row in rows)


async def test_trades_are_opened_and_closed_and_every_total_agrees(witness: "asyncpg.Connection") -> None:
    await watch(witness, 400)
    traded = await witness.fetch("SELECT * FROM trades WHERE entry_time > $1", NOW)
    assert {trade["status"] for trade in traded} == {"open", "closed"}
    assert await witness.fetch(BROKEN_TOTALS) == []


async def test_profit_of_a_closed_trade_follows_from_its_prices(witness: "asyncpg.Connection") -> None:
    await watch(witness, 400)
    closed = await witness.fetch("SELECT * FROM trades WHERE entry_time > $1 AND status = 'closed'", NOW)
    assert closed
    for trade in closed:
        change = trade["exit_price"] - trade["entry_price"]
        sign = 1 if trade["direction"] == "buy" else -1
        assert trade["pnl"] == sign * change * trade["size"] * INSTRUMENTS[trade["symbol"]].contract


async def test_every_trade_opened_and_closed_is_logged_with_its_id(witness: "asyncpg.Connection") -> None:
    await watch(witness, 400)
    lines = await witness.fetch(
        "SELECT message, details FROM system_logs WHERE component = 'execution' AND timestamp > $1", NOW
    )
    opened = {json.loads(each["details"])["trade_id"] for each in lines if each["message"] == "Trade opened"}
    closed = {json.loads(each["details"])["trade_id"] for each in lines if each["message"] == "Trade closed"}
    trades = await witness.fetch("SELECT id::text, entry_time, exit_time FROM trades")
    assert opened == {trade["id"] for trade in trades if trade["entry_time"] > NOW}
    assert closed == {trade["id"] for trade in trades if trade["exit_time"] and trade["exit_time"] > NOW}


async def test_a_zero_is_logged_as_people_write_it(witness: "asyncpg.Connection") -> None:
    await Ledger(witness).log("INFO", "execution", "Trade closed", {"pnl": Decimal("0E-8")})
    details = await witness.fetchval("SELECT details FROM system_logs ORDER BY timestamp DESC LIMIT 1")
    assert json.loads(details) == {"pnl": "0.00000000"}


async def test_the_log_has_heartbeats_warnings_and_errors(witness: "asyncpg.Connection") -> None:
    await watch(witness, 400)
    assert (await said(witness))["Heartbeat"] > 10
    levels = await witness.fetch("SELECT DISTINCT level FROM system_logs WHERE timestamp > $1", NOW)
    assert {"INFO", "WARNING", "ERROR"} <= {row["level"] for row in levels}


async def test_at_the_weekend_only_crypto_is_traded(witness: "asyncpg.Connection") -> None:
    await watch(witness, 300, SATURDAY)
    symbols = await witness.fetch(
        "SELECT DISTINCT symbol FROM trades WHERE entry_time > $1 OR exit_time > $1", NOW
    )
    assert {row["symbol"] for row in symbols} == {"BTCUSD", "ETHUSD"}


async def test_open_trades_are_taken_up_and_closed(witness: "asyncpg.Connection") -> None:
    session = await witness.fetchval(RUNNING, TRADER)
    left = [await witness.fetchval(OPEN, session) for _ in range(3)]
    await watch(witness, 400)
    open_still = "SELECT count(*) FROM trades WHERE id = ANY ($1) AND (exit_time IS NULL OR pnl IS NULL)"
    assert await witness.fetchval(open_still, left) == 0


async def test_a_trade_that_someone_else_closed_is_not_closed_again(witness: "asyncpg.Connection") -> None:
    session = await witness.fetchval(RUNNING, TRADER)
    trade = await witness.fetchval(OPEN, session)
    bot = await Bot.begin(Ledger(witness), chance(1, "bot"))
    await witness.execute(
        "UPDATE trades SET status = 'closed', exit_time = now(), exit_price = 1, pnl = 7 WHERE id = $1", trade
    )
    await witness.execute(
        "UPDATE trading_sessions SET pnl = pnl + 7, trades_count = trades_count + 1 WHERE id = $1", session
    )
    for _ in range(300):
        await bot.tick(NOON)
    assert await witness.fetchval("SELECT pnl FROM trades WHERE id = $1", trade) == 7
    assert await witness.fetch(BROKEN_TOTALS) == []


async def test_after_a_hundred_trades_the_next_session_begins_with_the_balance(
    witness: "asyncpg.Connection",
) -> None:
    [session, *_] = await witness.fetch(RUNNING, TRADER)
    await witness.execute(
        "DELETE FROM trades WHERE session_id = $1 AND exit_time IS NULL AND status <> 'pending'",
        session["id"],
    )
    await witness.execute("UPDATE trading_sessions SET trades_count = 100 WHERE id = $1", session["id"])
    await watch(witness, 1)
    ended = await witness.fetchrow("SELECT * FROM trading_sessions WHERE id = $1", session["id"])
    assert ended is not None
    assert ended["ended_at"] > NOW
    assert ended["final_balance"] == ended["initial_balance"] + ended["pnl"]
    begun = await witness.fetchrow(
        "SELECT * FROM trading_sessions WHERE account_id = $1 AND ended_at IS NULL", ended["account_id"]
    )
    assert begun is not None
    assert begun["initial_balance"] == ended["final_balance"]
    assert (begun["trades_count"], begun["pnl"]) == (0, 0)


async def test_an_ended_session_keeps_no_pending_order(witness: "asyncpg.Connection") -> None:
    pending = "SELECT session_id FROM trades WHERE status IN ('pending', 'new')"
    session = await witness.fetchval(pending)
    ledger = Ledger(witness)
    [account] = [each for each in await ledger.accounts() if each.session.id == session]
    await ledger.end_session(account.session)
    assert await witness.fetch(pending) == []


async def test_risk_settings_that_allow_no_position_are_obeyed(witness: "asyncpg.Connection") -> None:
    await witness.execute(
        "INSERT INTO risk_settings (account_id, max_open_positions) SELECT id, 0 FROM tradelocker_accounts"
    )
    await watch(witness, 300)
    assert await witness.fetchval("SELECT count(*) FROM trades WHERE entry_time > $1", NOW) == 0
    assert (await said(witness))["No more positions allowed"] > 0


async def test_the_newest_risk_settings_bound_the_size_of_a_position(witness: "asyncpg.Connection") -> None:
    await witness.execute(
        "INSERT INTO risk_settings (account_id, max_position_size) SELECT id, 0.02 FROM tradelocker_accounts"
    )
    await watch(witness, 300)
    largest = await witness.fetchval("SELECT max(size) FROM trades WHERE entry_time > $1", NOW)
    assert largest == Decimal("0.02")


async def test_without_accounts_it_only_logs(connection: "asyncpg.Connection") -> None:
    await watch(connection, 20)
    assert await connection.fetchval("SELECT count(*) FROM trading_sessions") == 0
    assert await connection.fetchval("SELECT count(*) FROM system_logs") == 21


async def test_it_works_until_cancelled_and_leaves_no_connection(
    desk: Address, witness: "asyncpg.Connection"
) -> None:
    async with working(desk) as bot:
        await until(bot, witness, "count(*) > 20 FROM system_logs WHERE timestamp > $1", NOW)
    assert bot.cancelled()
    await until(bot, witness, f"NOT EXISTS ({BACKENDS})")
    assert await witness.fetch(BROKEN_TOTALS) == []


async def test_it_comes_back_after_losing_its_connection(
    desk: Address, witness: "asyncpg.Connection", caplog: pytest.LogCaptureFixture
) -> None:
    async with working(desk) as bot:
        await until(bot, witness, f"{STARTS} = 1")
        await witness.execute(f"SELECT pg_terminate_backend(pid) FROM ({BACKENDS})")
        await until(bot, witness, f"{STARTS} = 2")
    assert "the simulated bot starts again" in caplog.text
    assert await witness.fetch(BROKEN_TOTALS) == []


async def test_a_database_has_one_bot_at_a_time(desk: Address, witness: "asyncpg.Connection") -> None:
    async with working(desk) as first:
        await until(first, witness, f"{STARTS} = 1")
        await work(desk, chance(2, "bot"), FAST)
        assert await witness.fetchval(f"SELECT {STARTS}") == 1
    async with working(desk) as second:
        await until(second, witness, f"{STARTS} = 2")


@pytest.mark.drill
async def test_it_comes_back_after_the_server_was_restarted(
    scratch: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = EmbeddedPostgres(scratch / "server", "desk", {})
    address = Address.parse(await asyncio.to_thread(server.start))
    try:
        await migrate(address)
        await load(address, password_hash="x", trades=200, now=NOW)
        async with working(address) as bot:
            witness = await address.connect_plain()
            await until(bot, witness, f"{STARTS} = 1")
            witness.terminate()
            await asyncio.to_thread(server.stop)
            while sum("starts again" in record.message for record in caplog.records) < 2:
                await asyncio.sleep(0.02)  # until it has lost its server, and then found nobody there
            assert not bot.done()
            assert await asyncio.to_thread(server.start)
            witness = await address.connect_plain()
            await until(bot, witness, f"{STARTS} = 2")
        assert await witness.fetch(BROKEN_TOTALS) == []
        await witness.close()
    finally:
        await asyncio.to_thread(server.stop)
