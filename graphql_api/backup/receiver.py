"""Receives the write-ahead log: keeps pg_receivewal running, and records up to when the log is complete.

While no program receives it, the server keeps the log for a replication slot, as much as its
`max_slot_wal_keep_size` allows. Beyond that the slot is lost. Then a new slot is made, and a full backup is
requested, since the log has a gap.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from graphql_api.backup.catalog import Catalog
from graphql_api.backup.errors import FAILURES, BackupError, reason_of
from graphql_api.backup.programs import last_lines, launch, programs_of
from graphql_api.backup.take import APPLICATION, Server, inspect_server, refuse_pooler
from graphql_api.backup.wal_archive import WalArchive, parse_lsn, write_status
from graphql_api.postgres.address import Address

log = logging.getLogger(__name__)

SLOT = "graphql_api_backup"

_POLL_INTERVAL = 2.0  # seconds between two checks of how far the log is received
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before a receiver that has failed is started again
# A commit's time is taken just before it is written.
_COMMIT_LAG = timedelta(seconds=1)

_SLOT = "SELECT wal_status, active_pid FROM pg_replication_slots WHERE slot_name = $1"
_MAKE_SLOT = "SELECT pg_create_physical_replication_slot($1, true)"
_DROP_SLOT = "SELECT pg_drop_replication_slot($1)"
_LSNS = """
    SELECT pg_current_wal_flush_lsn()::text AS written, clock_timestamp() AS moment,
           (SELECT flush_lsn::text FROM pg_stat_replication JOIN pg_replication_slots ON active_pid = pid
            WHERE slot_name = $1) AS received
"""


class Receiver:
    """Receives one server's write-ahead log into a catalog, for as long as `run` isn't cancelled."""

    def __init__(self, address: Address, catalog: Catalog) -> None:
        self._address = address
        self._catalog = catalog
        self._reason = ""
        self._expected: tuple[datetime, int] | None = None
        """A time, and the LSN of the log then."""
        self.tried = asyncio.Event()
        """Set once the first attempt has found out whether the log has a gap, or has failed."""
        self.full_backup_needed = asyncio.Event()
        """Set when the log has a gap, or another timeline has begun; the catalog's state has it too."""

    async def run(self) -> None:
        """Receives until cancelled, and again after each failure; logs each kind of failure once."""
        pause = _FIRST_PAUSE
        if self._catalog.state().full_backup_needed:
            self.full_backup_needed.set()
        while True:
            began = asyncio.get_running_loop().time()
            try:
                reason = await self._receive()
            except FAILURES as error:
                reason = reason_of(error)
            self.tried.set()
            if asyncio.get_running_loop().time() - began > _LONGEST_PAUSE:
                pause = _FIRST_PAUSE
            self._report(reason)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _receive(self) -> str:
        """Receives until pg_receivewal ends, and returns why it did."""
        refuse_pooler(self._address)
        connection = await self._address.connect_plain(application=APPLICATION)
        try:
            server = await inspect_server(connection)
            archive = WalArchive(self._catalog, server.identifier, server.timeline)
            gap = await self._is_gap(connection)
            # Before the slot is made, whose existence means that the folder's log continues without a gap.
            folder = await asyncio.to_thread(archive.receiving_folder, after_gap=gap)
            if gap:
                self._catalog.write_state(full_backup_needed=True)
                await connection.execute(_MAKE_SLOT, SLOT)
                self.full_backup_needed.set()
            self.tried.set()
            self._expected = None
            process = await self._launch(server, folder)
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            printed = asyncio.create_task(process.stdout.read())
            try:
                while not printed.done():
                    await self._note_received(connection, folder)
                    await asyncio.wait((printed,), timeout=_POLL_INTERVAL)
                status = await process.wait()
                output = last_lines((await printed).decode(errors="replace"))
                return f"pg_receivewal has ended with status {status}: {output}"
            finally:
                if process.returncode is None:
                    with suppress(ProcessLookupError):
                        process.terminate()
                await process.wait()
                printed.cancel()
        finally:
            connection.terminate()

    async def _launch(self, server: Server, folder: Path) -> asyncio.subprocess.Process:
        return await launch(
            programs_of(server.version),
            "pg_receivewal",
            *("--directory", folder, f"--slot={SLOT}", "--synchronous", "--no-loop", "--no-password"),
            "--status-interval=1",
            *(("--compress=gzip:1",) if server.version >= 15 else ("--compress=1",)),
            variables=self._address.libpq_environment(APPLICATION),
        )

    async def _is_gap(self, connection: "asyncpg.Connection") -> bool:
        """Whether no slot has kept the missing log. Drops a slot that is lost."""
        slot = await connection.fetchrow(_SLOT, SLOT)
        if slot is not None and slot["wal_status"] == "lost":
            log.warning("the log has a gap, since the server could keep no more of it: a full backup follows")
            await connection.execute(_DROP_SLOT, SLOT)
            return True
        if slot is not None and slot["active_pid"] is not None:
            raise BackupError(f"another program receives through the slot {SLOT}")
        return slot is None

    async def _note_received(self, connection: "asyncpg.Connection", part: Path) -> None:
        """Records up to when the log is complete."""
        [row] = await connection.fetch(_LSNS, SLOT)
        if row["received"] is None:
            return
        self._report("")
        received, now = parse_lsn(row["received"]), (row["moment"], parse_lsn(row["written"]))
        # On a busy server the receiver is always a little behind, so it is compared with an earlier LSN.
        for moment, written in (now, self._expected or now):
            if received >= written:
                write_status(part, moment - _COMMIT_LAG)
                break
        self._expected = now

    def _report(self, reason: str) -> None:
        """Records and logs why nothing is received, or that it is received again."""
        if reason != self._reason:
            if reason:
                log.error("no log is received, so that the newest changes are in no backup: %s", reason)
            else:
                log.warning("the write-ahead log is received again")
            self._reason = reason
        with suppress(OSError):  # a full disk, which the receiver finds as well
            self._catalog.write_state(receiver=reason, checked_at=datetime.now(UTC))
