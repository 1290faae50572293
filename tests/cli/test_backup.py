"""The backup commands, as operators use them."""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from graphql_api.backup.catalog import Catalog
from graphql_api.backup.recovery import recoverable_until
from graphql_api.dev.embedded import EmbeddedPostgres
from graphql_api.postgres.address import Address
from tests import factories
from tests.cli.test_cli import Shell
from tests.drills.servers import DATABASE, Server
from tests.ports import free_port

pytestmark = pytest.mark.slow


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server({"summarize_wal": "on"})
    await server.make_copy()
    yield server
    server.remove()


@pytest.fixture
def address(server: Server) -> Address:
    return server.address


@pytest.fixture
def shell(server: Server, scratch: Path) -> Shell:
    return Shell(server.address, scratch)


async def test_a_server_is_backed_up_verified_and_restored(
    shell: Shell, scratch: Path, connection: "asyncpg.Connection", request: pytest.FixtureRequest
) -> None:
    await factories.user(connection, email="kept@example.com")
    out, err = await shell.run("backup", "now")
    assert out.startswith("full backup ")
    assert "`graphql-api backup run` receives it" in err

    port = free_port()
    daily = shell.start("backup", "run", "--metrics-port", str(port))
    request.addfinalizer(daily.kill)
    catalog = Catalog(scratch / "data" / "backups")
    while not (backups := catalog.backups())[-1].verified_at:  # its first full one, since the log begins now
        await asyncio.sleep(0.05)
    assert len(backups) == 2
    out, _ = await shell.run("backup", "now")
    assert out.startswith("incremental backup ")
    await factories.user(connection, email="later@example.com")
    moment = await connection.fetchval("SELECT clock_timestamp()")
    await connection.execute("DELETE FROM users")
    while recoverable_until(catalog, catalog.backups()[-1]) < moment:
        await asyncio.sleep(0.05)
    listed = json.loads((await shell.run("backup", "list", "--json"))[0])
    assert [each["kind"] for each in listed["backups"]] == ["full", "full", "incremental"]
    assert listed["state"]["receiver"] == ""
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert "backup_count 3.0" in metrics
    assert "backup_log_received 1.0" in metrics
    out, _ = await shell.run("backup", "verify")
    assert out.startswith("restored and compared: ")
    assert "restored and compared" in (await shell.run("backup", "list"))[0]

    daily.terminate()
    assert daily.wait(100) == 0

    embedded = scratch / "an embedded one"
    out, _ = await shell.run(
        "backup", "restore", "--at", moment.isoformat(), "--into", str(embedded / "data")
    )
    assert f"{embedded / 'data'} is the server as of" in out
    assert shlex.split(out.splitlines()[-1])[-4:] == ["pg_ctl", "-D", str(embedded / "data"), "start"]
    postgres = EmbeddedPostgres(embedded, DATABASE)
    request.addfinalizer(postgres.stop)
    async with Address.parse(postgres.start()).open(application="test", command_timeout=60) as restored:
        emails = {row["email"] for row in await restored.fetch("SELECT email FROM users")}

    assert emails == {"kept@example.com", "later@example.com"}


@pytest.mark.parametrize(
    ("at", "sentence"),
    [
        ("yesterday", "is no time: write it as 2026-11-28T13:00:00Z, or latest"),
        ("2026-11-28T13:00:00", "has no time zone"),
        ("2026-11-28T13:00:00Z", "there is no backup in"),
        ("latest", "there is no base backup in"),
    ],
)
async def test_a_moment_that_cant_be_restored_is_explained(tmp_path: Path, at: str, sentence: str) -> None:
    _, err = await Shell(None, tmp_path).run(
        "backup", "restore", "--at", at, "--into", str(tmp_path / "new"), fails=True
    )

    assert sentence in err
    assert not (tmp_path / "new").exists()


async def test_the_embedded_server_is_backed_up_by_the_same_commands(scratch: Path) -> None:
    shell = Shell(None, scratch)
    _, err = await shell.run("backup", "now", fails=True)
    assert "there is no database yet" in err
    postgres = EmbeddedPostgres(scratch / "data" / "postgres")
    postgres.start()
    postgres.stop()
    out, _ = await shell.run("backup", "now")
    assert out.startswith("full backup ")
    out, _ = await shell.run("backup", "now")
    assert out.startswith("incremental backup ")
    assert (scratch / "data" / "backups").is_dir()
