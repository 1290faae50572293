"""The command line, with servers that die or aren't the primary."""

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import Process

import orjson
import pytest

from tests.drills.servers import Server
from tests.log_feed.conftest import write

pytestmark = [pytest.mark.drill, pytest.mark.timeout(300)]


async def begin(server: Server, *arguments: str) -> Process:
    environment = {**os.environ, "DATABASE_URL": server.address.dsn, "GRAPHQL_API_SECRET_KEY": "drill" * 8}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "graphql_api", *arguments),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def insert(server: Server, *messages: str) -> None:
    connection = await server.address.connect_plain()
    await write(connection, *messages)
    await connection.close()


async def heard(process: Process, count: int) -> list[str]:
    assert process.stdout is not None
    return [orjson.loads(await process.stdout.readline())["message"] for _ in range(count)]


async def test_logs_follow_over_crashes_of_the_server(server: Server) -> None:
    process = await begin(server, "logs", "--follow")
    assert process.stderr is not None
    assert await process.stderr.readline() == b"following the log\n"
    for number in range(3):
        await insert(server, f"{number} before")
        server.crash()
        await server.start()
        await insert(server, f"{number} after")
        assert await heard(process, 2) == [f"{number} before", f"{number} after"]
    process.terminate()
    await process.communicate()


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("logs", "--follow")])
async def test_a_standby_is_refused_at_the_start(standby: Server, command: tuple[str, ...]) -> None:
    process = await begin(standby, *command)
    _, errors = await process.communicate()
    assert process.returncode
    assert b"set DATABASE_DIRECT_URL" in errors
    assert b"Traceback" not in errors
