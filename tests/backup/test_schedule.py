"""The daily schedule, with a clock that tests set: what is due, what is kept, and what is logged."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from graphql_api.backup.catalog import Backup, Catalog, Kind, State
from graphql_api.backup.errors import BackupError
from graphql_api.backup.receiver import SLOT, Receiver
from graphql_api.backup.recovery import recoverable_until
from graphql_api.backup.schedule import Policy, Schedule, remove_expired
from graphql_api.backup.take import take
from graphql_api.backup.wal_archive import WalArchive
from graphql_api.cli.upkeep import replication
from graphql_api.postgres.address import Address
from graphql_api.settings import Settings
from tests import factories
from tests.backup.conftest import Receiving, contents_now, reached, receives, restored
from tests.drills.servers import Server

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, 2, tzinfo=UTC)

_KEEPS_UP_WITHOUT_REPLAYING = """
    SELECT flush_lsn = pg_current_wal_lsn() AND replay_lag > interval '2 seconds' FROM pg_stat_replication
"""


class Clock:
    """A clock that a test moves."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def recorded(catalog: Catalog, day: int, *, timeline: int = 1) -> Backup:
    """A backup of a day as `take` leaves it, a full one every seventh, with a segment of log."""
    moment = START + day * DAY
    segment = f"{timeline:08X}{0:08X}{day + 1:08X}"
    folder = catalog.begin(moment)
    backup = Backup(
        id=folder.stem,
        kind=Kind.INCREMENTAL if day % 7 else Kind.FULL,
        parent=catalog.backups()[-1].id if day % 7 else None,
        started_at=moment,
        finished_at=moment + timedelta(minutes=1),
        server="1",
        timeline=timeline,
        version=18,
        first_segment=segment,
        last_segment=segment,
        segment_bytes=16 << 20,
        bytes=1,
    )
    catalog.finish(folder, backup)
    archive = WalArchive(catalog, "1", timeline)
    (archive.receiving_folder(after_gap=False) / f"{segment}.gz").touch()
    return backup


@pytest.mark.slow
def test_every_moment_of_thirty_days_can_be_restored_and_nothing_more_is_kept(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    for day in range(100):
        recorded(catalog, day)
        now = START + day * DAY + timedelta(hours=1)
        remove_expired(catalog, 30 * DAY, now)
        kept = catalog.backups()
        if day >= 30:
            backup = catalog.newest_before(now - 30 * DAY)  # the earliest that may be asked for
            assert catalog.chain(backup)[0].kind is Kind.FULL
            assert backup.finished_at > now - 31 * DAY
        assert len(kept) <= 30 + 7 + 1
        segments = list(WalArchive(catalog, "1", 1).segments())
        assert segments == [backup.first_segment for backup in kept]


def test_the_log_of_a_timeline_goes_with_its_last_backup(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    recorded(catalog, 0)
    recorded(catalog, 7, timeline=2)

    remove_expired(catalog, 30 * DAY, START + 50 * DAY)

    assert [backup.timeline for backup in catalog.backups()] == [2]
    assert [folder.name for folder in catalog.wal_folder.iterdir()] == ["1-00000002"]


def test_a_backup_that_was_cut_off_is_no_backup_and_goes_with_the_next(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    cut_off = catalog.begin(START)
    (cut_off / "data").mkdir()

    assert catalog.backups() == []
    recorded(catalog, 7)
    assert not cut_off.exists()


def test_a_receiver_that_was_killed_receives_nothing() -> None:
    checked = datetime(2026, 11, 22, tzinfo=UTC)
    assert State(checked_at=checked).is_received(checked + timedelta(seconds=10))
    assert not State(checked_at=checked).is_received(checked + timedelta(minutes=5))
    assert not State(checked_at=checked, receiver="no slot").is_received(checked)
    assert not State().is_received(checked)


def test_a_gap_in_a_chain_is_named(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    first, second = recorded(catalog, 0), recorded(catalog, 1)
    catalog.remove(first)

    with pytest.raises(BackupError, match=f"backup {second.id} goes on from {first.id}, which is missing"):
        catalog.chain(second)


def test_backups_with_a_gap_in_their_chain_go_and_the_newest_whole_one_is_kept(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    before, full, incremental, after = (recorded(catalog, day) for day in (0, 7, 8, 14))
    catalog.remove(full)  # as its owner does, when it is damaged

    assert remove_expired(catalog, 30 * DAY, START + 15 * DAY) == [incremental]
    recorded(catalog, 21)
    catalog.remove(after)
    remove_expired(catalog, 30 * DAY, START + 45 * DAY)

    assert before in catalog.backups(), "the moments before the newest backup need an older one"


@pytest.mark.slow
async def test_a_week_of_backups(server: Server, catalog: Catalog, receiving: Receiving) -> None:
    clock = Clock((await contents_now(server))[1])
    schedule = Schedule(server.address, catalog, Policy(), clock=clock)
    async with receiving():
        for hours in (0, 1, 24, 48, 171, 172):
            clock.now = (await contents_now(server))[1] + timedelta(hours=hours)
            await schedule.do_what_is_due()
            assert catalog.state().failure == ""

    kinds = [backup.kind for backup in catalog.backups()]
    assert kinds == [Kind.FULL, Kind.INCREMENTAL, Kind.INCREMENTAL, Kind.FULL]
    assert [bool(backup.verified_at) for backup in catalog.backups()] == [True, False, False, True]


@pytest.mark.slow
async def test_doctor_says_of_a_receiver_that_keeps_up_that_it_does(
    server: Server, receiving: Receiving, connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphql_api.cli.upkeep._LAG_SECONDS", 1)
    await connection.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1GB'")
    await connection.execute("SELECT pg_reload_conf()")
    async with receiving():
        await factories.trade(connection, None)
        while not await connection.fetchval(_KEEPS_UP_WITHOUT_REPLAYING):
            await asyncio.sleep(0.05)
        said = await replication(Settings(), server.address)
    assert said == "received by graphql-api backup (async)"


@pytest.mark.slow
async def test_one_process_looks_after_the_backups_of_a_folder(
    server: Server, catalog: Catalog, connection: "asyncpg.Connection"
) -> None:
    schedules = [Schedule(server.address, catalog, Policy()) for _ in range(2)]
    tasks = [asyncio.create_task(schedule.run()) for schedule in schedules]
    await receives(server)
    while not catalog.backups():
        await asyncio.sleep(0.05)
    receivers = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'graphql-api backup'"
    )
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert receivers == 1
    assert len(catalog.backups()) == 1


@pytest.mark.slow
async def test_what_follows_a_gap_can_be_restored_and_what_lies_in_it_is_refused(
    server: Server, catalog: Catalog, receiving: Receiving, connection: "asyncpg.Connection"
) -> None:
    async with receiving():
        first = await take(server.address, catalog)
        await factories.trade(connection, None)
        kept, before = await contents_now(server)
        await reached(catalog, before)
    while await connection.fetchval("SELECT count(*) FROM pg_replication_slots WHERE active"):
        await asyncio.sleep(0.02)
    await connection.execute("SELECT pg_drop_replication_slot($1)", SLOT)
    for _ in range(5):
        await factories.trade(connection, None)
        await connection.execute("SELECT pg_switch_wal()")
        await connection.execute("CHECKPOINT")
    _, meanwhile = await contents_now(server)
    async with receiving():
        second = await take(server.address, catalog, full=True)
        await factories.trade(connection, None)
        rows, after = await contents_now(server)
        while recoverable_until(catalog, second) < after:
            await asyncio.sleep(0.05)

    assert first.timeline == second.timeline
    assert await restored(catalog, before) == kept
    assert await restored(catalog, after) == rows
    with pytest.raises(BackupError, match="the write-ahead log after that backup reaches to"):
        await restored(catalog, meanwhile)


@pytest.mark.slow
async def test_a_lost_slot_is_made_anew_and_asks_for_a_full_backup(
    catalog: Catalog, server: Server, connection: "asyncpg.Connection"
) -> None:
    await connection.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.execute("SELECT pg_create_physical_replication_slot($1, true)", SLOT)
    while await connection.fetchval("SELECT wal_status FROM pg_replication_slots") != "lost":
        await factories.system_log(connection)
        await connection.execute("SELECT pg_switch_wal()")
        await connection.execute("CHECKPOINT")

    receiver = Receiver(server.address, catalog)
    task = asyncio.create_task(receiver.run())
    await asyncio.wait_for(receiver.full_backup_needed.wait(), 30)
    await receives(server)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await connection.fetchval("SELECT wal_status FROM pg_replication_slots") == "reserved"


@pytest.mark.slow
async def test_a_gap_is_known_after_a_restart_until_a_full_backup_is_taken(
    catalog: Catalog, server: Server, receiving: Receiving
) -> None:
    await take(server.address, catalog, now=START)
    async with receiving():  # makes the slot: what came before is missing
        pass
    async with receiving() as receiver:
        assert receiver.full_backup_needed.is_set()

    clock = Clock(datetime.now(UTC))
    schedule = Schedule(server.address, catalog, Policy(), clock=clock)
    work = asyncio.create_task(schedule.run())
    while catalog.state().full_backup_needed:
        await asyncio.sleep(0.05)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert [backup.kind for backup in catalog.backups()] == [Kind.FULL, Kind.FULL]


@pytest.fixture
def small_disk(server: Server) -> Iterator[Path]:
    """A disk with room for one backup, and for little more than its log."""
    folder = server.folder / "disk"
    folder.mkdir()
    command = ("mount", "-t", "tmpfs", "-o", "size=220m,mode=711", "tmpfs", str(folder))
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("only root can make a small disk")
    yield folder
    subprocess.run(("umount", "--lazy", str(folder)), check=True)


def fill(file: Path) -> None:
    """Writes a file until the disk is full."""
    with file.open("wb", buffering=0) as opened, suppress(OSError):
        while True:
            opened.write(b"x" * (1 << 16))


@pytest.mark.slow
async def test_a_full_disk_is_said_and_nothing_is_lost(
    server: Server, small_disk: Path, connection: "asyncpg.Connection"
) -> None:
    catalog = Catalog(small_disk / "backups")
    receiver = Receiver(server.address, catalog)
    task = asyncio.create_task(receiver.run())
    await receives(server)
    first = await take(server.address, catalog)
    filler = small_disk / "filler"
    fill(filler)

    with pytest.raises(BackupError, match="make room, or set GRAPHQL_API_BACKUP_DIR"):
        await take(server.address, catalog, full=True)
    for _ in range(3):  # more log than the segment that it had begun has room for
        await factories.trade(connection, None)
        await connection.execute("SELECT pg_switch_wal()")
    slots = "SELECT count(*) FROM pg_replication_slots WHERE active"
    while await connection.fetchval(slots):
        await asyncio.sleep(0.05)
    before, moment = await contents_now(server)
    filler.unlink()
    await reached(catalog, moment)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert [backup.id for backup in catalog.backups()] == [first.id]
    assert await restored(catalog, moment) == before


@pytest.mark.parametrize("days", [0, 1])
@pytest.mark.slow
async def test_a_failure_is_written_down_until_a_backup_succeeds(
    server: Server, catalog: Catalog, days: int
) -> None:
    address = server.address
    clock = Clock((await contents_now(server))[1] + days * DAY)
    schedule = Schedule(address, catalog, Policy(), clock=clock)
    server.stop()
    await schedule.do_what_is_due()
    failed = catalog.state()
    await server.start()
    clock.now += timedelta(minutes=11)
    await schedule.do_what_is_due()

    assert failed.failed_at is not None
    assert failed.failure
    assert catalog.state().failed_at is None
    assert len(catalog.backups()) == 1


@pytest.mark.slow
async def test_a_role_that_may_not_copy_the_server_is_told_what_it_needs(
    server: Server, catalog: Catalog, connection: "asyncpg.Connection"
) -> None:
    await connection.execute('CREATE ROLE "a reader" LOGIN')
    address = Address.parse(server.address.dsn.replace("postgres@", "a%20reader@"))

    with pytest.raises(BackupError, match='ALTER ROLE "a reader" REPLICATION'):
        await take(address, catalog)
    await connection.execute('ALTER ROLE "a reader" REPLICATION')
    assert (await take(address, catalog)).kind is Kind.FULL


async def test_an_address_through_a_pooler_is_refused(tmp_path: Path) -> None:
    pooled = Address.parse("postgresql://user@ep-cool-pooler.example.test/db")
    with pytest.raises(BackupError, match="set DATABASE_DIRECT_URL"):
        await take(pooled, Catalog(tmp_path))


@pytest.mark.slow
async def test_a_failed_verification_is_not_called_a_failed_backup(server: Server, catalog: Catalog) -> None:
    """The role may copy the server, and read none of its tables."""
    connection = await server.address.connect_plain()
    await connection.execute("CREATE ROLE copier LOGIN REPLICATION IN ROLE pg_monitor")
    await connection.close()
    address = Address.parse(server.address.dsn.replace("postgres@", "copier@"))
    await Schedule(address, catalog, Policy()).do_what_is_due()

    assert len(catalog.backups()) == 1
    assert catalog.state().failure.startswith("it is taken, but can't be verified: permission denied")
