"""What other programs notice while a database is migrated: `python -m benchmarks.live_migration`.

A bot opens and closes trades and writes log lines, other programs read, and each statement is
timed: one every 20 ms for each kind. Meanwhile `graphql-api migrate` runs, is killed and started
again; a transaction that has read the tables stays open for a part of the time. The longest
statement of each kind is what the migration cost them.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic, perf_counter
from typing import Annotated

import asyncpg
import typer

from benchmarks.postgres import connected, running
from benchmarks.report import table
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import migrate, plan

_INTERVAL = 0.02
_DATABASE = "live_migration"

_FILL = """
    INSERT INTO users (id, email, password_hash)
    SELECT md5('u' || n)::uuid, n || '@benchmarks.example', '' FROM generate_series(1, 50) AS n;
    INSERT INTO tradelocker_accounts (id, user_id, account_number, server)
    SELECT md5('a' || n)::uuid, md5('u' || (1 + n % 50))::uuid, n, 'demo' FROM generate_series(1, 100) AS n;
    INSERT INTO trading_sessions (id, account_id)
    SELECT md5('s' || n)::uuid, md5('a' || (1 + n % 100))::uuid FROM generate_series(1, 2000) AS n;
"""
_TRADES = """
    INSERT INTO trades (session_id, symbol, direction, entry_price, exit_price, size, entry_time, exit_time,
                        pnl, status, strategy_id, ai_confidence)
    SELECT md5('s' || (1 + n % 2000))::uuid, 'EURUSD', 'BUY', 1.1, 1.2, 0.1, at, at, n % 100 - 50, 'CLOSED',
           md5('g' || (n % 20))::uuid, (n % 100) / 100.0
    FROM (SELECT n, now() - n * interval '10 s' AS at FROM generate_series(1, $1::integer) AS n) AS made
"""
_LOGS = """
    INSERT INTO system_logs (timestamp, level, component, message)
    SELECT now() - n * interval '10 s', 'INFO', 'bot', 'order ' || n || ' filled'
    FROM generate_series(1, $1::integer) AS n
"""

# What is timed: the bot's statements, and others' reads.
_PROBES = {
    "open a trade": """
        INSERT INTO trades (id, session_id, symbol, direction, entry_price, size, entry_time, status)
        VALUES (md5($1::text)::uuid, md5('s1')::uuid, 'EURUSD', 'BUY', 1.1, 0.1, now(), 'OPEN')
    """,
    "close a trade": """
        UPDATE trades SET exit_time = now(), exit_price = 1.2, pnl = 1, status = 'CLOSED'
        WHERE id = md5($1::text)::uuid
    """,
    "write a log line": """
        INSERT INTO system_logs (level, component, message) VALUES ('INFO', 'bot', $1::text)
    """,
    "read a session's trades": """
        SELECT count(*) FROM trades WHERE session_id = md5('s' || length($1::text))::uuid
    """,
    "read the newest log lines": """
        SELECT id FROM system_logs WHERE message <> $1::text ORDER BY timestamp DESC LIMIT 50
    """,
}

Durations = defaultdict[str, list[float]]


async def _probe(address: Address, kind: str, durations: Durations, over: asyncio.Event) -> None:
    """Runs one kind of statement every 20 ms until it is over, and keeps how long each took."""
    async with connected(address) as connection:
        statement = await connection.prepare(_PROBES[kind])
        number = 0
        while not over.is_set():
            began = perf_counter()
            await statement.fetch(f"probe {number}")
            took = perf_counter() - began
            durations[kind].append(took)
            number += 1
            await asyncio.sleep(max(0.0, _INTERVAL - took))


async def _hold_reader(address: Address, seconds: float) -> None:
    """Keeps a transaction open that has read both tables."""
    async with connected(address) as connection, connection.transaction():
        await connection.fetchval("SELECT count(*) FROM (SELECT FROM trades LIMIT 1) AS one")
        await connection.fetchval("SELECT count(*) FROM (SELECT FROM system_logs LIMIT 1) AS one")
        await asyncio.sleep(seconds)


@asynccontextmanager
async def _probing(address: Address, durations: Durations) -> AsyncIterator[None]:
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for kind in _PROBES:
            group.create_task(_probe(address, kind, durations, over))
        try:
            yield
        finally:
            over.set()


def _start(address: Address) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        (sys.executable, "-m", "graphql_api", "migrate"), env=os.environ | {"DATABASE_URL": address.dsn}
    )


async def _migrate(address: Address, kills: int, chance: random.Random) -> float:
    """Migrates in a process that is killed again and again. Returns the seconds it took in all."""
    began = monotonic()
    for _ in range(kills):
        process = _start(address)
        await asyncio.sleep(chance.uniform(1, 8))
        process.send_signal(signal.SIGKILL)
        process.wait()
    if await asyncio.to_thread(_start(address).wait):
        raise RuntimeError("the migration failed")
    return monotonic() - began


async def _fill(connection: "asyncpg.Connection", trades: int, logs: int) -> None:
    await connection.execute(_FILL)
    await connection.execute(_TRADES, trades)
    await connection.execute(_LOGS, logs)
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")


def _table(before: Durations, during: Durations) -> str:
    head = ("", "statements", "longest before", "median during", "99 % during", "longest during", "goal")
    lines = []
    for kind in _PROBES:
        took = sorted(during[kind])
        lines.append(
            (
                kind,
                f"{len(took):,}",
                f"{max(before[kind]) * 1000:.0f} ms",
                f"{took[len(took) // 2] * 1000:.1f} ms",
                f"{took[len(took) * 99 // 100] * 1000:.0f} ms",
                f"{took[-1] * 1000:.0f} ms",
                "< 1,000 ms",
            )
        )
    return table(head, lines)


async def _measure(address: Address, trades: int, logs: int, kills: int, seed: int) -> None:
    await migrate(address, "0001")  # the documented schema, and nothing of ours
    async with connected(address) as connection:
        await _fill(connection, trades, logs)
    before, during = Durations(list), Durations(list)
    async with _probing(address, before):
        await asyncio.sleep(10)
    async with connected(address) as connection:
        await connection.execute(
            "DELETE FROM trades WHERE id = ANY (ARRAY(SELECT md5('probe ' || n)::uuid"
            " FROM generate_series(0, 1000000) AS n))"
        )
    async with _probing(address, during), asyncio.TaskGroup() as group:
        group.create_task(_hold_reader(address, 30))
        await asyncio.sleep(1)
        seconds = await _migrate(address, kills, random.Random(seed))
    print(_table(before, during))
    print(f"\n{trades:,} trades, {logs:,} log lines, {seconds:.0f} s, killed {kills} times (seed {seed}).")
    print("Nothing is left to do." if not await plan(address) else "NOT up to date.")


def main(
    trades: Annotated[int, typer.Option(help="Trades in the database.")] = 3_000_000,
    logs: Annotated[int, typer.Option(help="Log lines in the database.")] = 1_000_000,
    kills: Annotated[int, typer.Option(help="How often the migration is killed.")] = 5,
    seed: Annotated[int | None, typer.Option(help="When it is killed; else by chance.")] = None,
    folder: Annotated[Path, typer.Option(help="Where PostgreSQL keeps its data.")] = Path(".data/benchmarks"),
) -> None:
    """Measure what a bot and other readers notice of a migration."""
    chosen = random.randrange(2**32) if seed is None else seed

    async def run() -> None:
        await _measure(await postgres.create(_DATABASE), trades, logs, kills, chosen)

    with running(folder) as postgres:
        asyncio.run(run())


if __name__ == "__main__":
    typer.run(main)
