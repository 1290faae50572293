"""Dashboards that follow accounts: the cost of their events, compared with polling.

Each dashboard is a socket that follows one account with a token of its owner's. pgbench changes trades of all
accounts at a steady pace. How long it took from the UPDATE to the dashboard is its lag, the client's own
delays included. The same dashboards could ask for the trades every two seconds: what that costs PostgreSQL is
measured by sending as many queries a second.
"""

import asyncio
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any, NamedTuple

from benchmarks.cpu import cpu_seconds, peak_memory
from benchmarks.data import prepare
from benchmarks.fanout import Lags
from benchmarks.feed import transactions
from benchmarks.load import Request, drive, post
from benchmarks.postgres import BackendClock, connected, pgbench
from benchmarks.postgres import Server as Postgres
from benchmarks.report import table
from benchmarks.servers import OURS, Running, Server, running
from benchmarks.subscribers import Subscriber, subscribed
from benchmarks.workloads import parameters
from graphql_api.postgres.address import Address

DATABASE = "dashboards"
OTHERS = 102
"""Users beside the traders of the data set: 300 accounts in all."""
_WATCHED = """
    INSERT INTO trades (id, session_id, symbol, direction, entry_price, size, entry_time, status, pnl)
    SELECT md5('watched ' || row_number() OVER (ORDER BY account_id, id))::uuid, id, 'EURUSD', 'buy', 1.1, 1,
           now(), 'open', 0
    FROM (SELECT DISTINCT ON (account_id) account_id, id FROM trading_sessions ORDER BY account_id, id) AS s
"""
# A column of money has no room for a time in milliseconds: it is counted from the last round number on.
_ROUND = 10**9
_CHANGE = f"""\\set number random(1, :accounts)
UPDATE trades SET pnl = (extract(epoch FROM clock_timestamp()) * 1000)::bigint % {_ROUND}
WHERE id = md5('watched ' || :number)::uuid;
"""
_PNL = b'"pnl":"'
_TRIGGER = Path(__file__).parent / "peers" / "trade_changed.sql"
_DROP_TRIGGER = "DROP FUNCTION IF EXISTS trade_changed() CASCADE"
_POLLED_EVERY = 2.0  # seconds
_POLL_GOAL = 1 / 20
"""The most that dashboards may cost PostgreSQL, as a part of what they would if they polled."""
_SOON = 2.0  # seconds


class Account(NamedTuple):
    """An account that is followed, and its owner's e-mail."""

    id: str
    owner: str


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many dashboards there are on how many accounts, and how many trades a second change."""

    dashboards: int
    accounts: int
    changes: int
    seconds: int = 30


CROWDS = (Crowd(1000, 300, 50), Crowd(1, 1, 5))


class Dashboard(Subscriber):
    """Notes how long each change of a trade took to come."""

    def __init__(self, asked: Mapping[str, Any], headers: Mapping[str, str], lags: Lags) -> None:
        super().__init__(asked, headers)
        self._lags = lags

    def read_frame(self, buffer: bytes, at: int) -> int:
        """Take a frame, and the time that is written in a trade's result."""
        before, end = self.events, super().read_frame(buffer, at)
        if self.events > before and (start := buffer.find(_PNL, at, end)) >= 0:
            start += len(_PNL)
            written = int(buffer[start : buffer.index(b".", start)] if b"." in buffer[start:end] else 0)
            lag = (int(time() * 1000) - written) % _ROUND
            self._lags.counts[min(lag, len(self._lags.counts) - 1)] += 1
        return end


@dataclass(frozen=True, slots=True)
class Followed:
    """The results of one server."""

    server: Server
    crowd: Crowd
    deliveries: int
    expected: int
    median: int
    slowest: int
    """The median and the 99th percentile of the lag, in milliseconds."""
    server_cpu: float
    database_cpu: float
    """CPU seconds a second, of the server; and of the PostgreSQL backends that serve its connections."""
    polling_cpu: float | None
    """CPU seconds a second of these backends, if the dashboards polled instead; None if not measured."""
    peak: int
    """The server's peak memory, in bytes."""


async def measure(
    postgres: Postgres, servers: Sequence[Server], crowds: Sequence[Crowd], others: int = OTHERS
) -> list[Followed]:
    """Measure each crowd on each server that has dashboards. Raises LoadError, ServerError."""
    address, _ = await prepare(postgres, DATABASE, others)
    async with connected(address) as connection:
        await connection.execute(_WATCHED)
        accounts = [
            Account(*row)
            for row in await connection.fetch("""
                SELECT account.id::text, email FROM tradelocker_accounts AS account
                JOIN users ON users.id = user_id ORDER BY account.id
            """)
        ]
    runs = []
    for crowd in crowds:
        for server in servers:
            async with connected(address) as connection:
                await connection.execute(_DROP_TRIGGER)
                if server is not OURS:
                    await connection.execute(_TRIGGER.read_text())
            run = await _run(postgres, address, server, crowd, accounts[: crowd.accounts])
            print(run, flush=True)
            runs.append(run)
    return runs


async def _run(
    postgres: Postgres, address: Address, server: Server, crowd: Crowd, accounts: Sequence[Account]
) -> Followed:
    lags = Lags()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "change.sql"
        script.write_text(_CHANGE)
        pace = (
            *("--no-vacuum", f"--define=accounts={len(accounts)}", f"--file={script}"),
            *(f"--rate={crowd.changes}", f"--time={crowd.seconds}"),
        )
        async with (
            running(server, address, Path(folder) / "log") as process,
            postgres.backend_clock(DATABASE) as backends,
        ):
            headers = {email: await process.headers(email) for email in {each.owner for each in accounts}}
            following = iter(range(crowd.dashboards))

            def make() -> Dashboard:
                account = accounts[next(following) % len(accounts)]
                asked = parameters(server.name, "Dashboard", {"account": account.id})
                return Dashboard(asked, headers[account.owner], lags)

            async with subscribed(process.port, crowd.dashboards, make):
                await asyncio.sleep(_SOON)
                used = cpu_seconds(process.process), await backends.read()
                changes = transactions(await asyncio.to_thread(pgbench, address, *pace))
                used = cpu_seconds(process.process) - used[0], await backends.read() - used[1]
                await asyncio.sleep(_SOON)
            polling = None
            if server is OURS:
                polling = await _cpu_of_polling(process, backends, crowd, accounts, headers)
            return Followed(
                server,
                crowd,
                sum(lags.counts),
                round(changes * crowd.dashboards / len(accounts)),
                lags.percentile(0.5),
                lags.percentile(0.99),
                used[0] / crowd.seconds,
                used[1] / crowd.seconds,
                polling,
                peak_memory(process.process),
            )


async def _cpu_of_polling(
    process: Running,
    backends: BackendClock,
    crowd: Crowd,
    accounts: Sequence[Account],
    headers: Mapping[str, dict[str, str]],
) -> float:
    """Returns the CPU seconds a second of the backends, if each dashboard asked for its trades that often."""
    requests = []
    for account in accounts:
        asked = json.dumps(parameters(OURS.name, "Poll", {"account": account.id})).encode()
        requests.append(Request(post("/graphql", asked, headers[account.owner])))
    rate = crowd.dashboards / _POLLED_EVERY
    count = max(round(rate * crowd.seconds), len(requests))

    async def ask(count: int) -> float:
        before = await backends.read()
        await drive(process.port, requests, count=count, connections=len(requests), rate=rate)
        return await backends.read() - before

    await ask(len(requests))  # so that the statements have been planned
    return await ask(count) / count * rate


def dashboards_table(runs: Sequence[Followed]) -> str:
    """Returns the table of all runs."""
    head = (
        "dashboards",
        "server",
        "deliveries",
        "expected",
        "median lag ms",
        "99 % lag ms",
        "deliveries/CPU s",
        "PostgreSQL CPU",
        "if they polled",
        "ratio",
        "goal",
        "peak MiB",
    )
    rows = [
        (
            f"{run.crowd.dashboards:,} on {run.crowd.accounts} accounts, {run.crowd.changes} changes/s"
            if number == 0 or run.crowd != runs[number - 1].crowd
            else "",
            run.server.title,
            f"{run.deliveries:,}",
            f"{run.expected:,}",
            f"{run.median}",
            f"{run.slowest}",
            f"{run.deliveries / run.crowd.seconds / run.server_cpu:,.0f}" if run.server_cpu else "",
            f"{run.database_cpu:.2%}",
            "" if run.polling_cpu is None else f"{run.polling_cpu:.1%}",
            f"{run.database_cpu / run.polling_cpu:.3f}" if run.polling_cpu else "",
            f"≤ {_POLL_GOAL:g}" if run.polling_cpu and run.crowd.dashboards > 1 else "",
            f"{run.peak / 2**20:.0f}",
        )
        for number, run in enumerate(runs)
    ]
    return table(head, rows)
