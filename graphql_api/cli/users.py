"""Users and their roles. The first admin is made here: no request can."""

import asyncio
from typing import Annotated

import typer

from graphql_api.cli.database import embedded_or_given, opened
from graphql_api.identity import users
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.identity.viewer import Role
from graphql_api.settings import Settings

app = typer.Typer(help="Create users and grant roles.", no_args_is_help=True)

Email = Annotated[str, typer.Argument(help="The user's e-mail address.")]
Password = Annotated[
    str,
    typer.Option(
        prompt=True,
        hide_input=True,
        confirmation_prompt=True,
        envvar="GRAPHQL_API_USER_PASSWORD",
        help="At least 12 characters; asked for unless given.",
    ),
]


@app.command()
def create(email: Email, password: Password) -> None:
    """Create a user, who may then sign in."""

    async def run() -> str:
        passwords = PasswordHasher(threads=1)
        try:
            async with opened(address) as database:
                return await users.create(database, passwords, email, password)
        finally:
            passwords.close()

    with embedded_or_given(Settings()) as address:
        typer.echo(asyncio.run(run()))


@app.command()
def password(email: Email, password: Password) -> None:
    """Change a user's password. All their logins end."""

    async def run() -> None:
        passwords = PasswordHasher(threads=1)
        try:
            async with opened(address) as database:
                user = await users.get(database, email)
                await users.set_password(database, passwords, user["id"], password)
        finally:
            passwords.close()

    with embedded_or_given(Settings()) as address:
        asyncio.run(run())
    typer.echo(f"{email} has a new password.")


@app.command()
def grant(email: Email, role: Annotated[Role, typer.Argument(help="What to make them.")]) -> None:
    """Give a user a role: operator reads logs and every tenant, admin may do everything."""

    async def run() -> None:
        async with opened(address) as database:
            await users.grant_role(database, (await users.get(database, email))["id"], role)

    with embedded_or_given(Settings()) as address:
        asyncio.run(run())
    typer.echo(f"{email} is {role.value}.")


@app.command()
def revoke(email: Email, role: Annotated[Role, typer.Argument(help="What to take from them.")]) -> None:
    """Take a role from a user. It ends within seconds, sockets included."""

    async def run() -> None:
        async with opened(address) as database:
            await users.revoke_role(database, (await users.get(database, email))["id"], role)

    with embedded_or_given(Settings()) as address:
        asyncio.run(run())
    typer.echo(f"{email} is no longer {role.value}.")
