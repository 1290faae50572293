"""Tokens for programs: made by an administrator, shown once, limited to scopes."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
from sqlalchemy import ARRAY, Interval, Text, bindparam, func, insert, or_, select, update

from graphql_api.identity.errors import AdministrationError, InvalidTokenError
from graphql_api.identity.roles import granted, roles_of
from graphql_api.identity.tokens import SERVICE_PREFIX, digest, opaque
from graphql_api.identity.users import ACTIVE
from graphql_api.identity.viewer import NOBODY, Role, Scope, ServiceToken, Viewer, scopes_of
from graphql_api.postgres.database import Database
from graphql_api.postgres.statement import compile_statement
from graphql_api.postgres.tables import service_tokens, users

LONGEST_NAME: Final = 100

_OWN: Final = frozenset({Scope.GRAPH_READ, Scope.RISK_WRITE})
"""What is about a user's own rows."""

_COLUMNS = tuple(column for column in service_tokens.c if column.name != "digest")
_LIVING = (
    service_tokens.c.digest == bindparam("digest"),
    service_tokens.c.revoked_at.is_(None),
    or_(service_tokens.c.expires_at.is_(None), service_tokens.c.expires_at > func.now()),
)
_touched = (
    update(service_tokens)
    .where(
        *_LIVING,
        or_(
            service_tokens.c.last_used_at.is_(None),
            service_tokens.c.last_used_at < func.now() - timedelta(minutes=1),
        ),
    )
    .values(last_used_at=func.now())
    .cte("touched")
)
# Its use is noted in the statement that reads it, once a minute at most; noting it twice does no harm.
_READ = compile_statement(
    select(
        service_tokens.c.scopes,
        service_tokens.c.expires_at,
        service_tokens.c.user_id,
        users.c.email,
        granted(service_tokens.c.user_id),
    )
    .join_from(service_tokens, users, isouter=True)
    .where(*_LIVING, or_(service_tokens.c.user_id.is_(None), ACTIVE))
    .add_cte(_touched)
)
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
_GRANTED = compile_statement(select(granted(users.c.id)).where(users.c.id == bindparam("user_id"), ACTIVE))
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
    """A token just made. Its text is nowhere else, and can't be had again."""

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
    """Make a token for the program `name`.

    With `user_id` it acts for that user, and for no longer than they could do the same. Without, its scopes
    are all it has: it sees a tenant's rows only by a scope for every tenant's. `lifetime` None is for ever.
    Raises AdministrationError, also for a scope that would allow nothing.
    """
    if not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
        raise AdministrationError(f"a service token needs a name of 1 to {LONGEST_NAME} characters")
    if not scopes:
        raise AdministrationError("a service token needs a scope")
    if lifetime is not None and lifetime <= timedelta(0):
        raise AdministrationError("a service token's lifetime must be positive")
    text = opaque(SERVICE_PREFIX)
    async with database.transaction() as transaction:
        if user_id is not None:
            found = await transaction.fetch(_GRANTED, user_id=user_id)
            if not found:
                raise AdministrationError("there is no such user, or they may not log in")
            _refuse_what_they_lack(scopes, roles_of(found[0]["roles"]))
        _refuse_what_opens_nothing(Viewer(user_id=user_id, scopes=frozenset(scopes)))
        rows = await transaction.fetch(
            _CREATE,
            digest=digest(text),
            name=name,
            scopes=sorted(scope.value for scope in scopes),
            user_id=user_id,
            lifetime=lifetime,
        )
    return NewServiceToken(rows[0]["id"], text)


def _refuse_what_they_lack(scopes: Collection[Scope], roles: Collection[Role]) -> None:
    if lacking := sorted(set(scopes) - scopes_of(roles)):
        raise AdministrationError(f"the user's roles don't allow {', '.join(lacking)}: grant a role first")


def _refuse_what_opens_nothing(viewer: Viewer) -> None:
    if viewer.user_id is None and (own := sorted(viewer.scopes & _OWN)):
        raise AdministrationError(
            f"without a user, {' and '.join(own)} would open nothing: name a user, or use a scope for all"
        )
    if viewer.risk_tenant != NOBODY and viewer.tenant == NOBODY:
        raise AdministrationError(
            "risk settings can't be changed unseen: add graph:read, for a user, or graph:read:any"
        )


async def every(database: Database) -> list[asyncpg.Record]:
    """All service tokens, the oldest first: everything but what would open a door, and the user's e-mail."""
    return await database.fetch(_LIST)


async def revoke(database: Database, token_id: str) -> None:
    """End a token. Raises AdministrationError if there is none under this id, or it has been ended."""
    try:
        token_id = str(UUID(token_id))
    except ValueError:
        raise AdministrationError("a service token's id is a UUID") from None
    async with database.transaction() as transaction:
        if not await transaction.fetch(_REVOKE, id=token_id):
            raise AdministrationError("there is no such service token, or it is revoked already")


async def read(database: Database, credential: ServiceToken) -> Viewer:
    """Who a token speaks for, in one statement. Raises InvalidTokenError."""
    rows = await database.fetch(_READ, digest=credential.digest)
    if not rows:
        raise InvalidTokenError
    row = rows[0]
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
