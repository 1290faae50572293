"""`graphql-api demo`: loads the demo data once, and grows it on demand."""

import asyncio

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from graphql_api.cli.database import named_or_embedded
from graphql_api.cli.errors import UsageError
from graphql_api.dev.demo.load import load
from graphql_api.dev.demo.scale import scale
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.postgres.address import Address
from graphql_api.settings import Settings

PASSWORD = "demo-password"  # noqa: S105 - known to all, and only ever in demo data


def run(trades: int | None) -> None:
    """Loads the demo data unless it is there, and grows it to a number of trades."""
    settings = Settings()
    with named_or_embedded(settings) as address:
        asyncio.run(load_and_grow(settings, address, trades))


async def load_and_grow(settings: Settings, address: Address, trades: int | None = None) -> None:
    """Loads the demo data unless it is there, and grows it to `trades`. Raises UsageError in production."""
    if settings.profile == "production":
        raise UsageError("demo data has known passwords: it is for the development profile only")
    passwords = PasswordHasher(threads=1)
    try:
        await load(address, password_hash=await passwords.hash(PASSWORD))
    finally:
        passwords.close()
    if trades is not None:
        await _grow(address, trades)


async def _grow(address: Address, trades: int) -> None:
    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bars:
        tasks = {}

        def progress(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=of)
            bars.update(tasks[what], completed=done)

        added = await scale(address, trades=trades, progress=progress)
    typer.echo(f"{added:,} trades added.")
