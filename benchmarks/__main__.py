"""The command: `python -m benchmarks`."""

import asyncio
import tempfile
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from benchmarks.postgres import running
from benchmarks.run import Run
from benchmarks.servers import SERVERS, former_build
from benchmarks.workloads import WORKLOADS, Workload


class Part(StrEnum):
    """What can be measured by itself."""

    WORKLOADS = "workloads"
    FEED = "feed"
    FANOUT = "fanout"
    DASHBOARDS = "dashboards"
    INSERTING = "inserting"
    SCALE = "scale"


_USUAL = tuple(part for part in Part if part is not Part.SCALE)


def main(
    part: Annotated[list[Part] | None, typer.Option(help="What to measure; else all but scale.")] = None,
    peer: Annotated[list[str] | None, typer.Option(help="Beside whom; all by default.")] = None,
    workload: Annotated[list[str] | None, typer.Option(help="Which workload; all by default.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each server has its turn.")] = 5,
    size: Annotated[float, typer.Option(help="A part of the usual requests, subscribers, seconds.")] = 1.0,
    trades: Annotated[int, typer.Option("--scale", help="Trades of scale's larger database.")] = 10_000_000,
    former: Annotated[
        list[str] | None, typer.Option(help="A git revision of this repository, measured beside the others.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where PostgreSQL keeps its data.")] = Path(".data/benchmarks"),
    *,
    alone: Annotated[bool, typer.Option("--alone", help="Without the peers.")] = False,
    write: Annotated[bool, typer.Option("--report", help="Write README.md, chart.svg and plans.md.")] = False,
) -> None:
    """Measure ours beside the peers: CPU per request, latency, memory; the feed, and its cost to writers."""
    ours, *peers = SERVERS
    servers = [ours, *(server for server in peers if not alone and (not peer or server.name in peer))]
    servers += [former_build(revision, Path(".data/builds")) for revision in former or ()]
    chosen = [each for each in WORKLOADS if not workload or each.name in workload]
    parts = part or _USUAL
    if set(parts) & {Part.WORKLOADS, Part.FEED, Part.DASHBOARDS}:
        for server in servers:
            server.install()
    with tempfile.TemporaryDirectory() as logs, running(folder) as postgres:
        run = Run(postgres, servers, rounds, size, Path(logs), write)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_measure(run, parts, chosen, trades))


async def _measure(run: Run, parts: Sequence[Part], chosen: Sequence[Workload], trades: int) -> None:
    if Part.WORKLOADS in parts:
        await run.workloads(chosen)
    if Part.FEED in parts:
        await run.feed()
    if Part.FANOUT in parts:
        await run.fanout()
    if Part.DASHBOARDS in parts:
        await run.dashboards()
    if Part.INSERTING in parts:
        await run.inserting()
    if set(parts) & set(_USUAL):
        await run.surroundings()
    if Part.SCALE in parts:
        await run.scale(trades)


if __name__ == "__main__":
    typer.run(main)
