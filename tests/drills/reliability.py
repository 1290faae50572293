"""Measures what clients see during failures, for how long, and whether acknowledged changes are lost.

`python -m tests.drills.reliability` prints the table of docs/reliability.md.
"""

import asyncio
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import asyncpg
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from graphql_api.identity import service_tokens
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.address import Address
from tests import factories
from tests.drills.servers import DATABASE, PORT, Server
from tests.drills.traffic import CHANGE, MADE
from tests.http_client import http_client
from tests.postgres.pgbouncer import PgBouncer, has_pgbouncer
from tests.scratch import scratch_folder
from tests.service.conftest import Service, served_from

FOLLOW = """
subscription ($after: String, $backfill: Int!) {
  systemLogAdded(after: $after, backfill: $backfill, filter: {components: ["drill"]}) {
    cursor log { message }
  }
}
"""
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
CLIENTS = 4
BEFORE, AFTER = 1.5, 2.0  # seconds of quiet around a fault


@dataclass
class Seen:
    """What clients, a bot and a subscriber of the log have observed."""

    answers: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    """Seconds between two answers with data to one client."""
    acknowledged: dict[str, list[int]] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)
    received: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    """Why subscriptions have ended."""
    lost: int = 0
    rows_lost: int = 0
    repeated: int = 0


async def change(url: str, token: str, account: str, seen: Seen) -> None:
    """Changes the limits of one account. Repeats each change under the same key until it is acknowledged."""
    numbers = seen.acknowledged.setdefault(account, [])
    number, answered = 0, time.monotonic()
    async with http_client() as http:
        while True:
            number += 1
            headers = {"authorization": f"Bearer {token}", "idempotency-key": f"{account}-{number}"}
            while True:
                variables = {"id": account, "loss": str(number)}
                try:
                    response = await http.post(
                        url, json={"query": CHANGE, "variables": variables}, headers=headers
                    )
                    errors = response.json().get("errors", ())
                    code = errors[0]["extensions"]["code"] if errors else "data"
                except httpx.TransportError as error:
                    code = type(error).__name__
                seen.answers[code] += 1
                if code in ("data", "IDEMPOTENCY_ANSWER_LOST"):
                    break
                await asyncio.sleep(0.1)
            now = time.monotonic()
            seen.longest = max(seen.longest, now - answered)
            answered = now
            numbers.append(number)


async def write(address: Address, seen: Seen) -> None:
    """Writes the log as a bot does, by plain SQL."""
    number = 0
    while True:
        with suppress(*AWAY):
            connection = await address.connect_plain(command_timeout=2)
            try:
                while True:
                    number += 1
                    await factories.system_log(connection, component="drill", message=str(number))
                    seen.written.add(str(number))
                    await asyncio.sleep(0.02)
            finally:
                connection.terminate()
        await asyncio.sleep(0.1)


async def follow(url: str, token: str, seen: Seen) -> None:
    """Follows the log as a client does: resumes from its cursor, and begins again after a reset."""
    cursor = None
    while True:
        try:
            async with connect(
                url, subprotocols=[Subprotocol("graphql-transport-ws")], close_timeout=1
            ) as socket:
                await socket.send(
                    json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}})
                )
                await socket.recv()
                variables = {"after": cursor, "backfill": 0 if cursor else 1000}
                payload = {"query": FOLLOW, "variables": variables}
                await socket.send(json.dumps({"id": "it", "type": "subscribe", "payload": payload}))
                async for text in socket:
                    said = json.loads(text)
                    if said["type"] == "error":
                        code = said["payload"][0]["extensions"]["code"]
                        seen.ends[code] += 1
                        if code.startswith("FEED_RESET"):
                            cursor = None
                        break
                    if said["type"] == "next":
                        event = said["payload"]["data"]["systemLogAdded"]
                        cursor = event["cursor"]
                        seen.received[event["log"]["message"]] += 1
                    elif said["type"] == "ping" and "cursor" in said.get("payload", {}):
                        cursor = said["payload"]["cursor"]
        except (OSError, WebSocketException, TimeoutError) as error:
            seen.ends[type(error).__name__] += 1
        await asyncio.sleep(0.1)


@dataclass
class Scene:
    """A primary, a synchronous standby, and a service."""

    primary: Server
    standby: Server
    service: Service
    address: Address
    """Whichever of the two is the primary."""
    pooler: PgBouncer | None
    """What the service reaches the primary through, where a fault is about it."""


Fault = Callable[[Scene], Awaitable[None]]


async def statement(server: Server, *sql: str) -> None:
    connection = await server.address_of("postgres").connect_plain()
    for each in sql:
        await connection.execute(each)
    await connection.close()


async def statement_if_possible(server: Server, *sql: str) -> None:
    with suppress(*AWAY):
        await statement(server, *sql)


async def restart(scene: Scene) -> None:
    await asyncio.to_thread(scene.primary.stop)
    await scene.primary.start()


async def crash(scene: Scene) -> None:
    scene.primary.crash()
    await scene.primary.start()


async def freeze(scene: Scene) -> None:
    scene.primary.freeze()
    await asyncio.sleep(3)
    scene.primary.thaw()


async def promote(scene: Scene) -> None:
    scene.primary.crash()
    await asyncio.to_thread(scene.standby.promote)
    await scene.standby.accepts_writes()


async def cut(scene: Scene) -> None:
    await statement(
        scene.primary,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    )


async def make_read_only(scene: Scene) -> None:
    reload = "SELECT pg_reload_conf()"
    await statement(scene.primary, "ALTER SYSTEM SET default_transaction_read_only = on", reload)
    await asyncio.sleep(2)
    await statement(
        scene.primary,
        "SET default_transaction_read_only = off",
        "ALTER SYSTEM RESET default_transaction_read_only",
        reload,
    )


async def lose_standby(scene: Scene) -> None:
    await statement(scene.primary, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
    scene.standby.crash()
    await asyncio.sleep(2)


async def kill_process(scene: Scene) -> None:
    scene.service.kill()
    await scene.service.start()


async def restart_process(scene: Scene) -> None:
    await asyncio.to_thread(scene.service.stop)
    await scene.service.start()


async def restart_pooler(scene: Scene) -> None:
    assert scene.pooler is not None
    await scene.pooler.stop()
    await asyncio.sleep(1)
    await scene.pooler.start()


async def fill_disk(scene: Scene) -> None:
    """Fills the disk for six seconds: writes fail, and PostgreSQL ends if its log needs another segment."""
    scene.primary.fill_disk()
    await asyncio.sleep(3)
    await statement_if_possible(scene.primary, "SELECT pg_switch_wal()", "CHECKPOINT")
    await asyncio.sleep(3)
    scene.primary.empty_disk()
    if scene.primary.has_ended:
        await scene.primary.start()


FAULTS: Mapping[str, Fault] = {
    "PostgreSQL restarted": restart,
    "PostgreSQL killed and started": crash,
    "PostgreSQL frozen for 3 s": freeze,
    "PostgreSQL killed, its standby promoted": promote,
    "all its connections cut": cut,
    "made read-only for 2 s": make_read_only,
    "its disk full for 6 s": fill_disk,
    "its replica, which answers queries, killed": lose_standby,
    "PgBouncer, through which it is reached, killed and started": restart_pooler,
    "the only process of the service killed and started": kill_process,
    "the only process of the service restarted": restart_process,
}


DISK = 300  # megabytes of the primary's, where it is to be filled


def what_is_missing(fault: Fault) -> str | None:
    """Returns why a failure can't be tested on this machine; None if it can be."""
    if fault is fill_disk and os.geteuid() != 0:
        return "only root can lay a small file system under a server"
    return "there is no PgBouncer" if fault is restart_pooler and not has_pgbouncer() else None


@asynccontextmanager
async def scene(fault: Fault) -> AsyncIterator[Scene]:
    """Starts two servers and a service, for one failure."""
    folder = scratch_folder()
    async with AsyncExitStack() as stack:
        primary, standby = Server(), Server()
        stack.callback(primary.remove)
        stack.callback(standby.remove)
        if fault is fill_disk:
            primary.limit_disk(DISK)
        await primary.make()
        standby.copy_of(primary, standby=True)
        await standby.start()
        await statement(
            primary, "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"
        )
        address = Address.parse(
            f"postgresql://postgres@/{DATABASE}?host={primary.folder},{standby.folder}&port={PORT},{PORT}"
            "&target_session_attrs=read-write"
        )
        pooler, urls = None, {}
        if fault is restart_pooler:
            pooler = PgBouncer(primary.address, folder / "pooler", "transaction", default_pool_size=20)
            await pooler.start()
            stack.push_async_callback(pooler.stop)
            urls = {"DATABASE_URL": pooler.url, "DATABASE_DIRECT_URL": address.dsn}
        service = await stack.enter_async_context(
            served_from(
                address,
                folder,
                **urls,
                DATABASE_REPLICA_URL=standby.address.dsn,
                GRAPHQL_API_STATEMENT_TIMEOUT="4",
                GRAPHQL_API_DRAIN_TIME="0.2",
            )
        )
        yield Scene(primary, standby, service, address, pooler)
    shutil.rmtree(folder, ignore_errors=True)


async def measure(fault: Fault, scene: Scene) -> Seen:
    """Causes one failure under load, and then searches the database for what was acknowledged."""
    seen = Seen()
    service, connection = scene.service, await scene.address.connect_plain()
    jobs = []
    for _ in range(CLIENTS):
        user = await factories.user(connection)
        account = await factories.account(connection, user)
        scopes = [Scope.GRAPH_READ, Scope.RISK_WRITE]
        made = await service_tokens.create(service.database, "drill", scopes, user_id=user, lifetime=None)
        jobs.append(change(service.url, made.text, account, seen))
    reader = await service_tokens.create(service.database, "drill", [Scope.LOGS_READ], lifetime=None)
    await connection.close()
    jobs += [write(scene.address, seen), follow(service.socket_url, reader.text, seen)]
    tasks = [asyncio.create_task(job) for job in jobs]
    await asyncio.sleep(BEFORE)
    await fault(scene)
    before = {account: len(numbers) for account, numbers in seen.acknowledged.items()}
    while any(len(seen.acknowledged[account]) <= count + 5 for account, count in before.items()):
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in tasks)
    await asyncio.sleep(AFTER)
    for task in (*tasks[:CLIENTS], tasks[-2]):
        task.cancel()
    connection = await scene.address.connect_plain()
    stored = {
        row["message"]
        for row in await connection.fetch("SELECT message FROM system_logs WHERE component = 'drill'")
    }
    seen.rows_lost = len(seen.written - stored)
    deadline = time.monotonic() + 20
    while set(seen.received) < stored and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    tasks[-1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    seen.rows_lost += len(stored - set(seen.received))
    for account, numbers in seen.acknowledged.items():
        times = Counter(row["number"] for row in await connection.fetch(MADE, account))
        seen.lost += len(set(numbers) - set(times))
        seen.repeated += sum(count > 1 for count in times.values())
    await connection.close()
    return seen


def line(name: str, seen: Seen) -> str:
    """Returns a row of the table."""
    codes = ", ".join(f"{count} {code}" for code, count in sorted(seen.answers.items()) if code != "data")
    ends = ", ".join(f"{count} {code}" for code, count in sorted(seen.ends.items()))
    writes = sum(map(len, seen.acknowledged.values()))
    return (
        f"| {name} | {codes or 'nothing'} | {seen.longest:.1f} | {ends or 'goes on'} |"
        f" {seen.lost} of {writes:,} | {seen.rows_lost} of {len(seen.written):,} |"
    )


async def main(names: list[str]) -> None:
    """Prints the table, or the rows with these names."""
    for name, fault in FAULTS.items():
        if names and name not in names:
            continue
        if (reason := what_is_missing(fault)) is not None:
            sys.stdout.write(f"| {name} | not tried: {reason} | | | | |\n")
            continue
        async with scene(fault) as set_up:
            sys.stdout.write(line(name, await measure(fault, set_up)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
