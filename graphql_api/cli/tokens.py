"""Service tokens: how programs sign in."""

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from graphql_api.auth import service_tokens, users
from graphql_api.auth.viewer import Scope
from graphql_api.cli.database import embedded_or_given, opened
from graphql_api.settings import Settings

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

    async def run() -> list[dict[str, object]]:
        async with opened(address) as database:
            return [dict(row) for row in await service_tokens.every(database)]

    with embedded_or_given(Settings()) as address:
        for row in asyncio.run(run()):
            typer.echo("  ".join(f"{key}={value}" for key, value in row.items()))


@app.command()
def revoke(token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as listed.")]) -> None:
    """End a token."""

    async def run() -> None:
        async with opened(address) as database:
            await service_tokens.revoke(database, token)

    with embedded_or_given(Settings()) as address:
        asyncio.run(run())
