"""Verifies a backup: restores it, and compares every row of every table with the live database.

Both have to be read as of one moment. So the tables are locked for an instant in which no transaction is
writing: long enough to take a snapshot, and to read the LSN that belongs to it. Writers wait for milliseconds
at most, since the lock is never waited for: it is tried again until it is free.
"""

import asyncio
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from graphql_api.backup.catalog import Catalog, Kind
from graphql_api.backup.errors import BackupError
from graphql_api.backup.programs import Progress, programs_of, quiet
from graphql_api.backup.receiver import SLOT
from graphql_api.backup.recovery import Recovered, Target, check_pages, recovered
from graphql_api.backup.take import APPLICATION
from graphql_api.dev.embedded.programs import SystemUser
from graphql_api.postgres.address import Address

_ATTEMPTS = 300
_PAUSE = 0.05  # seconds, on average, between two of them
_RECEIVED_WITHIN = 60.0  # seconds for the log of that moment to arrive

_TABLES = """
    SELECT format('%I.%I', nspname, relname) AS name
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind = 'r' AND relpersistence = 'p' AND nspname !~ '^pg_' AND nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
                      AND deptype = 'e')
    ORDER BY 1
"""
# A sum of the rows' hashes doesn't depend on the order in which they are read.
_FINGERPRINT = """
    SELECT count(*) AS rows, coalesce(sum(hashtextextended(t::text, 0)), 0)::text AS hash FROM {} t
"""
_SLOT_EXISTS = "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)"
_RECEIVED = """
    SELECT flush_lsn >= $2::text::pg_lsn
    FROM pg_stat_replication JOIN pg_replication_slots ON active_pid = pid
    WHERE slot_name = $1
"""

# A database, a role or a server may print values in another form than the one that is compared with.
_PRINTING = {
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "IntervalStyle": "postgres",
    "lc_monetary": "'C'",
    "search_path": "''",
}

Fingerprints = Mapping[str, tuple[int, str]]
"""By table, the number of its rows, and the sum of their hashes."""


@dataclass(frozen=True, slots=True)
class _Moment:
    lsn: str
    """The LSN of the moment: no change at or after it had happened."""
    tables: Fingerprints


async def verify(
    address: Address, catalog: Catalog, *, progress: Progress = quiet, now: datetime | None = None
) -> str:
    """Restores the newest base backup beside the server, compares them, and returns the result as text.

    To be called with the catalog's lock `work`. Raises BackupError if the backup is damaged or differs.
    """
    backups = [backup for backup in catalog.backups() if backup.kind is not Kind.DUMP]
    if not backups:
        raise BackupError(f"there is no base backup in {catalog.folder}")
    backup = backups[-1]
    moment = await _moment(address, progress)
    target = Target(lsn=moment.lsn) if moment else Target()
    role, database = await _role_and_database(address)
    with scratch_folder(catalog) as folder:
        data = folder / "data"
        async with recovered(catalog, backup, target, data, progress=progress) as server:
            found = await _compare(server, role, database, moment)
        progress("checking every page", 0, 0)
        await check_pages(programs_of(backup.version), data)
    for each in catalog.chain(backup):
        catalog.update(
            each.model_copy(update={"verified_at": now or datetime.now(UTC), "verification": found})
        )
    return found


@contextmanager
def scratch_folder(catalog: Catalog) -> Iterator[Path]:
    """Makes a folder to restore into, which is removed at the end of the block."""
    user = SystemUser.for_data(catalog.folder / "data")
    above = catalog.folder if user.can_access(catalog.folder) else Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="restore-", dir=above))
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def fingerprints(connection: "asyncpg.Connection") -> Fingerprints:
    """Returns the fingerprint of every table. Views, sequences and unlogged tables are left out."""
    await connection.execute("; ".join(f"SET {name} = {value}" for name, value in _PRINTING.items()))
    tables = [row["name"] for row in await connection.fetch(_TABLES)]
    found = {}
    for table in tables:
        [row] = await connection.fetch(_FINGERPRINT.format(table), timeout=None)
        found[table] = (row["rows"], row["hash"])
    await connection.execute("; ".join(f"RESET {name}" for name in _PRINTING))
    return found


def differences(expected: Fingerprints, found: Fingerprints) -> list[str]:
    """Returns a sentence for each table that isn't the same."""
    return [
        f"{table} has {found[table][0]:,} rows instead of {expected[table][0]:,}"
        if table in found and table in expected and found[table][0] != expected[table][0]
        else f"{table} has other values"
        if table in found and table in expected
        else f"{table} is {'missing' if table in expected else 'new'}"
        for table in sorted({*expected, *found})
        if expected.get(table) != found.get(table)
    ]


async def _compare(server: Recovered, role: str, database: str, moment: _Moment | None) -> str:
    address = server.address_of(role, database)
    try:
        connection = await address.connect_unlimited(application=APPLICATION)
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise BackupError(
            f"backup {server.backup.id} is restored, but its tables are read by the role {role!r}, which it"
            f" refuses ({error}): if the role is newer than the backup, take another"
        ) from error
    try:
        tables = await fingerprints(connection)
    finally:
        await connection.close()
    rows = sum(rows for rows, _ in tables.values())
    if moment is None:
        return f"restored: {len(tables)} tables, {rows:,} rows; not compared, since no log is received"
    if wrong := differences(moment.tables, tables):
        raise BackupError(f"backup {server.backup.id} differs from the database: {'; '.join(wrong)}")
    return f"restored and compared: {len(tables)} tables, {rows:,} rows are equal"


async def _moment(address: Address, progress: Progress) -> _Moment | None:
    """Returns a moment of the live database to compare with; None if its log isn't received."""
    async with _connections(address) as (holder, reader):
        if not await _is_received(holder):
            return None
        progress("reading the live tables", 0, 0)
        lsn = await _open_quiet_snapshot(holder, reader)
        await holder.execute("SELECT pg_current_xact_id()")  # a later transaction, whose log to wait for
        moment = _Moment(lsn, await fingerprints(reader))
        await reader.execute("COMMIT")
        try:
            async with asyncio.timeout(_RECEIVED_WITHIN):
                while not await holder.fetchval(_RECEIVED, SLOT, lsn):  # noqa: ASYNC110 - PostgreSQL can't call
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            raise BackupError(
                f"the log hasn't arrived within {_RECEIVED_WITHIN:.0f} s: its receiver stands still"
            ) from None
    return moment


async def _is_received(connection: "asyncpg.Connection") -> bool:
    """Whether the log is received. Waits for a short time, in case a receiver has just been started."""
    if not await connection.fetchval(_SLOT_EXISTS, SLOT):
        return False
    for _ in range(_ATTEMPTS):
        if await connection.fetchval(_RECEIVED, SLOT, "0/0") is not None:
            return True
        await asyncio.sleep(_PAUSE / 2)
    return False


async def _open_quiet_snapshot(holder: "asyncpg.Connection", reader: "asyncpg.Connection") -> str:
    """Opens a transaction of `reader` whose snapshot is taken while nobody writes; returns the LSN.

    `holder` locks all tables against writers for that moment.
    """
    tables = ", ".join(row["name"] for row in await holder.fetch(_TABLES))
    for _ in range(_ATTEMPTS):
        try:
            async with holder.transaction():
                await holder.execute(f"LOCK TABLE {tables} IN SHARE MODE NOWAIT")
                await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                await reader.fetchval("SELECT 1")  # takes the snapshot
                lsn: str = await holder.fetchval("SELECT pg_current_wal_insert_lsn()::text")
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(random.uniform(0, 2 * _PAUSE))  # noqa: S311 - no secret
        else:
            return lsn
    raise BackupError(
        "there was always somebody writing, so that the backup could not be compared: try again"
    )


@asynccontextmanager
async def _connections(
    address: Address,
) -> AsyncIterator[tuple["asyncpg.Connection", "asyncpg.Connection"]]:
    holder = await address.connect_unlimited(application=APPLICATION)
    try:
        reader = await address.connect_unlimited(application=APPLICATION)
        try:
            yield holder, reader
        finally:
            await reader.close()
    finally:
        await holder.close()


async def _role_and_database(address: Address) -> tuple[str, str]:
    """Returns the role that reads the live tables, which so can read the restored ones, and its database.

    No superuser's name is known: a cluster's maker chooses it.
    """
    connection = await address.connect_plain(application=APPLICATION)
    try:
        [row] = await connection.fetch("SELECT session_user::text AS role, current_database()::text AS name")
        return row["role"], row["name"]
    finally:
        await connection.close()
