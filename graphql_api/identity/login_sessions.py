"""Logins as they are stored: a family of tokens that a login began, and that ends as a whole."""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

import asyncpg
from sqlalchemy import Interval, LargeBinary, Select, bindparam, delete, func, insert, select, update

from graphql_api.identity.errors import InvalidTokenError, UsedTwiceError
from graphql_api.identity.roles import granted
from graphql_api.identity.tokens import RefreshTokens, digest
from graphql_api.identity.users import ACTIVE, PASSWORD_DIGEST
from graphql_api.postgres.database import Database, Transaction
from graphql_api.postgres.statement import compile_statement
from graphql_api.postgres.tables import refresh_tokens, token_families, users

log = logging.getLogger(__name__)

GRACE: Final = timedelta(seconds=10)
"""How long a used refresh token still gets the answer it got, for whoever lost that answer on the way."""

_SWEPT_AT_ONCE = 100


def _living() -> Select[tuple[str, str, str, str, list[str]]]:
    """Families that have not ended: in time, of an active user, under the password they began with."""
    return (
        select(
            token_families.c.id.label("family"),
            token_families.c.expires_at.label("until"),
            users.c.id,
            users.c.email,
            granted(users.c.id),
        )
        .join_from(token_families, users)
        .where(
            token_families.c.expires_at > func.now(),
            token_families.c.password_digest == PASSWORD_DIGEST,
            ACTIVE,
        )
    )


_READ = compile_statement(
    _living().where(
        token_families.c.id == bindparam("family"), token_families.c.user_id == bindparam("user_id")
    )
)
_LOGGED_IN = compile_statement(
    update(users)
    .where(users.c.id == bindparam("user_id"), users.c.password_hash == bindparam("old_hash"), ACTIVE)
    .values(last_login=func.now(), password_hash=bindparam("new_hash"))
    .returning(users.c.id)
)
_CARRY_OVER = compile_statement(
    update(token_families)
    .where(
        token_families.c.user_id == bindparam("user_id"),
        token_families.c.password_digest == bindparam("old_digest", type_=LargeBinary),
    )
    .values(password_digest=bindparam("new_digest"))
)
_BEGIN = compile_statement(
    insert(token_families)
    .values(
        user_id=bindparam("user_id"),
        password_digest=bindparam("password_digest"),
        expires_at=func.now() + bindparam("lifetime", type_=Interval),
    )
    .returning(token_families.c.id, token_families.c.expires_at)
)
_ADD = compile_statement(
    insert(refresh_tokens).values(digest=bindparam("digest"), family=bindparam("family"))
)
_SWEEP = compile_statement(
    delete(token_families).where(
        token_families.c.id.in_(
            select(token_families.c.id)
            .where(token_families.c.expires_at < func.now())
            .limit(_SWEPT_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
    )
)
# Whoever changes a family holds its row first, so that renewals and its end wait for each other.
_LOCK = compile_statement(
    _living()
    .join(refresh_tokens, refresh_tokens.c.family == token_families.c.id)
    .where(refresh_tokens.c.digest == bindparam("digest"))
    .with_for_update(of=token_families)
)
_USE = compile_statement(
    update(refresh_tokens)
    .where(refresh_tokens.c.digest == bindparam("digest"), refresh_tokens.c.used_at.is_(None))
    .values(used_at=func.now())
    .returning(refresh_tokens.c.digest)
)
_USED_LATELY = compile_statement(
    select(refresh_tokens.c.digest).where(
        refresh_tokens.c.digest == bindparam("digest"),
        refresh_tokens.c.used_at > func.now() - bindparam("grace", type_=Interval),
    )
)
_OWNER = compile_statement(
    select(token_families.c.id, token_families.c.user_id)
    .join(refresh_tokens)
    .where(refresh_tokens.c.digest == bindparam("digest"))
)
_END = compile_statement(delete(token_families).where(token_families.c.id == bindparam("family")))
_END_ALL = compile_statement(delete(token_families).where(token_families.c.user_id == bindparam("user_id")))


@dataclass(frozen=True, slots=True)
class Family:
    """One login that lives."""

    id: str
    user_id: str
    email: str
    granted: tuple[str, ...]
    until: datetime
    """When it ends of itself, in UTC."""
    refresh_token: str = field(default="", repr=False)


async def read(database: Database, family: str, user_id: str) -> Family:
    """The family of this user, in one statement. Raises InvalidTokenError if it has ended."""
    rows = await database.fetch(_READ, family=family, user_id=user_id)
    if not rows:
        raise InvalidTokenError
    return _family(rows[0])


async def begin(
    database: Database,
    user: asyncpg.Record,
    *,
    refresh_token: str,
    lifetime: timedelta,
    upgrade: str | None = None,
) -> Family | None:
    """A family for a user just verified (a row of `users.find`), and a note of the login in their row.

    `upgrade` takes the place of their password's hash; logins made with the old one go on. None if the user
    has changed since they were read.
    """
    old_hash: str = user["password_hash"]
    new_hash = upgrade or old_hash
    values = {"user_id": user["id"], "password_digest": _digest(new_hash), "lifetime": lifetime}

    async def work(transaction: Transaction) -> asyncpg.Record | None:
        if not await transaction.fetch(_LOGGED_IN, user_id=user["id"], old_hash=old_hash, new_hash=new_hash):
            return None
        if upgrade is not None:
            await transaction.fetch(
                _CARRY_OVER, user_id=user["id"], old_digest=_digest(old_hash), new_digest=_digest(upgrade)
            )
        await transaction.fetch(_SWEEP)
        (row,) = await transaction.fetch(_BEGIN, **values)
        await transaction.fetch(_ADD, digest=digest(refresh_token), family=row["id"])
        return row

    row = await database.run(work)
    if row is None:
        return None
    return Family(
        id=row["id"],
        user_id=user["id"],
        email=user["email"],
        granted=tuple(user["roles"]),
        until=_time(row["expires_at"]),
        refresh_token=refresh_token,
    )


async def renew(database: Database, tokens: RefreshTokens, refresh_token: str) -> Family:
    """Use a refresh token up: its family, with the next one.

    Within GRACE a used token gets the same answer again. Later it must be in two hands, and the family
    ends. Raises InvalidTokenError, in that case UsedTwiceError.
    """
    token = digest(refresh_token)
    successor = tokens.successor(refresh_token)

    async def work(transaction: Transaction) -> tuple[Family, bool]:
        """The family, and whether it lives on."""
        rows = await transaction.fetch(_LOCK, digest=token)
        if not rows:
            raise InvalidTokenError
        family = _family(rows[0], successor)
        if await transaction.fetch(_USE, digest=token):
            await transaction.fetch(_ADD, digest=digest(successor), family=family.id)
            return family, True
        if await transaction.fetch(_USED_LATELY, digest=token, grace=GRACE):
            return family, True
        await transaction.fetch(_END, family=family.id)
        return family, False

    family, lives = await database.run(work)
    if not lives:
        log.warning("a refresh token of user %s was used twice: login %s ends", family.user_id, family.id)
        raise UsedTwiceError(family.id)
    return family


async def owner(database: Database, refresh_token: str) -> tuple[str, str] | None:
    """The ids of the family and the user a refresh token belongs to, used or not."""
    rows = await database.fetch(_OWNER, digest=digest(refresh_token))
    return (rows[0]["id"], rows[0]["user_id"]) if rows else None


async def end(database: Database, family: str) -> None:
    """End one login, and all its tokens."""
    await database.run(lambda transaction: transaction.fetch(_END, family=family))


async def end_all(database: Database, user_id: str) -> None:
    """End every login of a user."""
    await database.run(lambda transaction: transaction.fetch(_END_ALL, user_id=user_id))


def _family(row: asyncpg.Record, refresh_token: str = "") -> Family:
    return Family(
        id=row["family"],
        user_id=row["id"],
        email=row["email"],
        granted=tuple(row["roles"]),
        until=_time(row["until"]),
        refresh_token=refresh_token,
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _digest(password_hash: str) -> bytes:
    return sha256(password_hash.encode()).digest()
