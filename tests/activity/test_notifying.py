"""Every kind of change notifies readers, so that they needn't wait for their next poll."""

import asyncio

import asyncpg
import pytest

from graphql_api.domain.account_changes import CHANGES, ChangeFilter
from graphql_api.log_feed.feed import Feed
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from tests import factories

INSERT_TRADE = """
    INSERT INTO trades (symbol, direction, entry_price, size, entry_time, status)
    VALUES ('EURUSD', 'buy', 1, 1, now(), 'open')
"""


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO trading_sessions (account_id) SELECT account_id FROM trading_sessions",
        "UPDATE trades SET pnl = 1",
        "DELETE FROM trades",
        INSERT_TRADE,
        "INSERT INTO risk_settings (account_id) SELECT id FROM tradelocker_accounts",
        "INSERT INTO tradelocker_accounts (account_number, server) VALUES ('1', 'x')",
    ],
)
async def test_a_change_notifies(address: Address, connection: "asyncpg.Connection", change: str) -> None:
    account = await factories.account(connection, await factories.user(connection))
    await factories.trade(connection, await factories.session(connection, account))
    notified = asyncio.Event()
    listener, writer = await address.connect_plain(), await address.connect_plain()
    try:
        await listener.add_listener("log_feed", lambda *_: notified.set())
        await writer.execute(change)
        async with asyncio.timeout(100):
            await notified.wait()
    finally:
        await listener.close()
        await writer.close()


async def test_a_burst_of_log_lines_hardly_makes_the_feed_of_changes_poll(
    address: Address, database: Database, connection: "asyncpg.Connection"
) -> None:
    session = await factories.session(
        connection, await factories.account(connection, await factories.user(connection))
    )
    feed = Feed(database, address, b"key", schema=CHANGES)
    writer = await address.connect_plain()
    try:
        async with await feed.subscribe(ChangeFilter()) as events:
            before = feed.stats.fetches, feed.stats.notifications
            while feed.stats.notifications < before[1] + 100:
                await factories.system_log(writer)
                await asyncio.sleep(0.01)
            assert feed.stats.fetches - before[0] < 60
            await factories.trade(connection, session)
            (event,) = await events.batch(30)
            assert event.row.kind == "TRADE"
    finally:
        await writer.close()
        await feed.close()
