"""One run of the command: what is measured, shown, and written down."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import chart, dashboards, data, fanout, feed, inserting, measure, report
from benchmarks.postgres import Server as Postgres
from benchmarks.scale import measure as scale
from benchmarks.scale.data import SMALL
from benchmarks.scale.report import PLANS, plans, tables
from benchmarks.servers import Server
from benchmarks.workloads import Workload
from graphql_api.postgres.address import Address

MUTATION = Path(__file__).parent / "peers" / "postgraphile" / "mutation.sql"


@dataclass(frozen=True, slots=True)
class Run:
    """What all parts of a run share."""

    postgres: Postgres
    servers: Sequence[Server]
    """Ours first."""
    rounds: int
    size: float
    """How many requests, subscribers and seconds, as a part of the usual number."""
    logs: Path
    write: bool
    """Whether the results go into README.md and the files beside it."""

    async def workloads(self, chosen: Sequence[Workload]) -> None:
        """Every workload on every server."""
        address, traders = await data.prepare(self.postgres)
        async with self.postgres.connection(data.DATABASE) as connection:
            await connection.execute(MUTATION.read_text())
        sized = [
            replace(workload, requests=max(round(workload.requests * self.size), 2 * workload.connections))
            for workload in chosen
        ]
        plan = measure.Plan(self.servers, sized, self.rounds, self.logs)
        databases = dict.fromkeys((server.name for server in self.servers), address)
        for server in self.servers:
            if server.revision is not None:
                databases[server.name] = await self._former_database(server)
        measured = await measure.measure(plan, self.postgres, databases, traders)
        self._show("workloads", report.workload_table(plan, measured))
        self._show("servers", report.server_table(plan, measured))
        if self.write:
            chart.CHART.write_text(chart.draw(plan, measured))

    async def _former_database(self, server: Server) -> Address:
        """The data set in a database that a former build has migrated."""
        database = f"{data.DATABASE}_{server.revision}"
        address = await self.postgres.create(database)
        await asyncio.to_thread(server.migrate, address)
        await data.fill(self.postgres, database)
        return address

    async def feed(self) -> None:
        """The feed's deliveries."""
        address, _ = await data.prepare(self.postgres)
        usual = feed.Audience()
        audience = feed.Audience(
            subscribers=max(round(usual.subscribers * self.size), 2),
            seconds=max(round(usual.seconds * self.size), 2),
        )
        runs = await feed.measure(self.servers, audience, self.rounds, address)
        self._show("feed", feed.feed_table(self.servers, runs))

    async def fanout(self) -> None:
        """The feed with thousands of subscribers."""
        address, _ = await data.prepare(self.postgres)
        crowds = [
            replace(
                crowd,
                sockets=max(round(crowd.sockets * self.size), 2),
                seconds=max(round(crowd.seconds * self.size), 2),
            )
            for crowd in fanout.CROWDS
        ]
        self._show("fan-out", fanout.fanout_table(await fanout.measure(address, crowds)))

    async def dashboards(self) -> None:
        """Dashboards that follow accounts."""
        crowds = [
            replace(
                crowd,
                dashboards=max(round(crowd.dashboards * self.size), 1),
                seconds=max(round(crowd.seconds * self.size), 2),
            )
            for crowd in dashboards.CROWDS
        ]
        servers = [server for server in self.servers if server.name in ("ours", "mercurius")]
        runs = await dashboards.measure(self.postgres, servers, crowds)
        self._show("dashboards", dashboards.dashboards_table(runs))

    async def inserting(self) -> None:
        """The feed's cost to those who write."""
        rates = await inserting.measure(self.postgres, self.rounds, max(round(10 * self.size), 1))
        self._show("inserting", inserting.inserting_table(rates))

    async def scale(self, trades: int) -> None:
        """The same questions at a hundred thousand and at so many trades."""
        measured = await scale.measure(self.postgres, (SMALL, trades), scale.Turns())
        surroundings = report.surroundings(await self.postgres.version())
        self._show("scale", f"{tables(measured)}\n\n{surroundings}")
        if self.write:
            PLANS.write_text(plans(measured))

    async def surroundings(self) -> None:
        """Where all this was measured."""
        self._show("surroundings", report.surroundings(await self.postgres.version()))

    def _show(self, section: str, text: str) -> None:
        print(f"\n{text}\n", flush=True)
        if self.write:
            report.write(section, text)
