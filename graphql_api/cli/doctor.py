"""What may be wrong with a deployment, in the order in which it would be noticed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import asyncpg
import typer

from graphql_api.cli.database import embedded_or_given, opened
from graphql_api.identity.signing_keys import SecretKeyError, derive_key, signing_key
from graphql_api.log_feed.errors import FeedError
from graphql_api.log_feed.feed import Feed
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import newest_revision, unfit
from graphql_api.settings import Settings
from graphql_api.time_zones import offset_at

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
        server = connection.get_server_version()
    finally:
        await connection.close()
    if server.major < _OLDEST:
        raise FaultError(f"PostgreSQL {server.major} is too old: {_OLDEST} or newer is needed")
    return f"PostgreSQL {server.major}.{server.minor}"


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


async def _time_zone(settings: Settings, address: Address) -> str:
    # No fault: the service asks PostgreSQL for no zone. Other programs' SQL may, and would see other days.
    zone, now = settings.risk_timezone, datetime.now(UTC)
    weeks = [now + timedelta(weeks=week) for week in range(-52, 53)]
    source = f"{zone} by tzdata {version('tzdata')}"
    connection = await address.connect_plain(application="graphql-api doctor")
    try:
        rows = await connection.fetch(_OFFSETS, zone, weeks)
    except asyncpg.InvalidParameterValueError:
        return f"{source}; PostgreSQL itself has no such zone"
    finally:
        await connection.close()
    other = [moment for moment, offset in rows if offset != offset_at(zone, moment)]
    return f"{source}; PostgreSQL's own files differ, as on {min(other):%Y-%m-%d}" if other else source


_OFFSETS = """
    SELECT moment, (moment AT TIME ZONE $1) - (moment AT TIME ZONE 'UTC')
    FROM unnest($2::timestamptz[]) AS moment
"""

_CHECKS: dict[str, Callable[[Settings, Address], Awaitable[str]]] = {
    "database": _database,
    "schema": _revision,
    "secret key": _secret,
    "log feed": _feed,
    "time zone": _time_zone,
}
