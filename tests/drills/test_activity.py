"""Copies of accounts that are kept from events equal the database, whatever is killed in between."""

import asyncio
import json
import os
import random
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from graphql_api.log_feed.errors import FeedError
from tests import factories
from tests.activity.client import RESETS, Copy, truth
from tests.activity.writers import Writer
from tests.drills.servers import Server
from tests.drills.test_everything import CONNECTION_ERRORS, Faults

pytestmark = [pytest.mark.drill, pytest.mark.timeout(3600)]

SECONDS = float(os.environ.get("DRILL_SECONDS", "120"))
SEED = int(os.environ.get("DRILL_SEED", random.SystemRandom().getrandbits(32)))


class Copier:
    """Follows through one process after another, each killed when its time has come."""

    def __init__(self, folder: Path, user: str, accounts: list[str] | None, seed: int) -> None:
        self._arguments = (str(folder), user, json.dumps(accounts))
        self._log = folder / f"{user}.log"
        self._chance = random.Random(seed)
        self.copy: Copy = {}
        self.cursor: str | None = None
        self.errors: list[str] = []
        self.counts: Counter[str] = Counter()

    async def run(self, server: Server, lifetime: float) -> None:
        """Follows until cancelled. No process lives longer than `lifetime` seconds."""
        while True:
            after = () if self.cursor is None else (self.cursor,)
            with self._log.open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "tests.drills.account_follower", server.address.dsn),
                    *(*self._arguments, *after),
                    stdout=PIPE,
                    stderr=log,
                    limit=2**24,
                )
            assert process.stdout is not None
            ended = False
            try:
                self._take(await process.stdout.readline())
                async with asyncio.timeout(self._chance.random() * lifetime):
                    while line := await process.stdout.readline():
                        self._take(line)
                ended = True
            except TimeoutError:
                self.counts["processes killed"] += 1
            finally:
                # asyncio says 255 of a process that ended just before it was killed.
                if not ended and process.returncode is None:
                    process.kill()
                rest, _ = await process.communicate()
                for line in rest.splitlines(keepends=True):
                    self._take(line)
            if ended and process.returncode:
                end_of_log = self._log.read_text()[-2000:]
                self.errors.append(f"a process ended with {process.returncode}: {end_of_log}")

    def _take(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            return
        said: dict[str, Any] = json.loads(line)
        if "copy" in said:
            self.copy, self.cursor = said["copy"], said["cursor"]
            self.counts["snapshots"] += 1
        elif "error" in said:
            self.counts[said["error"]] += 1
            if said["error"] in RESETS:
                self.cursor = None
            elif said["error"] not in ("FEED_UNAVAILABLE", "SERVICE_UNAVAILABLE"):
                self.errors.append(said["error"])
        else:
            self._apply(said["event"])

    def _apply(self, event: dict[str, Any]) -> None:
        self.cursor = event["cursor"]
        if event["kind"] == "UP_TO_DATE":
            self.counts["up to date"] += 1
            return
        self.counts["events"] += 1
        if event["node"] is None:
            self.copy.pop(event["rowId"], None)
        else:
            event["node"].pop("__typename")
            self.copy[event["rowId"]] = event["node"]


async def write(server: Server, accounts: list[str], chance: random.Random, counts: Counter[str]) -> None:
    """Writes until cancelled, also after crashes."""
    while True:
        writer = Writer(
            server.address,
            accounts,
            chance.getrandbits(32),
            wait=chance.random() < 0.7,
            moves=chance.choice((1, 2)),
        )
        try:
            await writer.run(10**9)
        except (*CONNECTION_ERRORS, FeedError):
            await asyncio.sleep(0.1)
        finally:
            counts["transactions"] += writer.committed


async def settle(server: Server) -> None:
    """End prepared transactions that a crash has left."""
    connection = await server.address.connect_plain()
    for row in await connection.fetch("SELECT gid FROM pg_prepared_xacts"):
        await connection.execute(f"COMMIT PREPARED '{row['gid']}'")
    await connection.close()


async def prepared(connection: "asyncpg.Connection") -> list[str]:
    """Two users' accounts, two each."""
    users = [await factories.user(connection) for _ in range(2)]
    return [await factories.account(connection, user) for user in users for _ in range(2)]


async def owned(connection: "asyncpg.Connection", account: str | None) -> list[str]:
    """The accounts of the user of an account; all for None."""
    rows = await connection.fetch(
        "SELECT id::text, user_id::text FROM tradelocker_accounts WHERE $1::uuid IS NULL"
        " OR user_id = (SELECT user_id FROM tradelocker_accounts WHERE id = $1::uuid)",
        account,
    )
    return [row["id"] for row in rows]


async def test_copies_equal_the_database_whatever_happens(server: Server, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    connection = await server.address.connect_plain()
    accounts = await prepared(connection)
    users = [
        await connection.fetchval("SELECT user_id::text FROM tradelocker_accounts WHERE id = $1", account)
        for account in (accounts[0], accounts[2])
    ]
    await connection.close()
    kinds: list[tuple[str, list[str] | None, str | None]] = [
        (users[0], None, accounts[0]),
        (users[1], [accounts[2]], None),
        ("operator", None, None),
    ]
    clients = [Copier(tmp_path, user, chosen, chance.getrandbits(32)) for user, chosen, _ in kinds]
    counts: Counter[str] = Counter()
    following = [asyncio.create_task(client.run(server, 12.0)) for client in clients]
    faults, end, rounds = Faults(server, chance), time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        writing = [
            asyncio.create_task(write(server, accounts, random.Random(chance.getrandbits(32)), counts))
            for _ in range(4)
        ]
        round_end = time.monotonic() + 15
        while time.monotonic() < round_end:
            await asyncio.sleep(chance.random() * 4)
            await faults.one()
            assert not any(task.done() for task in (*writing, *following)), following
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        await settle(server)
        # A process that begins from now on is up to date when it says so: nobody writes.
        before = [client.counts["up to date"] for client in clients]
        connection = await server.address.connect_plain()
        for client, count, (_, chosen, account) in zip(clients, before, kinds, strict=True):
            async with asyncio.timeout(120):
                while client.counts["up to date"] < count + 2:
                    await asyncio.sleep(0.1)
            mine = chosen if chosen is not None else await owned(connection, account)
            expected = await truth(connection, mine)
            assert client.errors == [], f"seed {SEED}"
            assert client.copy == expected, f"seed {SEED}, round {rounds}"
            counts["rows compared"] += len(expected)
        await connection.close()
        rounds += 1
    for task in following:
        task.cancel()
    await asyncio.gather(*following, return_exceptions=True)
    for client in clients:
        counts.update(client.counts)
    listed = ", ".join(f"{count} {name}" for name, count in sorted((counts + faults.happened).items()))
    sys.stderr.write(f"\nseed {SEED}: {SECONDS:.0f} s, {rounds} rounds, {listed}\n")
