"""Roles: granted to users, and read again with every check of a token."""

from collections.abc import Iterable
from typing import Any

import asyncpg
from sqlalchemy import ARRAY, ColumnElement, Text, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from graphql_api.identity.errors import AdministrationError
from graphql_api.identity.viewer import Role
from graphql_api.postgres.database import Database
from graphql_api.postgres.statement import compile_statement
from graphql_api.postgres.tables import user_roles

_GRANT = compile_statement(
    insert(user_roles).values(user_id=bindparam("user_id"), role=bindparam("role")).on_conflict_do_nothing()
)
_REVOKE = compile_statement(
    delete(user_roles)
    .where(user_roles.c.user_id == bindparam("user_id"), user_roles.c.role == bindparam("role"))
    .returning(user_roles.c.role)
)


def granted(user_id: ColumnElement[str]) -> ColumnElement[Any]:
    """SQL for the roles granted to the user of a row, as text[]; `roles_of` reads it."""
    roles = select(user_roles.c.role).where(user_roles.c.user_id == user_id)
    return func.array(roles.scalar_subquery(), type_=ARRAY(Text)).label("roles")


def roles_of(names: Iterable[str]) -> frozenset[Role]:
    """The roles of a user to whom these are granted: those, and the one that every user has."""
    return frozenset({Role.USER, *(role for role in Role if role in names)})


async def grant(database: Database, user_id: str, role: Role) -> None:
    """Give a user a role; a second grant changes nothing. Raises AdministrationError."""
    if role is Role.USER:
        raise AdministrationError("every user has the role user: there is nothing to grant")
    async with database.transaction() as transaction:
        try:
            await transaction.fetch(_GRANT, user_id=user_id, role=role.value)
        except asyncpg.ForeignKeyViolationError:
            raise AdministrationError("there is no such user") from None


async def revoke(database: Database, user_id: str, role: Role) -> None:
    """Take a role from a user. Raises AdministrationError if they don't have it."""
    if role is Role.USER:
        raise AdministrationError("the role user can't be revoked: deactivate the user instead")
    async with database.transaction() as transaction:
        if not await transaction.fetch(_REVOKE, user_id=user_id, role=role.value):
            raise AdministrationError(f"the user does not have the role {role}")
