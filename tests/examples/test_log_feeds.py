"""The examples keep their promise: nothing lost and nothing twice, with the server killed under them."""

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from graphql_api.identity import users
from graphql_api.identity.viewer import Role
from graphql_api.postgres.address import Address
from tests import factories
from tests.examples.conftest import KEY, is_beyond, measured, python, typescript
from tests.service.conftest import PASSWORD, Service, served_from

pytestmark = pytest.mark.slow

EMAIL = "operator@example.org"
EXAMPLES = [
    pytest.param(partial(python, "log_feed"), id="python"),
    pytest.param(partial(typescript, "follow"), id="typescript"),
]


async def line_of(process: Process) -> dict[str, Any]:
    """The next line: an event, or a cursor alone."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line, "it ended"
    return dict(json.loads(line))


async def read(process: Process, last: str) -> list[str]:
    """Messages up to and including `last`."""
    messages: list[str] = []
    while not messages or messages[-1] != last:
        line = await line_of(process)
        if "log" in line:
            messages.append(line["log"]["message"])
    return messages


async def listening(process: Process) -> None:
    """Waits until the subscription has begun: the example prints its first cursor then."""
    assert set(await line_of(process)) == {"cursor"}


@pytest.mark.parametrize("example", EXAMPLES)
async def test_a_client_goes_on_when_its_server_is_killed(
    service: Service, connection: "asyncpg.Connection", example: Callable[[], list[str]]
) -> None:
    await service.user(EMAIL, role=Role.OPERATOR)
    process = await asyncio.create_subprocess_exec(*example(), service.url, EMAIL, PASSWORD, stdout=PIPE)
    try:
        await listening(process)
        expected = []
        for life in range(3):
            for number in range(10):
                expected.append(f"{life}/{number}")
                await factories.system_log(connection, message=expected[-1])
                if number == 5:
                    service.kill()
            await service.start()
        seen = await read(process, expected[-1])
    finally:
        process.kill()
        await process.wait()

    assert seen == expected


@pytest.mark.parametrize("example", EXAMPLES)
async def test_a_client_goes_on_when_what_it_may_read_changes(
    address: Address, tmp_path: Path, connection: "asyncpg.Connection", example: Callable[[], list[str]]
) -> None:
    async with served_from(address, tmp_path, GRAPHQL_API_IDENTITY_RECHECK="0.2") as service:
        await service.user(EMAIL, role=Role.OPERATOR)
        process = await asyncio.create_subprocess_exec(*example(), service.url, EMAIL, PASSWORD, stdout=PIPE)
        try:
            await listening(process)
            user_id = await connection.fetchval("SELECT id::text FROM users WHERE email = $1", EMAIL)
            await users.grant_role(service.database, user_id, Role.ADMIN)
            expected = [str(number) for number in range(20)]
            for message in expected:  # for ten times as long as it takes the service to notice
                await factories.system_log(connection, message=message)
                await asyncio.sleep(0.1)
            assert await read(process, expected[-1]) == expected
        finally:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("engine", ["compiled", "stock"])
async def test_a_client_behind_a_filter_that_matches_nothing_resumes_without_reading_anything_again(
    address: Address,
    tmp_path: Path,
    connection: "asyncpg.Connection",
    example: Callable[[], list[str]],
    engine: str,
) -> None:
    settings = {"GRAPHQL_API_HEARTBEAT": "0.2", "GRAPHQL_API_SECRET_KEY": KEY, "GRAPHQL_API_ENGINE": engine}
    async with served_from(address, tmp_path, **settings) as service:
        await service.user(EMAIL, role=Role.OPERATOR)
        asked = (service.url, EMAIL, PASSWORD, '{"components": ["rare"]}')
        process = await asyncio.create_subprocess_exec(*example(), *asked, stdout=PIPE)
        try:
            await listening(process)
            await connection.execute(
                "INSERT INTO system_logs (level, component, message)"
                " SELECT 'info', 'usual', n::text FROM generate_series(1, 5000) n"
            )
            last = await connection.fetchval("SELECT max(xid)::text::bigint FROM log_feed.entries")
            while not is_beyond((await line_of(process))["cursor"], last, "feed"):
                pass
            service.kill()
            await service.start()
            while await measured(service, "log_feed_subscribers") < 1:
                await asyncio.sleep(0.05)
            await factories.system_log(connection, message="another", component="rare")
            assert await read(process, "another") == ["another"]
            looked_at = await measured(service, "log_feed_catch_up_rows_total")
        finally:
            process.kill()
            await process.wait()
    assert looked_at <= 1  # the last line, where it was written before the client had resumed
