"""Users, found by e-mail in any case, and the roles granted to them. Other programs write `users` too."""

import re
from collections.abc import Iterable
from typing import Any, Final
from unicodedata import combining, normalize

import asyncpg
from sqlalchemy import ARRAY, ColumnElement, Text, bindparam, delete, exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from graphql_api.identity.errors import AdministrationError
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.identity.viewer import Role
from graphql_api.postgres.database import Database
from graphql_api.postgres.statement import compile_statement
from graphql_api.postgres.tables import user_roles, users

_LONGEST_EMAIL: Final = 255  # the column's
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")

ACTIVE: Final = users.c.is_active.is_not(False)
"""SQL: whether a user may log in. The column defaults to true, so a null, which only other programs can have
written, doesn't lock anybody out."""

PASSWORD_DIGEST: Final = func.sha256(func.convert_to(users.c.password_hash, "UTF8"))
"""SQL: the SHA-256 of a user's password hash, which ties a login to the password it was made with. PostgreSQL
computes it, so that the hash itself doesn't leave the database."""


def granted_roles(user_id: ColumnElement[str]) -> ColumnElement[Any]:
    """Returns SQL for the roles granted to a user, as text[] named `roles`; `roles_of` reads it."""
    roles = select(user_roles.c.role).where(user_roles.c.user_id == user_id)
    return func.array(roles.scalar_subquery(), type_=ARRAY(Text)).label("roles")


_email = bindparam("email", type_=users.c.email.type)
_same_email = func.lower(users.c.email) == func.lower(_email)

_FIND = compile_statement(
    select(
        users.c.id, users.c.email, users.c.password_hash, ACTIVE.label("active"), granted_roles(users.c.id)
    )
    .where(_same_email)
    .order_by((users.c.email == _email).desc())
    .limit(2)
)
_CREATE = compile_statement(
    insert(users)
    .from_select(
        ["email", "password_hash"],
        select(func.lower(_email), bindparam("password_hash", type_=users.c.password_hash.type)).where(
            ~exists(select(literal(1)).select_from(users).where(_same_email))
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
_SET_ACTIVE = compile_statement(
    update(users)
    .where(users.c.id == bindparam("user_id"))
    .values(is_active=bindparam("active", type_=users.c.is_active.type))
    .returning(users.c.id)
)
_LIST = compile_statement(
    select(
        users.c.email,
        ACTIVE.label("active"),
        granted_roles(users.c.id),
        users.c.created_at,
        users.c.last_login,
    ).order_by(users.c.email)
)
_GRANT_ROLE = compile_statement(
    insert(user_roles).values(user_id=bindparam("user_id"), role=bindparam("role")).on_conflict_do_nothing()
)
_REVOKE_ROLE = compile_statement(
    delete(user_roles)
    .where(user_roles.c.user_id == bindparam("user_id"), user_roles.c.role == bindparam("role"))
    .returning(user_roles.c.role)
)


def clean_email(text: str) -> str | None:
    """Returns an e-mail without surrounding spaces; None if it is empty, too long or not printable."""
    text = text.strip()
    return text if text.isprintable() and 0 < len(text) <= _LONGEST_EMAIL else None


def fold_email(text: str) -> str:
    """Returns a text that is equal for all spellings of an e-mail that may find the same user.

    PostgreSQL's lower() of a dotted capital I depends on its locale, so accents are removed, too.
    """
    letters = normalize("NFKD", text.strip().casefold())
    return "".join(letter for letter in letters if not combining(letter))


async def find(database: Database, email: str) -> asyncpg.Record | None:
    """Returns the user with this e-mail: id, email, password_hash, active, roles (for `roles_of`); or None.

    An exact match is preferred. If several e-mails differ from it only in case, it is ambiguous: None.
    """
    if (cleaned := clean_email(email)) is None:
        return None
    rows = await database.fetch(_FIND, email=cleaned)
    if len(rows) == 1 or (rows and rows[0]["email"] == cleaned):
        return rows[0]
    return None


async def get(database: Database, email: str) -> asyncpg.Record:
    """Returns the user as `find` does. Raises AdministrationError if there is none."""
    if (user := await find(database, email)) is None:
        raise AdministrationError("there is no user with this e-mail")
    return user


async def create(database: Database, passwords: PasswordHasher, email: str, password: str) -> str:
    """Creates an active user and returns the id. The e-mail is stored in lower case.

    Raises AdministrationError for an invalid e-mail, for one that is taken in any case, and for a password
    that is too short or too long.
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


async def set_password(database: Database, passwords: PasswordHasher, user_id: str, password: str) -> None:
    """Sets a user's password; logins made with the old one end. Raises AdministrationError."""
    password_hash = await passwords.hash(password)
    async with database.transaction() as transaction:
        if not await transaction.fetch(_SET_PASSWORD, user_id=user_id, password_hash=password_hash):
            raise AdministrationError("there is no such user")


async def set_active(database: Database, user_id: str, *, active: bool) -> None:
    """Activates a user, or deactivates one, which ends their logins. Raises AdministrationError."""
    async with database.transaction() as transaction:
        if not await transaction.fetch(_SET_ACTIVE, user_id=user_id, active=active):
            raise AdministrationError("there is no such user")


async def list_all(database: Database) -> list[asyncpg.Record]:
    """Returns all users by e-mail: email, active, roles (for `roles_of`), created_at, last_login."""
    return await database.fetch(_LIST)


def roles_of(granted: Iterable[str]) -> frozenset[Role]:
    """Returns the roles of a user: those granted to them, and `user`, which every user has."""
    return frozenset({Role.USER, *(role for role in Role if role in granted)})


async def grant_role(database: Database, user_id: str, role: Role) -> None:
    """Gives a user a role; granting it again changes nothing. Raises AdministrationError."""
    if role is Role.USER:
        raise AdministrationError("every user has the role user: there is nothing to grant")
    async with database.transaction() as transaction:
        try:
            await transaction.fetch(_GRANT_ROLE, user_id=user_id, role=role.value)
        except asyncpg.ForeignKeyViolationError:
            raise AdministrationError("there is no such user") from None


async def revoke_role(database: Database, user_id: str, role: Role) -> None:
    """Takes a role from a user. Raises AdministrationError if they don't have it."""
    if role is Role.USER:
        raise AdministrationError("the role user can't be revoked: deactivate the user instead")
    async with database.transaction() as transaction:
        if not await transaction.fetch(_REVOKE_ROLE, user_id=user_id, role=role.value):
            raise AdministrationError(f"the user does not have the role {role}")
