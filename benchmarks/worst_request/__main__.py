"""The command: `python -m benchmarks.worst_request`."""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import httpx
import typer

from benchmarks.postgres import Server as Postgres
from benchmarks.postgres import running
from benchmarks.report import surroundings, table
from benchmarks.servers import OURS, ServerError, end_of, former_build, free_port
from benchmarks.worst_request import neighbour, password_flood
from benchmarks.worst_request.attacks import attacks
from benchmarks.worst_request.costs import kinds
from benchmarks.worst_request.data import (
    OPERATOR,
    TENANT,
    TRADERS_COMPONENT,
    Data,
    fill,
    prepare,
)
from benchmarks.worst_request.drafts import Drafter
from benchmarks.worst_request.search import GOALS, TITLES, Figures, Search, Tried, is_ready, save, shown
from graphql_api.app import build_operations
from graphql_api.schema import schema
from graphql_api.settings import Settings

PROFILES = ("development", "production")
PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def main(
    tries: Annotated[int, typer.Option(min=1, help="Requests that are drawn or varied.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Of the requests that are drawn.")] = 1,
    profile: Annotated[list[str] | None, typer.Option(help="Which profile; else both.")] = None,
    folder: Annotated[Path, typer.Option(help="Where PostgreSQL keeps its data.")] = Path(".data/benchmarks"),
    found: Annotated[Path, typer.Option(help="Where the worst requests go.")] = Path(".data/worst_request"),
    *,
    beside: Annotated[
        str | None, typer.Option(help="Only measure a neighbour's waits, beside this former git revision.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="For which others are measured beside.")] = 60.0,
    passwords: Annotated[bool, typer.Option("--passwords", help="Only flood it with passwords.")] = False,
    only_costs: Annotated[bool, typer.Option("--costs", help="Only measure each kind of work.")] = False,
    write: Annotated[bool, typer.Option("--report", help="Write docs/security.md.")] = False,
) -> None:
    """Search for the request that costs most under all limits, and print what it took."""
    with running(folder) as postgres:
        data = asyncio.run(prepare(postgres))
        if beside is not None:
            text = neighbours(postgres, data, beside, seconds, found / "production")
            print(text)
            if write:
                write_section("neighbour", text)
            return
        if passwords:
            with tempfile.TemporaryDirectory() as logs:
                text = password_flood.measure(data.address, seconds, Path(logs))
            print(text)
            if write:
                write_section("passwords", text)
            return
        process = asyncio.run(postgres.process())
        if only_costs or not profile:
            with served(data, "production") as (client, server):
                text = costs(Search(client, server, process, tokens(client)), data)
            print(f"\n{text}\n", flush=True)
            if write:
                write_section("costs", text)
        for each in () if only_costs else profile or PROFILES:
            with served(data, each) as (client, server):
                search = Search(client, server, process, tokens(client))
                text = run(search, data, tries, seed)
            save(found / each, search.worst(drawn=True))
            print(f"\n{each} profile\n\n{text}\n", flush=True)
            if write:
                write_section(each, text)
        where = surroundings(asyncio.run(postgres.version()))
        print(where)
        if write:
            write_section("machine", where)


def run(search: Search, data: Data, tries: int, seed: int) -> str:
    """Tries all, and returns the tables."""
    search.measure_point()
    known = [search.attack(attack) for attack in attacks(seed)]
    operations, cursors = build_operations(Settings()), search.cursors()
    drafter = Drafter(schema._schema, operations, data.ids, cursors, seed)  # noqa: SLF001 - graphql-core's
    for number, _ in enumerate(search.run(drafter, tries, random.Random(seed)), 1):
        if number % 100 == 0:
            so_far = {name: shown(name, of(name, each)) for name, each in search.worst(drawn=True).items()}
            print(f"{number}: {so_far}, {dict(search.outcomes.most_common(5))}", flush=True)
    worst, drawn = search.worst(), search.worst(drawn=True)
    summary = [
        (
            TITLES[name],
            worst[name].name,
            shown(name, of(name, worst[name])),
            shown(name, of(name, drawn[name])),
            f"≤ {shown(name, getattr(GOALS, name))}",
        )
        for name in Figures._fields
    ]
    rows = [
        (
            each.name,
            each.outcome,
            *(shown(name, of(name, each)) for name in Figures._fields),
            f"{each.points:,}",
        )
        for each in known
    ]
    return "\n\n".join(
        (
            table(("of all requests", "which", "measured", "of those drawn", "goal"), summary),
            table(("attack", "outcome", "loop held", "answer", "memory", "use ÷ points", "points"), rows),
            f"{tries:,} requests were drawn with seed {seed}. A point was worth {search.point * 1e6:.1f} µs.",
        )
    )


def costs(search: Search, data: Data) -> str:
    """Measures each kind of work that has a cost, and returns the table, those that pay too little first."""
    search.measure_point()
    measured = [search.measure(kind) for kind in kinds(schema._schema, data.ids)]  # noqa: SLF001 - graphql-core's
    measured.sort(key=lambda each: -each.ratio)
    rows = [
        (
            each.kind.name,
            "**" if each.ratio > GOALS.ratio else "*" if each.ratio < 1 / GOALS.ratio else "",
            f"{each.paid:,.0f}",
            f"{each.used:,.0f}",
            f"{each.ratio:.2f}",
        )
        for each in measured
    ]
    head = ("kind of work", "off", "points", "used", "use ÷ points")
    return f"{table(head, rows)}\n\nA point was worth {search.point * 1e6:.1f} µs."


def neighbours(postgres: Postgres, data: Data, revision: str, seconds: float, found: Path) -> str:
    """Measures a tenant's small queries while another sends its worst, and returns the table."""
    production = {name: each for name, each in OURS.environment.items() if "POINTS" not in name}
    ours = replace(OURS, environment=production)
    former = replace(former_build(revision, Path(".data/builds")), environment=production)
    former.install()
    database = f"worst_request_{revision}"
    address = asyncio.run(postgres.create(database))
    former.migrate(address)
    asyncio.run(fill(postgres, database))
    bodies = [attack.bodies[0] for attack in attacks(1) if not attack.is_anonymous]
    bodies += [path.read_bytes() for path in sorted(found.glob("*.json"))]
    databases = {ours.name: data.address, former.name: address}
    with tempfile.TemporaryDirectory() as logs:
        waits = asyncio.run(neighbour.measure((ours, former), databases, bodies, seconds, Path(logs)))
    rows = [
        (
            server.title,
            f"{len(waits[server.name].queries.latencies):,}",
            *(f"{waits[server.name].queries.percentile(part) * 1e3:,.0f} ms" for part in (0.5, 0.95, 0.99)),
            f"{waits[server.name].answered:,}",
        )
        for server in (ours, former)
    ]
    head = ("build", "small queries", "median", "95 %", "99 %", "the other's answers")
    return table(head, rows)


def of(name: str, tried: Tried) -> float:
    """One of a try's figures."""
    figure: float = getattr(tried.figures, name)
    return figure


@contextmanager
def served(data: Data, profile: str) -> Iterator[tuple[httpx.Client, int]]:
    """Our server with its probe, in a profile; its client, and its process."""
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": data.address.dsn,
        "GRAPHQL_API_PROFILE": profile,
        "GRAPHQL_API_SECRET_KEY": "benchmarks" * 4,
        "GRAPHQL_API_ACCESS_TOKEN_LIFETIME": "3600",
        "GRAPHQL_API_POINTS_PER_MINUTE": "1000000000",  # what a minute's points would refuse is tried too
        "GRAPHQL_API_PORT": str(port),
        "GRAPHQL_API_TRADER_LOG_COMPONENTS": json.dumps([TRADERS_COMPONENT]),
    }
    with tempfile.NamedTemporaryFile() as log:
        command = (sys.executable, "-m", "benchmarks.worst_request.probed_server")
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
                if not is_ready(client):
                    raise ServerError(f"the server does not start: {end_of(Path(log.name))}")
                yield client, process.pid
        finally:
            process.terminate()
            process.wait(20)


def tokens(client: httpx.Client) -> list[str]:
    """Tokens of the tenant and of an operator."""
    answers = [
        client.post("/graphql", json={"query": neighbour.LOGIN, "variables": {"email": email}})
        for email in (TENANT, OPERATOR)
    ]
    return [answer.json()["data"]["login"]["accessToken"] for answer in answers]


def write_section(name: str, text: str) -> None:
    """Puts tables between their marks in docs/security.md."""
    begin, end = f"<!-- worst request: {name} -->", f"<!-- end of worst request: {name} -->"
    page = PAGE.read_text()
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}")


if __name__ == "__main__":
    typer.run(main)
