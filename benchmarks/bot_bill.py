"""What the service costs the bot that writes to its database: `python -m benchmarks.bot_bill`.

The same rows are written to two databases of one server in turn: one has only the documented schema, the
other is migrated. The CPU of the writing backends and the WAL are compared, by row: for single rows, each in
its own transaction, and for a hundred at a time (by COPY if rows are new); by one writer and by eight; just
after a checkpoint, when the first change of a page writes the whole page to the WAL, and later.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import md5
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated, Literal
from uuid import UUID, uuid4

import asyncpg
import typer

from benchmarks.postgres import Server, connected, running
from benchmarks.report import table
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import migrate

_BULK = 100
_WRITERS = (1, 8)
_PHASES = ("after a checkpoint", "between")

_FILL = """
    INSERT INTO users (id, email, password_hash)
    SELECT md5('u' || n)::uuid, n || '@benchmarks.example', '' FROM generate_series(0, 49) AS n;
    INSERT INTO tradelocker_accounts (id, user_id, account_number, server)
    SELECT md5('a' || n)::uuid, md5('u' || n % 50)::uuid, n, 'demo' FROM generate_series(0, 99) AS n;
    INSERT INTO ai_strategies (id, name) SELECT md5('g' || n)::uuid, n FROM generate_series(0, 19) AS n;
    INSERT INTO trading_sessions (id, account_id)
    SELECT md5('s' || n)::uuid, md5('a' || n % 100)::uuid FROM generate_series(0, 999) AS n;
"""
_TRADES = """
    INSERT INTO trades (session_id, symbol, direction, entry_price, exit_price, size, entry_time, exit_time,
                        pnl, status, strategy_id, ai_confidence)
    SELECT md5('s' || n % 1000)::uuid, 'EURUSD', 'BUY', 1.1, 1.2, 0.1, at, at, n % 100 - 50, 'CLOSED',
           md5('g' || n % 20)::uuid, n % 100 / 100.0
    FROM (SELECT n, now() - n * interval '30 s' AS at FROM generate_series($1::integer, 1, -1) AS n) AS made
"""
_LOGS = """
    INSERT INTO system_logs (timestamp, level, component, message)
    SELECT now() - n * interval '30 s', 'INFO', 'bot', 'order ' || n || ' filled'
    FROM generate_series($1::integer, 1, -1) AS n
"""
_TRADE_COLUMNS = (
    *("id", "session_id", "symbol", "direction", "entry_price", "size", "entry_time", "status"),
    *("strategy_id", "ai_confidence"),
)
_LOG_COLUMNS = ("level", "component", "message")
_OPEN = f"""
    INSERT INTO trades ({", ".join(_TRADE_COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_CLOSE = "UPDATE trades SET exit_price = 1.2, exit_time = now(), pnl = 10, status = 'CLOSED' WHERE"
_UPDATE = "UPDATE trading_sessions SET pnl = $1, trades_count = trades_count + 1 WHERE"
_LOG = "INSERT INTO system_logs (level, component, message) VALUES ($1, $2, $3)"

Kind = Literal["a trade, opened and closed", "a session's update", "a log line"]
GOALS: Mapping[Kind, tuple[float, float]] = {
    "a trade, opened and closed": (2.5, 3.0),
    "a session's update": (1.6, 1.6),
    "a log line": (1.6, 1.6),
}
"""The most that CPU and WAL may be, by those of the documented schema."""

Write = Callable[["asyncpg.Connection", int, random.Random], Awaitable[None]]
"""Writes so many rows."""


@dataclass(frozen=True, slots=True)
class Case:
    """Something that the bot does, in one of the ways that it may."""

    kind: Kind
    is_bulk: bool
    writers: int
    phase: str


@dataclass(frozen=True, slots=True)
class Bill:
    """What a row cost."""

    cpu: float
    """Seconds of the backends."""
    wal: float
    """Bytes."""


Bills = Mapping[Case, Sequence[tuple[Bill, Bill]]]
"""By case: for each round that of the documented schema, and ours."""


def _trade(chance: random.Random) -> tuple[object, ...]:
    place = chance.randrange(1000)
    session, strategy = _id(f"s{place}"), _id(f"g{place % 20}")
    return uuid4(), session, "EURUSD", "BUY", 1, 1, datetime.now(UTC), "OPEN", strategy, 0


def _log(chance: random.Random) -> tuple[str, str, str]:
    return "INFO", "bot", f"order {chance.randrange(10**9)} filled"


def _id(name: str) -> UUID:
    return UUID(md5(name.encode(), usedforsecurity=False).hexdigest())


async def _write_trades(connection: "asyncpg.Connection", rows: int, chance: random.Random) -> None:
    for _ in range(rows):
        trade = _trade(chance)
        await connection.execute(_OPEN, *trade)
        await connection.execute(f"{_CLOSE} id = $1", trade[0])


async def _copy_trades(connection: "asyncpg.Connection", rows: int, chance: random.Random) -> None:
    for start in range(0, rows, _BULK):
        trades = [_trade(chance) for _ in range(min(_BULK, rows - start))]
        await connection.copy_records_to_table("trades", columns=_TRADE_COLUMNS, records=trades)
        await connection.execute(f"{_CLOSE} id = ANY ($1::uuid[])", [trade[0] for trade in trades])


async def _update_sessions(connection: "asyncpg.Connection", rows: int, chance: random.Random) -> None:
    for number in range(rows):
        await connection.execute(f"{_UPDATE} id = $2", number, _id(f"s{chance.randrange(1000)}"))


async def _update_many_sessions(connection: "asyncpg.Connection", rows: int, chance: random.Random) -> None:
    for start in range(0, rows, _BULK):
        # In one order, so that writers can't deadlock.
        ids = sorted(_id(f"s{place}") for place in chance.sample(range(1000), min(_BULK, rows - start)))
        locked = "id IN (SELECT id FROM trading_sessions WHERE id = ANY ($2::uuid[]) ORDER BY id FOR UPDATE)"
        await connection.execute(f"{_UPDATE} {locked}", start, ids)


async def _write_logs(connection: "asyncpg.Connection", rows: int, chance: random.Random) -> None:
    for _ in range(rows):
        await connection.execute(_LOG, *_log(chance))


async def _copy_logs(connection: "asyncpg.Connection", rows: int, chance: random.Random) -> None:
    for start in range(0, rows, _BULK):
        logs = [_log(chance) for _ in range(min(_BULK, rows - start))]
        await connection.copy_records_to_table("system_logs", columns=_LOG_COLUMNS, records=logs)


_WRITES: Mapping[tuple[Kind, bool], Write] = {
    ("a trade, opened and closed", False): _write_trades,
    ("a trade, opened and closed", True): _copy_trades,
    ("a session's update", False): _update_sessions,
    ("a session's update", True): _update_many_sessions,
    ("a log line", False): _write_logs,
    ("a log line", True): _copy_logs,
}


async def measure(postgres: Server, *, trades: int, rounds: int, rows: int) -> Bills:
    """Write so many single rows for each case, and ten times as many in bulk; bare and ours in turn."""
    bare, ours = await postgres.create("bill_bare"), await postgres.create("bill_ours")
    for address in (bare, ours):
        await migrate(address, "0001")  # the documented schema, and nothing of ours
        async with connected(address) as connection:
            await connection.execute(_FILL)
            await connection.execute(_TRADES, trades)
            await connection.execute(_LOGS, trades)
    await migrate(ours)
    for address in (bare, ours):
        async with connected(address) as connection:
            await connection.execute("VACUUM ANALYZE")
    bills: dict[Case, list[tuple[Bill, Bill]]] = defaultdict(list)
    async with _quiet(postgres), connected(ours) as listener:
        await listener.add_listener("log_feed", lambda *_: None)  # as the feed's reader does
        for number, ((kind, is_bulk), write), writers in product(range(rounds), _WRITES.items(), _WRITERS):
            # Each goes first in every other round, so that neither has the better half of a drift.
            turns = (bare, ours) if number % 2 else (ours, bare)
            amount = rows * 10 if is_bulk else rows
            found = {address: await _run(address, write, amount, writers) for address in turns}
            for place, phase in enumerate(_PHASES):
                case = Case(kind, is_bulk, writers, phase)
                bills[case].append((found[bare][place], found[ours][place]))
            print(f"round {number + 1}: {kind}, {'bulk' if is_bulk else 'single'}, {writers}", flush=True)
    return bills


@asynccontextmanager
async def _quiet(postgres: Server) -> AsyncIterator[None]:
    """Keeps autovacuum, whose WAL nobody could tell from the writers', from working."""
    async with postgres.connection() as connection:
        await connection.execute("ALTER SYSTEM SET autovacuum = off")
        await connection.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            await connection.execute("ALTER SYSTEM RESET autovacuum")


async def _run(address: Address, write: Write, rows: int, writers: int) -> list[Bill]:
    """One bill for each phase."""
    async with AsyncExitStack() as stack:
        observer = await stack.enter_async_context(connected(address))
        connections = [await stack.enter_async_context(connected(address)) for _ in range(writers)]
        for connection in connections:
            await write(connection, 1, random.Random(0))  # it has read the catalog and planned by then
        await observer.execute("CHECKPOINT")
        return [
            await _bill(observer, connections, write, rows, random.Random(seed))
            for seed in range(len(_PHASES))
        ]


async def _bill(
    observer: "asyncpg.Connection",
    connections: Sequence["asyncpg.Connection"],
    write: Write,
    rows: int,
    chance: random.Random,
) -> Bill:
    each = rows // len(connections)
    backends = [connection.get_server_pid() for connection in connections]
    began, used = await observer.fetchval("SELECT pg_current_wal_insert_lsn()"), sum(map(_cpu, backends))
    await asyncio.gather(
        *(write(connection, each, random.Random(chance.random())) for connection in connections)
    )
    used = sum(map(_cpu, backends)) - used
    wal = await observer.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::pg_lsn)", began)
    written = each * len(connections)
    return Bill(used / written, float(wal) / written)


def _cpu(backend: int) -> float:
    """The seconds of CPU that a backend has used, which the kernel counts in nanoseconds here."""
    return int(Path(f"/proc/{backend}/schedstat").read_text().split(maxsplit=1)[0]) / 1e9


def bill_table(bills: Bills) -> str:
    """The bill of each case, medians over the rounds; a ratio is the median of the rounds' ratios."""
    head = (
        *("what", "when", "rows at once", "writers", "bare CPU µs", "ours CPU µs", "ours ÷ bare", "goal"),
        *("bare WAL B", "ours WAL B", "ours ÷ bare", "goal"),
    )
    lines = []
    for case, rounds in bills.items():
        cells = [case.kind, case.phase, str(_BULK if case.is_bulk else 1), str(case.writers)]
        cpu = [(bare.cpu * 1e6, ours.cpu * 1e6) for bare, ours in rounds]
        wal = [(bare.wal, ours.wal) for bare, ours in rounds]
        for figures, goal in zip((cpu, wal), GOALS[case.kind], strict=True):
            cells += [f"{median(side):,.0f}" for side in zip(*figures, strict=True)]
            cells += [f"{median(ours / bare for bare, ours in figures):.2f}", f"≤ {goal:g}"]
        lines.append(cells)
    return table(head, lines)


def main(
    trades: Annotated[int, typer.Option(help="Trades, and log lines, that are there before.")] = 400_000,
    rounds: Annotated[int, typer.Option(help="How often each case is measured.")] = 5,
    rows: Annotated[
        int, typer.Option(help="Single rows of each case; in bulk it is ten times as many.")
    ] = 4_000,
    folder: Annotated[Path, typer.Option(help="Where PostgreSQL keeps its data.")] = Path(".data/benchmarks"),
) -> None:
    """Measure what the bot's writes cost, beside the documented schema."""
    with running(folder) as postgres:
        print(bill_table(asyncio.run(measure(postgres, trades=trades, rounds=rounds, rows=rows))))


if __name__ == "__main__":
    typer.run(main)
