"""`graphql-api backup`: takes, lists, verifies and restores backups, and runs the daily schedule."""

import asyncio
import json
import logging
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from urllib.parse import urlsplit

import typer
from prometheus_client import CollectorRegistry, start_http_server

from graphql_api.backup.bucket import Bucket
from graphql_api.backup.catalog import Backup, Catalog, Kind, megabytes
from graphql_api.backup.dump import restored_dump
from graphql_api.backup.errors import BackupError
from graphql_api.backup.metrics import BackupCollector
from graphql_api.backup.programs import Progress
from graphql_api.backup.recovery import choose, recoverable_until, recovered
from graphql_api.backup.schedule import (
    DumpSchedule,
    Policy,
    Schedule,
    remove_expired,
    replace_dumps,
    verify_stored_dump,
)
from graphql_api.backup.take import take
from graphql_api.backup.verification import verify
from graphql_api.cli.database import named_or_embedded
from graphql_api.cli.errors import UsageError
from graphql_api.cli.progress import StepDisplay
from graphql_api.postgres.address import Address
from graphql_api.settings import Settings

EMBEDDED_DELAY = 60.0
"""Seconds after its start at which the embedded server's backups begin, so that they don't slow it."""
_JOIN_TIMEOUT = 10.0
_DUMPED_HOSTS = (".neon.tech",)
"""The ends of host names of providers that don't allow copying a server's files."""
_BEGINNING = "looking at the backups"
_ROW = "{:23}  {:11}  {:20}  {:20}  {:>10}  {}"


def catalog_of(settings: Settings) -> Catalog:
    """Returns the backups of this deployment."""
    return Catalog(settings.backup_dir or settings.data_dir / "backups")


def policy_of(settings: Settings) -> Policy:
    """Returns how long backups are kept, and how often one is verified."""
    return Policy(timedelta(days=settings.backup_retention), timedelta(days=settings.backup_verification))


def bucket_of(settings: Settings) -> Bucket | None:
    """Returns the bucket for dumps; None if they are kept in the catalog's folder. Raises BackupError."""
    return Bucket(settings.backup_bucket) if settings.backup_bucket else None


def is_dumped(settings: Settings, address: Address) -> bool:
    """Whether the database is dumped, since its files can't be copied."""
    if settings.backup_method is not None:
        return settings.backup_method == "dump"
    return (urlsplit(address.dsn).hostname or "").endswith(_DUMPED_HOSTS)


def take_backup(*, full: bool | None) -> None:
    """Takes a backup, and removes those that are too old."""
    settings = Settings()
    catalog = catalog_of(settings)
    with named_or_embedded(settings) as address, _work(catalog), StepDisplay(_BEGINNING) as screen:
        if is_dumped(settings, address):
            backup = asyncio.run(_replace_dumps(settings, address, catalog, screen.progress))
        else:
            backup = asyncio.run(take(address, catalog, full=full, progress=screen.progress))
            remove_expired(catalog, policy_of(settings).retention, datetime.now(UTC))
    place = settings.backup_bucket if backup.kind is Kind.DUMP and settings.backup_bucket else catalog.folder
    typer.echo(f"{backup.kind.value} backup {backup.id}: {megabytes(backup.bytes)} in {place}")
    if backup.verified_at:
        typer.echo(backup.verification)
    elif not catalog.state().is_received(datetime.now(UTC)):
        typer.echo(
            "No write-ahead log is received: only this moment can be restored. "
            "`graphql-api backup run` receives it.",
            err=True,
        )


async def _replace_dumps(
    settings: Settings, address: Address, catalog: Catalog, progress: Progress
) -> Backup:
    bucket = bucket_of(settings)
    if bucket is not None:
        await bucket.records(catalog)
    retention = policy_of(settings).retention
    return await replace_dumps(address, catalog, retention, bucket=bucket, progress=progress)


def list_backups(*, as_json: bool) -> None:
    """Prints the backups, oldest first, and up to which moment each can be restored."""
    settings = Settings()
    catalog = catalog_of(settings)
    if (bucket := bucket_of(settings)) is not None:
        asyncio.run(bucket.records(catalog))
    backups, state = catalog.backups(), catalog.state()
    if as_json:
        rows = [
            {**backup.model_dump(mode="json"), "reach": recoverable_until(catalog, backup).isoformat()}
            for backup in backups
        ]
        typer.echo(json.dumps({"backups": rows, "state": state.model_dump(mode="json")}, indent=2))
        return
    if not backups:
        typer.echo(f"There is no backup in {catalog.folder}.")
    else:
        typer.echo(_ROW.format("id", "kind", "from", "up to", "size", "verified"))
    for backup, following in zip_longest(backups, backups[1:]):
        typer.echo(
            _ROW.format(
                backup.id,
                backup.kind.value,
                _time(backup.finished_at),
                _time(_end(catalog, backup, following)),
                megabytes(backup.bytes),
                f"{_time(backup.verified_at)}  {backup.verification}" if backup.verified_at else "no",
            )
        )
    for sentence in (
        f"The last backup failed at {_time(state.failed_at)}: {state.failure}" if state.failed_at else "",
        f"No write-ahead log is received: {state.receiver}" if state.receiver else "",
    ):
        if sentence:
            typer.echo(sentence)


def verify_backup() -> None:
    """Restores the newest backup beside the server, and compares it with the live tables, or its snapshot."""
    settings = Settings()
    catalog = catalog_of(settings)
    with named_or_embedded(settings) as address, _work(catalog), StepDisplay(_BEGINNING) as screen:
        if is_dumped(settings, address):
            found = asyncio.run(_verify_dump(settings, catalog, screen.progress))
        else:
            found = asyncio.run(verify(address, catalog, progress=screen.progress))
    typer.echo(found)


async def _verify_dump(settings: Settings, catalog: Catalog, progress: Progress) -> str:
    bucket = bucket_of(settings)
    if bucket is not None:
        await bucket.records(catalog)
    newest = [backup for backup in catalog.backups() if backup.kind is Kind.DUMP][-1:]
    if not newest:
        raise BackupError("there is no dump yet: `graphql-api backup now` takes one")
    return await verify_stored_dump(catalog, newest[0], bucket=bucket, progress=progress)


def restore_backup(at: str, into: Path) -> None:
    """Makes a data folder of the server as it was at a moment, or of the newest dump before it."""
    settings = Settings()
    catalog = catalog_of(settings)
    moment = None if at == "latest" else parse_moment(at)
    into = into.expanduser().resolve()
    bucket = bucket_of(settings)
    if bucket is not None:
        asyncio.run(bucket.records(catalog))
    backups = catalog.backups()
    if backups and all(backup.kind is Kind.DUMP for backup in backups):
        _restore_dump(catalog, bucket, moment, into)
        return
    backup, target = choose(catalog, moment)

    async def carry_out() -> str:
        async with recovered(catalog, backup, target, into, progress=screen.progress) as server:
            return server.last_change

    with StepDisplay(_BEGINNING) as screen:
        last_change = asyncio.run(carry_out())
    typer.echo(
        f"{into} is the server as of {'the end of its log' if moment is None else _time(moment)}"
        f" (last change: {last_change or _time(backup.finished_at)}), from backup {backup.id}.\n"
        f"Start it with PostgreSQL {backup.version}: {_start_command(into)}"
    )


def _restore_dump(catalog: Catalog, bucket: Bucket | None, moment: datetime | None, into: Path) -> None:
    if into.exists() and any(into.iterdir()):
        raise BackupError(f"{into} is not empty: nothing is ever restored over other files")
    backup = catalog.backups()[-1] if moment is None else catalog.newest_before(moment)

    async def carry_out() -> None:
        if bucket is not None:
            await bucket.get(catalog, backup, progress=screen.progress)
        async with restored_dump(catalog, backup, into, progress=screen.progress):
            pass

    with StepDisplay(_BEGINNING) as screen:
        asyncio.run(carry_out())
    typer.echo(
        f"{into / 'data'} is a server whose database `restored` is the dump of {_time(backup.finished_at)}.\n"
        f"Serve it with `graphql-api serve`, its address as DATABASE_URL: {_start_command(into / 'data')}"
    )


def _start_command(data: Path) -> str:
    return shlex.join(("pg_ctl", "-D", str(data), "start"))


def run_schedule(metrics_port: int | None) -> None:
    """Runs the daily schedule until it is stopped, and serves its metrics at a port of its own."""
    settings = Settings()
    if metrics_port is not None:
        registry = CollectorRegistry()
        registry.register(BackupCollector(catalog_of(settings)))
        start_http_server(metrics_port, settings.host, registry)
    logging.getLogger("graphql_api").setLevel(logging.INFO)
    with named_or_embedded(settings) as address:
        schedule = (
            DumpSchedule(address, catalog_of(settings), policy_of(settings), bucket=bucket_of(settings))
            if is_dumped(settings, address)
            else Schedule(address, catalog_of(settings), policy_of(settings))
        )

        async def work() -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - this is a task
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
            with suppress(asyncio.CancelledError):
                await schedule.run()

        asyncio.run(work())


@contextmanager
def backed_up(settings: Settings, address: Address) -> Iterator[None]:
    """Runs the backup schedule of the embedded server during the block, in a thread."""
    if not settings.embedded_backups:
        yield
        return
    schedule = Schedule(address, catalog_of(settings), policy_of(settings))
    loop = asyncio.new_event_loop()
    task = loop.create_task(schedule.run(delay=EMBEDDED_DELAY))

    def work() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()

    thread = threading.Thread(target=work, name="backups", daemon=True)
    thread.start()
    try:
        yield
    finally:
        with suppress(RuntimeError):  # it has ended by itself
            loop.call_soon_threadsafe(task.cancel)
        thread.join(_JOIN_TIMEOUT)


def parse_moment(text: str) -> datetime:
    """Parses a time that the user has written.

    Raises UsageError for an ambiguous one, without a time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--at {text!r} is no time: write it as 2026-11-28T13:00:00Z, or latest") from None
    if moment.tzinfo is None:
        raise UsageError(f"--at {text!r} has no time zone: add Z for UTC, or an offset such as +01:00")
    return moment


def _end(catalog: Catalog, backup: Backup, following: Backup | None) -> datetime:
    """Returns the end of the time for which a backup is the one to restore from."""
    end = recoverable_until(catalog, backup)
    same = following and (following.server, following.timeline) == (backup.server, backup.timeline)
    return min(end, following.finished_at) if following and same else end


def _time(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}" if moment else ""


@contextmanager
def _work(catalog: Catalog) -> Iterator[None]:
    with catalog.lock("work") as acquired:
        if not acquired:
            raise BackupError("another backup or verification is under way: try again when it has ended")
        yield
