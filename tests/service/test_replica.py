"""A service whose queries a streaming replica answers, and what becomes of the replica."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from graphql_api.cli.upkeep import CHECKS, ConcernError, FaultError
from graphql_api.identity import service_tokens
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.migrate import StandbyMigrationError, migrate, plan
from graphql_api.postgres.replica import UnfitReplicaError, refuse_unfit
from graphql_api.settings import Settings
from tests import factories
from tests.drills.servers import Server
from tests.drills.traffic import CHANGE, READ
from tests.http_client import http_client
from tests.service.conftest import Service, served_from

pytestmark = pytest.mark.slow


@asynccontextmanager
async def running(*, of: Server | None = None) -> AsyncIterator[Server]:
    """A primary, or a standby of another one."""
    server = Server()
    try:
        if of is None:
            await server.make_copy()
        else:
            server.copy_of(of, standby=True)
            await server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
async def servers() -> AsyncIterator[tuple[Server, Server]]:
    """A primary and its standby."""
    async with running() as primary, running(of=primary) as standby:
        yield primary, standby


@pytest.fixture
async def service(servers: tuple[Server, Server], tmp_path: Path) -> AsyncIterator[Service]:
    primary, standby = servers
    async with served_from(
        primary.address,
        tmp_path,
        DATABASE_REPLICA_URL=standby.address.dsn,
        GRAPHQL_API_REPLICA_MAX_LAG="30",
    ) as service:
        yield service


@pytest.fixture
async def standby_connection(
    servers: tuple[Server, Server],
) -> AsyncIterator["asyncpg.Connection"]:
    async with AsyncExitStack() as stack:
        connection = await servers[1].address_of("postgres").connect_plain()
        stack.callback(connection.terminate)
        yield connection


async def number(service: Service, name: str) -> float:
    async with http_client() as client:
        text = (await client.get(service.url.replace("/graphql", "/metrics"))).text
    [value] = [line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(value)


async def until(service: Service, *, usable: bool) -> None:
    while await number(service, "replica_usable") != usable:
        await asyncio.sleep(0.05)


async def trader(service: Service, server: Server) -> tuple[str, str]:
    """A token of a user, and the id of their account."""
    connection = await server.address.connect_plain()
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    await connection.close()
    scopes = [Scope.GRAPH_READ, Scope.RISK_WRITE]
    made = await service_tokens.create(service.database, "test", scopes, user_id=user, lifetime=None)
    return made.text, account


async def change(service: Service, token: str, account: str, loss: str) -> None:
    response = await service.ask(CHANGE, {"id": account, "loss": loss}, token=token)
    assert response.json()["data"]["updateRiskSettings"]["userErrors"] == []


async def read(service: Service, token: str, account: str) -> str | None:
    response = await service.ask(READ, {"id": account}, token=token)
    settings = response.json()["data"]["account"]["riskSettings"]
    return settings["maxDailyLoss"] if settings else None


async def test_queries_are_answered_by_the_replica(servers: tuple[Server, Server], service: Service) -> None:
    token, account = await trader(service, servers[0])
    await until(service, usable=True)
    for _ in range(5):
        assert await read(service, token, account) is None

    assert await number(service, "replica_queries_total") == 5
    assert await number(service, "replica_repeated_reads_total") == 0


async def test_who_has_written_reads_their_own_change(
    servers: tuple[Server, Server], service: Service, standby_connection: "asyncpg.Connection"
) -> None:
    writer, account = await trader(service, servers[0])
    other, _ = await trader(service, servers[0])
    await until(service, usable=True)
    await standby_connection.execute("SELECT pg_wal_replay_pause()")
    await change(service, writer, account, "7")

    assert await read(service, writer, account) == "7.00000000"
    before = await number(service, "replica_queries_total")
    await service.ask("{ viewer { roles } }", token=other)
    assert await number(service, "replica_queries_total") == before + 1

    await standby_connection.execute("SELECT pg_wal_replay_resume()")
    while await number(service, "replica_queries_total") == before + 1:
        assert await read(service, writer, account) == "7.00000000"  # from the replica, once it has it


async def test_what_is_read_beside_a_cursor_of_activity_is_not_older_than_it(
    servers: tuple[Server, Server], service: Service, standby_connection: "asyncpg.Connection"
) -> None:
    token, account = await trader(service, servers[0])
    await until(service, usable=True)
    await standby_connection.execute("SELECT pg_wal_replay_pause()")
    primary = await servers[0].address.connect_plain()
    await factories.session(primary, account)
    await primary.close()
    before = await number(service, "replica_queries_total")
    text = "query ($id: ID!) { account(id: $id) { sessions { totalCount } } activityCursor }"
    response = await service.ask(text, {"id": account}, token=token)

    assert response.json()["data"]["account"]["sessions"]["totalCount"] == 1
    assert await number(service, "replica_queries_total") == before


async def test_a_dead_replica_is_left_out_and_comes_back(
    servers: tuple[Server, Server], service: Service
) -> None:
    token, account = await trader(service, servers[0])
    await until(service, usable=True)
    servers[1].crash()
    for _ in range(20):
        assert await read(service, token, account) is None
    await until(service, usable=False)
    await servers[1].start()
    await until(service, usable=True)
    before = await number(service, "replica_queries_total")
    assert await read(service, token, account) is None

    assert await number(service, "replica_queries_total") == before + 1
    log = service.log.read_text()
    assert "the replica is left out: " in log
    assert log.count("the replica takes reads") == 2


async def test_a_lagging_replica_is_left_out_until_it_has_caught_up(
    servers: tuple[Server, Server], tmp_path: Path, standby_connection: "asyncpg.Connection"
) -> None:
    primary, standby = servers
    settings = {"DATABASE_REPLICA_URL": standby.address.dsn, "GRAPHQL_API_REPLICA_MAX_LAG": "1"}
    async with served_from(primary.address, tmp_path, **settings) as service:
        token, account = await trader(service, primary)
        await until(service, usable=True)
        await standby_connection.execute("SELECT pg_wal_replay_pause()")
        await change(service, token, account, "1")
        await until(service, usable=False)
        await standby_connection.execute("SELECT pg_wal_replay_resume()")
        await until(service, usable=True)


async def test_doctor_looks_at_the_replica(
    servers: tuple[Server, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    primary, standby = servers
    monkeypatch.setenv("DATABASE_REPLICA_URL", standby.address.dsn)
    assert await CHECKS["replica"](Settings(), primary.address) == "follows the primary"
    monkeypatch.setenv("DATABASE_REPLICA_URL", primary.address.dsn)
    with pytest.raises(FaultError, match="it takes changes itself"):
        await CHECKS["replica"](Settings(), primary.address)
    standby.crash()
    monkeypatch.setenv("DATABASE_REPLICA_URL", standby.address.dsn)
    with pytest.raises(ConcernError, match="can't be reached"):
        await CHECKS["replica"](Settings(), primary.address)


async def test_what_is_no_replica_is_refused(servers: tuple[Server, Server]) -> None:
    primary, standby = servers
    await refuse_unfit(primary.address, standby.address)
    with pytest.raises(UnfitReplicaError, match="it takes changes itself"):
        await refuse_unfit(primary.address, primary.address)
    other = Server()
    try:
        await other.make()
        with pytest.raises(UnfitReplicaError, match="of another server"):
            await refuse_unfit(other.address, standby.address)
    finally:
        other.remove()


def test_workers_that_know_nothing_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_REPLICA_URL", "postgresql://replica/db")
    with pytest.raises(ValueError, match="needs GRAPHQL_API_REDIS_URL"):
        Settings(workers=2)


async def test_a_standby_is_not_migrated(servers: tuple[Server, Server]) -> None:
    for attempt in (plan, migrate):
        with pytest.raises(StandbyMigrationError, match="this server is a standby"):
            await attempt(servers[1].address)
