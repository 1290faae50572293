"""`graphql-api doctor`, second part: the maintenance of the database and its backups.

Each check returns its result, or raises FaultError for something that loses data or stops the service, and
ConcernError for something that may do so later.
"""

import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg

from graphql_api.backup.catalog import Catalog, Kind, free_bytes, megabytes
from graphql_api.backup.recovery import recoverable_until
from graphql_api.cli.backup import bucket_of, catalog_of, is_dumped
from graphql_api.postgres.address import Address
from graphql_api.postgres.replica import UnfitReplicaError, refuse_unfit
from graphql_api.postgres.tables import DOCUMENTED, metadata, views
from graphql_api.settings import Settings


class FaultError(Exception):
    """Something to mend; the message says how."""


class ConcernError(Exception):
    """Something to mend before it becomes a fault; the message says how."""


_CLOCK_SKEW = timedelta(seconds=2)
_BACKUP_AGE = timedelta(hours=26)
_LAG_SECONDS, _LAG_BYTES = 60, 256 * 2**20
_RETAINED_BYTES = 2 * 2**30
_LONG_TRANSACTION = timedelta(hours=1)
_XID_AGE = 1_000_000_000  # of two thousand million, at which PostgreSQL stops taking changes
_FEW_ROWS = 10_000
_LOCAL = ("127.0.0.1", "::1", "localhost")

_MISSING_PRIVILEGES = """
    SELECT privilege || ' on ' || name FROM (
        SELECT 'SELECT' AS privilege, unnest($1::text[]) AS name
        UNION ALL VALUES ('INSERT', 'risk_settings'), ('UPDATE', 'risk_settings'), ('INSERT', 'system_logs')
    ) AS wanted
    WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name), privilege)
      AND NOT (privilege = 'SELECT' AND has_any_column_privilege(to_regclass(name), 'SELECT'))
    UNION ALL
    SELECT 'UPDATE on tradelocker_accounts'  -- any column's, to lock an account's row
    WHERE NOT has_any_column_privilege(to_regclass('tradelocker_accounts'), 'UPDATE')
    UNION ALL (
        SELECT format('%s (%s) on %s', privilege, string_agg(column_name, ', ' ORDER BY attnum), name)
        FROM (
            SELECT 'SELECT' AS privilege, * FROM unnest($2::text[], $3::text[])
            UNION ALL VALUES ('UPDATE', 'users', 'password_hash'), ('UPDATE', 'users', 'last_login')
        ) AS wanted (privilege, name, column_name)
        JOIN pg_attribute ON attrelid = to_regclass(name) AND attname = column_name
        WHERE NOT has_column_privilege(attrelid, attnum, privilege)
          AND (privilege = 'UPDATE' OR has_any_column_privilege(attrelid, 'SELECT'))
        GROUP BY privilege, name ORDER BY name, privilege
    )
"""
# A program that only receives never replays, and PostgreSQL's replay_lag for it grows without end: its flush
# counts instead.
_STANDBYS = """
    SELECT coalesce(nullif(application_name, ''), client_addr::text, 'a standby') AS name, state, sync_state,
           coalesce(extract(epoch FROM CASE WHEN replay_lsn IS NULL THEN flush_lag ELSE replay_lag END), 0)
               ::float AS seconds,
           coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(replay_lsn, flush_lsn)), 0)::bigint
               AS bytes
    FROM pg_stat_replication WHERE state <> 'backup'
"""
_COMMITS_WAIT = """
    SELECT current_setting('synchronous_standby_names') <> ''
       AND current_setting('synchronous_commit') NOT IN ('off', 'local')
       AND NOT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))
"""
_WRITES = """
    SELECT current_setting('default_transaction_read_only')::boolean AS read_only,
           array_remove(ARRAY[
               CASE WHEN NOT current_setting('fsync')::boolean THEN 'fsync' END,
               CASE WHEN NOT current_setting('full_page_writes')::boolean THEN 'full_page_writes' END
           ], NULL) AS off
"""
_REPLICA_LAG = """
    SELECT CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN interval '0'
           ELSE coalesce(now() - pg_last_xact_replay_timestamp(), interval '0') END
"""
_SLOTS = """
    SELECT slot_name, active, wal_status,
           coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint AS bytes,
           current_setting('max_slot_wal_keep_size') AS bound
    FROM pg_replication_slots
"""
_ARCHIVER = """
    SELECT last_failed_wal, last_failed_time > coalesce(last_archived_time, '-infinity') AS fails
    FROM pg_stat_archiver WHERE current_setting('archive_mode') <> 'off'
"""
_CONNECTIONS = """
    SELECT count(*) AS used, current_setting('max_connections')::int AS allowed
    FROM pg_stat_activity WHERE backend_type = 'client backend'
"""
_LONG = """
    SELECT pid, coalesce(nullif(application_name, ''), usename::text) AS who, now() - xact_start AS age
    FROM pg_stat_activity WHERE xact_start < now() - $1::interval AND backend_type = 'client backend'
    ORDER BY xact_start LIMIT 1
"""
_PREPARED = """
    SELECT quote_literal(gid) AS gid, now() - prepared AS age
    FROM pg_prepared_xacts WHERE database = current_database() AND prepared < now() - $1::interval
    ORDER BY prepared LIMIT 1
"""
_TABLES = """
    SELECT relid::regclass::text AS relname, n_live_tup AS rows, n_dead_tup AS dead,
           coalesce(last_analyze, last_autoanalyze) IS NULL AS unknown
    FROM pg_stat_user_tables WHERE n_live_tup + n_dead_tup > $1 ORDER BY relname
"""
_XIDS = "SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()"
_INDEXES = """
    SELECT indexrelid::regclass::text AS name, indisvalid AS valid, idx_scan,
           pg_relation_size(indexrelid) AS bytes
    FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid)
    WHERE NOT indisvalid
       OR (idx_scan = 0 AND NOT indisunique AND pg_relation_size(indexrelid) > 64 * 1024 * 1024
           AND (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database())
               < now() - interval '7 days')
"""


@asynccontextmanager
async def _connected(address: Address) -> AsyncIterator["asyncpg.Connection"]:
    connection = await address.connect_plain(application="graphql-api doctor")
    try:
        yield connection
    finally:
        await connection.close()


async def profile(settings: Settings, _: Address) -> str:
    """Checks that the profile suits the address that the service listens at, and where limits are counted."""
    if settings.profile == "development":
        if settings.host not in _LOCAL:
            raise ConcernError(
                f"development has introspection, GraphiQL and a secret of its own, and listens at "
                f"{settings.host}: set GRAPHQL_API_PROFILE=production"
            )
        return "development"
    counted = "by all processes together" if settings.redis_url else "by each process for itself"
    return f"production; points and failed logins are counted {counted}"


async def clock(_: Settings, address: Address) -> str:
    """Compares the clocks of this machine, by which tokens expire, and of the server, which dates rows."""
    async with _connected(address) as connection:
        before = datetime.now(UTC)
        server_time: datetime = await connection.fetchval("SELECT clock_timestamp()")
        after = datetime.now(UTC)
    skew = server_time - (before + (after - before) / 2)
    if abs(skew) > _CLOCK_SKEW + (after - before):
        raise ConcernError(f"the server's differs by {skew.total_seconds():+.1f} s: run NTP on both machines")
    return "agrees with the server's"


async def privileges(_: Settings, address: Address) -> str:
    """Checks the role's privileges on the documented tables."""
    async with _connected(address) as connection:
        columns = [
            (table.name, column.name)
            for table in (*metadata.tables.values(), *views.tables.values())
            if table.name in DOCUMENTED and table.schema is None
            for column in table.columns
        ]
        rows = await connection.fetch(_MISSING_PRIVILEGES, list(DOCUMENTED), *zip(*columns, strict=True))
        missing = [row[0] for row in rows]
        role = await connection.fetchval("SELECT current_user")
    if missing:
        command = shlex.join(("graphql-api", "grants", role))
        raise FaultError(f"{role} lacks {', '.join(missing)}: as the owner, run what `{command}` prints")
    return f"{role} may do all that is needed"


async def changes(settings: Settings, address: Address) -> str:
    """Checks that the server takes changes, and keeps them when the machine loses power."""
    async with _connected(address) as connection:
        [row] = await connection.fetch(_WRITES)
        commits_wait = await connection.fetchval(_COMMITS_WAIT)
    if row["read_only"]:
        raise FaultError(
            "default_transaction_read_only is on: ALTER SYSTEM RESET default_transaction_read_only; "
            "SELECT pg_reload_conf(); or ALTER ROLE or DATABASE … RESET it"
        )
    if commits_wait:
        raise FaultError(
            "synchronous_standby_names is set and no such standby is connected, so that commits wait: "
            "start it, or ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf()"
        )
    if row["off"] and settings.profile == "production":
        off = " and ".join(row["off"])
        raise ConcernError(f"{off} is off, so that a power failure may destroy the database: turn it on")
    return "taken"


async def backups(settings: Settings, address: Address) -> str:
    """Checks how old the newest backup is, whether one was verified, and whether the log is received."""
    catalog = catalog_of(settings)
    if (bucket := bucket_of(settings)) is not None:
        await bucket.records(catalog)
    kept, state, now = catalog.backups(), catalog.state(), datetime.now(UTC)
    if not kept:
        if settings.profile == "development":
            return f"none in {catalog.folder}"
        raise ConcernError(
            f"there is none in {catalog.folder}: `graphql-api backup run` takes them daily "
            "(docs/recovery.md); leave this if something else does"
        )
    newest = kept[-1]
    if now - newest.finished_at > _BACKUP_AGE:
        raise FaultError(
            f"the newest is of {newest.finished_at:%Y-%m-%d %H:%M} UTC"
            f"{f', and the next failed: {state.failure}' if state.failed_at else ''}: "
            "is `backup run` running?"
        )
    if not is_dumped(settings, address) and not state.is_received(now):
        seen = f"{state.checked_at:%Y-%m-%d %H:%M} UTC" if state.checked_at else "the first backup"
        reason = state.receiver or f"nothing of it is noted since {seen}: is `backup run` running?"
        raise FaultError(f"no log is received, so that the newest changes are in none: {reason}")
    verified = [backup.verified_at for backup in kept if backup.verified_at]
    if not verified or now - max(verified) > timedelta(days=settings.backup_verification + 1):
        raise ConcernError("none was proven lately: run `graphql-api backup verify`")
    _refuse_little_room(catalog)
    until = recoverable_until(catalog, newest)
    return f"{len(kept)}, up to {until:%Y-%m-%d %H:%M:%S} UTC; proven {max(verified):%Y-%m-%d %H:%M} UTC"


def _refuse_little_room(catalog: Catalog) -> None:
    whole = [backup.bytes for backup in catalog.backups() if backup.kind is not Kind.INCREMENTAL]
    if whole and free_bytes(catalog.folder) < 2 * whole[-1]:
        raise ConcernError(
            f"{catalog.folder} has {megabytes(free_bytes(catalog.folder))} left, and a backup takes "
            f"{megabytes(whole[-1])}: make room"
        )


async def replication(_: Settings, address: Address) -> str:
    """Checks that standbys and receivers keep up, and how much log the server keeps for disconnected ones."""
    async with _connected(address) as connection:
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            raise FaultError("this is a standby: set DATABASE_URL to the primary")
        standbys, slots = await connection.fetch(_STANDBYS), await connection.fetch(_SLOTS)
        archiver = await connection.fetch(_ARCHIVER)
    faults = [
        f"archive_command fails since {row['last_failed_wal']}: look in PostgreSQL's log"
        for row in archiver
        if row["fails"]
    ]
    faults += [
        f"slot {slot['slot_name']} is lost: SELECT pg_drop_replication_slot('{slot['slot_name']}'), and make"
        " its standby again; backups make theirs themselves"
        for slot in slots
        if slot["wal_status"] == "lost"
    ]
    _raise(faults, [*filter(None, map(_slot_concern, slots)), *filter(None, map(_lag_concern, standbys))])
    names = ", ".join(f"{row['name']} ({row['sync_state']})" for row in standbys)
    return f"received by {names}" if standbys else "nobody receives"


def _slot_concern(slot: asyncpg.Record) -> str:
    if slot["wal_status"] == "unreserved" or (not slot["active"] and slot["bytes"] > _RETAINED_BYTES):
        return (
            f"slot {slot['slot_name']} is {'in' if not slot['active'] else ''}active and holds "
            f"{megabytes(slot['bytes'])} of log: start what reads it, or drop it"
        )
    if slot["bound"] == "-1":
        return (
            f"what slot {slot['slot_name']} holds has no bound, and may fill the disk: "
            "ALTER SYSTEM SET max_slot_wal_keep_size = '10GB'; SELECT pg_reload_conf()"
        )
    return ""


def _lag_concern(standby: asyncpg.Record) -> str:
    if standby["seconds"] > _LAG_SECONDS or standby["bytes"] > _LAG_BYTES:
        return f"{standby['name']} is {standby['seconds']:.0f} s and {megabytes(standby['bytes'])} behind"
    return ""


def _raise(faults: Sequence[str], concerns: Sequence[str]) -> None:
    """Raises FaultError with all that was found if there is a fault among it, else ConcernError."""
    found = "; ".join((*faults, *concerns))
    if faults:
        raise FaultError(found)
    if concerns:
        raise ConcernError(found)


async def replica(settings: Settings, address: Address) -> str:
    """Checks the replica that answers queries, if there is one."""
    if settings.database_replica_url is None:
        return "none"
    replica_address = Address.parse(settings.database_replica_url.get_secret_value())
    try:
        await refuse_unfit(address, replica_address)
    except UnfitReplicaError as error:
        raise FaultError(str(error)) from None
    except (OSError, asyncpg.PostgresError) as error:
        raise ConcernError(f"it can't be reached, so that the primary answers everything: {error}") from None
    async with _connected(replica_address) as connection:
        lag: timedelta = await connection.fetchval(_REPLICA_LAG)
    if lag.total_seconds() > settings.replica_max_lag:
        raise ConcernError(f"it is {lag.total_seconds():.0f} s behind, and left out")
    return "follows the primary"


async def connections(settings: Settings, address: Address) -> str:
    """Checks how many connections are left, and finds transactions that block VACUUM and migrations."""
    async with _connected(address) as connection:
        [row] = await connection.fetch(_CONNECTIONS)
        long = await connection.fetch(_LONG, _LONG_TRANSACTION)
        prepared = await connection.fetch(_PREPARED, _LONG_TRANSACTION)
    concerns = [
        f"a transaction of {each['who']} (process {each['pid']}) has been open for {each['age']}, and "
        f"keeps VACUUM and migrations waiting: SELECT pg_terminate_backend({each['pid']})"
        for each in long
    ]
    concerns += [
        f"transaction {each['gid']} was prepared {each['age']} ago, and keeps VACUUM and the feeds "
        f"waiting: COMMIT PREPARED {each['gid']}, or ROLLBACK PREPARED {each['gid']}"
        for each in prepared
    ]
    needed = settings.workers * (settings.database_pool_size + 1)
    if row["used"] > 0.8 * row["allowed"] or needed > row["allowed"]:
        concerns.append(
            f"{row['used']} of max_connections = {row['allowed']} are used, and this service may open "
            f"{needed}: raise it, or put a pooler in front"
        )
    _raise((), concerns)
    return f"{row['used']} of {row['allowed']} connections"


async def tables(_: Settings, address: Address) -> str:
    """Checks dead rows, missing statistics, and the age of transaction ids."""
    async with _connected(address) as connection:
        rows, age = await connection.fetch(_TABLES, _FEW_ROWS), await connection.fetchval(_XIDS)
    faults, concerns = [], []
    if age > _XID_AGE:
        faults.append(f"transaction ids are {age:,} old: find what stops autovacuum, and VACUUM FREEZE")
    for row in rows:
        if row["dead"] > max(_FEW_ROWS, 0.3 * row["rows"]):
            concerns.append(f"{row['relname']} has {row['dead']:,} dead rows: VACUUM {row['relname']}")
        if row["unknown"]:
            concerns.append(f"{row['relname']} has no statistics: ANALYZE {row['relname']}")
    _raise(faults, concerns)
    return "vacuumed and analysed"


async def index_use(_: Settings, address: Address) -> str:
    """Finds invalid indexes, and large ones that no query uses."""
    async with _connected(address) as connection:
        rows = await connection.fetch(_INDEXES)
    concerns = [
        f"{row['name']} ({megabytes(row['bytes'])}) was not used for a week, and costs every write: "
        "drop it if nothing needs it"
        if row["valid"]
        else f"{row['name']} was cut off while it was built, and costs every write: "
        f"REINDEX INDEX CONCURRENTLY {row['name']}, or DROP INDEX CONCURRENTLY {row['name']}"
        for row in rows
    ]
    _raise((), concerns)
    return "all used or small"


Check = Callable[[Settings, Address], Awaitable[str]]
CHECKS: dict[str, Check] = {
    "profile": profile,
    "clock": clock,
    "privileges": privileges,
    "changes": changes,
    "backups": backups,
    "replication": replication,
    "replica": replica,
    "connections": connections,
    "tables": tables,
    "index use": index_use,
}
