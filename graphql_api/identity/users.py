"""Users, found by e-mail in whatever case. Other programs write their table too."""

import re
from typing import Final

import asyncpg
from sqlalchemy import bindparam, exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from graphql_api.identity.errors import AdministrationError
from graphql_api.identity.passwords import Passwords
from graphql_api.identity.roles import granted
from graphql_api.postgres.database import Database
from graphql_api.postgres.statement import compile_statement
from graphql_api.postgres.tables import users

_LONGEST_EMAIL: Final = 255  # the column's
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")

ACTIVE: Final = users.c.is_active.is_not(False)
"""Who may log in. The column's default is true, so a null, which only other programs can have written, is
no decision to lock somebody out."""

PASSWORD_DIGEST: Final = func.sha256(func.convert_to(users.c.password_hash, "UTF8"))
"""What binds a login to the password it was made with, computed where the hash is: it stays there."""

_given = bindparam("email", type_=users.c.email.type)
_same = func.lower(users.c.email) == func.lower(_given)

_FIND = compile_statement(
    select(users.c.id, users.c.email, users.c.password_hash, ACTIVE.label("active"), granted(users.c.id))
    .where(_same)
    .order_by((users.c.email == _given).desc())
    .limit(2)
)
_CREATE = compile_statement(
    insert(users)
    .from_select(
        ["email", "password_hash"],
        select(func.lower(_given), bindparam("password_hash", type_=users.c.password_hash.type)).where(
            ~exists(select(literal(1)).select_from(users).where(_same))
        ),
    )
    .on_conflict_do_nothing(index_elements=["email"])
    .returning(users.c.id)
)
_SET_PASSWORD = compile_statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(password_hash=bindparam("password_hash"))
    .returning(users.c.id)
)


def clean_email(text: str) -> str | None:
    """An e-mail as it may stand in the table, whatever its case; None for what can't."""
    text = text.strip()
    return text if text.isprintable() and 0 < len(text) <= _LONGEST_EMAIL else None


async def find(database: Database, email: str) -> asyncpg.Record | None:
    """The user with this e-mail: id, email, password_hash, active, roles (for `roles_of`).

    One written exactly so comes first. Where several differ only in case and none is exact, it is nobody's.
    """
    if (cleaned := clean_email(email)) is None:
        return None
    rows = await database.fetch(_FIND, email=cleaned)
    if len(rows) == 1 or (rows and rows[0]["email"] == cleaned):
        return rows[0]
    return None


async def get(database: Database, email: str) -> asyncpg.Record:
    """As `find`, for an administrator. Raises AdministrationError where there is nobody."""
    if (user := await find(database, email)) is None:
        raise AdministrationError("there is no user with this e-mail")
    return user


async def create(database: Database, passwords: Passwords, email: str, password: str) -> str:
    """Make an active user and return the id. The e-mail is kept in lower case.

    Raises AdministrationError for an e-mail that is none or is taken in any case, and for a password
    outside the rules of `Passwords.hash`.
    """
    cleaned = clean_email(email)
    if cleaned is None or not _EMAIL.fullmatch(cleaned):
        raise AdministrationError(
            f"an e-mail looks like name@example.com, {_LONGEST_EMAIL} characters at most"
        )
    password_hash = await passwords.hash(password)
    async with database.transaction() as transaction:
        rows = await transaction.fetch(_CREATE, email=cleaned, password_hash=password_hash)
    if not rows:
        raise AdministrationError("there is a user with this e-mail already")
    return str(rows[0]["id"])


async def set_password(database: Database, passwords: Passwords, user_id: str, password: str) -> None:
    """Give a user a new password; logins made with the old one end. Raises AdministrationError."""
    password_hash = await passwords.hash(password)
    async with database.transaction() as transaction:
        if not await transaction.fetch(_SET_PASSWORD, user_id=user_id, password_hash=password_hash):
            raise AdministrationError("there is no such user")
