"""Runs the examples: in Python, and in TypeScript with the packages of its lock file."""

import subprocess
import sys
from pathlib import Path

from graphql_api.identity.signing_keys import derive_key
from graphql_api.log_feed.feed_offset import CursorCodec
from tests.http_client import http_client
from tests.node import node_with
from tests.once import once_a_run
from tests.service.conftest import Service, service

__all__ = ["service"]

EXAMPLES = Path(__file__).parents[2] / "examples"
KEY = "the key that all processes of the test share"


def python(name: str) -> list[str]:
    return [sys.executable, str(EXAMPLES / "python" / f"{name}.py")]


def typescript(name: str) -> list[str]:
    folder = EXAMPLES / "typescript"
    node = node_with(folder)
    compiler = folder / "node_modules" / "typescript" / "bin" / "tsc"
    once_a_run("typescript", lambda _: subprocess.run([node, str(compiler)], cwd=folder, check=True))
    return [node, str(folder / "dist" / f"{name}.js")]


async def measured(service: Service, name: str) -> float:
    """Returns the value of a metric at /metrics."""
    async with http_client() as client:
        text = (await client.get(service.url.replace("/graphql", "/metrics"))).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


def is_beyond(cursor: str, transaction: int, feed: str) -> bool:
    """Returns whether a cursor of the log ("feed") or of "activity" includes all transactions up to one."""
    offset = CursorCodec(derive_key(KEY.encode(), feed)).decode(cursor).offset
    return offset.next_xid > transaction and offset.partial is None
