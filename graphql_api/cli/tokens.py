"""Service tokens: how programs sign in."""

import asyncio
import sys
from datetime import timedelta
from typing import Annotated

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from graphql_api.cli.database import embedded_or_given, opened
from graphql_api.identity import service_tokens, users
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.type_codecs import rfc3339
from graphql_api.settings import Settings

_WIDTH = 1000

app = typer.Typer(help="Make and revoke tokens for programs.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Which program it is for.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; repeat for more.")],
    user: Annotated[str | None, typer.Option(help="The e-mail of the user it acts for.")] = None,
    days: Annotated[int, typer.Option(help="How long it lasts; 0 is for ever.", min=0)] = 90,
) -> None:
    """Make a token and print it. It is shown this once."""

    async def run() -> service_tokens.NewServiceToken:
        async with opened(address) as database:
            user_id = (await users.get(database, user))["id"] if user is not None else None
            lifetime = timedelta(days=days) if days else None
            return await service_tokens.create(database, name, scope, user_id=user_id, lifetime=lifetime)

    with embedded_or_given(Settings()) as address:
        made = asyncio.run(run())
    typer.echo(f"id {made.id}", err=True)
    typer.echo(made.text)


@app.command("list")
def every() -> None:
    """List all tokens, without what would open a door."""

    async def run() -> list[asyncpg.Record]:
        async with opened(address) as database:
            return await service_tokens.list_all(database)

    with embedded_or_given(Settings()) as address:
        rows = asyncio.run(run())
    table = Table("ID", "NAME", "USER", "SCOPES", "CREATED", "LAST USED", "ENDS", box=None, pad_edge=False)
    for row in rows:
        times = (_day(row["created_at"]), _day(row["last_used_at"]) or "never", _end(row))
        table.add_row(row["id"], row["name"], row["email"] or "", " ".join(row["scopes"]), *times)
    # In a pipe, a line for each token.
    Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False, markup=False).print(table)


def _end(row: "asyncpg.Record") -> str:
    if row["revoked_at"] is not None:
        return f"revoked {_day(row['revoked_at'])}"
    return _day(row["expires_at"]) or "never"


def _day(stored: str | None) -> str:
    return rfc3339(stored)[:10] if stored is not None else ""


@app.command()
def revoke(token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as listed.")]) -> None:
    """End a token."""

    async def run() -> None:
        async with opened(address) as database:
            await service_tokens.revoke(database, token)

    with embedded_or_given(Settings()) as address:
        asyncio.run(run())
