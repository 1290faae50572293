"""What the feed costs those who write the log: inserts per second, bare table against ours."""

import asyncio
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.feed import INSERT
from benchmarks.postgres import Server as Postgres
from benchmarks.postgres import pgbench
from benchmarks.report import table
from graphql_api.db.address import Address
from graphql_api.db.migrate import migrate

BARE, OURS = "bare", "ours"
WRITERS = (1, 8)

Rates = Mapping[tuple[str, int], Sequence[float]]
"""Inserts per second by table and number of writers, one for each round."""

_TPS = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)


async def measure(postgres: Postgres, rounds: int, seconds: int) -> Rates:
    """Insert for so many seconds, one row a transaction; bare and ours in turn."""
    databases = {BARE: await postgres.create("inserting_bare"), OURS: await postgres.create("inserting_ours")}
    await migrate(databases[BARE], "0001")  # the given schema, and nothing of ours
    await migrate(databases[OURS])
    rates: dict[tuple[str, int], list[float]] = {
        (name, writers): [] for writers in WRITERS for name in databases
    }
    # Somebody listens, as the feed's reader would.
    async with postgres.connection("inserting_ours") as listener:
        await listener.add_listener("log_feed", lambda *_: None)
        for _ in range(rounds):
            for (name, writers), so_far in rates.items():
                rate = await asyncio.to_thread(_insert, databases[name], writers, seconds)
                so_far.append(rate)
                print(f"{name}, {writers} writers: {rate:,.0f} inserts a second")
    return rates


def _insert(address: Address, writers: int, seconds: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "insert.sql"
        script.write_text(INSERT)
        count = (f"--client={writers}", f"--jobs={min(writers, 2)}", f"--time={seconds}")
        printed = pgbench(address, "--no-vacuum", "--protocol=prepared", *count, f"--file={script}")
    found = _TPS.search(printed)
    assert found is not None, printed
    return float(found[1])


def inserting_table(rates: Rates) -> str:
    """The cost for each number of writers."""
    rows = []
    for writers in WRITERS:
        bare, ours = rates[BARE, writers], rates[OURS, writers]
        ratio = median(one / other for one, other in zip(ours, bare, strict=True))
        counted = "1 writer" if writers == 1 else f"{writers} writers"
        rows.append(
            ("inserting", counted, f"{median(bare):,.0f}", f"{median(ours):,.0f}", f"{ratio:.2f}", "≥ 0.8")
        )
    return table(("workload", "who", "bare inserts/s", "ours inserts/s", "ours ÷ bare", "goal"), rows)
