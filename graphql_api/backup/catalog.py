"""The catalog: a folder of backups, which of them a restore needs, and which are too old to keep.

<id>/backup.json      the record of a backup; `id` is the time when it began
<id>/data/            pg_basebackup's files
<id>/dump             or pg_dump's
<id>.unfinished/      a backup that is being taken, or was interrupted
wal/<server>-<timeline>/    the write-ahead log: see `wal_archive`
state.json            the schedule's last results
*.lock                locked by the process that works on the catalog
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from graphql_api.backup.errors import BackupError

_UNFINISHED = ".unfinished"


class Kind(StrEnum):
    """How a backup is taken."""

    FULL = "full"
    INCREMENTAL = "incremental"
    DUMP = "dump"


class Backup(BaseModel):
    """The record of one finished backup."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: Kind
    parent: str | None = None
    """The id of the backup that an incremental one is based on."""
    started_at: datetime
    copied_from: datetime | None = None
    """When the copy of a base backup began, by the server's clock: its log has all commits before that."""
    finished_at: datetime
    """By the server's clock: every moment after it can be restored, if the write-ahead log is there."""
    server: str
    """The system identifier of the server; the host's name for a dump."""
    timeline: int = 0
    version: int
    """PostgreSQL's major version."""
    first_segment: str = ""
    """The segment of the write-ahead log in which recovery begins."""
    last_segment: str = ""
    segment_bytes: int = 0
    bytes: int
    verified_at: datetime | None = None
    verification: str = ""
    """The result of the last verification."""


_RECEIVER_SEEN = timedelta(minutes=1)
"""A running receiver records its progress more often than this."""


class State(BaseModel):
    """The schedule's last results, for monitors."""

    failed_at: datetime | None = None
    """When a backup or a verification last failed; None once one has succeeded."""
    failure: str = ""
    receiver: str = ""
    """Why no write-ahead log is being received; empty while it is."""
    checked_at: datetime | None = None
    """When the receiver last recorded its progress."""
    full_backup_needed: bool = False
    """Whether the log has a gap after which no full backup has been taken yet."""

    def is_received(self, now: datetime) -> bool:
        """Returns whether the log is being received: a receiver that was killed leaves no reason behind."""
        checked = self.checked_at
        return not self.receiver and checked is not None and now - checked < _RECEIVER_SEEN


class Catalog:
    """The backups in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()

    def make(self) -> None:
        """Makes the folder. Other users may enter but not list it: root restores as another user."""
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)

    @property
    def wal_folder(self) -> Path:
        """The folder of the write-ahead logs."""
        return self.folder / "wal"

    def backups(self) -> list[Backup]:
        """Returns the finished backups, oldest first. Raises BackupError for one that can't be read."""
        found = []
        for file in sorted(self.folder.glob("*/backup.json")):
            if file.parent.suffix == _UNFINISHED:
                continue
            try:
                found.append(Backup.model_validate_json(file.read_bytes()))
            except ValidationError:
                raise BackupError(f"{file} is damaged: remove its folder, and take a full backup") from None
        return sorted(found, key=lambda backup: backup.finished_at)

    def get(self, backup_id: str) -> Backup:
        """Returns the present record of an existing backup."""
        return next(backup for backup in self.backups() if backup.id == backup_id)

    def path(self, backup: Backup | str) -> Path:
        """Returns the folder of a backup."""
        return self.folder / (backup if isinstance(backup, str) else backup.id)

    def data(self, backup: Backup) -> Path:
        """Returns the data folder of a base backup."""
        return self.path(backup) / "data"

    def chain(self, backup: Backup) -> list[Backup]:
        """Returns the backups that a backup is combined from, the full one first.

        Raises BackupError for a gap.
        """
        return _chain(backup, {each.id: each for each in self.backups()})

    def newest_before(self, moment: datetime, *, usable: Sequence[Backup] | None = None) -> Backup:
        """Returns the backup from which to recover up to `moment`. Raises BackupError if there is none."""
        backups = self.backups() if usable is None else usable
        earlier = [backup for backup in backups if backup.finished_at < moment]
        if earlier:
            return earlier[-1]
        if not backups:
            raise BackupError(f"there is no backup in {self.folder}")
        raise BackupError(f"the oldest backup is of {backups[0].finished_at:%Y-%m-%d %H:%M:%S %Z}")

    def expired(self, retention: timedelta, now: datetime) -> list[Backup]:
        """Returns the backups that no moment within the retention needs.

        Each such moment needs the newest base backup before it, with all that this one is based on, and the
        newest dump before it. A backup with a gap in its chain can't be restored, so no moment needs it.
        """
        backups = self.backups()
        by_id = {each.id: each for each in backups}
        chains: dict[str, list[Backup]] = {}
        for backup in backups:
            with suppress(BackupError):
                chains[backup.id] = _chain(backup, by_id)
        horizon = now - retention
        needed: set[str] = set()
        for group in ((Kind.DUMP,), (Kind.FULL, Kind.INCREMENTAL)):
            usable = [backup for backup in backups if backup.kind in group and backup.id in chains]
            before = [backup for backup in usable if backup.finished_at < horizon]
            for backup in (*before[-1:], *(backup for backup in usable if backup.finished_at >= horizon)):
                needed.update(each.id for each in chains[backup.id])
        return [backup for backup in backups if backup.id not in needed]

    def remove(self, backup: Backup) -> None:
        """Removes a backup. If it is interrupted, an unfinished one is left."""
        unfinished = self.path(backup).with_name(backup.id + _UNFINISHED)
        self.path(backup).rename(unfinished)
        shutil.rmtree(unfinished)

    def begin(self, moment: datetime) -> Path:
        """Returns a new folder for a backup that begins at `moment`, and removes interrupted ones."""
        self.make()
        for leftover in self.folder.glob(f"*{_UNFINISHED}"):
            shutil.rmtree(leftover)
        folder = self.folder / f"{moment.astimezone(UTC):%Y%m%dT%H%M%S%fZ}{_UNFINISHED}"
        folder.mkdir(mode=0o700)
        return folder

    @contextmanager
    def new_folder(self, moment: datetime) -> Iterator[Path]:
        """Yields a folder made by `begin`, to be filled and finished in the block; a failure removes it."""
        folder = self.begin(moment)
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def finish(self, folder: Path, backup: Backup) -> None:
        """Turns a folder of `begin` into a backup, atomically."""
        _write(folder / "backup.json", backup.model_dump_json(indent=2))
        folder.rename(self.path(backup))
        _sync(self.folder)

    def update(self, backup: Backup) -> None:
        """Writes a changed record of a backup."""
        _write(self.path(backup) / "backup.json", backup.model_dump_json(indent=2))

    def state(self) -> State:
        """Returns the schedule's last results; an empty state if there are none, or they can't be read."""
        try:
            return State.model_validate_json((self.folder / "state.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return State()

    def write_state(self, **changes: object) -> None:
        """Changes some fields of the state."""
        self.make()
        state = self.state().model_copy(update=changes)
        _write(self.folder / "state.json", state.model_dump_json(indent=2))

    @contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        """Locks out other processes for the block; yields False if another one is at work already."""
        self.make()
        descriptor = os.open(self.folder / f"{name}.lock", os.O_RDONLY | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


def _chain(backup: Backup, by_id: Mapping[str, Backup]) -> list[Backup]:
    """Returns the backups that a backup is combined from, the full one first.

    Raises BackupError for a gap.
    """
    chain = [backup]
    while (parent := chain[0].parent) is not None:
        if parent not in by_id:
            raise BackupError(f"backup {chain[0].id} goes on from {parent}, which is missing")
        chain.insert(0, by_id[parent])
    return chain


def free_bytes(folder: Path) -> int:
    """Returns the free bytes on the disk of a folder."""
    return shutil.disk_usage(folder).free


def refuse_full_disk(folder: Path, needed: int, what: str) -> None:
    """Raises BackupError if there is no room for `needed` bytes in a folder, which need not exist yet."""
    free = free_bytes(next(path for path in (folder, *folder.parents) if path.exists()))
    if free < needed:
        raise BackupError(
            f"{what} needs {megabytes(needed)}, and {folder} has {megabytes(free)} left: "
            "make room, or set GRAPHQL_API_BACKUP_DIR"
        )


def megabytes(size: int) -> str:
    """Returns a number of bytes as text in MB or GB."""
    return f"{size / 2**20:,.0f} MiB"


def _write(file: Path, text: str) -> None:
    """Writes a file atomically: after a crash, it is there as a whole or not at all."""
    temporary = file.with_name(file.name + ".new")
    with temporary.open("w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.rename(file)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
