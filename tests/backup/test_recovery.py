"""Restoring backups to a moment, also when their files or the log are damaged or missing."""

import asyncio
import signal
from datetime import timedelta
from pathlib import Path

import asyncpg
import psutil
import pytest

from graphql_api.backup.catalog import Catalog, Kind
from graphql_api.backup.errors import BackupError
from graphql_api.backup.receiver import Receiver
from graphql_api.backup.recovery import Target, choose, recovered
from graphql_api.backup.take import take
from graphql_api.backup.verification import verify
from graphql_api.backup.wal_archive import WalArchive
from graphql_api.postgres.address import Address
from tests import factories
from tests.backup.conftest import Receiving, contents_now, reached, receives, restored
from tests.drills.servers import DATABASE, Server

pytestmark = pytest.mark.slow


async def write(connection: "asyncpg.Connection", count: int = 1) -> None:
    for _ in range(count):
        await factories.trade(connection, None)
        await factories.system_log(connection)


async def destroy(connection: "asyncpg.Connection") -> None:
    await connection.execute(
        "DELETE FROM trades; TRUNCATE system_logs CASCADE; DROP TABLE risk_settings CASCADE"
    )


async def test_a_moment_is_restored_row_by_row(
    server: Server, catalog: Catalog, receiving: Receiving, connection: "asyncpg.Connection"
) -> None:
    async with receiving():
        await write(connection, 50)
        full = await take(server.address, catalog)
        await write(connection, 50)
        incremental = await take(server.address, catalog)
        await write(connection, 50)
        before, moment = await contents_now(server)
        await destroy(connection)
        await reached(catalog, moment)

    assert (full.kind, incremental.kind, incremental.parent) == (Kind.FULL, Kind.INCREMENTAL, full.id)
    assert await restored(catalog, moment) == before


async def test_what_was_committed_last_is_restored_without_a_later_commit(
    server: Server, catalog: Catalog, receiving: Receiving, connection: "asyncpg.Connection"
) -> None:
    async with receiving():
        await take(server.address, catalog)
        await write(connection)
        before, moment = await contents_now(server)
        await reached(catalog, moment)

    assert await restored(catalog, moment) == before
    assert await restored(catalog, None) == before


async def test_a_moment_before_an_incremental_backup_needs_only_the_full_one(
    server: Server, catalog: Catalog, receiving: Receiving, connection: "asyncpg.Connection"
) -> None:
    async with receiving():
        full = await take(server.address, catalog)
        await write(connection)
        before, moment = await contents_now(server)
        await write(connection)
        await take(server.address, catalog)
        await reached(catalog, moment)

    backup, target = choose(catalog, moment)
    assert (backup.id, target) == (full.id, Target(moment))
    assert await restored(catalog, moment) == before


async def test_what_is_committed_while_a_later_backup_reaches_the_disk_is_restored(
    server: Server, catalog: Catalog, receiving: Receiving, connection: "asyncpg.Connection"
) -> None:
    async with receiving():
        await take(server.address, catalog)
        await write(connection)
        later = await take(server.address, catalog, full=True)
        await write(connection, 20)
        await connection.execute("SELECT pg_switch_wal()")
        before, moment = await contents_now(server)
        await destroy(connection)
        await reached(catalog, moment)
    # As if its last files had taken until then to be written.
    catalog.update(later.model_copy(update={"finished_at": moment + timedelta(seconds=1)}))

    assert await restored(catalog, moment) == before


async def test_a_receiver_that_was_killed_loses_nothing(
    server: Server, catalog: Catalog, receiving: Receiving, connection: "asyncpg.Connection"
) -> None:
    async with receiving():
        await take(server.address, catalog)
        await write(connection, 20)
        [program] = [
            each for each in psutil.Process().children(recursive=True) if each.name() == "pg_receivewal"
        ]
        program.send_signal(signal.SIGKILL)
        await write(connection, 20)
        before, moment = await contents_now(server)
        while not catalog.state().receiver:
            await asyncio.sleep(0.01)
        assert "pg_receivewal has ended with status -9" in catalog.state().receiver
        await reached(catalog, moment)
    assert catalog.state().receiver == ""

    assert await restored(catalog, moment) == before


async def test_of_a_torn_last_segment_all_is_taken_that_can_be_read(
    server: Server, catalog: Catalog, receiving: Receiving, connection: "asyncpg.Connection"
) -> None:
    async with receiving():
        backup = await take(server.address, catalog)
        await write(connection, 20)
        before, moment = await contents_now(server)
        await reached(catalog, moment)
        archive = WalArchive(catalog, backup.server, backup.timeline)
        last = list(archive.segments().values())[-1]
        received = last.stat().st_size
        await write(connection, 200)
        await asyncio.sleep(0.5)
    assert last.suffix == ".partial"
    torn = last.read_bytes()[: received + 7]
    last.write_bytes(torn)

    found = await restored(catalog, None)
    assert set(found) == set(before)
    assert found["public.trades"][0] >= before["public.trades"][0]


async def test_a_missing_segment_is_named(
    server: Server, catalog: Catalog, receiving: Receiving, connection: "asyncpg.Connection"
) -> None:
    async with receiving():
        backup = await take(server.address, catalog)
        for _ in range(2):
            await write(connection)
            await connection.execute("SELECT pg_switch_wal()")
        await write(connection)
        _, moment = await contents_now(server)
        await reached(catalog, moment)
    archive = WalArchive(catalog, backup.server, backup.timeline)
    missing, path = list(archive.segments().items())[-2]
    path.unlink()

    with pytest.raises(BackupError, match=f"segment {missing} of the write-ahead log is missing"):
        await restored(catalog, moment)


async def test_a_damaged_file_is_named_before_it_is_restored(server: Server, catalog: Catalog) -> None:
    backup = await take(server.address, catalog)
    victim = max((catalog.data(backup) / "base").rglob("[0-9]*"), key=lambda file: file.stat().st_size)
    with victim.open("r+b") as file:
        file.seek(8000)
        file.write(b"damage")

    with pytest.raises(BackupError, match=f"{victim} has changed since it was taken"):
        await restored(catalog, None)
    victim.unlink()
    with pytest.raises(BackupError, match=f"{victim} is missing, or cut off"):
        await restored(catalog, None)


async def test_nothing_is_restored_over_other_files(server: Server, catalog: Catalog, scratch: Path) -> None:
    backup = await take(server.address, catalog)
    (scratch / "mine").touch()

    with pytest.raises(BackupError, match="is not empty"):
        async with recovered(catalog, backup, Target(), scratch):
            pass
    assert [file.name for file in scratch.iterdir()] == ["mine"]


async def test_a_moment_out_of_reach_is_refused(server: Server, catalog: Catalog) -> None:
    with pytest.raises(BackupError, match="there is no backup in"):
        choose(catalog, (await contents_now(server))[1])
    backup = await take(server.address, catalog)

    with pytest.raises(BackupError, match="the oldest backup is of"):
        choose(catalog, backup.finished_at - timedelta(seconds=1))
    with pytest.raises(BackupError, match="or `latest`"):
        choose(catalog, backup.finished_at + timedelta(seconds=1))


async def test_a_backup_is_verified_while_others_write(
    server: Server, catalog: Catalog, receiving: Receiving, connection: "asyncpg.Connection"
) -> None:
    async def bot() -> None:
        while True:
            await write(connection)
            await asyncio.sleep(0.005)

    async with receiving():
        await take(server.address, catalog)
        writing = asyncio.create_task(bot())
        found = await verify(server.address, catalog)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    assert found.startswith("restored and compared: ")
    [backup] = catalog.backups()
    assert backup.verification == found
    assert backup.verified_at is not None
    assert not list(catalog.folder.glob("restore-*"))


async def test_a_role_that_owns_nothing_is_enough(
    server: Server, catalog: Catalog, connection: "asyncpg.Connection"
) -> None:
    """That of deploy/postgres/primary.sh."""
    await connection.execute(
        "CREATE ROLE replicator LOGIN REPLICATION IN ROLE pg_read_all_data, pg_maintain, pg_monitor"
    )
    address = Address.parse(server.address.dsn.replace("postgres@", "replicator@"))
    task = asyncio.create_task(Receiver(address, catalog).run())
    await receives(server)
    await write(connection)
    await take(address, catalog)
    found = await verify(address, catalog)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert found.startswith("restored and compared: ")


@pytest.mark.parametrize("superuser", ["trading", "an owner/with:odd@signs"])
async def test_a_cluster_whose_superuser_has_any_name_is_verified(superuser: str) -> None:
    """As in a container, where POSTGRES_USER names it, there is no role postgres."""
    server = Server(superuser=superuser)
    catalog = Catalog(server.folder / "backups")
    try:
        await server.make()
        connection = await server.address.connect_plain()
        assert await connection.fetch("SELECT FROM pg_roles WHERE rolname = 'postgres'") == []
        await write(connection)
        await take(server.address, catalog)
        await write(connection)
        restored_alone = await verify(server.address, catalog)  # its log isn't received
        task = asyncio.create_task(Receiver(server.address, catalog).run())
        await receives(server)
        await take(server.address, catalog)
        compared = await verify(server.address, catalog)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await connection.close()
    finally:
        server.remove()

    assert restored_alone.startswith("restored: ")
    assert compared.startswith("restored and compared: ")


async def test_a_role_that_is_newer_than_the_backup_is_named(
    server: Server, catalog: Catalog, connection: "asyncpg.Connection"
) -> None:
    """Without the log after the backup, the restored server doesn't have it."""
    await take(server.address, catalog)
    await connection.execute("CREATE ROLE newcomer LOGIN IN ROLE pg_read_all_data, pg_maintain, pg_monitor")
    address = Address.parse(server.address.dsn.replace("postgres@", "newcomer@"))

    with pytest.raises(BackupError, match=r"read by the role 'newcomer', which it refuses .* take another"):
        await verify(address, catalog)
    assert catalog.backups()[0].verified_at is None


async def test_rows_that_a_backup_lacks_are_found(
    server: Server, catalog: Catalog, receiving: Receiving, connection: "asyncpg.Connection"
) -> None:
    """A table whose changes never reach the log, so that a restore differs from the live server."""
    async with receiving():
        await connection.execute("CREATE TABLE lines (n int)")
        await connection.execute("INSERT INTO lines SELECT generate_series(1, 10)")
        await take(server.address, catalog)
        path = await connection.fetchval("SELECT pg_relation_filepath('lines')")
        await connection.execute("CHECKPOINT")
        await connection.close()
        server.stop()
        page = server.data / path
        page.write_bytes(b"")  # the rows are gone from the live server alone
        await server.start()
        await receives(server)

        with pytest.raises(BackupError, match=r"public.lines has 10 rows instead of 0"):
            await verify(server.address, catalog)
    assert catalog.backups()[0].verified_at is None


async def test_without_a_received_log_a_backup_is_restored_and_not_compared(
    server: Server, catalog: Catalog
) -> None:
    await take(server.address, catalog)

    assert (await verify(server.address, catalog)).endswith("not compared, since no log is received")
    assert DATABASE in server.address.dsn
