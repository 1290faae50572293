"""Rounds: each server in turn is started, warmed up, and given every workload."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks import workloads
from benchmarks.answers import normalised, require_same
from benchmarks.cpu import cpu_seconds, peak_memory
from benchmarks.data import Trader
from benchmarks.load import Request, ask, drive
from benchmarks.postgres import Server as Postgres
from benchmarks.servers import Running, Server, running
from benchmarks.workloads import Workload
from graphql_api.postgres.address import Address


@dataclass(frozen=True, slots=True)
class Sample:
    """One workload on one server, in one round. Times are seconds; CPU and latency are those of a request."""

    server_cpu: float
    postgres_cpu: float
    rate: float
    median: float
    slowest: float
    """The 99th percentile."""

    @property
    def cpu(self) -> float:
        """Of server and PostgreSQL together."""
        return self.server_cpu + self.postgres_cpu


Samples = Mapping[tuple[str, str], Sequence[Sample]]
"""By workload and server, a sample of each round."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The results of all rounds."""

    samples: Samples
    memory: Mapping[str, int]
    """The peak memory of each server, in bytes."""
    starts: Mapping[str, Sequence[tuple[float, float]]]
    """The seconds and the CPU seconds from each start of a server to its first answer."""

    def middle(self, workload: str, server: str) -> Sample:
        """The median of each figure."""
        rounds = self.samples[workload, server]
        figures = ("server_cpu", "postgres_cpu", "rate", "median", "slowest")
        return Sample(**{name: median(getattr(each, name) for each in rounds) for name in figures})

    def ratio(self, workload: str, server: str, to: str) -> float:
        """The median over the rounds of one server's CPU by another's: a noisy round disturbs both.

        NaN where a round was too short for the kernel's clock, which counts in hundredths of a second.
        """
        pairs = zip(self.samples[workload, server], self.samples[workload, to], strict=True)
        return median(one.cpu / other.cpu if other.cpu else nan for one, other in pairs)


@dataclass(frozen=True, slots=True)
class Plan:
    """The servers, workloads and rounds of a run."""

    servers: Sequence[Server]
    workloads: Sequence[Workload]
    rounds: int
    logs: Path
    """A folder for what the servers print."""
    warm_up: float = 10.0
    """Seconds of each workload before it counts: V8 gets faster for thousands of requests."""


async def measure(
    plan: Plan, postgres: Postgres, databases: Mapping[str, Address], traders: Sequence[Trader]
) -> Measured:
    """Measure each server on its database, by the server's name; all databases hold the same rows.

    Raises DifferentAnswersError, LoadError, ServerError.
    """
    samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    memory: dict[str, int] = defaultdict(int)
    starts: dict[str, list[tuple[float, float]]] = defaultdict(list)
    database = await postgres.process()
    answers: dict[str, bytes] = {}
    for number in range(plan.rounds):
        for server in plan.servers:
            async with running(server, databases[server.name], plan.logs / f"{server.name}.log") as process:
                starts[server.name].append((process.start_seconds, process.start_cpu))
                prepared = await _prepare(plan, process, traders)
                _compare(plan.servers[0].dialect, server.dialect, prepared, answers)
                for workload in plan.workloads:
                    requests = prepared[workload.name]
                    await _warm_up(workload, process, requests, plan.warm_up)
                    sample = await _run(workload, process, requests, database)
                    samples[workload.name, server.name].append(sample)
                    print(
                        f"round {number + 1}: {server.name} {workload.name} {sample.cpu * 1e3:.2f} ms",
                        flush=True,
                    )
                memory[server.name] = max(memory[server.name], peak_memory(process.process))
    return Measured(samples, memory, starts)


async def _prepare(
    plan: Plan, process: Running, traders: Sequence[Trader]
) -> Mapping[str, Sequence[Request]]:
    """Each workload's requests, with the answer that each must have."""
    asking = traders[: max(workload.users for workload in plan.workloads)]
    headers = {trader.email: await process.headers(trader.email) for trader in asking}
    prepared = {}
    for workload in plan.workloads:
        requests = workloads.requests(process.server.dialect, workload, traders, headers)
        prepared[workload.name] = [
            replace(request, answer=await ask(process.port, request)) for request in requests
        ]
    return prepared


def _compare(
    first: str, server: str, prepared: Mapping[str, Sequence[Request]], answers: dict[str, bytes]
) -> None:
    for workload, requests in prepared.items():
        answer = requests[0].answer or b""
        expected = answers.setdefault(workload, answer)
        require_same(workload, first, normalised(first, expected), server, normalised(server, answer))


async def _run(workload: Workload, process: Running, requests: Sequence[Request], database: int) -> Sample:
    before = cpu_seconds(process.process), cpu_seconds(database)
    load = await drive(process.port, requests, count=workload.requests, connections=workload.connections)
    after = cpu_seconds(process.process), cpu_seconds(database)
    return Sample(
        server_cpu=(after[0] - before[0]) / workload.requests,
        postgres_cpu=(after[1] - before[1]) / workload.requests,
        rate=load.rate,
        median=load.percentile(0.5),
        slowest=load.percentile(0.99),
    )


async def _warm_up(workload: Workload, process: Running, requests: Sequence[Request], seconds: float) -> None:
    until = perf_counter() + seconds
    count = max(workload.requests // 10, 3 * workload.connections)
    while perf_counter() < until:
        await drive(process.port, requests, count=count, connections=workload.connections)
