"""Logical dumps by pg_dump, for databases whose files can't be copied, such as Neon's.

pg_dump and a fingerprint of every table read the same snapshot. So a dump can be verified later: it is
restored into a temporary server and compared with the fingerprints, without reading the database again.
"""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from pydantic import TypeAdapter

from graphql_api.backup.catalog import Backup, Catalog, Kind, refuse_full_disk
from graphql_api.backup.errors import BackupError
from graphql_api.backup.programs import Progress, quiet, run
from graphql_api.backup.take import APPLICATION, refuse_pooler
from graphql_api.backup.verification import Fingerprints, differences, fingerprints, scratch_folder
from graphql_api.dev.embedded import EmbeddedPostgres
from graphql_api.dev.embedded.programs import Programs, SystemUser
from graphql_api.postgres.address import Address

_FINGERPRINTS: TypeAdapter[dict[str, tuple[int, str]]] = TypeAdapter(dict[str, tuple[int, str]])
_EXTENSION = re.compile(r"EXTENSION - (?:\"?)([\w-]+)")
_EXTENSION_SCHEMA = re.compile(r"CREATE EXTENSION IF NOT EXISTS \"?uuid-ossp\"? WITH SCHEMA (\"?\w+\"?)")
_NAME = r"(?:\"(?:[^\"]|\"\")+\"|[\w$]+)"
_POLICY_ROLES = re.compile(
    rf"^CREATE POLICY {_NAME} ON {_NAME}\.{_NAME}(?: AS RESTRICTIVE)?(?: FOR \w+)?"
    rf" TO ({_NAME}(?:, {_NAME})*)",
    re.MULTILINE,
)
_POLL_INTERVAL = 0.5  # seconds between two reports of progress
_DATABASE = "restored"
# Often uuid-ossp is the only extension of a database, and this function the only one that it uses.
_UUID_GENERATE_V4 = """
    CREATE SCHEMA IF NOT EXISTS {schema};
    CREATE FUNCTION {schema}.uuid_generate_v4() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
        AS 'SELECT pg_catalog.gen_random_uuid()'
"""
_FACTS = """
    SELECT current_setting('server_version_num')::int / 10000 AS version,
           pg_database_size(current_database()) AS bytes, pg_is_in_recovery() AS standby
"""


async def take_dump(
    address: Address, catalog: Catalog, *, progress: Progress = quiet, now: datetime | None = None
) -> Backup:
    """Dumps the database and returns the backup. To be called with the catalog's lock `work`.

    Raises BackupError, OSError or asyncpg's errors.
    """
    refuse_pooler(address)
    now = now or datetime.now(UTC)
    # It waits in its transaction for as long as pg_dump takes.
    connection = await address.connect_unlimited(application=APPLICATION)
    try:
        [facts] = await connection.fetch(_FACTS)
        programs = _programs(facts["version"])
        refuse_full_disk(catalog.folder, facts["bytes"], "a dump")
        with catalog.new_folder(now) as folder:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
                watching = asyncio.create_task(_watch(folder / "dump", facts["bytes"], progress))
                try:
                    await run(
                        programs,
                        "pg_dump",
                        *("--format=custom", f"--snapshot={snapshot}", f"--file={folder / 'dump'}"),
                        "--no-password",
                        variables=address.libpq_environment(APPLICATION),
                    )
                finally:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
                progress("reading the live tables", 0, 0)
                tables = await fingerprints(connection)
            (folder / "fingerprints.json").write_bytes(_FINGERPRINTS.dump_json(dict(tables)))
            backup = Backup(
                id=folder.stem,
                kind=Kind.DUMP,
                started_at=now,
                finished_at=await connection.fetchval("SELECT clock_timestamp()"),
                server=urlsplit(address.dsn).hostname or "local",
                version=facts["version"],
                bytes=(folder / "dump").stat().st_size,
            )
            catalog.finish(folder, backup)
    finally:
        await connection.close()
    return backup


async def verify_dump(
    catalog: Catalog, backup: Backup, *, progress: Progress = quiet, now: datetime | None = None
) -> str:
    """Restores a dump, compares every table with its fingerprint, and returns the result as text.

    Raises BackupError if a table differs.
    """
    expected = _FINGERPRINTS.validate_json((catalog.path(backup) / "fingerprints.json").read_bytes())
    with scratch_folder(catalog) as folder:
        async with restored_dump(catalog, backup, folder / "server", progress=progress) as (
            address,
            left_out,
        ):
            tables = await _read(address)
    if wrong := differences(expected, tables):
        raise BackupError(f"dump {backup.id} differs from the database: {'; '.join(wrong)}")
    rows = sum(rows for rows, _ in tables.values())
    found = f"restored and compared: {len(tables)} tables, {rows:,} rows are equal"
    if left_out:
        found += f" (without the extensions {', '.join(left_out)}, which are not installed here)"
    catalog.update(backup.model_copy(update={"verified_at": now or datetime.now(UTC), "verification": found}))
    return found


@asynccontextmanager
async def restored_dump(
    catalog: Catalog, backup: Backup, base: Path, *, progress: Progress = quiet
) -> AsyncIterator[tuple[Address, list[str]]]:
    """Restores a dump into a new server, with its data in `base/data`, which is stopped after the block.

    Yields its address, and the extensions that were left out. Raises BackupError.
    """
    server = EmbeddedPostgres(base, _DATABASE)
    try:
        address = Address.parse(await asyncio.to_thread(server.start))
        left_out = await _load(catalog.path(backup) / "dump", backup, address, progress)
        yield address, left_out
    finally:
        await asyncio.to_thread(server.stop)


async def _load(dump: Path, backup: Backup, address: Address, progress: Progress) -> list[str]:
    """Loads a dump, without owners and without extensions that aren't there, and returns their names."""
    programs = _programs(backup.version)
    contents = await run(programs, "pg_restore", "--list", dump)
    connection = await address.connect_plain(application=APPLICATION)
    try:
        available = {
            row["name"] for row in await connection.fetch("SELECT name FROM pg_available_extensions")
        }
        wanted = set(_EXTENSION.findall(contents))
        missing = sorted(wanted - available)
        script = await run(programs, "pg_restore", "--schema-only", "--file=-", dump)
        await _create_roles(connection, script)
        if "uuid-ossp" in missing:
            match = _EXTENSION_SCHEMA.search(script)
            await connection.execute(_UUID_GENERATE_V4.format(schema=match[1] if match else "public"))
    finally:
        await connection.close()
    kept = [
        line
        for line in contents.splitlines()
        if not (" EXTENSION " in line and any(name in line for name in missing))
    ]
    progress("restoring the dump", 0, 0)
    with tempfile.NamedTemporaryFile("w", suffix=".list") as list_file:
        list_file.write("\n".join(kept))
        list_file.flush()
        await run(
            programs,
            "pg_restore",
            *("--exit-on-error", "--no-owner", "--no-privileges", "--no-tablespaces"),
            f"--use-list={list_file.name}",
            *(f"--dbname={_DATABASE}", dump),
            variables=address.libpq_environment(APPLICATION),
        )
    return missing


async def _create_roles(connection: "asyncpg.Connection", script: str) -> None:
    """Creates the roles that policies name, which a dump of one database doesn't have. They can't log in."""
    roles = {role for names in _POLICY_ROLES.findall(script) for role in re.findall(_NAME, names)}
    for role in sorted(roles):
        with suppress(asyncpg.DuplicateObjectError):
            await connection.execute(f"CREATE ROLE {role}")


def _programs(server: int) -> Programs:
    """Returns programs that are at least as new as a server. Raises BackupError."""
    programs = Programs.find(SystemUser(), None)
    if programs.version < server:
        raise BackupError(f"the server is PostgreSQL {server}, and pg_dump here only {programs.version}")
    return programs


async def _watch(file: Path, total: int, progress: Progress) -> None:
    while True:
        if await asyncio.to_thread(file.exists):
            progress("dumping", (await asyncio.to_thread(file.stat)).st_size, total)
        await asyncio.sleep(_POLL_INTERVAL)


async def _read(address: Address) -> Fingerprints:
    connection = await address.connect_unlimited(application=APPLICATION)
    try:
        return await fingerprints(connection)
    finally:
        await connection.close()
