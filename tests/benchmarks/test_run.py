"""A very small run, from the data to the tables."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import chart, dashboards, data, fanout, feed, measure, report
from benchmarks.postgres import Server as Postgres
from benchmarks.run import MUTATION
from benchmarks.scale import measure as scale
from benchmarks.scale.graph import Question
from benchmarks.scale.lists import Listed, lists
from benchmarks.scale.report import plans, tables
from benchmarks.scale.subjects import Subjects
from benchmarks.servers import OURS, SERVERS, Server, ServerError
from benchmarks.workloads import WORKLOADS
from graphql_api.domain.trade import TradeOrderField
from graphql_api.postgres.address import Address

pytestmark = pytest.mark.slow

SMALL = [replace(workload, requests=2 * workload.connections) for workload in WORKLOADS]


async def run(server: Address, database: str, servers: Sequence[Server], logs: Path) -> measure.Plan:
    """Runs every workload, writes the report, and checks that it is complete."""
    postgres = Postgres(server.dsn)
    address, traders = await data.prepare(postgres, database, others=2)
    async with postgres.connection(database) as connection:
        await connection.execute(MUTATION.read_text())
    plan = measure.Plan(servers, SMALL, 1, logs, warm_up=0.1)
    databases = dict.fromkeys((server.name for server in servers), address)
    measured = await measure.measure(plan, postgres, databases, traders)

    table = report.workload_table(plan, measured).splitlines()
    assert len(table) == 2 + len(SMALL) * len(servers)
    assert {server.title for server in servers} == {line.split("|")[2].strip() for line in table[2:]}
    assert len(ET.fromstring(chart.draw(plan, measured)).findall("{*}rect")) >= 2 * len(table) - 4
    runs = await feed.measure(servers, feed.Audience(subscribers=3, rows=20, seconds=1), 1, address)
    assert all(one.deliveries > 0 for each in runs.values() for one in each)
    assert feed.feed_table(servers, runs).count("\n") == 1 + len(runs)
    crowds = await fanout.measure(address, [fanout.Crowd(3, 2, rows=20, seconds=2)])
    assert [(each.wrong, each.missing, each.rows > 0) for each in crowds] == [(0, 0, True)]
    assert fanout.fanout_table(crowds).count("\n") == 2
    return plan


def test_a_run_too_short_for_the_clock_can_be_drawn() -> None:
    plan = measure.Plan([OURS], SMALL[:1], 1, Path())
    nothing = measure.Sample(server_cpu=0.0, postgres_cpu=0.0, rate=1.0, median=0.0, slowest=0.0)
    measured = measure.Measured({(SMALL[0].name, OURS.name): [nothing]}, {}, {})
    assert ET.fromstring(chart.draw(plan, measured)).findall("{*}rect")


@pytest.mark.timeout(240)
async def test_ours_answers_every_workload_and_the_tables_have_it_all(
    server: Address, tmp_path: Path
) -> None:
    await run(server, "bench_ours", [OURS], tmp_path)


@pytest.mark.timeout(240)
async def test_dashboards_get_every_change_of_their_accounts(server: Address) -> None:
    crowd = dashboards.Crowd(6, 3, changes=5, seconds=2)

    runs = await dashboards.measure(Postgres(server.dsn), [OURS], [crowd], others=1)

    assert [one.deliveries > 0 for one in runs] == [True]
    assert dashboards.dashboards_table(runs).count("\n") == 2


@pytest.mark.parametrize(
    "named",
    [
        pytest.param(lambda what: what in ("a session's", "all, by a rare symbol"), id="two lists"),
        pytest.param(lambda _: True, id="every list", marks=pytest.mark.drill),
    ],
)
@pytest.mark.timeout(240)
async def test_lists_and_statistics_are_compared_and_explained(
    server: Address, monkeypatch: pytest.MonkeyPatch, named: Callable[[str], bool]
) -> None:
    def chosen(about: Subjects) -> dict[Listed, Question]:
        return {listed: question for listed, question in lists(about).items() if named(listed.what)}

    monkeypatch.setattr(scale, "lists", chosen)
    once = scale.Turns(least=1, most=1, before=1)
    measured = await scale.measure(Postgres(server.dsn), (5_000, 7_000), once, sample=3_000)

    assert all(len(in_orders) == 2 * 2 * len(TradeOrderField) for in_orders in measured.lists.values())
    assert all(summed.many >= summed.few > 0 for summed in measured.statistics.values())
    pages, statistics = tables(measured).split("\n\n")
    assert len(pages.splitlines()) == 2 + 2 * len(measured.lists)
    assert len(statistics.splitlines()) == 2 + len(measured.statistics)
    assert plans(measured).count("Buffers: shared") > len(measured.lists)


@pytest.mark.drill
@pytest.mark.timeout(1200)
async def test_the_peers_answer_with_the_same_data(server: Address, tmp_path: Path) -> None:
    for each in SERVERS:
        try:
            each.install()
        except ServerError as error:
            pytest.skip(str(error))

    await run(server, "bench_peers", SERVERS, tmp_path)
