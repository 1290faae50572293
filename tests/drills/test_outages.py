"""PostgreSQL is stopped and started under a service that many write through."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from signal import SIGINT, SIGQUIT

import pytest

from tests.drills.servers import Server
from tests.drills.traffic import traffic
from tests.service.conftest import Service, served_from

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]

Step = Callable[[Server], Awaitable[None]]


def in_thread(step: Callable[[Server], None]) -> Step:
    """The clients go on asking meanwhile."""
    return lambda server: asyncio.to_thread(step, server)


OUTAGES: Mapping[str, tuple[Step, Step]] = {
    "fast": (in_thread(lambda server: server.stop(SIGINT)), Server.start),
    "immediate": (in_thread(lambda server: server.stop(SIGQUIT)), Server.start),
    "killed": (in_thread(Server.crash), Server.start),
    "frozen": (in_thread(Server.freeze), in_thread(Server.thaw)),
}
LONGEST = 8.0  # seconds: the first outage; others are shorter
SETTINGS = {
    "GRAPHQL_API_IDENTITY_CACHE": "0.5",  # so that finding the viewer needs the database too
    "GRAPHQL_API_STATEMENT_TIMEOUT": "4",
    "GRAPHQL_API_OPERATION_TIMEOUT": "5",
}


@pytest.fixture
async def service(server: Server, tmp_path: Path) -> AsyncIterator[Service]:
    async with served_from(server.address, tmp_path, **SETTINGS) as service:
        yield service


@pytest.mark.parametrize("kind", OUTAGES)
async def test_no_acknowledged_write_is_lost(server: Server, service: Service, kind: str) -> None:
    stop, start = OUTAGES[kind]
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    connection = await server.address.connect_plain()
    async with traffic(service, connection, clients=16) as everybody:
        await connection.close()
        for part in (1.0, *(chance.random() for _ in range(4))):
            await everybody.everybody_is_served()
            await asyncio.sleep(chance.random())
            await stop(server)
            await asyncio.sleep(part * LONGEST)
            await start(server)
        await everybody.everybody_is_served()

    connection = await server.address.connect_plain()
    for client in everybody.clients:
        assert await client.lost_or_repeated(connection) == (set(), set()), f"seed {seed}"
    await connection.close()
    # Not each of them: a server that was frozen may answer before anybody's time is over.
    assert sum(client.refused for client in everybody.clients) > 0
    assert set(everybody.probe.lives) == {200}
    assert set(everybody.probe.ready) == {200, 503}
    # The server's states are warnings; an error would be one that nobody expected.
    assert "ERROR" not in service.log.read_text()
