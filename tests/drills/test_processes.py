"""Processes that serve the feed are killed under load."""

import asyncio
import random
from collections import Counter

import pytest

from tests.drills.client import Client
from tests.drills.servers import Server
from tests.log_feed.writers import Committed, Writer

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]


async def test_a_client_loses_nothing_with_the_processes_that_serve_it(server: Server) -> None:
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    clients = [Client(chance.getrandbits(32)) for _ in range(2)]
    for client in clients:
        await client.begin(server)
    committed = Committed()
    writers = [Writer(f"w{n}", server.address, chance.getrandbits(32), committed) for n in range(5)]
    following = [asyncio.create_task(client.run(server, lifetime=1.0)) for client in clients]
    await asyncio.gather(*(writer.run(1500) for writer in writers))
    while any(len(client.messages) < len(committed.messages) for client in clients):
        assert not any(task.done() for task in following)
        await asyncio.sleep(0.1)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    for client in clients:
        assert client.kills > 0
        assert client.errors == []
        assert Counter(client.messages) == Counter(committed.messages), f"seed {seed}"
