"""Runs the scripts in the folder `javascript`."""

import asyncio
import json
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "javascript"
AUDITS = 61
"""How many graphql-http has."""


class Script:
    """A running script, whose output can be read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def __aiter__(self) -> "Script":
        return self

    async def __anext__(self) -> Any:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            assert await self.process.wait() == 0, (await self.process.stderr.read()).decode()
            raise StopAsyncIteration
        return json.loads(line)


@asynccontextmanager
async def script(node: str, name: str, *arguments: str) -> AsyncIterator[Script]:
    """Runs a script."""
    process = await asyncio.create_subprocess_exec(
        node, FOLDER / name, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    try:
        yield Script(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(node: str, name: str, *arguments: str) -> list[Any]:
    async with script(node, name, *arguments) as output:
        return [line async for line in output]
