"""The examples keep their table equal to the database, with the server killed under them."""

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from graphql_api.postgres.address import Address
from tests import factories
from tests.examples.conftest import KEY, is_beyond, measured, python, typescript
from tests.factories import NOW
from tests.service.conftest import PASSWORD, Service, served_from

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize(
        "example",
        [
            pytest.param(partial(python, "account_activity"), id="python"),
            pytest.param(partial(typescript, "table"), id="typescript"),
        ],
    ),
]

EMAIL = "trader@example.org"
STORED = """
SELECT session.id::text AS session, account.account_number AS account,
       (coalesce(session.initial_balance, 0)
        + coalesce(sum(trade.pnl) FILTER (WHERE trade.pnl <> 'NaN'), 0)) AS equity,
       coalesce(
           array_agg(upper(trade.direction) || ' ' || trade.size || ' ' || trade.symbol
                     ORDER BY trade.symbol) FILTER (WHERE trade.status = 'open'), '{}'
       ) AS open
FROM trading_sessions AS session
JOIN tradelocker_accounts AS account ON account.id = session.account_id
JOIN users ON users.id = account.user_id AND users.email = $1
LEFT JOIN trades AS trade ON trade.session_id = session.id
WHERE session.ended_at IS NULL
GROUP BY session.id, account.account_number
ORDER BY account.account_number, session.id
"""


async def stored(connection: "asyncpg.Connection") -> list[dict[str, Any]]:
    """The table as the database has it."""
    return [dict(row) for row in await connection.fetch(STORED, EMAIL)]


class Table:
    """The example as a process, and the table that it has printed last."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.cursor = ""
        self.lines: list[dict[str, Any]] = []

    async def step(self) -> None:
        """Read the next line: the table, or a cursor alone."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, "it ended"
        printed = json.loads(line)
        self.cursor = printed["cursor"]
        if "table" in printed:
            self.lines = [line | {"equity": Decimal(line["equity"])} for line in printed["table"]]

    async def becomes(self, expected: list[dict[str, Any]]) -> None:
        """Waits until the table is as expected. Raises TimeoutError, with the last table as its note."""
        try:
            async with asyncio.timeout(100):
                while self.lines != expected:
                    await self.step()
        except TimeoutError as error:
            error.add_note(f"{self.lines} in place of {expected}")
            raise


@asynccontextmanager
async def showing(example: Callable[[], list[str]], service: Service) -> AsyncIterator[Table]:
    """Runs an example during the block."""
    command = (*example(), service.url, EMAIL, PASSWORD)
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        yield Table(process)
    finally:
        process.kill()
        await process.wait()


async def test_a_long_reading_says_how_far_it_has_come(
    service: Service, connection: "asyncpg.Connection", example: Callable[[], list[str]]
) -> None:
    await service.user(EMAIL)
    user = await connection.fetchval("SELECT id::text FROM users WHERE email = $1", EMAIL)
    session = await factories.session(connection, await factories.account(connection, user))
    await connection.execute(
        "INSERT INTO trades (session_id, symbol, direction, entry_price, size, entry_time, status)"
        " SELECT $1, 'EURUSD', 'buy', 1, 1, now(), 'open' FROM generate_series(1, 1001)",
        session,
    )
    command = (*example(), service.url, EMAIL, PASSWORD)
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    [line] = json.loads(await process.stdout.readline())["table"]
    process.kill()
    _, said = await process.communicate()

    assert len(line["open"]) == 1001
    assert said.decode() == "1000 trades read\n"


@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
async def test_the_table_is_the_databases_whatever_changes(
    service: Service, connection: "asyncpg.Connection", example: Callable[[], list[str]], killed: bool
) -> None:
    """Each change comes while the server runs, or while it has been killed."""
    await service.user(EMAIL)
    user = await connection.fetchval("SELECT id::text FROM users WHERE email = $1", EMAIL)
    account = await factories.account(connection, user, account_number="L#1")
    second = await factories.account(connection, user, account_number="L#2")
    others = await factories.account(connection, await factories.user(connection))
    session = await factories.session(connection, account, initial_balance=1000)
    moving = await factories.session(connection, second)
    ended = await factories.session(connection, second, initial_balance=Decimal("0.1"), ended_at=NOW)
    trade = await factories.trade(connection, session)
    for number in range(101):  # a page and one
        await factories.trade(connection, moving, symbol=f"S{number}")
    await factories.trade(connection, ended, pnl=Decimal("0.2"), status="closed")
    execute = connection.execute

    async def trade_on() -> None:
        await execute(
            "UPDATE trades SET pnl = 5.5, status = 'closed', exit_time = now() WHERE id = $1", trade
        )
        await factories.trade(connection, session, symbol="XAUUSD", pnl=Decimal("NaN"))

    async def close_in_bulk() -> None:
        await execute("UPDATE trades SET pnl = 0.00000001, status = 'closed' WHERE session_id = $1", moving)
        await execute("DELETE FROM trades WHERE symbol LIKE 'S1%'")

    async def move() -> None:
        await execute("UPDATE trades SET session_id = $1 WHERE id = $2", moving, trade)
        await execute("UPDATE trading_sessions SET account_id = $1 WHERE id = $2", others, moving)

    async def end_and_run_again() -> None:
        await execute("UPDATE trading_sessions SET ended_at = now() WHERE id = $1", session)
        await execute("UPDATE trading_sessions SET ended_at = NULL WHERE id = $1", ended)

    async def return_it() -> None:
        await execute("UPDATE trading_sessions SET account_id = $1 WHERE id = $2", account, moving)
        async with connection.transaction():
            another = await factories.session(connection, second, initial_balance=-7)
            await factories.trade(connection, another, symbol="BTCUSD")

    async def delete() -> None:
        await execute("DELETE FROM trades WHERE session_id = $1", moving)
        await execute("DELETE FROM trading_sessions WHERE id = $1", moving)

    changes = (trade_on, close_in_bulk, move, end_and_run_again, return_it, delete)
    async with showing(example, service) as table:
        await table.becomes(await stored(connection))
        for change in changes:
            if killed:
                service.kill()
            await change()
            if killed:
                await service.start()
            await table.becomes(await stored(connection))
    assert sorted(line["equity"] for line in table.lines) == [Decimal(-7), Decimal("0.3")]


async def test_a_client_whose_accounts_rest_resumes_from_progress(
    address: Address, tmp_path: Path, connection: "asyncpg.Connection", example: Callable[[], list[str]]
) -> None:
    settings = {"GRAPHQL_API_HEARTBEAT": "0.2", "GRAPHQL_API_SECRET_KEY": KEY}
    async with served_from(address, tmp_path, **settings) as service:
        await service.user(EMAIL)
        user = await connection.fetchval("SELECT id::text FROM users WHERE email = $1", EMAIL)
        session = await factories.session(connection, await factories.account(connection, user))
        others = await factories.session(
            connection, await factories.account(connection, await factories.user(connection))
        )
        async with showing(example, service) as table:
            await table.becomes(await stored(connection))
            await connection.execute(
                "INSERT INTO trades (session_id, symbol, direction, entry_price, size, entry_time, status)"
                " SELECT $1, 'EURUSD', 'buy', 1, 1, now(), 'open' FROM generate_series(1, 3000)",
                others,
            )
            last = await connection.fetchval("SELECT max(xid)::text::bigint FROM activity.entries")
            while not is_beyond(table.cursor, last, "activity"):
                await table.step()
            service.kill()
            await service.start()
            while await measured(service, "activity_subscribers") < 1:
                await asyncio.sleep(0.05)
            await factories.trade(connection, session)
            await table.becomes(await stored(connection))
            looked_at = await measured(service, "activity_catch_up_rows_total")
    assert looked_at <= 1  # the last trade, where it was written before the client had resumed
