"""One process of a deployment records; when it is killed another does: no crossing is lost or repeated."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from graphql_api.postgres.address import Address
from tests import factories
from tests.http_client import http_client
from tests.service.conftest import Service, served_from

pytestmark = pytest.mark.slow

ACTIVE = 'recorder_active{recording="risk_events"}'


async def is_active(service: Service) -> bool:
    """Whether a process is the one that records risk events, as it says at /metrics."""
    async with http_client() as client:
        text = (await client.get(f"http://127.0.0.1:{service.port}/metrics")).text
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    return float(numbers[ACTIVE]) == 1


async def active_of(services: list[Service]) -> Service:
    """The process that records, once there is one."""
    async with asyncio.timeout(100):
        while True:
            active = [service for service in services if await is_active(service)]
            assert len(active) <= 1
            if active:
                return active[0]
            await asyncio.sleep(0.1)


async def test_crossings_are_recorded_once_while_processes_are_killed(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    account = await factories.account(connection, await factories.user(connection))
    session = await factories.session(connection, account)
    await factories.risk_settings(connection, account, max_daily_loss=None, max_open_positions=0)
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    async with served_from(address, folders[0]) as first, served_from(address, folders[1]) as second:
        for number in range(1, 7):
            active = await active_of([first, second])
            if number % 2:
                trade = await factories.trade(connection, session)
            else:
                await connection.execute("UPDATE trades SET status = 'closed' WHERE id = $1", trade)
            active.kill()  # before or after it has looked
            await active_of([first if active is second else second])
            async with asyncio.timeout(100):
                while await connection.fetchval("SELECT count(*) FROM graphql_api.risk_events") < number:
                    await asyncio.sleep(0.02)
            await active.start()
    rows = await connection.fetch("SELECT kind FROM graphql_api.risk_events ORDER BY number")

    assert [row["kind"] for row in rows] == ["LIMIT_CROSSED", "LIMIT_KEPT"] * 3
