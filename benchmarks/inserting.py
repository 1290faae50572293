"""What the feed costs those who write the log: inserts per second, given table against ours."""

import asyncio
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import sleep

from benchmarks.cpu import cpu_seconds
from benchmarks.feed import INSERT
from benchmarks.postgres import Server as Postgres
from benchmarks.postgres import connected, pgbench
from benchmarks.report import table
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import migrate

BARE, OURS = "bare", "ours"
WRITERS = (1, 8)

# Seconds after which PostgreSQL has waited for its backends' ends, and counts their CPU as its own: one that
# ends while the tree is read is in neither count, and in that of the next one.
_REAPED = 0.5

_FIGURES = {
    "rate": re.compile(r"^tps = ([\d.]+)", re.MULTILINE),
    "count": re.compile(r"actually processed: (\d+)"),
}


@dataclass(frozen=True, slots=True)
class Inserted:
    """The result of one round on one table."""

    rate: float
    """Inserts per second."""
    cpu: float
    """Seconds of PostgreSQL's CPU for each."""


Runs = Mapping[tuple[str, int], Sequence[Inserted]]
"""By table and number of writers, one for each round."""


async def measure(postgres: Postgres, rounds: int, seconds: int) -> Runs:
    """Insert for so many seconds, one row a transaction; bare and ours in turn."""
    databases = {BARE: await postgres.create("inserting_bare"), OURS: await postgres.create("inserting_ours")}
    await migrate(databases[BARE], "0001")  # the given schema, and nothing of ours
    await migrate(databases[OURS])
    process = await postgres.process()
    runs: dict[tuple[str, int], list[Inserted]] = {
        (name, writers): [] for writers in WRITERS for name in databases
    }
    # Somebody listens, as the feed's reader would.
    async with connected(databases[OURS]) as listener:
        await listener.add_listener("log_feed", lambda *_: None)
        for number in range(rounds):
            # Each goes first in every other round, so that neither has the better half of a drift.
            turns = [(name, writers) for writers in WRITERS for name in (BARE, OURS)[:: 1 - 2 * (number % 2)]]
            for name, writers in turns:
                run = await asyncio.to_thread(_insert, databases[name], writers, seconds, process)
                runs[name, writers].append(run)
                print(f"{name}, {writers} writers: {run.rate:,.0f} inserts a second", flush=True)
    return runs


def _insert(address: Address, writers: int, seconds: int, process: int) -> Inserted:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "insert.sql"
        script.write_text(INSERT)
        count = (f"--client={writers}", f"--jobs={min(writers, 2)}", f"--time={seconds}")
        before = cpu_seconds(process)
        printed = pgbench(address, "--no-vacuum", "--protocol=prepared", *count, f"--file={script}")
        sleep(_REAPED)
        used = cpu_seconds(process) - before
    figures = {name: pattern.search(printed) for name, pattern in _FIGURES.items()}
    rate, inserts = (float(found[1]) for found in figures.values() if found)
    return Inserted(rate, used / inserts)


def inserting_table(runs: Runs) -> str:
    """The cost for each number of writers."""
    rows = []
    for writers in WRITERS:
        bare, ours = runs[BARE, writers], runs[OURS, writers]
        kept = median(one.rate / other.rate for one, other in zip(ours, bare, strict=True))
        rows.append(
            (
                "inserting",
                "1 writer" if writers == 1 else f"{writers} writers",
                f"{median(run.rate for run in bare):,.0f}",
                f"{median(run.rate for run in ours):,.0f}",
                f"{kept:.2f}",
                "≥ 0.8",
                f"{median(run.cpu for run in bare) * 1e6:.0f}",
                f"{median(run.cpu for run in ours) * 1e6:.0f}",
            )
        )
    head = (
        "",
        "who",
        "bare inserts/s",
        "ours inserts/s",
        "ours ÷ bare",
        "goal",
        "bare CPU µs",
        "ours CPU µs",
    )
    return table(head, rows)
