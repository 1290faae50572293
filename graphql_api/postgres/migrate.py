"""Migrates a database while other programs read and write it.

There are three kinds of steps: Alembic's revisions, each a transaction of short DDL; repairs of the service's
own objects that others have changed (`postgres.triggers`); and index builds, which take long and block nobody
(`postgres.indexes`). While a revision waits for a lock, programs that come after it in the lock's queue wait,
too. So it stops waiting after 400 ms, and tries again later.

An advisory lock makes sure that only one `migrate` works at a time. The working connection itself holds it,
so that it lasts as long as a build runs in the server, even if the program that began the build was killed.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_random

from graphql_api.postgres import indexes, prerelease, triggers
from graphql_api.postgres.address import Address
from graphql_api.postgres.documented_schema import Difference, Severity, find_differences
from graphql_api.postgres.tables import DOCUMENTED
from graphql_api.postgres.tables.base import SERVICE_SCHEMA
from graphql_api.settings import Settings

VERSION_TABLE = "revision"
"""In the service's own schema, since the database's owner may have an alembic_version of their own."""

_ADVISORY_LOCK = 0x67_71_6C  # an arbitrary number, the same in every process
_LOCK_TIMEOUT = "400ms"
_PAUSE = (0.5, 2.0)
"""Seconds between two attempts to get a lock; random, so that two programs don't collide each time."""
_DOCUMENTED_REVISION = "0001"


class NotOurDatabaseError(Exception):
    """Documented tables or views are missing, or not in the role's search path. Nothing is changed."""


class StandbyMigrationError(Exception):
    """The server takes no changes, since it follows another one."""


class UnknownRevisionError(Exception):
    """The revision to migrate to doesn't exist in this version of the service."""


class MigrationBlockedError(Exception):
    """Other programs held locks that a revision needs for longer than it tries to get them."""


class Step(Protocol):
    """A part of a migration, which can be described before it is carried out."""

    def __str__(self) -> str: ...

    @property
    def locks(self) -> str:
        """What other programs can't do while the step runs."""


class Reporter:
    """Reports what a migration does. This class reports nothing; commands override it."""

    def started(self, step: Step) -> None:
        """A step begins."""

    def progressed(self, step: indexes.IndexChange, progress: indexes.BuildProgress) -> None:
        """A build has made progress."""

    def finished(self, step: Step) -> None:
        """A step has succeeded."""

    def waits(self, reason: str) -> None:
        """A step waits for other programs, and will be tried again."""

    def differs(self, difference: Difference) -> None:
        """The database differs from the documented schema, in a way that can be served."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to migrate."""

    operator_indexes: bool = False
    """Whether to build the indexes for operators' sort orders over all tenants' trades."""
    max_wait: float = 600.0
    """Seconds for which a revision tries to get its locks."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A step that Alembic takes: one revision."""

    script: Script

    def __str__(self) -> str:
        return f"revision {self.script.revision}: {(self.script.doc or '').splitlines()[0].rstrip('.')}"

    @property
    def locks(self) -> str:
        """What other programs can't do while it runs, as the revision's module says."""
        return str(self.script.module.LOCKS)


@dataclass(frozen=True, slots=True)
class Adoption:
    """A step that accepts the documented tables as other programs have created them."""

    locks: str = "nothing"

    def __str__(self) -> str:
        return "adopt the documented tables and views as they are"


def migrations_folder() -> Path:
    """Returns the folder of the revisions: inside an installed package, or next to it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "alembic"


def config_for(connection: Connection | None = None) -> Config:
    """Returns Alembic's configuration, without a file of its own."""
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def newest_revision() -> str:
    """Returns the revision that this code needs."""
    head = ScriptDirectory.from_config(config_for()).get_current_head()
    assert head is not None  # noqa: S101 - narrows; there is always a first revision
    return head


async def migrate(
    address: Address,
    revision: str = "head",
    *,
    options: Options | None = None,
    reporter: Reporter | None = None,
) -> None:
    """Migrates the database at `address` to `revision`; at the newest one, its indexes too.

    A database of a newer version stays as it is, if this version can serve it. Raises StandbyMigrationError,
    NotOurDatabaseError, UnknownRevisionError and IndexMismatchError before anything is changed,
    MigrationBlockedError, and asyncpg's errors. After any interruption it can be run again.
    """
    options, reporter = options or Options(), reporter or Reporter()
    async with _connected(address) as connection, _hold_lock(connection, reporter):
        work = _Migration(connection, options, reporter)
        steps, changes = await work.survey(revision)
        for step in steps:
            await work.take(step)
        if await work.current_revision() != newest_revision():
            return
        if steps:  # the steps may have changed what indexes need
            changes = await indexes.find_changes(connection, work.declared)
        if changes:
            async with _connected(address) as observer:
                for change in changes:
                    reporter.started(change)
                    await indexes.apply_change(connection, observer, change, reporter.progressed)
                    reporter.finished(change)


async def plan(address: Address, revision: str = "head", *, options: Options | None = None) -> Sequence[Step]:
    """Returns the steps that `migrate` would take. Raises as it does, and changes nothing."""
    async with _connected(address) as connection:
        work = _Migration(connection, options or Options(), Reporter())
        steps, changes = await work.survey(revision)
        return [*steps, *changes] if revision in ("head", newest_revision()) else steps


async def current_revision(address: Address) -> str | None:
    """Returns the revision of the database at `address`; None before the first. Raises asyncpg's errors."""
    async with _connected(address) as connection:
        return await _Migration(connection, Options(), Reporter()).current_revision()


async def unfit(address: Address) -> str | None:
    """Returns why this version can't serve the database at `address`, in a sentence; None if it can.

    It can also serve the schema of a newer version, unless a newer revision declares that it breaks older
    code.
    """
    async with _connected(address) as connection:
        work = _Migration(connection, Options(), Reporter())
        current = await work.current_revision()
        if current == newest_revision():
            return None
        if current is None:
            return "the database is not migrated yet: run `graphql-api migrate`"
        if work.is_newer(current):
            return await work.breaks_this_version(current)
        return (
            f"the database is at revision {current}, and this version needs {newest_revision()}:"
            " run `graphql-api migrate`"
        )


async def find_damage(address: Address) -> list[str]:
    """Returns which of the service's own objects are missing or were changed, each with what to do."""
    async with _connected(address) as connection:
        repairs = await _Migration(connection, Options(), Reporter()).find_repairs()
        missing = await triggers.find_missing_tables(connection)
    return [
        *(f"{repair.fault}: run `graphql-api migrate`" for repair in repairs),
        *(f"the table {name} is missing: restore it from a backup" for name in missing),
    ]


@asynccontextmanager
async def connection_to(address: Address) -> AsyncIterator[AsyncConnection]:
    """Yields a SQLAlchemy connection in a transaction of its own, committed at the end."""
    async with _connected(address) as opened, _engine_over(opened).begin() as connection:
        yield connection


@asynccontextmanager
async def connection_from_environment() -> AsyncIterator[AsyncConnection]:
    """Yields a connection to the database that the environment names, without a pooler if it names one."""
    settings = Settings()
    url = settings.database_direct_url or settings.database_url
    if url is None:
        raise SystemExit("set DATABASE_URL to the database to migrate")
    async with connection_to(Address.parse(url.get_secret_value())) as connection:
        yield connection


class _Migration:
    """Finds the steps that a database needs, and carries them out, on one connection."""

    def __init__(self, connection: "asyncpg.Connection", options: Options, reporter: Reporter) -> None:
        self.declared = indexes.declared(operator_indexes=options.operator_indexes)
        self._connection = connection
        self._engine = _engine_over(connection)
        self._options = options
        self._reporter = reporter
        self._scripts = ScriptDirectory.from_config(config_for())

    async def current_revision(self) -> str | None:
        """Returns the database's revision; None before the first."""
        table = f"{SERVICE_SCHEMA}.{VERSION_TABLE}"
        if not await self._connection.fetchval("SELECT to_regclass($1)", table):
            return None
        current: str | None = await self._connection.fetchval(f"SELECT version_num FROM {table}")  # noqa: S608
        return current

    def is_newer(self, current: str | None) -> bool:
        """Whether a newer version of the service has migrated the database."""
        return current is not None and current not in {
            script.revision for script in self._scripts.walk_revisions()
        }

    async def breaks_this_version(self, current: str) -> str | None:
        """Returns why this version can't serve a newer database, in a sentence; None if it can."""
        breaking = {row[0] for row in await self._connection.fetch(f"SELECT revision FROM {_BREAKING}")}  # noqa: S608
        if not any(map(self.is_newer, breaking)):
            return None
        return f"the database is at revision {current}, which this version can't serve: install a newer one"

    async def survey(self, revision: str) -> tuple[list[Step], list[indexes.IndexChange]]:
        """Returns the steps to a revision, and the changes of indexes. Raises as `migrate` does."""
        if await self._connection.fetchval("SELECT pg_is_in_recovery()"):
            raise StandbyMigrationError(
                "this server is a standby: set DATABASE_DIRECT_URL (or DATABASE_URL) to the primary"
            )
        steps: list[Step] = []
        current = await self.current_revision()
        if current is not None and self.is_newer(current):
            if fault := await self.breaks_this_version(current):
                raise UnknownRevisionError(fault)
            self._check_revision(revision)
            return [], []
        if current is None and (carried := await prerelease.find(self._connection)):
            steps.append(carried)
            current = carried.revision
        if current is None and await self._is_documented_schema_there():
            steps.append(Adoption())
            current = _DOCUMENTED_REVISION
        steps += await triggers.find_repairs(self._connection, self._modules_up_to(current))
        missing = self._scripts_between(current, revision)
        if current is not None:
            await self._compare_with_documents()
        changes = await indexes.find_changes(self._connection, self.declared)
        return [*steps, *map(Revision, missing)], changes

    def _modules_up_to(self, current: str | None) -> list[ModuleType]:
        """Returns the modules of the revisions that the database has, the oldest first."""
        modules = [script.module for script in self._scripts.walk_revisions()][::-1]
        numbers = [module.revision for module in modules]
        return modules[: numbers.index(current) + 1] if current in numbers else []

    async def find_repairs(self) -> list[triggers.Repair]:
        """Returns repairs of the service's own objects that others have changed.

        Returns none for a newer version's database, whose declarations aren't known here.
        """
        current = await self.current_revision()
        if self.is_newer(current):
            return []
        return await triggers.find_repairs(self._connection, self._modules_up_to(current))

    def _scripts_between(self, current: str | None, target: str) -> list[Script]:
        """Returns the revisions after `current` up to `target`; none if `target` is earlier."""
        self._check_revision(target)
        path = [each for each in self._scripts.iterate_revisions(target, "base") if isinstance(each, Script)]
        path.reverse()
        if current is None:
            return path
        numbers = [script.revision for script in path]
        return path[numbers.index(current) + 1 :] if current in numbers else []

    def _check_revision(self, target: str) -> None:
        """Raises UnknownRevisionError."""
        try:
            self._scripts.get_revision(target)
        except CommandError as error:
            raise UnknownRevisionError(
                f"{error}: the newest of this version is {newest_revision()}"
            ) from error

    async def take(self, step: Step) -> None:
        """Carries out a step in a transaction of its own, and tries again until it gets its locks."""
        self._reporter.started(step)

        def blocked(_: RetryCallState) -> None:
            self._reporter.waits(f"other programs hold locks that are needed ({step.locks})")

        retrying = AsyncRetrying(
            retry=retry_if_exception_type((asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)),
            wait=wait_random(*_PAUSE),
            stop=stop_after_delay(self._options.max_wait),
            before_sleep=blocked,
            reraise=True,
        )
        try:
            await retrying(self._try, step)
        except asyncpg.LockNotAvailableError as error:
            raise MigrationBlockedError(
                f"{step}: other programs held locks that it needs for {self._options.max_wait:.0f} s"
                f" ({await self._describe_lock_holders()}); what was done before stays, run `migrate` again"
            ) from error
        self._reporter.finished(step)

    async def _try(self, step: Step) -> None:
        try:
            async with self._engine.begin() as connection:
                await connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
                await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SERVICE_SCHEMA}"))
                await connection.execute(
                    text(f"CREATE TABLE IF NOT EXISTS {_BREAKING} (revision text PRIMARY KEY)")
                )
                match step:
                    case Revision(script):
                        await connection.run_sync(_upgrade, script.revision)
                    case triggers.Repair():
                        for statement in step.statements:
                            await connection.exec_driver_sql(statement)
                    case Adoption():
                        await connection.run_sync(_stamp, _DOCUMENTED_REVISION)
                    case prerelease.CarryOver():
                        await connection.run_sync(step.run)
                        await connection.run_sync(_stamp, step.revision)
        except DBAPIError as error:
            raise error.driver_exception from error

    async def _compare_with_documents(self) -> None:
        """Reports what differs from the documented schema. Raises NotOurDatabaseError."""
        differences = await find_differences(self._connection)
        refused = [each for each in differences if each.severity is Severity.REFUSED]
        if refused:
            raise NotOurDatabaseError("; ".join(map(str, refused)))
        for difference in differences:
            self._reporter.differs(difference)

    async def _is_documented_schema_there(self) -> bool:
        """Whether other programs have created the documented tables. Raises NotOurDatabaseError."""
        found = {
            row["name"]: row["schemas"] for row in await self._connection.fetch(_WHERE_TABLES_ARE, DOCUMENTED)
        }
        reached = {
            name
            for name in DOCUMENTED
            if await self._connection.fetchval("SELECT to_regclass(quote_ident($1))", name)
        }
        if not reached and found:
            schemas = sorted({schema for each in found.values() for schema in each})
            raise NotOurDatabaseError(
                f"the documented tables are in the schema {' and '.join(schemas)}, where this role does not"
                f" look: ALTER ROLE … SET search_path = {schemas[0]}, or name it in the URL"
            )
        if reached and len(reached) < len(DOCUMENTED):
            missing = sorted(set(DOCUMENTED) - reached)
            raise NotOurDatabaseError(f"this database has {sorted(reached)} but lacks {missing}")
        return bool(reached)

    async def _describe_lock_holders(self) -> str:
        rows = await self._connection.fetch(_LOCK_HOLDERS, DOCUMENTED)
        return "; ".join(
            f"process {pid}, {name or 'unnamed'}, in a transaction for {age}" for pid, name, age in rows
        )


def _upgrade(connection: Connection, revision: str) -> None:
    command.upgrade(config_for(connection), revision)


def _stamp(connection: Connection, revision: str) -> None:
    command.stamp(config_for(connection), revision)


@asynccontextmanager
async def _connected(address: Address) -> AsyncIterator["asyncpg.Connection"]:
    """Yields a connection without the timeouts that its role or database may set."""
    connection = await address.connect_unlimited(application="graphql-api migrate")
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _hold_lock(connection: "asyncpg.Connection", reporter: Reporter) -> AsyncIterator[None]:
    """Holds the advisory lock.

    It polls for the lock instead of waiting for it: a waiting statement has a snapshot, and the concurrent
    build of an index waits until all older snapshots are gone.
    """
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _ADVISORY_LOCK):
        pid = await connection.fetchval(_LOCK_OWNER, _ADVISORY_LOCK)
        reporter.waits(f"another `graphql-api migrate` is at work (process {pid} of the server)")
        await asyncio.sleep(1)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", _ADVISORY_LOCK)


def _engine_over(connection: "asyncpg.Connection") -> AsyncEngine:
    """Returns a SQLAlchemy engine over a connection that asyncpg has opened; it raises asyncpg's errors."""

    async def connect() -> "asyncpg.Connection":
        return connection

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=StaticPool)


_BREAKING = f"{SERVICE_SCHEMA}.breaking_revisions"
_WHERE_TABLES_ARE = """
    SELECT c.relname AS name, array_agg(n.nspname::text) AS schemas
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND n.nspname NOT IN ('information_schema') AND n.nspname !~ '^pg_'
    GROUP BY c.relname
"""
_LOCK_OWNER = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = $1::bigint::oid
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_LOCK_HOLDERS = """
    SELECT DISTINCT a.pid, a.application_name, date_trunc('second', now() - a.xact_start)
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a USING (pid)
    WHERE c.relname = ANY ($1::text[]) AND l.granted AND a.pid <> pg_backend_pid()
"""
