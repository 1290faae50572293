"""`graphql-api serve`: serves the named database, or an embedded one with demo data and a bot."""

import asyncio
import errno
import json
import os
import shlex
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import asyncpg
import typer

from graphql_api.app import build_persisted
from graphql_api.cli.backup import backed_up
from graphql_api.cli.database import has_embedded, named_or_embedded, opened
from graphql_api.cli.demo import PASSWORD, load_and_grow
from graphql_api.cli.errors import UsageError
from graphql_api.dev.demo.bot import COMPONENTS as BOT_COMPONENTS
from graphql_api.dev.demo.bot import run as run_bot
from graphql_api.dev.demo.desk import OPERATOR, TRADER
from graphql_api.identity.signing_keys import signing_key
from graphql_api.log_feed.feed import Feed
from graphql_api.postgres.address import Address, direct_address
from graphql_api.postgres.errors import is_transient
from graphql_api.postgres.migrate import migrate, unfit
from graphql_api.postgres.replica import refuse_unfit
from graphql_api.settings import Settings
from graphql_api.transport.uvicorn_server import bind, url_of
from graphql_api.transport.uvicorn_server import serve as serve_app

_FACTORY = "graphql_api.app:from_environment"
_QUERY = """
mutation Hello($email: String!, $password: String!) {
  login(email: $email, password: $password) {
    accessToken
    viewer { user { accounts { nodes {
      accountNumber
      sessions(first: 1) { nodes { startedAt trades(first: 3) { nodes { symbol direction pnl } } } }
    } } } }
  }
}
"""


def serve(given: Mapping[str, Any]) -> None:
    """Serves until the process is stopped. `given` are settings that the command line overrides.

    Raises UsageError where the address is taken or the database is not fit to serve.
    """
    for name, value in given.items():
        os.environ[f"GRAPHQL_API_{name.upper()}"] = str(value)  # so that workers read the same
    settings = Settings()
    try:
        listening = bind(settings)
    except OSError as error:
        place = f"{settings.host}:{settings.port}"
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"{place} is taken by another program: choose another --port") from None
        raise UsageError(f"can't listen on {place}: {error.strerror}") from None
    with listening:
        if settings.database_url is not None:
            asyncio.run(_check(settings))
            serve_app(_FACTORY, settings, listening)
        else:
            _serve_demo(settings, listening)


def _serve_demo(settings: Settings, listening: socket.socket) -> None:
    makes = not has_embedded(settings)
    typer.echo(f"Starting a PostgreSQL in {settings.data_dir}.", err=True)
    with named_or_embedded(settings, create=True) as address:
        os.environ["DATABASE_URL"] = address.dsn
        os.environ["GRAPHQL_API_DEMO_LOGINS"] = json.dumps(dict.fromkeys((TRADER, OPERATOR), PASSWORD))
        os.environ.setdefault("GRAPHQL_API_TRADER_LOG_COMPONENTS", json.dumps(BOT_COMPONENTS))
        if makes:
            typer.echo("Filling it with demo data: some seconds, once.", err=True)
        asyncio.run(_prepare(settings, address))
        typer.echo(_welcome(url_of(settings, listening)))
        with _trading_bot(address), backed_up(settings, address):
            serve_app(_FACTORY, Settings(), listening)


async def _check(settings: Settings) -> None:
    """Refuses to serve with settings that can't work. An unreachable database may come back, and is accepted.

    Raises FeedError for a standby or a pooler, UsageError for a schema that isn't ours, ManifestError for
    documents that can't be read.
    """
    address = direct_address(settings)
    signing_key(settings)
    build_persisted(settings)
    async with opened(address) as database:
        feed = Feed(database, address, b"")
        feed.refuse_pooler()
        try:
            if fault := await unfit(address):
                raise UsageError(fault)
            await feed.check()
            if settings.database_replica_url is not None:
                await refuse_unfit(address, Address.parse(settings.database_replica_url.get_secret_value()))
        except (OSError, asyncpg.PostgresError) as error:
            if isinstance(error, asyncpg.PostgresError) and not is_transient(error):
                raise
            typer.echo(f"graphql-api: the database can't be reached yet: {error}", err=True)


async def _prepare(settings: Settings, address: Address) -> None:
    await migrate(address)
    await load_and_grow(settings, address)


@contextmanager
def _trading_bot(address: Address) -> Iterator[None]:
    """Runs the simulated bot during the block, in a daemon thread.

    It ends before the block does, so that it doesn't lose its database while that shuts down.
    """
    loop = asyncio.new_event_loop()
    trading = loop.create_task(run_bot(address))

    def trade() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(trading)

    thread = threading.Thread(target=trade, name="bot", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(trading.cancel)
        thread.join()
        loop.close()


def _welcome(url: str) -> str:
    """Returns what to print when the demo serves: the address, the logins, and a query to paste."""
    request = {
        "query": " ".join(_QUERY.split()),
        "variables": {"email": TRADER, "password": PASSWORD},
    }
    header = "content-type: application/json"
    curl = shlex.join(("curl", "-s", url, "-H", header, "-d", json.dumps(request)))
    return f"""
  GraphiQL   {url}
  Sign in    {TRADER} or {OPERATOR}, password {PASSWORD}
  Try it     {curl}
"""
