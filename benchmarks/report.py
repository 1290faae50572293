"""The tables: on the terminal, and with versions and machine in README.md."""

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psutil

from benchmarks.measure import Measured, Plan

README = Path(__file__).parent / "README.md"

# The most that ours may cost by what a peer costs, server and PostgreSQL together.
_BEST = {
    "small": 1.0,
    "crowd": 0.9,
    "deep": 0.85,
    "page": 0.85,
    "to-one": 0.6,
    "lists": 0.85,
    "mutation": 0.9,
}
GOALS = {
    "postgraphile": {"small": 1.0, "deep": 0.7, "page": 0.7, "to-one": 0.7, "lists": 0.7, "mutation": 1.0},
    "mercurius": _BEST,
    "bun": _BEST,
    "conventional": {"deep": 0.125},
}

Row = Sequence[str]


def table(head: Row, rows: Iterable[Row]) -> str:
    """A Markdown table, its columns aligned; all but the first two are numbers."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = ["-" * width if column < 2 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join(_aligned(line, widths) for line in (head, rule, *rows))


def _aligned(line: Row, widths: Sequence[int]) -> str:
    cells = (
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return f"| {' | '.join(cells)} |"


def workload_table(plan: Plan, measured: Measured) -> str:
    """Every workload on every server."""
    head = (
        "workload",
        "server",
        "server ms",
        "PostgreSQL ms",
        "together ms",
        "ours ÷ it",
        "goal",
        "requests/s",
        "median ms",
        "99 % ms",
    )
    ours, *_ = plan.servers
    rows = []
    for workload in plan.workloads:
        for server in plan.servers:
            sample = measured.middle(workload.name, server.name)
            goal = GOALS.get(server.name, {}).get(workload.name)
            ratio = f"{measured.ratio(workload.name, ours.name, server.name):.2f}"
            rows.append(
                (
                    workload.name if server is ours else "",
                    server.title,
                    f"{sample.server_cpu * 1e3:.2f}",
                    f"{sample.postgres_cpu * 1e3:.2f}",
                    f"{sample.cpu * 1e3:.2f}",
                    "" if server is ours else ratio,
                    "" if goal is None else f"≤ {goal:g}",
                    f"{sample.rate:.0f}",
                    f"{sample.median * 1e3:.1f}",
                    f"{sample.slowest * 1e3:.1f}",
                )
            )
    return table(head, rows)


def server_table(plan: Plan, measured: Measured) -> str:
    """The peak memory of each server, its start, and what it is made of."""
    rows = []
    for server in plan.servers:
        seconds, cpu = (median(values) for values in zip(*measured.starts[server.name], strict=True))
        memory = measured.memory[server.name] / 2**20
        rows.append((server.title, server.versions(), f"{memory:.0f}", f"{seconds:.1f}", f"{cpu:.1f}"))
    return table(("server", "versions", "peak MiB", "start s", "start CPU s"), rows)


def surroundings(postgres: str) -> str:
    """When and on what it was measured, and how busy the machine was with other things."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {_processor()}, {os.cpu_count()} cores,"
        f" {memory:.0f} GiB of memory, Linux {platform.release().split('-')[0]};"
        f" Python {platform.python_version()}, PostgreSQL {postgres};"
        f" load average {os.getloadavg()[2]:.1f} over the last 15 minutes, this run included."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def write(section: str, text: str) -> None:
    """Put `text` into README.md, between the two comments that name the section."""
    begin, end = f"<!-- {section} -->", f"<!-- end of {section} -->"
    before, _, rest = README.read_text().partition(begin)
    _, _, after = rest.partition(end)
    README.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}")
