"""Running the scripts in `javascript`."""

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


@asynccontextmanager
async def script(node: str, name: str, *arguments: str) -> AsyncIterator[AsyncIterator[Any]]:
    """Run a script; what it writes, line by line."""
    process = await asyncio.create_subprocess_exec(node, FOLDER / name, *arguments, stdout=PIPE, stderr=PIPE)
    try:
        yield lines(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def lines(process: asyncio.subprocess.Process) -> AsyncIterator[Any]:
    assert process.stdout is not None
    assert process.stderr is not None
    async for line in process.stdout:
        yield json.loads(line)
    assert await process.wait() == 0, (await process.stderr.read()).decode()


async def said(node: str, name: str, *arguments: str) -> list[Any]:
    async with script(node, name, *arguments) as output:
        return [line async for line in output]
