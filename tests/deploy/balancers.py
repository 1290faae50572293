"""The sample configurations of HAProxy and nginx, run unchanged in front of processes of the service."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.http_client import http_client
from tests.ports import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


def program(name: str) -> str:
    """Returns the path of a program, which Debian has in a package of the same name. Skips if missing."""
    path = shutil.which(name, path=_PATH)
    if path is None:
        pytest.skip(f"there is no {name}")
    return path


def configured(text: str, port: int, servers: Sequence[int]) -> str:
    """Returns a sample configuration with the test's ports in place of its hosts."""
    text = text.replace("bind :8000", f"bind 127.0.0.1:{port}").replace(
        "listen 8000", f"listen 127.0.0.1:{port}"
    )
    for number, server in enumerate(servers, 1):
        text = text.replace(f"api{number}:8000", f"127.0.0.1:{server}")
    return re.sub(r"^ *server .*api\d:8000.*\n", "", text, flags=re.MULTILINE)


@asynccontextmanager
async def haproxy(folder: Path, servers: Sequence[int], *, retries: bool = True) -> AsyncIterator[str]:
    """Yields the URL of HAProxy in front of the processes at these ports."""
    port = free_port()
    text = configured((DEPLOY / "haproxy.cfg").read_text(), port, servers)
    if not retries:
        text = re.sub(r"^ *(option redispatch|retries|retry-on) .*\n", "", text, flags=re.MULTILINE)
        text = text.replace("defaults\n", "defaults\n    retries 0\n")
    (folder / "haproxy.cfg").write_text(text)
    async with _running([program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], port, folder) as url:
        yield url


@asynccontextmanager
async def nginx(folder: Path, servers: Sequence[int]) -> AsyncIterator[str]:
    """Yields the URL of nginx in front of the processes at these ports."""
    port = free_port()
    text = configured((DEPLOY / "nginx.conf").read_text(), port, servers)
    (folder / "nginx.conf").write_text(text.replace("/tmp/nginx.pid", str(folder / "nginx.pid")))
    command = [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    async with _running(command, port, folder) as url:
        yield url


@asynccontextmanager
async def _running(command: list[str], port: int, folder: Path) -> AsyncIterator[str]:
    with (folder / "balancer.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        async with http_client() as client:
            while True:
                assert process.poll() is None, (folder / "balancer.log").read_text()
                try:
                    if (await client.get(f"{url}/readyz")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()
