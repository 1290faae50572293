"""The application of `app`, served by the real server on a free port."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from graphql_api.gateway.gateway import TransportLimits
from graphql_api.settings import Settings
from graphql_api.transport.uvicorn_server import configure
from tests.http_client import http_client
from tests.transport.app import World, create_app


@dataclass
class Served:
    """A server that listens, and the World of its resolvers."""

    host: str
    world: World
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"http://{self.host}/graphql"

    @property
    def port(self) -> int:
        return int(self.host.rpartition(":")[2])

    @property
    def socket_url(self) -> str:
        return f"ws://{self.host}/graphql"

    def stop(self) -> None:
        self.server.should_exit = True


@contextmanager
def serving(
    *,
    settings: dict[str, Any] | None = None,
    app: ASGIApp | None = None,
    stock_protocols: bool = False,
    **options: Any,
) -> Iterator[Served]:
    """Serves `app`, or `create_app(**options)`, in a thread with an event loop of its own.

    With `stock_protocols`, uvicorn's own protocols are used.
    """
    world = World()
    chosen = Settings(**{"port": 0} | (settings or {}))

    def factory() -> ASGIApp:
        return app or create_app(world, TransportLimits.from_settings(chosen), **options)

    config = configure(factory, chosen)
    if stock_protocols:
        config.http, config.ws = HttpToolsProtocol, WebSocketsSansIOProtocol
    listening = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        yield Served(f"127.0.0.1:{listening.getsockname()[1]}", world, server)
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


Serve = Callable[..., Served]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves with settings of the test's own: `serve(settings={…}, **options of create_app)`."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(serving(**options))


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    with serving(settings={"drain_time": 0}) as served:
        yield served


@pytest.fixture
def served(shared: Served) -> Served:
    """A server with the default settings, and a World with its initial values."""
    vars(shared.world).update(vars(World()))
    return shared


@pytest.fixture
async def client(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(base_url=f"http://{served.host}") as client:
        yield client


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """What the service logs during the test."""
    handler = Recorder()
    logger = logging.getLogger("graphql_api")
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)


class Recorder(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def until(condition: Callable[[], object]) -> None:
    """Waits until a condition is true, which another thread changes. pytest's timeout is the limit."""

    while not condition():
        await asyncio.sleep(0.005)
