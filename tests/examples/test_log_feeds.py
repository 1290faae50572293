"""The examples keep their promise: nothing lost and nothing twice, with the server killed under them."""

import asyncio
import json
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from graphql_api.auth.viewer import Role
from tests import factories
from tests.node import node_with
from tests.service.conftest import PASSWORD, Service, service

__all__ = ["service"]

EXAMPLES = Path(__file__).parents[2] / "examples"
EMAIL = "operator@example.org"


def python() -> list[str]:
    return [sys.executable, str(EXAMPLES / "python" / "log_feed.py")]


def typescript() -> list[str]:
    folder = EXAMPLES / "typescript"
    node = node_with(folder)
    compiler = folder / "node_modules" / "typescript" / "bin" / "tsc"
    subprocess.run([node, str(compiler)], cwd=folder, check=True)
    return [node, str(folder / "dist" / "follow.js")]


async def read(process: Process, last: str) -> list[str]:
    """Messages up to and including `last`."""
    assert process.stdout is not None
    messages: list[str] = []
    while not messages or messages[-1] != last:
        line = await process.stdout.readline()
        assert line, f"it ended after {messages[-3:]}"
        messages.append(json.loads(line)["log"]["message"])
    return messages


@pytest.mark.parametrize("example", [python, typescript], ids=lambda example: example.__name__)
async def test_a_client_goes_on_when_its_server_is_killed(
    service: Service, connection: "asyncpg.Connection", example: Callable[[], list[str]]
) -> None:
    await service.user(EMAIL, role=Role.OPERATOR)
    process = await asyncio.create_subprocess_exec(*example(), service.url, EMAIL, PASSWORD, stdout=PIPE)
    try:
        start = asyncio.ensure_future(read(process, "start"))
        while not start.done():  # a subscription starts unseen: write until the first line arrives
            await factories.system_log(connection, message="start")
            await asyncio.wait([start], timeout=0.5)
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

    assert [message for message in seen if message != "start"] == expected
