"""The server as a process of its own: how it starts, and how it stops."""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect

from graphql_api.settings import Settings
from graphql_api.transport.uvicorn_server import bind
from tests.http_client import http_client
from tests.transport.conftest import until
from tests.transport.sockets import PROTOCOL, close_of, hear, say

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def started(**settings: str) -> AsyncIterator[tuple[Process, str]]:
    """The process, and the host it answers at."""
    environment = os.environ | {"GRAPHQL_API_PORT": "0", "GRAPHQL_API_DRAIN_TIME": "0.1"} | settings
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.transport.serve"),
        cwd=ROOT,
        env=environment,
        stdout=PIPE,
        stderr=DEVNULL,
    )
    assert process.stdout is not None
    host = f"127.0.0.1:{int(await process.stdout.readline())}"
    try:
        await answers(host)
        yield process, host
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def answers(host: str) -> None:
    """Waits until the server answers."""
    async with http_client() as client:
        while True:
            try:
                await client.get(f"http://{host}/healthz")
            except httpx.ConnectError:
                await asyncio.sleep(0.05)
            else:
                return


async def running(host: str) -> None:
    """Waits until an operation runs."""
    async with http_client() as client:
        while "graphql_operations_running 1.0" not in (await client.get(f"http://{host}/metrics")).text:
            pass


async def post(host: str, query: str) -> httpx.Response:
    async with http_client() as client:
        return await client.post(f"http://{host}/graphql", json={"query": query})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_good_order(number: signal.Signals) -> None:
    async with started() as (process, _):
        process.send_signal(number)
        assert await process.wait() == 0


async def test_what_is_under_way_is_answered_first() -> None:
    async with started() as (process, host):
        asking = asyncio.create_task(post(host, "mutation { write(seconds: 1) }"))
        await running(host)
        process.terminate()
        assert (await asking).json() == {"data": {"write": 1}}
        assert await process.wait() == 0


async def test_open_sockets_are_closed_and_do_not_hold_it_up() -> None:
    async with started() as (process, host):
        async with connect(f"ws://{host}/graphql", subprotocols=[PROTOCOL]) as socket_:
            await say(socket_, type="connection_init")
            await hear(socket_)
            process.terminate()
            assert (await close_of(socket_))[0] == 1012
        assert await process.wait() == 0


async def test_a_query_without_end_does_not_hold_it_up_for_ever() -> None:
    async with started(GRAPHQL_API_SHUTDOWN_TIMEOUT="1", GRAPHQL_API_OPERATION_TIMEOUT="600") as (
        process,
        host,
    ):
        asking = asyncio.create_task(post(host, "{ slow(seconds: 600) }"))
        await running(host)
        process.terminate()
        assert (await asking).status_code == 503
        assert await process.wait() == 0


async def test_several_workers_end_in_good_order() -> None:
    async with started(GRAPHQL_API_WORKERS="2") as (process, _):
        workers = workers_of(process)
        assert len(workers) == 2
        process.terminate()
        assert await process.wait() == 0
        assert not any(worker.is_running() for worker in workers)


async def test_a_worker_that_dies_is_replaced() -> None:
    async with started(GRAPHQL_API_WORKERS="2") as (process, host):
        victim = workers_of(process)[0]
        victim.kill()
        await until(lambda: len(workers_of(process)) == 2 and victim not in workers_of(process))
        assert (await post(host, "{ hello }")).status_code == 200


def workers_of(process: Process) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children():
        with suppress(psutil.Error):  # it may just be ending
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_a_taken_address_is_an_error_that_names_the_reason() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="Address already in use"),
    ):
        bind(Settings(host="127.0.0.1", port=taken.getsockname()[1]))
