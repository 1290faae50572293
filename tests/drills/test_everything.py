"""All faults at once, for minutes, in an order that a seed gives."""

import asyncio
import os
import random
import sys
import time
from collections import Counter

import asyncpg
import pytest

from tests import factories
from tests.drills.client import Client
from tests.drills.servers import Server
from tests.log_feed.writers import Committed, Writer

pytestmark = [pytest.mark.drill, pytest.mark.timeout(3600)]

SECONDS = float(os.environ.get("DRILL_SECONDS", "120"))
SEED = int(os.environ.get("DRILL_SEED", random.SystemRandom().getrandbits(32)))
LAST = "the last row"
CONNECTION_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


async def write(server: Server, name: str, chance: random.Random, committed: Committed) -> None:
    """Writes until cancelled, also after crashes."""
    while True:
        writer = Writer(f"{name}.{chance.getrandbits(40)}", server.address, chance.getrandbits(32), committed)
        try:
            await writer.run(10**9, two_phase=chance.random() < 0.3, wait=chance.random() < 0.7)
        except CONNECTION_ERRORS:
            await asyncio.sleep(0.1)


class Faults:
    """The faults of the database."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self.happened: Counter[str] = Counter()

    async def one(self) -> None:
        """Cause one fault, unless the server is down at the moment."""
        fault = self._chance.choice(
            (
                self.crash,
                self.kill_readers,
                self.kill_readers,
                self.hold_gate,
                self.restart,
            )
        )
        try:
            await fault()
        except CONNECTION_ERRORS:
            return
        self.happened[fault.__name__] += 1

    async def crash(self) -> None:
        self._server.crash()
        await asyncio.sleep(self._chance.random())
        await self._server.start()

    async def restart(self) -> None:
        self._server.stop()
        await self._server.start()

    async def kill_readers(self) -> None:
        connection = await self._server.address.connect_plain()
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ '^graphql-api'"
            " AND pid <> pg_backend_pid()"
        )
        connection.terminate()

    async def hold_gate(self) -> None:
        """A long transaction that has written, and so holds the gate; its row is never committed."""
        connection = await self._server.address.connect_plain()
        try:
            await connection.execute("BEGIN")
            await connection.execute(
                "INSERT INTO system_logs (level, component, message) VALUES ('info', 'test', 'undone')"
            )
            await asyncio.sleep(self._chance.random() * 3)
        finally:
            connection.terminate()


async def quiet(server: Server) -> list[str]:
    """End prepared transactions that a crash has left, and return the rows that the table has then."""
    connection = await server.address.connect_plain()
    for row in await connection.fetch("SELECT gid FROM pg_prepared_xacts"):
        await connection.execute(f"COMMIT PREPARED '{row['gid']}'")
    rows = await connection.fetch("SELECT message FROM system_logs")
    await connection.close()
    return [row["message"] for row in rows]


async def test_nothing_is_lost_and_nothing_repeated_whatever_happens(server: Server) -> None:
    chance = random.Random(SEED)
    clients = [Client(chance.getrandbits(32)) for _ in range(3)]
    for client in clients:
        await client.begin(server)
    committed = Committed()
    writing = [
        asyncio.create_task(write(server, f"w{number}", random.Random(chance.getrandbits(32)), committed))
        for number in range(5)
    ]
    following = [asyncio.create_task(client.run(server, lifetime=8.0)) for client in clients]
    faults = Faults(server, chance)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        await asyncio.sleep(chance.random() * 4)
        await faults.one()
        assert not any(task.done() for task in (*writing, *following))
    for task in writing:
        task.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    expected = await quiet(server)
    # A client that has a row that was written after all others has had what should not have come, too.
    connection = await server.address.connect_plain()
    await factories.system_log(connection, message=LAST)
    await connection.close()
    expected.append(LAST)
    deadline = time.monotonic() + 120
    while any(LAST not in client.messages for client in clients) and time.monotonic() < deadline:
        await asyncio.sleep(0.2)
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    report(expected, clients, faults)
    for client in clients:
        missing = Counter(expected) - Counter(client.messages)
        surplus = Counter(client.messages) - Counter(expected)
        assert (client.errors, missing, surplus) == ([], Counter(), Counter()), f"seed {SEED}"


def report(expected: list[str], clients: list[Client], faults: Faults) -> None:
    kills = sum(client.kills for client in clients)
    done = ", ".join(f"{count} {name}" for name, count in sorted(faults.happened.items()))
    sys.stderr.write(
        f"\nseed {SEED}: {len(expected)} rows, {len(clients)} clients, {SECONDS:.0f} s,"
        f" {kills} processes killed, {done}\n"
    )
