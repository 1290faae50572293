"""The feed: what it costs a server to send each new log line to everybody who follows the log.

pgbench inserts rows at a steady pace, one a transaction. What arrives while it does is divided by the CPU
that the server used meanwhile: servers that can't keep up are measured at their full speed.
"""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.cpu import cpu_seconds, peak_memory
from benchmarks.data import OPERATOR
from benchmarks.postgres import connected, pgbench
from benchmarks.report import table
from benchmarks.servers import Server, running
from benchmarks.subscribers import Subscriber, subscribed
from benchmarks.workloads import parameters
from graphql_api.postgres.address import Address

INSERT = (
    "INSERT INTO system_logs (level, component, message)"
    " VALUES ('INFO', 'benchmarks', 'a line of the usual length, which says what was done and to what');"
)
_TRIGGER = Path(__file__).parent / "peers" / "log_added.sql"
_DROP_TRIGGER = "DROP FUNCTION IF EXISTS log_added() CASCADE"


@dataclass(frozen=True, slots=True)
class Audience:
    """How many subscribers there are, and how many rows a second are inserted."""

    subscribers: int = 1000
    rows: int = 100
    """Rows inserted a second."""
    seconds: int = 10


@dataclass(frozen=True, slots=True)
class Delivered:
    """The results of one server."""

    deliveries: int
    expected: int
    server_cpu: float
    memory: int

    @property
    def per_second(self) -> float:
        """Deliveries per second of the server's CPU."""
        return self.deliveries / self.server_cpu

    @property
    def kept_up(self) -> float:
        """Returns the share of all deliveries that had arrived when the last row was written."""
        return self.deliveries / self.expected


async def measure(
    servers: Sequence[Server], audience: Audience, rounds: int, address: Address
) -> dict[str, list[Delivered]]:
    """Measure each server that has subscriptions, in turn. Raises LoadError, ServerError."""
    runs: dict[str, list[Delivered]] = defaultdict(list)
    for number in range(rounds):
        for server in servers:
            if not server.subscribes:
                continue
            async with connected(address) as connection:
                await connection.execute(_DROP_TRIGGER)
                if server is not servers[0]:  # ours needs no trigger of the benchmark's
                    await connection.execute(_TRIGGER.read_text())
            run = await _run(server, audience, address)
            runs[server.name].append(run)
            print(
                f"round {number + 1}: {server.name} feed {run.per_second:,.0f} deliveries per CPU second",
                flush=True,
            )
    return runs


async def _run(server: Server, audience: Audience, address: Address) -> Delivered:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "insert.sql"
        script.write_text(INSERT)
        pace = ("--no-vacuum", f"--rate={audience.rows}", f"--time={audience.seconds}", f"--file={script}")
        async with running(server, address, Path(folder) / "log") as process:
            headers = await process.headers(OPERATOR)
            asked = parameters(server.name, "Feed", {})
            make = partial(Subscriber, asked, headers)
            async with subscribed(process.port, audience.subscribers, make) as subscribers:
                await until_all_hear(subscribers, address)
                before = _events(subscribers), cpu_seconds(process.process)
                printed = await asyncio.to_thread(pgbench, address, *pace)
                after = _events(subscribers), cpu_seconds(process.process)
                memory = peak_memory(process.process)
    expected = transactions(printed) * audience.subscribers
    return Delivered(after[0] - before[0], expected, after[1] - before[1], memory)


async def until_all_hear(subscribers: Sequence[Subscriber], address: Address) -> None:
    """Inserts rows until every subscriber has received one, and waits until all of them have arrived."""
    async with connected(address) as connection:
        while not all(subscriber.events for subscriber in subscribers):
            await connection.execute(INSERT)
            await asyncio.sleep(0.2)
    before = -1
    while before < (now := _events(subscribers)):
        before = now
        await asyncio.sleep(1)


def transactions(printed: str) -> int:
    """How many transactions pgbench says it has made."""
    return int(printed.partition("transactions actually processed: ")[2].split()[0].partition("/")[0])


def _events(subscribers: Sequence[Subscriber]) -> int:
    return sum(subscriber.events for subscriber in subscribers)


def feed_table(servers: Sequence[Server], runs: dict[str, list[Delivered]]) -> str:
    """Returns the table of all servers that have subscriptions."""
    ours = median(run.per_second for run in runs[servers[0].name])
    goals = {"mercurius": "≥ 1", "conventional": "≥ 5"}
    rows = []
    for server in servers:
        if server.name not in runs:
            continue
        speed = median(run.per_second for run in runs[server.name])
        rows.append(
            (
                "feed",
                server.title,
                f"{speed:,.0f}",
                "" if server is servers[0] else f"{ours / speed:.2f}",
                goals.get(server.name, ""),
                f"{median(run.kept_up for run in runs[server.name]):.0%}",
                f"{median(run.memory for run in runs[server.name]) / 2**20:.0f}",
            )
        )
    head = ("workload", "server", "deliveries/CPU s", "ours ÷ it", "goal", "in time", "peak MiB")
    return table(head, rows)
