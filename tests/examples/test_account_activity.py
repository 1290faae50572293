"""The example keeps its table equal to the database, with the server killed under it."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests import factories
from tests.service.conftest import PASSWORD, Service, service

pytestmark = pytest.mark.slow

__all__ = ["service"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "python" / "account_activity.py"
EMAIL = "trader@example.org"


async def test_the_table_is_kept_through_killed_servers(
    service: Service, connection: "asyncpg.Connection"
) -> None:
    await service.user(EMAIL)
    user = await connection.fetchval("SELECT id::text FROM users WHERE email = $1", EMAIL)
    account = await factories.account(connection, user, account_number="L#1")
    session = await factories.session(connection, account, initial_balance=1000)
    trade = await factories.trade(connection, session)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLE), service.url, EMAIL, PASSWORD, stdout=PIPE
    )
    assert process.stdout is not None

    async def shows(equity: str, open_trades: int) -> None:
        """Wait until the table has a session with this equity and so many open trades."""
        async with asyncio.timeout(60):
            while True:
                line = await process.stdout.readline()  # type: ignore[union-attr] # narrowed above
                assert line, "it ended"
                table: list[dict[str, Any]] = json.loads(line)
                if [(row["equity"], len(row["open"])) for row in table] == [(equity, open_trades)]:
                    return

    try:
        await shows("1000", 1)
        await connection.execute("UPDATE trades SET pnl = 5.5, status = 'closed', exit_time = now()")
        await shows("1005.5", 0)
        for life in range(2):
            service.kill()
            await factories.trade(connection, session)
            await connection.execute("UPDATE trades SET pnl = pnl + 1 WHERE id = $1", trade)
            await service.start()
            await shows(f"{1006.5 + life}", life + 1)
        await connection.execute("DELETE FROM trades")
        await shows("1000", 0)
    finally:
        process.kill()
        await process.wait()
