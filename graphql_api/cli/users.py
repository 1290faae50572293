"""`graphql-api user`: users and their roles. No request can change roles, so the first admin is made here."""

from rich.table import Table

from graphql_api.cli.database import in_database
from graphql_api.cli.tables import day, print_table
from graphql_api.identity import users
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.identity.viewer import Role
from graphql_api.postgres.database import Database


def create(email: str, password: str) -> str:
    """Creates a user and returns the id. Raises AdministrationError, as all of these do."""

    async def work(database: Database) -> str:
        passwords = PasswordHasher(threads=1)
        try:
            return await users.create(database, passwords, email, password)
        finally:
            passwords.close()

    return in_database(work)


def set_password(email: str, password: str) -> None:
    """Sets a user's password."""

    async def work(database: Database) -> None:
        passwords = PasswordHasher(threads=1)
        try:
            user = await users.get(database, email)
            await users.set_password(database, passwords, user["id"], password)
        finally:
            passwords.close()

    in_database(work)


def set_active(email: str, *, active: bool) -> None:
    """Activates a user, or deactivates one."""

    async def work(database: Database) -> None:
        await users.set_active(database, (await users.get(database, email))["id"], active=active)

    in_database(work)


def print_all() -> None:
    """Prints a table of all users; in a pipe, a line for each."""
    table = Table("E-MAIL", "ROLES", "STATE", "CREATED", "LAST LOGIN", box=None, pad_edge=False)
    for row in in_database(users.list_all):
        roles = " ".join(sorted(users.roles_of(row["roles"])))
        state = "active" if row["active"] else "deactivated"
        table.add_row(row["email"], roles, state, day(row["created_at"]), day(row["last_login"]) or "never")
    print_table(table)


def grant(email: str, role: Role) -> None:
    """Gives a user a role."""

    async def work(database: Database) -> None:
        await users.grant_role(database, (await users.get(database, email))["id"], role)

    in_database(work)


def revoke(email: str, role: Role) -> None:
    """Takes a role from a user."""

    async def work(database: Database) -> None:
        await users.revoke_role(database, (await users.get(database, email))["id"], role)

    in_database(work)
