"""Logins as PostgreSQL stores them: one row each in `token_families`, and the refresh tokens of each.

A login ends when its row is deleted or expires, when its user is deactivated or deleted, and when the user's
password changes. Its access and refresh tokens end with it.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

import asyncpg
from sqlalchemy import (
    ARRAY,
    UUID,
    Interval,
    LargeBinary,
    Select,
    any_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from graphql_api.identity.errors import InvalidTokenError, RefreshTokenReuseError
from graphql_api.identity.tokens import RefreshTokens, digest
from graphql_api.identity.users import ACTIVE, PASSWORD_DIGEST, granted_roles
from graphql_api.postgres.database import Database, Transaction
from graphql_api.postgres.statement import compile_statement
from graphql_api.postgres.tables import logins, refresh_tokens, users

log = logging.getLogger(__name__)

REUSE_GRACE: Final = timedelta(seconds=10)
"""How long a used refresh token gets the same tokens again, for clients that didn't receive the response."""

_EXPIRED_LOGINS_DELETED_AT_ONCE = 100


def _valid_logins() -> Select[tuple[str, str, str, str, list[str]]]:
    """Selects logins that have not ended, each with its user."""
    return (
        select(
            logins.c.id.label("login_id"),
            logins.c.expires_at,
            users.c.id.label("user_id"),
            users.c.email,
            granted_roles(users.c.id),
        )
        .join_from(logins, users)
        .where(
            logins.c.expires_at > func.now(),
            logins.c.password_digest == PASSWORD_DIGEST,
            ACTIVE,
        )
    )


_FIND = compile_statement(
    _valid_logins().where(logins.c.id == bindparam("login_id"), logins.c.user_id == bindparam("user_id"))
)
_FIND_ALL = compile_statement(
    _valid_logins().where(logins.c.id == any_(bindparam("login_ids", type_=ARRAY(UUID(as_uuid=False)))))
)
_NOTE_LOGIN = compile_statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.password_hash == bindparam("old_hash"), ACTIVE)
    .values(last_login=func.now(), password_hash=bindparam("new_hash"))
    .returning(users.c.id)
)
_KEEP_OTHER_LOGINS = compile_statement(
    update(logins)
    .where(
        logins.c.user_id == bindparam("user_id"),
        logins.c.password_digest == bindparam("old_digest", type_=LargeBinary),
    )
    .values(password_digest=bindparam("new_digest"))
)
_user_id = bindparam("user_id", type_=users.c.id.type)
_CREATE = compile_statement(
    insert(logins)
    .values(
        user_id=_user_id,
        password_digest=bindparam("password_digest"),
        expires_at=func.now() + bindparam("lifetime", type_=Interval),
    )
    .returning(
        logins.c.id.label("login_id"),
        logins.c.expires_at,
        logins.c.user_id,
        select(users.c.email).where(users.c.id == _user_id).scalar_subquery().label("email"),
        granted_roles(_user_id),
    )
)
_ADD_REFRESH_TOKEN = compile_statement(
    insert(refresh_tokens).values(digest=bindparam("digest"), login_id=bindparam("login_id"))
)
_DELETE_EXPIRED = compile_statement(
    delete(logins).where(
        logins.c.id.in_(
            select(logins.c.id)
            .where(logins.c.expires_at < func.now())
            .limit(_EXPIRED_LOGINS_DELETED_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    )
)
# Every change of a login locks its row first, so that a rotation and a logout wait for each other.
_LOCK = compile_statement(
    _valid_logins()
    .join(refresh_tokens, refresh_tokens.c.login_id == logins.c.id)
    .where(refresh_tokens.c.digest == bindparam("digest"))
    .with_for_update(of=logins)
)
_USE_REFRESH_TOKEN = compile_statement(
    update(refresh_tokens)
    .where(refresh_tokens.c.digest == bindparam("digest"), refresh_tokens.c.used_at.is_(None))
    .values(used_at=func.now())
    .returning(refresh_tokens.c.digest)
)
_WAS_JUST_USED = compile_statement(
    select(refresh_tokens.c.digest).where(
        refresh_tokens.c.digest == bindparam("digest"),
        refresh_tokens.c.used_at > func.now() - bindparam("grace", type_=Interval),
    )
)
_FIND_OWNER = compile_statement(
    select(logins.c.id, logins.c.user_id)
    .join(refresh_tokens)
    .where(refresh_tokens.c.digest == bindparam("digest"))
)
_END = compile_statement(delete(logins).where(logins.c.id == bindparam("login_id")))
_END_ALL = compile_statement(delete(logins).where(logins.c.user_id == bindparam("user_id")))


@dataclass(frozen=True, slots=True)
class Login:
    """A login that has not ended."""

    id: str
    user_id: str
    email: str
    granted_roles: tuple[str, ...]
    expires_at: datetime
    """When it expires, in UTC by PostgreSQL's clock, if it doesn't end earlier."""
    refresh_token: str = field(default="", repr=False)
    """The newest refresh token, if the login was just created or its token rotated; else empty."""


async def find(database: Database, login_id: str, user_id: str) -> Login:
    """Returns a user's login, read in one statement. Raises InvalidTokenError if it has ended."""
    rows = await database.fetch(_FIND, login_id=login_id, user_id=user_id)
    if not rows:
        raise InvalidTokenError
    return _login(rows[0])


async def find_all(database: Database, login_ids: Collection[str]) -> Mapping[str, Login]:
    """Returns those logins that have not ended, by id, read in one statement."""
    rows = await database.fetch(_FIND_ALL, login_ids=list(login_ids))
    return {row["login_id"]: _login(row) for row in rows}


async def create(
    database: Database,
    user: asyncpg.Record,
    *,
    refresh_token: str,
    lifetime: timedelta,
    upgraded_hash: str | None = None,
) -> Login | None:
    """Creates a login for a user whose password was just verified, and sets their `last_login`.

    `user` is a row of `users.find`. `upgraded_hash` replaces the hash of their password; logins made with
    the old hash stay valid. Returns None if the user was deactivated or got another password since `find`.
    """
    old_hash: str = user["password_hash"]
    new_hash = upgraded_hash or old_hash

    async def work(transaction: Transaction) -> asyncpg.Record | None:
        if not await transaction.fetch(_NOTE_LOGIN, user_id=user["id"], old_hash=old_hash, new_hash=new_hash):
            return None
        if upgraded_hash is not None:
            await transaction.fetch(
                _KEEP_OTHER_LOGINS,
                user_id=user["id"],
                old_digest=_password_digest(old_hash),
                new_digest=_password_digest(upgraded_hash),
            )
        await transaction.fetch(_DELETE_EXPIRED)
        (row,) = await transaction.fetch(
            _CREATE, user_id=user["id"], password_digest=_password_digest(new_hash), lifetime=lifetime
        )
        await transaction.fetch(_ADD_REFRESH_TOKEN, digest=digest(refresh_token), login_id=row["login_id"])
        return row

    # The roles are those of now, since verifying a password takes long.
    row = await database.run(work)
    return None if row is None else _login(row, refresh_token)


async def rotate(database: Database, tokens: RefreshTokens, refresh_token: str) -> Login:
    """Marks a refresh token as used, and returns its login with the next refresh token.

    Within REUSE_GRACE a used token gets the same next token again. A later use means that two parties hold
    it, and ends the login. Raises InvalidTokenError; in that case RefreshTokenReuseError.
    """
    used = digest(refresh_token)
    successor = tokens.successor(refresh_token)

    async def work(transaction: Transaction) -> tuple[Login, bool]:
        """Returns the login, and whether the token was reused."""
        rows = await transaction.fetch(_LOCK, digest=used)
        if not rows:
            raise InvalidTokenError
        login = _login(rows[0], successor)
        if await transaction.fetch(_USE_REFRESH_TOKEN, digest=used):
            await transaction.fetch(_ADD_REFRESH_TOKEN, digest=digest(successor), login_id=login.id)
            return login, False
        if await transaction.fetch(_WAS_JUST_USED, digest=used, grace=REUSE_GRACE):
            return login, False
        await transaction.fetch(_END, login_id=login.id)
        return login, True

    login, reused = await database.run(work)
    if reused:
        log.warning("a refresh token of user %s was used twice: login %s ends", login.user_id, login.id)
        raise RefreshTokenReuseError(login.id)
    return login


async def find_owner(database: Database, refresh_token: str) -> tuple[str, str] | None:
    """Returns the ids of the login and of the user that a refresh token, used or not, belongs to."""
    rows = await database.fetch(_FIND_OWNER, digest=digest(refresh_token))
    return (rows[0]["id"], rows[0]["user_id"]) if rows else None


async def end(database: Database, login_id: str) -> None:
    """Ends one login."""
    await database.run(lambda transaction: transaction.fetch(_END, login_id=login_id))


async def end_all(database: Database, user_id: str) -> None:
    """Ends every login of a user."""
    await database.run(lambda transaction: transaction.fetch(_END_ALL, user_id=user_id))


def _login(row: asyncpg.Record, refresh_token: str = "") -> Login:
    return Login(
        id=row["login_id"],
        user_id=row["user_id"],
        email=row["email"],
        granted_roles=tuple(row["roles"]),
        expires_at=_moment(row["expires_at"]),
        refresh_token=refresh_token,
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _password_digest(password_hash: str) -> bytes:
    """Returns what `users.PASSWORD_DIGEST` computes in SQL."""
    return sha256(password_hash.encode()).digest()
