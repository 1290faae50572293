"""Service tokens, by which programs authenticate: shown once when created, and limited to scopes."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy import ARRAY, Interval, Text, bindparam, false, func, insert, or_, select, update

from graphql_api.identity.errors import AdministrationError, ExpiredTokenError, InvalidTokenError
from graphql_api.identity.tokens import SERVICE_PREFIX, digest, random_token
from graphql_api.identity.users import ACTIVE, granted_roles, roles_of
from graphql_api.identity.viewer import (
    NO_TENANT,
    ROLE_SCOPES,
    Role,
    Scope,
    ServiceTokenCredential,
    Viewer,
    scopes_of,
)
from graphql_api.postgres.database import Database
from graphql_api.postgres.errors import DatabaseUnavailableError
from graphql_api.postgres.statement import compile_statement
from graphql_api.postgres.tables import service_tokens, users

MAX_NAME_LENGTH: Final = 100

_COLUMNS = tuple(column for column in service_tokens.c if column.name != "digest")
_expired = func.coalesce(service_tokens.c.expires_at <= func.now(), false())
_is_named = service_tokens.c.digest == bindparam("digest")
_note_use = (
    update(service_tokens)
    .where(
        _is_named,
        service_tokens.c.revoked_at.is_(None),
        ~_expired,
        or_(
            service_tokens.c.last_used_at.is_(None),
            service_tokens.c.last_used_at < func.now() - timedelta(minutes=1),
        ),
    )
    .values(last_used_at=func.now())
    .cte("note_use")
)
_found = (
    select(
        service_tokens.c.scopes,
        service_tokens.c.expires_at,
        _expired.label("expired"),
        service_tokens.c.user_id,
        users.c.email,
        granted_roles(service_tokens.c.user_id),
    )
    .join_from(service_tokens, users, isouter=True)
    .where(
        _is_named,
        service_tokens.c.revoked_at.is_(None),
        or_(service_tokens.c.user_id.is_(None), ACTIVE),
    )
)
# The statement that reads a token also sets `last_used_at`, at most once a minute.
_AUTHENTICATE = compile_statement(_found.add_cte(_note_use))
_FIND = compile_statement(_found)
_CREATE = compile_statement(
    insert(service_tokens)
    .values(
        digest=bindparam("digest"),
        name=bindparam("name"),
        scopes=bindparam("scopes", type_=ARRAY(Text)),
        user_id=bindparam("user_id"),
        expires_at=func.now() + bindparam("lifetime", type_=Interval),
    )
    .returning(*_COLUMNS)
)
_ROLES = compile_statement(
    select(granted_roles(users.c.id)).where(users.c.id == bindparam("user_id"), ACTIVE)
)
_LIST = compile_statement(
    select(*_COLUMNS, users.c.email)
    .join_from(service_tokens, users, isouter=True)
    .order_by(service_tokens.c.created_at, service_tokens.c.id)
)
_REVOKE = compile_statement(
    update(service_tokens)
    .where(service_tokens.c.id == bindparam("id"), service_tokens.c.revoked_at.is_(None))
    .values(revoked_at=func.now())
    .returning(service_tokens.c.id)
)


@dataclass(frozen=True, slots=True)
class NewServiceToken:
    """A token that was just created. Its text is not stored."""

    id: str
    text: str = field(repr=False)


async def create(
    database: Database,
    name: str,
    scopes: Collection[Scope],
    *,
    user_id: str | None = None,
    lifetime: timedelta | None,
) -> NewServiceToken:
    """Creates a token for the program `name`.

    With `user_id` it acts for that user, within the scopes that the user's roles have at the time of each
    check. Without, it reads tenants' rows only by a scope for every tenant. `lifetime` None never expires.
    Raises AdministrationError, also for scopes that would allow nothing.
    """
    if not name.isprintable() or not 0 < len(name) <= MAX_NAME_LENGTH:
        raise AdministrationError(f"a service token needs a name of 1 to {MAX_NAME_LENGTH} characters")
    if not scopes:
        raise AdministrationError("a service token needs a scope")
    if lifetime is not None and lifetime <= timedelta(0):
        raise AdministrationError("a service token's lifetime must be positive")
    text = random_token(SERVICE_PREFIX)
    async with database.transaction() as transaction:
        if user_id is not None:
            found = await transaction.fetch(_ROLES, user_id=user_id)
            if not found:
                raise AdministrationError("there is no such user, or they may not log in")
            _refuse_scopes_beyond_roles(scopes, roles_of(found[0]["roles"]))
        _refuse_useless_scopes(Viewer(user_id=user_id, scopes=frozenset(scopes)))
        rows = await transaction.fetch(
            _CREATE,
            digest=digest(text),
            name=name,
            scopes=sorted(scope.value for scope in scopes),
            user_id=user_id,
            lifetime=lifetime,
        )
    return NewServiceToken(rows[0]["id"], text)


def _refuse_scopes_beyond_roles(scopes: Collection[Scope], roles: Collection[Role]) -> None:
    if lacking := sorted(set(scopes) - scopes_of(roles)):
        raise AdministrationError(f"the user's roles don't allow {', '.join(lacking)}: grant a role first")


def _refuse_useless_scopes(viewer: Viewer) -> None:
    if viewer.user_id is None and (own := sorted(viewer.scopes & ROLE_SCOPES[Role.USER])):
        raise AdministrationError(
            f"without a user, {' and '.join(own)} would open nothing: name a user, or use a scope for all"
        )
    if viewer.risk_tenant != NO_TENANT and viewer.tenant == NO_TENANT:
        raise AdministrationError(
            "risk settings can't be changed unseen: add graph:read, for a user, or graph:read:any"
        )


async def list_all(database: Database) -> list[asyncpg.Record]:
    """Returns all service tokens, the oldest first: every column but the digest, and the user's e-mail."""
    return await database.fetch(_LIST)


async def revoke(database: Database, token_id: str) -> None:
    """Revokes a token. Raises AdministrationError if there is none with this id, or it is revoked already."""
    try:
        token_id = str(UUID(token_id))
    except ValueError:
        raise AdministrationError("a service token's id is a UUID") from None
    async with database.transaction() as transaction:
        if not await transaction.fetch(_REVOKE, id=token_id):
            raise AdministrationError("there is no such service token, or it is revoked already")


async def authenticate(database: Database, credential: ServiceTokenCredential) -> Viewer:
    """Returns the viewer behind a token, read in one statement. Raises InvalidTokenError.

    The error is ExpiredTokenError if it has expired. In a read-only database, `last_used_at` isn't set.
    """
    try:
        rows = await database.fetch(_AUTHENTICATE, digest=credential.digest)
    except DatabaseUnavailableError as error:
        if error.sqlstate != asyncpg.ReadOnlySQLTransactionError.sqlstate:
            raise
        rows = await database.fetch(_FIND, digest=credential.digest)  # without setting last_used_at
    if not rows:
        raise InvalidTokenError
    row = rows[0]
    if row["expired"]:
        raise ExpiredTokenError
    scopes = frozenset(scope for scope in Scope if scope in row["scopes"])
    roles: frozenset[Role] = frozenset()
    if row["user_id"] is not None:
        roles = roles_of(row["roles"])
        scopes &= scopes_of(roles)
    return Viewer(
        user_id=row["user_id"],
        email=row["email"],
        roles=roles,
        scopes=scopes,
        expires_at=datetime.fromisoformat(row["expires_at"]) if row["expires_at"] else None,
        credential=credential,
    )
