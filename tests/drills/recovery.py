"""Tests and times what docs/recovery.md promises: restoring a moment, and promoting a standby.

Run by itself, it prints the table of that page: `python -m tests.drills.recovery`.
"""

import asyncio
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from websockets.asyncio.client import ClientConnection

from graphql_api.backup.catalog import Catalog, megabytes
from graphql_api.backup.receiver import Receiver
from graphql_api.backup.recovery import choose, recoverable_until, recovered
from graphql_api.backup.schedule import remove_expired
from graphql_api.backup.take import take
from graphql_api.backup.verification import differences, fingerprints, scratch_folder, verify
from graphql_api.dev.demo.load import load
from graphql_api.identity.viewer import Role
from graphql_api.postgres.address import Address
from tests import factories
from tests.drills.servers import DATABASE, PORT, Server
from tests.drills.traffic import traffic
from tests.scratch import scratch_folder as service_folder
from tests.service.conftest import Service, served_from
from tests.service.sockets import socket_of

FOLLOW = "subscription ($after: String) { systemLogAdded(after: $after) { cursor log { message } } }"


@dataclass
class Report:
    """The steps that were taken, each with its result and its time."""

    lines: list[tuple[str, str, float]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def step(self, name: str, result: str) -> None:
        """Adds a step that ends now."""
        now = time.monotonic()
        self.lines.append((name, result, now - self._began))
        self._began = now

    def __str__(self) -> str:
        head = "| step | result | seconds |\n| --- | --- | --: |\n"
        return head + "".join(f"| {name} | {result} | {took:.1f} |\n" for name, result, took in self.lines)


async def restore_a_moment(report: Report, trades: int) -> None:
    """Backs up, destroys, restores the moment before, and compares all rows. Raises AssertionError."""
    async with _server(summarize_wal="on") as server:
        await load(server.address, password_hash="x", trades=trades)
        catalog = Catalog(server.folder / "backups")
        connection = await server.address.connect_plain()
        async with _receiving(server, catalog):
            report.step("database", f"{trades:,} trades, its log received")
            full = await take(server.address, catalog)
            report.step("full backup", megabytes(full.bytes))
            await _write(connection, 200)
            incremental = await take(server.address, catalog)
            report.step("200 rows written, incremental backup", megabytes(incremental.bytes))
            await _write(connection, 200)
            before = await fingerprints(connection)
            moment = await connection.fetchval("SELECT clock_timestamp()")
            rows = sum(count for count, _ in before.values())
            await connection.execute(
                "DROP TABLE risk_settings CASCADE; DELETE FROM trades; TRUNCATE system_logs"
            )
            while recoverable_until(catalog, incremental) < moment:
                await asyncio.sleep(0.05)
            report.step("200 rows written, a moment noted, three tables destroyed", "the log reaches past it")
            backup, target = choose(catalog, moment)
            with scratch_folder(catalog) as folder:
                async with recovered(catalog, backup, target, folder / "data") as restored:
                    report.step("restored to the moment", f"from {backup.kind.value} backup and log")
                    reading = await restored.address_of("postgres", DATABASE).connect_plain()
                    assert differences(before, await fingerprints(reading)) == []
                    await reading.close()
            report.step("compared", f"{len(before)} tables, {rows:,} rows: all equal")
            second = await take(server.address, catalog, full=True)
            expired = remove_expired(catalog, timedelta(days=30), second.finished_at + timedelta(days=31))
            assert [backup.id for backup in catalog.backups()] == [second.id]
            report.step("full backup, clock moved by 31 days", f"{len(expired)} backups removed, 1 kept")
            found = await verify(server.address, catalog)
            report.step("verified", found)
        await connection.close()


async def promote_a_standby(report: Report, clients: int, seconds: float) -> None:
    """Kills the primary under a service's load and promotes its standby. Raises AssertionError."""
    folder = service_folder()
    async with _server() as primary, _server(made=False) as standby:
        standby.copy_of(primary, standby=True)
        await standby.start()
        connection = await primary.address.connect_plain()
        # A commit is acknowledged when the standby has it, too.
        await connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await connection.execute("SELECT pg_reload_conf()")
        while not await connection.fetchval(
            "SELECT count(*) FROM pg_stat_replication WHERE sync_priority > 0"
        ):
            await asyncio.sleep(0.02)
        address = Address.parse(
            f"postgresql://postgres@/{DATABASE}?host={primary.folder},{standby.folder}&port={PORT},{PORT}"
            "&target_session_attrs=read-write"
        )
        async with served_from(address, folder) as service:
            token = await service.user("operator@example.com", role=Role.OPERATOR)
            async with (
                traffic(service, connection, clients) as everybody,
                socket_of(service, token) as socket,
            ):
                await _subscribe(socket, None)
                await _listening(socket)
                await factories.system_log(connection, message="before")
                cursor = (await _event(socket, "before"))["cursor"]
                await everybody.everybody_is_served()
                await asyncio.sleep(seconds)
                report.step(f"standby, {clients} clients writing", "every commit waits for the standby")
                primary.crash()
                await asyncio.to_thread(standby.promote)
                await standby.accepts_writes()
                report.step("primary killed, standby promoted", "accepts writes")
                await everybody.everybody_is_served()
                refused = sum(client.refused for client in everybody.clients)
                report.step(
                    "the service finds it", f"all clients are served again; {refused} answers were 503"
                )
                assert await _error(socket) == "FEED_RESET_FAILOVER"
                await asyncio.sleep(seconds)
            report.step("the feed", "ended with FEED_RESET_FAILOVER")
            connection = await standby.address.connect_plain()
            await _check(everybody.clients, connection, report)
            await _resume(service, token, cursor, connection, report)
            await connection.close()
    shutil.rmtree(folder, ignore_errors=True)


async def _check(clients: Any, connection: Any, report: Report) -> None:
    acknowledged = sum(len(client.acknowledged) for client in clients)
    for client in clients:
        assert await client.lost_or_repeated(connection) == (set(), set())
    report.step("acknowledged writes looked up in the new primary", f"{acknowledged:,}: 0 lost, 0 repeated")


async def _resume(service: Service, token: str, cursor: str, connection: Any, report: Report) -> None:
    """Checks that a cursor of the former primary is refused, and that a new subscription can be resumed."""
    async with socket_of(service, token) as socket:
        await _subscribe(socket, cursor)
        assert await _error(socket) == "FEED_RESET_FAILOVER"
        await _subscribe(socket, None)
        await _listening(socket)
        await factories.system_log(connection, message="after")
        cursor = (await _event(socket, "after"))["cursor"]
    await factories.system_log(connection, message="meanwhile")
    async with socket_of(service, token) as socket:
        await _subscribe(socket, cursor)
        await _event(socket, "meanwhile")
    report.step("a new subscription", "follows, and resumes")


@asynccontextmanager
async def _server(*, made: bool = True, **settings: str) -> AsyncIterator[Server]:
    server = Server(settings)
    try:
        if made:
            await server.make()
        yield server
    finally:
        server.remove()


@asynccontextmanager
async def _receiving(server: Server, catalog: Catalog) -> AsyncIterator[None]:
    task = asyncio.create_task(Receiver(server.address, catalog).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _write(connection: Any, rows: int) -> None:
    for _ in range(rows):
        await factories.trade(connection, None)


async def _subscribe(socket: ClientConnection, after: str | None) -> None:
    payload = {"query": FOLLOW, "variables": {"after": after}}
    await socket.send(json.dumps({"id": "it", "type": "subscribe", "payload": payload}))


async def _listening(socket: ClientConnection) -> None:
    """Waits for the ping with a subscription's first cursor."""
    while json.loads(await socket.recv())["type"] != "ping":
        pass


async def _event(socket: ClientConnection, message: str) -> dict[str, Any]:
    while True:
        said = json.loads(await socket.recv())
        if said["type"] == "next":
            event: dict[str, Any] = said["payload"]["data"]["systemLogAdded"]
            if event["log"]["message"] == message:
                return event


async def _error(socket: ClientConnection) -> str:
    while True:
        said = json.loads(await socket.recv())
        errors = said.get("payload") if said["type"] == "error" else (said.get("payload") or {}).get("errors")
        if errors:
            return str(errors[0]["extensions"]["code"])


async def main() -> None:
    """Prints the table of docs/recovery.md."""
    report = Report()
    await restore_a_moment(report, trades=30_000)
    await promote_a_standby(report, clients=16, seconds=3.0)
    sys.stdout.write(str(report))


if __name__ == "__main__":
    asyncio.run(main())
