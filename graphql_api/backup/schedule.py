"""The daily schedule: receives the write-ahead log, takes and verifies backups, and removes old ones.

This package's front door. `receiver` receives the log, `take` and `dump` take backups into a `catalog`, and
`verification` proves them by a restore of `recovery`.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from graphql_api.backup.bucket import Bucket
from graphql_api.backup.catalog import Backup, Catalog, Kind
from graphql_api.backup.dump import take_dump, verify_dump
from graphql_api.backup.errors import FAILURES, BackupError, reason_of
from graphql_api.backup.programs import Progress, quiet
from graphql_api.backup.receiver import Receiver
from graphql_api.backup.take import APPLICATION, inspect_server, take
from graphql_api.backup.verification import verify
from graphql_api.backup.wal_archive import WalArchive
from graphql_api.postgres.address import Address

log = logging.getLogger(__name__)

_INTERVAL = timedelta(days=1)
_POLL_INTERVAL = 30.0  # seconds between two checks of what is due
_AFTER_FAILURE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Policy:
    """How long backups are kept, and how often one is verified."""

    retention: timedelta = timedelta(days=30)
    verification: timedelta = timedelta(days=7)


class Schedule:
    """Takes, verifies and removes the base backups of one server, in one catalog."""

    def __init__(
        self,
        address: Address,
        catalog: Catalog,
        policy: Policy,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._address, self._catalog, self._policy, self._clock = address, catalog, policy, clock
        self._receiver = Receiver(address, catalog)
        self._not_before: datetime | None = None

    async def run(self, *, delay: float = 0) -> None:
        """Works until cancelled; begins after `delay` seconds. Waits while another process does the work."""
        await asyncio.sleep(delay)
        while True:
            with self._catalog.lock("schedule") as acquired:
                if acquired:
                    await self._work()
            await asyncio.sleep(_POLL_INTERVAL)

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receiver.run())
            await self._receiver.tried.wait()
            while True:
                await self.do_what_is_due()
                needed = self._receiver.full_backup_needed
                if needed.is_set():  # and the backup has failed
                    await asyncio.sleep(_POLL_INTERVAL)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_INTERVAL):
                        await needed.wait()

    async def do_what_is_due(self) -> None:
        """Takes and verifies a backup if that is due, and removes old ones. Logs and records failures."""
        now = self._clock()
        if self._not_before is not None and now < self._not_before:
            return
        try:
            with self._catalog.lock("work") as acquired:
                if not acquired:
                    return  # a `graphql-api backup` command is running
                await self._do(now)
        except FAILURES as error:
            self._not_before = now + _AFTER_FAILURE
            log.error("the backup has failed, and is tried again in ten minutes: %s", reason_of(error))  # noqa: TRY400
            self._note(failed_at=now, failure=reason_of(error))
        else:
            self._not_before = None

    async def _do(self, now: datetime) -> None:
        await self._take_if_due(now)
        remove_expired(self._catalog, self._policy.retention, now)
        await self._verify_if_due(now)

    async def _take_if_due(self, now: datetime) -> None:
        newest = await self._newest_of_server()
        gap = self._receiver.full_backup_needed.is_set()
        if newest is not None and not gap and now - newest.started_at < _INTERVAL:
            return
        self._receiver.full_backup_needed.clear()  # it is set again if there is another gap meanwhile
        try:
            backup = await take(self._address, self._catalog, full=True if gap else None, now=now)
        except BaseException:
            if gap:
                self._receiver.full_backup_needed.set()
            raise
        if not self._receiver.full_backup_needed.is_set():
            self._note(full_backup_needed=False)
        log.info("%s backup %s is taken", backup.kind.value, backup.id)
        self._note(failed_at=None, failure="")

    async def _newest_of_server(self) -> Backup | None:
        """Returns the newest base backup of this server's present timeline."""
        connection = await self._address.connect_plain(application=APPLICATION)
        try:
            server = await inspect_server(connection)
        finally:
            await connection.close()
        same_timeline = [
            backup
            for backup in self._catalog.backups()
            if backup.kind is not Kind.DUMP
            and (backup.server, backup.timeline) == (server.identifier, server.timeline)
        ]
        return same_timeline[-1] if same_timeline else None

    async def _verify_if_due(self, now: datetime) -> None:
        verified = [
            backup.verified_at
            for backup in self._catalog.backups()
            if backup.kind is not Kind.DUMP and backup.verified_at
        ]
        if verified and now - max(verified) < self._policy.verification:
            return
        try:
            found = await verify(self._address, self._catalog, now=now)
        except FAILURES as error:
            raise BackupError(f"it is taken, but can't be verified: {reason_of(error)}") from error
        log.info("%s", found)
        self._note(failed_at=None, failure="")

    def _note(self, **changes: object) -> None:
        try:
            self._catalog.write_state(**changes)
        except OSError as error:
            log.error("%s can't be written: %s", self._catalog.folder, error.strerror)  # noqa: TRY400


class DumpSchedule(Schedule):
    """Takes, verifies and removes the dumps of one database, in a folder or in a `bucket`."""

    def __init__(
        self,
        address: Address,
        catalog: Catalog,
        policy: Policy,
        *,
        bucket: Bucket | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(address, catalog, policy, clock=clock)
        self._bucket = bucket

    async def _work(self) -> None:
        while True:
            await self.do_what_is_due()
            await asyncio.sleep(_POLL_INTERVAL)

    async def _do(self, now: datetime) -> None:
        """Takes a dump daily, and restores it at once, which alone proves that it can be restored."""
        if self._bucket is not None:
            await self._bucket.records(self._catalog)
        dumps = [backup for backup in self._catalog.backups() if backup.kind is Kind.DUMP]
        if dumps and now - dumps[-1].started_at < _INTERVAL:
            if await finish_dump(self._catalog, dumps[-1], bucket=self._bucket, now=now):
                self._note(failed_at=None, failure="")
            return
        backup = await replace_dumps(
            self._address, self._catalog, self._policy.retention, bucket=self._bucket, now=now
        )
        log.info("dump %s: %s", backup.id, backup.verification)
        self._note(failed_at=None, failure="")


async def replace_dumps(
    address: Address,
    catalog: Catalog,
    retention: timedelta,
    *,
    bucket: Bucket | None = None,
    progress: Progress = quiet,
    now: datetime | None = None,
) -> Backup:
    """Takes a verified dump, removes those that are too old, and returns the new one."""
    backup = await dump_verified(address, catalog, bucket=bucket, progress=progress, now=now)
    for expired in remove_expired(catalog, retention, now or datetime.now(UTC)):
        if bucket is not None:
            await bucket.remove(expired)
    return backup


async def dump_verified(
    address: Address,
    catalog: Catalog,
    *,
    bucket: Bucket | None = None,
    progress: Progress = quiet,
    now: datetime | None = None,
) -> Backup:
    """Dumps the database, restores and compares the dump, puts it in the bucket, and returns the backup."""
    backup = await take_dump(address, catalog, progress=progress, now=now)
    await finish_dump(catalog, backup, bucket=bucket, progress=progress, now=now)
    return catalog.get(backup.id)


async def finish_dump(
    catalog: Catalog,
    backup: Backup,
    *,
    bucket: Bucket | None = None,
    progress: Progress = quiet,
    now: datetime | None = None,
) -> bool:
    """Verifies a dump and uploads it, unless that was done before.

    Returns whether there was anything to do.
    """
    if backup.verified_at is None:
        await verify_stored_dump(catalog, backup, bucket=bucket, progress=progress, now=now)
        return True
    if bucket is None or not (catalog.path(backup) / "dump").exists():
        return False
    await bucket.put(catalog, backup, progress=progress)
    return True


async def verify_stored_dump(
    catalog: Catalog,
    backup: Backup,
    *,
    bucket: Bucket | None = None,
    progress: Progress = quiet,
    now: datetime | None = None,
) -> str:
    """Verifies a dump in the folder or the bucket; stores the result in its record, and returns it."""
    if bucket is not None:
        await bucket.get(catalog, backup, progress=progress)
    found = await verify_dump(catalog, backup, progress=progress, now=now)
    if bucket is not None:
        await bucket.put(catalog, catalog.get(backup.id), progress=progress)
    return found


def remove_expired(catalog: Catalog, retention: timedelta, now: datetime) -> list[Backup]:
    """Removes backups that no moment within the retention needs, and the log before the oldest remaining one.

    To be called with the catalog's lock `work`. Returns the removed backups.
    """
    expired = catalog.expired(retention, now)
    for backup in reversed(expired):  # an incremental backup before the one that it is based on
        catalog.remove(backup)
    kept: dict[tuple[str, int], str] = {}
    for backup in catalog.backups():
        if backup.kind is not Kind.DUMP:
            first = kept.get((backup.server, backup.timeline), backup.first_segment)
            kept[backup.server, backup.timeline] = min(first, backup.first_segment)
    for (server, timeline), segment in kept.items():
        WalArchive(catalog, server, timeline).remove_before(segment)
    for server, timeline in {(each.server, each.timeline) for each in expired} - set(kept):
        WalArchive(catalog, server, timeline).remove()
    return expired
