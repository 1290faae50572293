"""What may be wrong with a deployment, in the order in which it would be noticed."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import typer

from graphql_api.cli.database import embedded_or_given, opened, unfit
from graphql_api.identity.signing_keys import SecretKeyError, derive_key, signing_key
from graphql_api.log_feed.errors import FeedError
from graphql_api.log_feed.feed import Feed
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import newest_revision
from graphql_api.settings import Settings

_OLDEST = 14


class FaultError(Exception):
    """Something to mend; the message says how."""


def doctor() -> None:
    """Look for what would keep the service from working, and say how to mend it."""
    settings = Settings()
    with embedded_or_given(settings) as address:
        faults = asyncio.run(_examine(settings, address))
    if faults:
        raise typer.Exit(1)


async def _examine(settings: Settings, address: Address) -> int:
    faults = 0
    for name, look in _CHECKS.items():
        try:
            typer.echo(f"ok     {name}: {await look(settings, address)}")
        except (FaultError, FeedError, SecretKeyError) as error:
            faults += 1
            typer.echo(f"fault  {name}: {error}")
        except (OSError, asyncpg.PostgresError) as error:
            faults += 1
            typer.echo(f"fault  {name}: can't connect: {error}")
            if name == "database":
                break  # the rest would only say the same
    return faults


async def _database(_: Settings, address: Address) -> str:
    connection = await address.connect_plain(application="graphql-api doctor")
    try:
        version = connection.get_server_version()
    finally:
        await connection.close()
    if version.major < _OLDEST:
        raise FaultError(f"PostgreSQL {version.major} is too old: {_OLDEST} or newer is needed")
    return f"PostgreSQL {version.major}.{version.minor}"


async def _revision(_: Settings, address: Address) -> str:
    if fault := await unfit(address):
        raise FaultError(fault)
    return newest_revision()


async def _secret(settings: Settings, _: Address) -> str:
    signing_key(settings)
    return "set" if settings.secret_key is not None else f"kept in {settings.data_dir}"


async def _feed(settings: Settings, address: Address) -> str:
    async with opened(address) as database:
        await Feed(database, address, derive_key(signing_key(settings), "feed")).check()
    return "reads from a primary, without a pooler"


_CHECKS: dict[str, Callable[[Settings, Address], Awaitable[str]]] = {
    "database": _database,
    "schema": _revision,
    "secret key": _secret,
    "log feed": _feed,
}
