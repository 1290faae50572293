"""Serving: a database that is named, or one of our own with something to look at."""

import asyncio
import json
import os
import threading
from collections.abc import Mapping
from typing import Any

import typer

from graphql_api.cli.database import embedded_or_given
from graphql_api.cli.demo import OPERATOR, PASSWORD, TRADER, load_and_grow
from graphql_api.cli.welcome import welcome
from graphql_api.db.address import Address
from graphql_api.db.migrate import migrate
from graphql_api.demo.bot import run as run_bot
from graphql_api.settings import Settings
from graphql_api.web.server import serve as serve_app

_FACTORY = "graphql_api.app:from_environment"


def serve(given: Mapping[str, Any]) -> None:
    """Serve until told to stop. `given` are settings that the command line overrides."""
    for name, value in given.items():
        os.environ[f"GRAPHQL_API_{name.upper()}"] = str(value)  # so that workers read the same
    settings = Settings()
    if settings.database_url is not None:
        serve_app(_FACTORY, settings)
        return
    with embedded_or_given(settings) as address:
        os.environ["DATABASE_URL"] = address.dsn
        os.environ["GRAPHQL_API_DEMO_LOGINS"] = json.dumps(dict.fromkeys((TRADER, OPERATOR), PASSWORD))
        asyncio.run(_prepare(settings, address))
        _trade_in_background(address)
        typer.echo(welcome(settings))
        serve_app(_FACTORY, Settings())


async def _prepare(settings: Settings, address: Address) -> None:
    await migrate(address)
    await load_and_grow(settings, address)


def _trade_in_background(address: Address) -> None:
    """Let the simulated bot trade. A daemon thread: it ends with the process, however that ends."""
    threading.Thread(target=lambda: asyncio.run(run_bot(address)), name="bot", daemon=True).start()
