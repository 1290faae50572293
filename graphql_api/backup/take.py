"""Takes backups: of a whole server by pg_basebackup, of one database by pg_dump."""

import asyncio
import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from graphql_api.backup.catalog import Backup, Catalog, Kind, refuse_full_disk
from graphql_api.backup.errors import BackupError
from graphql_api.backup.programs import Progress, programs_of, quiet, run
from graphql_api.backup.wal_archive import segment_of
from graphql_api.postgres.address import Address

APPLICATION = "graphql-api backup"
CHAIN = timedelta(days=7)
"""How long incremental backups are based on one full backup."""

_OLDEST_INCREMENTAL = 17
_MARGIN = 64 * 2**20  # bytes that a backup may need beyond the server's data: its own write-ahead log
_POLL_INTERVAL = 0.5  # seconds between two reports of progress

_FACTS = """
    SELECT (SELECT system_identifier FROM pg_control_system())::text AS server,
           pg_is_in_recovery() AS standby,
           CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
           END AS timeline,
           current_setting('server_version_num')::int / 10000 AS version,
           pg_size_bytes(current_setting('wal_segment_size')) AS segment_bytes,
           (SELECT sum(pg_database_size(oid)) FROM pg_database
            WHERE has_database_privilege(oid, 'CONNECT'))::bigint AS bytes,
           (SELECT count(*) FROM pg_tablespace WHERE spcname !~ '^pg_') AS tablespaces,
           coalesce(current_setting('summarize_wal', true), 'off') = 'on' AS summarizes,
           quote_ident(current_user) AS role,
           (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) AS may_replicate
"""
_PROGRESS = "SELECT phase, backup_streamed, backup_total FROM pg_stat_progress_basebackup"


@dataclass(frozen=True, slots=True)
class Server:
    """Facts about the server that a base backup depends on."""

    identifier: str
    timeline: int
    version: int
    segment_bytes: int
    bytes: int
    summarizes: bool
    """Whether it keeps summaries of its write-ahead log, which incremental backups need."""


async def inspect_server(connection: "asyncpg.Connection") -> Server:
    """Returns facts about the server. Raises BackupError for one of which no base backup can be taken."""
    [facts] = await connection.fetch(_FACTS)
    if facts["standby"]:
        raise BackupError("this is a standby: set DATABASE_DIRECT_URL to the primary")
    if not facts["may_replicate"]:
        raise BackupError(
            f"the role {facts['role']} may not copy the server: ALTER ROLE {facts['role']} REPLICATION, and "
            "let it in with a line for `replication` in pg_hba.conf; or take dumps "
            "(GRAPHQL_API_BACKUP_METHOD=dump)"
        )
    if facts["tablespaces"]:
        raise BackupError("servers with tablespaces are not supported: use pgBackRest or Barman")
    return Server(
        identifier=facts["server"],
        timeline=int(facts["timeline"], 16),
        version=facts["version"],
        segment_bytes=facts["segment_bytes"],
        bytes=facts["bytes"] or 0,
        summarizes=facts["summarizes"],
    )


def refuse_pooler(address: Address) -> None:
    """Raises BackupError for the address of a pooler, through which neither copies nor dumps can be taken."""
    if address.pooled:
        raise BackupError("backups don't pass a pooler: set DATABASE_DIRECT_URL to the server itself")


async def take(
    address: Address,
    catalog: Catalog,
    *,
    full: bool | None = None,
    progress: Progress = quiet,
    now: datetime | None = None,
) -> Backup:
    """Takes a base backup and returns it.

    It is incremental if the newest full one of this server is younger than a week, unless `full` says. To be
    called with the catalog's lock `work`. Raises BackupError, OSError or asyncpg's errors.
    """
    refuse_pooler(address)
    now = now or datetime.now(UTC)
    connection = await address.connect_plain(application=APPLICATION)
    try:
        server = await inspect_server(connection)
        parent = None if full else parent_for(catalog, server, now)
        if full is False and parent is None:
            raise BackupError("there is nothing that an incremental backup could go on from: take a full one")
        refuse_full_disk(catalog.folder, (0 if parent else server.bytes) + _MARGIN, "a backup")
        with catalog.new_folder(now) as folder:
            copied_from = await connection.fetchval("SELECT clock_timestamp()")
            try:
                await _copy(address, connection, server, folder, catalog, parent, progress)
            except BackupError:
                if parent is None or full is False:
                    raise
                # The summaries may be gone, or the parent's files damaged. A full backup needs neither.
                parent = None
                shutil.rmtree(folder / "data", ignore_errors=True)
                refuse_full_disk(catalog.folder, server.bytes + _MARGIN, "a full backup")
                await _copy(address, connection, server, folder, catalog, parent, progress)
            finished_at = await connection.fetchval("SELECT clock_timestamp()")
            backup = _describe(folder, server, parent, now, copied_from, finished_at)
            catalog.finish(folder, backup)
    finally:
        await connection.close()
    return backup


def parent_for(catalog: Catalog, server: Server, now: datetime) -> Backup | None:
    """Returns the backup that an incremental one can be based on; None if a full one has to be taken."""
    if not server.summarizes or server.version < _OLDEST_INCREMENTAL:
        return None
    candidates = [
        backup
        for backup in catalog.backups()
        if backup.kind is not Kind.DUMP
        and (backup.server, backup.timeline, backup.version)
        == (server.identifier, server.timeline, server.version)
    ]
    if not candidates:
        return None
    try:
        first = catalog.chain(candidates[-1])[0]
    except BackupError:
        return None
    return candidates[-1] if now - first.started_at < CHAIN else None


async def _copy(
    address: Address,
    connection: "asyncpg.Connection",
    server: Server,
    folder: Path,
    catalog: Catalog,
    parent: Backup | None,
    progress: Progress,
) -> None:
    """Runs pg_basebackup. The backup includes the write-ahead log that makes it consistent by itself."""
    watching = asyncio.create_task(_watch(connection, progress, "incremental" if parent else "full"))
    try:
        await run(
            programs_of(server.version),
            "pg_basebackup",
            *("--pgdata", folder / "data", "--format=plain", "--wal-method=stream", "--checkpoint=fast"),
            *("--manifest-checksums=SHA256", "--no-password", f"--label=graphql-api {folder.stem}"),
            *((f"--incremental={catalog.data(parent) / 'backup_manifest'}",) if parent else ()),
            variables=address.libpq_environment(APPLICATION),
        )
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await watching  # a lost connection is also why pg_basebackup has failed


async def _watch(connection: "asyncpg.Connection", progress: Progress, kind: str) -> None:
    while True:
        for row in await connection.fetch(_PROGRESS):
            progress(f"{kind}: {row['phase']}", row["backup_streamed"] or 0, row["backup_total"] or 0)
        await asyncio.sleep(_POLL_INTERVAL)


def _describe(
    folder: Path,
    server: Server,
    parent: Backup | None,
    started_at: datetime,
    copied_from: datetime,
    finished_at: datetime,
) -> Backup:
    manifest = json.loads((folder / "data" / "backup_manifest").read_bytes())
    (wal,) = manifest["WAL-Ranges"]
    return Backup(
        id=folder.stem,
        kind=Kind.INCREMENTAL if parent else Kind.FULL,
        parent=parent.id if parent else None,
        started_at=started_at,
        copied_from=copied_from,
        finished_at=finished_at,
        server=server.identifier,
        timeline=wal["Timeline"],
        version=server.version,
        first_segment=segment_of(wal["Timeline"], wal["Start-LSN"], server.segment_bytes),
        last_segment=segment_of(wal["Timeline"], wal["End-LSN"], server.segment_bytes),
        segment_bytes=server.segment_bytes,
        bytes=sum(file["Size"] for file in manifest["Files"]),
    )
