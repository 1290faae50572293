"""`graphql-api token`: service tokens, by which programs sign in."""

from collections.abc import Sequence
from datetime import timedelta

import asyncpg
from rich.table import Table

from graphql_api.cli.database import in_database
from graphql_api.cli.tables import day, print_table
from graphql_api.identity import service_tokens, users
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.database import Database


def create(name: str, scopes: Sequence[Scope], user: str | None, days: int) -> service_tokens.NewServiceToken:
    """Makes a token, for the user with an e-mail if there is one. 0 days last for ever.

    Raises AdministrationError.
    """

    async def work(database: Database) -> service_tokens.NewServiceToken:
        user_id = (await users.get(database, user))["id"] if user is not None else None
        lifetime = timedelta(days=days) if days else None
        return await service_tokens.create(database, name, scopes, user_id=user_id, lifetime=lifetime)

    return in_database(work)


def print_all() -> None:
    """Prints a table of all tokens; in a pipe, a line for each."""
    table = Table("ID", "NAME", "USER", "SCOPES", "CREATED", "LAST USED", "ENDS", box=None, pad_edge=False)
    for row in in_database(service_tokens.list_all):
        times = (day(row["created_at"]), day(row["last_used_at"]) or "never", _end(row))
        table.add_row(row["id"], row["name"], row["email"] or "", " ".join(row["scopes"]), *times)
    print_table(table)


def revoke(token_id: str) -> None:
    """Ends a token. Raises AdministrationError."""

    async def work(database: Database) -> None:
        await service_tokens.revoke(database, token_id)

    in_database(work)


def _end(row: "asyncpg.Record") -> str:
    if row["revoked_at"] is not None:
        return f"revoked {day(row['revoked_at'])}"
    return day(row["expires_at"]) or "never"
