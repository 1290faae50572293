"""Point-in-time recovery: restores a server as it was at a moment, from backups and write-ahead log.

The backups are checked file by file and combined, and the write-ahead log after them is added. PostgreSQL
replays it, reachable only by a private socket, and ends recovery. The result is an ordinary data folder.
"""

import asyncio
import hashlib
import json
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from graphql_api.backup.catalog import Backup, Catalog, Kind, refuse_full_disk
from graphql_api.backup.errors import BackupError
from graphql_api.backup.programs import Progress, launch, quiet, run
from graphql_api.backup.wal_archive import WalArchive, parse_lsn, unpack
from graphql_api.dev.embedded.programs import Programs, SystemUser
from graphql_api.postgres.address import Address

_PIECE = 1 << 20
_SHUTDOWN_TIMEOUT = 30.0  # seconds for a shutdown in good order
_STOPPED_EARLY = "recovery ended before configured recovery target was reached"
_REPLAYED = re.compile(r"(?:current LSN: |redo done at |redo starts at )([0-9A-F]+/[0-9A-F]+)")
_LAST_CHANGE = re.compile(r"last completed transaction was at log time (.+)")
# Settings that must be at least those of the server whose log is replayed, by pg_controldata's names.
_AT_LEAST = {
    "max_connections setting": "max_connections",
    "max_worker_processes setting": "max_worker_processes",
    "max_wal_senders setting": "max_wal_senders",
    "max_prepared_xacts setting": "max_prepared_transactions",
    "max_locks_per_xact setting": "max_locks_per_transaction",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Up to where to recover: a time, an LSN, or the end of the log."""

    moment: datetime | None = None
    lsn: str | None = None

    def settings(self) -> dict[str, str]:
        """Returns PostgreSQL's settings for it."""
        if self.moment is not None:
            return {"recovery_target_time": self.moment.astimezone(UTC).isoformat(" ")}
        if self.lsn is not None:
            return {"recovery_target_lsn": self.lsn, "recovery_target_inclusive": "off"}
        return {}


@dataclass(slots=True)
class Recovered:
    """A server that has been recovered, while it runs."""

    data: Path
    backup: Backup
    socket_folder: Path
    last_change: str
    """When its last transaction was committed, as the server logs it; empty if none was replayed."""

    def address_of(self, role: str, database: str) -> Address:
        """Returns the address for one of its roles: any may connect, by a socket that only we can reach."""
        query = urlencode({"host": self.socket_folder, "port": 5432}, quote_via=quote, safe="/")
        return Address.parse(f"postgresql://{quote(role, safe='')}@/{quote(database, safe='')}?{query}")


def choose(catalog: Catalog, moment: datetime | None) -> tuple[Backup, Target]:
    """Returns the backup to begin with, and the target. Raises BackupError for a moment out of reach."""
    backups = [backup for backup in catalog.backups() if backup.kind is not Kind.DUMP]
    if moment is None:
        if not backups:
            raise BackupError(f"there is no base backup in {catalog.folder}")
        return backups[-1], Target()
    backup = catalog.newest_before(moment, usable=backups)
    until = recoverable_until(catalog, backup, strict=True)
    if moment > until:
        raise BackupError(
            f"the write-ahead log after that backup reaches to {until:%Y-%m-%d %H:%M:%S %Z}: "
            "give an earlier moment, or `latest` for all that there is"
        )
    return backup, Target(moment)


def recoverable_until(catalog: Catalog, backup: Backup, *, strict: bool = False) -> datetime:
    """Returns the latest time that the backup and the log after it can restore.

    If a segment of the log is missing, that is the end of the backup; with `strict`, raises BackupError then.
    """
    if backup.kind is Kind.DUMP:
        return backup.finished_at
    archive = WalArchive(catalog, backup.server, backup.timeline)
    try:
        received = archive.complete_until(backup.first_segment, backup.segment_bytes)
    except BackupError:
        if strict:
            raise
        received = None
    return max(backup.finished_at, received) if received else backup.finished_at


@asynccontextmanager
async def recovered(
    catalog: Catalog,
    backup: Backup,
    target: Target,
    into: Path,
    *,
    progress: Progress = quiet,
) -> AsyncIterator[Recovered]:
    """Restores into an empty folder, and yields the server, which is shut down after the block.

    Raises BackupError, and then removes the folder that it has made.
    """
    chain = catalog.chain(backup)
    wal = _log_for(catalog, backup, target)
    made = _make_empty(into)
    try:
        programs = Programs.find(SystemUser.for_data(into / "data"), backup.version)
        _refuse_inaccessible(into, programs.system_user)
        refuse_full_disk(
            into, sum(each.bytes for each in chain) + len(wal) * backup.segment_bytes, "the restored server"
        )
        await asyncio.to_thread(check_files, catalog, chain, progress)
        await _combine(catalog, chain, into, programs, progress)
        if wal:
            await asyncio.to_thread(unpack, wal, into / "pg_wal", backup.segment_bytes, progress)
        await asyncio.to_thread(_complete, into, programs.system_user)
        async with _Recovery(into, programs, target, backup, progress) as server:
            yield server
    except BaseException:
        await asyncio.to_thread(_undo, into, made=made)
        raise


def check_files(catalog: Catalog, chain: Sequence[Backup], progress: Progress = quiet) -> None:
    """Compares every file of the backups with the manifest. Raises BackupError for one that differs.

    pg_combinebackup doesn't compare them: it copies a damaged file as it is.
    """
    total, done = sum(backup.bytes for backup in chain), 0
    for backup in chain:
        data = catalog.data(backup)
        for entry in json.loads((data / "backup_manifest").read_bytes())["Files"]:
            file = data / (
                entry["Path"] if "Path" in entry else bytes.fromhex(entry["Encoded-Path"]).decode()
            )
            if not file.is_file() or file.stat().st_size != entry["Size"]:
                raise BackupError(f"backup {backup.id} is damaged: {file} is missing, or cut off")
            with file.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
            if entry["Checksum-Algorithm"] == "SHA256" and digest != entry["Checksum"]:
                raise BackupError(f"backup {backup.id} is damaged: {file} has changed since it was taken")
            done += entry["Size"]
            progress("checking the backup", done, total)


async def check_pages(programs: Programs, data: Path) -> None:
    """Reads every page of a server that is shut down, and compares its checksum. Raises BackupError."""
    control = await run(programs, "pg_controldata", data)
    if re.search(r"Data page checksum version:\s+0$", control, re.MULTILINE):
        return
    await run(programs, "pg_checksums", "--check", "--pgdata", data)


def _log_for(catalog: Catalog, backup: Backup, target: Target) -> list[Path]:
    """Returns the segments that recovery may read: up to those of the first backup after the target.

    The end of a backup can't be used for that: its log ends before its files are on disk.
    """
    archive = WalArchive(catalog, backup.server, backup.timeline)
    later = [
        each.last_segment
        for each in catalog.backups()
        if target.moment is not None
        and (each.server, each.timeline) == (backup.server, backup.timeline)
        and each.copied_from is not None
        and each.copied_from >= target.moment
    ]
    last = min(later, default=None)
    run = archive.run_from(backup.first_segment, backup.segment_bytes)
    return [path for path in run if last is None or path.name[: len(last)] <= last]


def _make_empty(folder: Path) -> bool:
    """Makes a folder unless it is there, and returns whether it did. Raises BackupError for a full one."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BackupError(f"{folder} is not empty: nothing is ever restored over other files")
    made = not folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return made


def _undo(folder: Path, *, made: bool) -> None:
    """Removes the files of a restore that has failed."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if made:
        folder.rmdir()


def _refuse_inaccessible(folder: Path, system_user: SystemUser) -> None:
    """Raises BackupError where the user that will run the server can't reach its folder."""
    system_user.take_ownership(folder)
    if not system_user.can_access(folder):
        raise BackupError(
            f"PostgreSQL doesn't run as root, and the user that it runs as can't enter {folder}: "
            "restore into a folder that every user can reach, or run as an ordinary user"
        )


async def _combine(
    catalog: Catalog, chain: Sequence[Backup], into: Path, programs: Programs, progress: Progress
) -> None:
    """Puts the backups together in `into`, owned by the user that will run the server."""
    as_us = Programs(programs.folder, programs.version, SystemUser())  # the backups are ours to read
    total = chain[0].bytes

    async def watch() -> None:
        while True:
            progress("combining", await asyncio.to_thread(_bytes_in, into), total)
            await asyncio.sleep(0.5)

    watching = asyncio.create_task(watch())
    try:
        if len(chain) == 1:
            await asyncio.to_thread(shutil.copytree, catalog.data(chain[0]), into, dirs_exist_ok=True)
        else:
            folders = [catalog.data(backup) for backup in chain]
            await run(as_us, "pg_combinebackup", *folders, "--output", into)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _complete(data: Path, owner: SystemUser) -> None:
    """Sets the owner of a data folder, and adds the files that Debian keeps outside of it."""
    data.chmod(0o700)
    for name, text in {"postgresql.conf": "", "pg_hba.conf": "local all all trust\n"}.items():
        if not (data / name).exists():
            (data / name).write_text(text)
    for path in (data, *data.rglob("*")):
        owner.take_ownership(path)


def _bytes_in(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size
        except FileNotFoundError:  # just being written again
            continue
    return size


class _Recovery:
    """Runs the server of a data folder until recovery has ended, and during the block."""

    def __init__(
        self,
        data: Path,
        programs: Programs,
        target: Target,
        backup: Backup,
        progress: Progress,
    ) -> None:
        self._data, self._programs, self._target = data, programs, target
        self._backup, self._progress = backup, progress
        self._socket_folder = Path(tempfile.mkdtemp(prefix="graphql-api-restore-", dir="/tmp"))
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._last_change = ""

    async def __aenter__(self) -> Recovered:
        try:
            self._prepare()
            if not await self._start(self._target):
                # Nothing was committed after the target, or it would have been found, since the log that is
                # here reaches beyond it (see `choose` and `_log_for`): the end is the same.
                await self._start(Target())
        except BaseException:
            await self._stop(signal.SIGQUIT)
            raise
        return Recovered(
            data=self._data,
            backup=self._backup,
            socket_folder=self._socket_folder,
            last_change=self._last_change,
        )

    async def __aexit__(self, *_: object) -> None:
        await self._stop(signal.SIGINT)

    def _prepare(self) -> None:
        user = self._programs.system_user
        files = (self._socket_folder / "pg_hba.conf", self._data / "recovery.signal")
        files[0].write_text("local all all trust\n")
        files[1].touch(mode=0o600)
        for path in (self._socket_folder, *files):
            user.take_ownership(path)
        self._programs = self._programs.copied_if_inaccessible(self._socket_folder)

    async def _start(self, target: Target) -> bool:
        """Starts the server and waits until it accepts connections; False if it hasn't found the target."""
        control = await run(self._programs, "pg_controldata", self._data)
        values = dict(line.split(":", 1) for line in control.splitlines() if ":" in line)
        settings = {
            **{setting: values[label].strip() for label, setting in _AT_LEAST.items() if label in values},
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": str(self._socket_folder),
            "hba_file": str(self._socket_folder / "pg_hba.conf"),
            "shared_preload_libraries": "",
            "ssl": "off",
            "archive_mode": "off",
            "hot_standby": "off",
            "logging_collector": "off",
            "log_destination": "stderr",
            "log_min_messages": "log",
            "lc_messages": "C",
            "restore_command": "false",  # the log that it needs is in pg_wal already
            "recovery_target_timeline": "current",
            "recovery_target_action": "promote",
            **({"log_startup_progress_interval": "500ms"} if self._programs.version >= 15 else {}),
            **target.settings(),
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        process = await launch(self._programs, "postgres", "-D", self._data, *options)
        self._process = process
        said: list[str] = []
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        async for raw in process.stdout:
            line = raw.decode(errors="replace").rstrip()
            said.append(line)
            self._follow(line)
            if "database system is ready to accept connections" in line:
                self._reading = asyncio.create_task(_drain(process.stdout))
                return True
        await process.wait()
        if any(_STOPPED_EARLY in line for line in said):
            return False
        faults = [line for line in said if "FATAL" in line or "PANIC" in line or "ERROR" in line] or said
        raise BackupError(f"the restored server does not start: {'; '.join(faults[-5:])}")

    def _follow(self, line: str) -> None:
        if match := _LAST_CHANGE.search(line):
            self._last_change = match[1]
        if match := _REPLAYED.search(line):
            first = int(self._backup.first_segment[8:16], 16) << 32
            first += int(self._backup.first_segment[16:], 16) * self._backup.segment_bytes
            self._progress("replaying the log", max(0, parse_lsn(match[1]) - first), 0)

    async def _stop(self, number: signal.Signals) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(number)
            try:
                await asyncio.wait_for(process.wait(), _SHUTDOWN_TIMEOUT)
            except TimeoutError:
                process.send_signal(signal.SIGQUIT)
                await process.wait()
        if self._reading is not None:
            await self._reading
        shutil.rmtree(self._socket_folder, ignore_errors=True)


async def _drain(stream: asyncio.StreamReader) -> None:
    """Reads the rest of a program's output, so that the program never blocks on it."""
    while await stream.read(_PIECE):
        pass
