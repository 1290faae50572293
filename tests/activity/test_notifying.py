"""Readers are woken by every kind of change, so that they needn't wait for their next look."""

import asyncio

import asyncpg
import pytest

from graphql_api.postgres.address import Address
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
        async with asyncio.timeout(30):
            await notified.wait()
    finally:
        await listener.close()
        await writer.close()
