"""Keys under which a change is made once: who claimed one, what came of it, and for how long that is kept.

A claim is an attempt with an id of its own. Every transaction of the attempt begins by counting itself in the
key's row, under that id. So the count tells truly whether anything was changed, whenever the process may have
ended; and an attempt that was taken for dead, and had its key claimed anew, can change nothing any more.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Double,
    Interval,
    LargeBinary,
    Text,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import UUID, insert

from graphql_api.postgres.database import Database, Transaction
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.postgres.tables import idempotency_keys as _keys

MAX_EXPIRED = 100
"""Expired keys that a claim removes on its way."""


class KeyReusedError(Exception):
    """The key stands for another request."""


class KeyInUseError(Exception):
    """The same request is under way under this key."""


class AnswerLostError(Exception):
    """The change was made under this key, and its answer was never stored."""


class ClaimLostError(Exception):
    """The attempt was taken for dead, and its key claimed anew."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to make a change, and the duty to say what came of it."""

    viewer: str
    key: str
    attempt: str


class IdempotencyKeys:
    """The keys of all viewers, over the primary database."""

    def __init__(self, database: Database, *, lifetime: float, lease: float) -> None:
        """`lifetime` and `lease` are seconds: how long answers are kept, and attempts thought to be alive."""
        self._database = database
        self._lifetime = lifetime
        self._lease = lease

    async def claim(self, viewer: str, key: str, request: bytes) -> Claim | bytes:
        """Claim a key for a request, told by its digest; or return the answer that it got before.

        Raises KeyReusedError, KeyInUseError, AnswerLostError or DatabaseUnavailableError.
        """
        who = {"viewer": viewer, "key": key}
        times = {"lifetime": self._lifetime, "lease": self._lease}
        claimed = await self._database.run(lambda work: work.fetch(_claim(), **who, **times, request=request))
        if claimed:
            return Claim(viewer, key, claimed[0]["attempt"])
        found = await self._database.fetch(_find(), **who)
        if not found:  # given up, or expired, this very moment
            raise KeyInUseError
        (row,) = found
        if row["request"] != request:
            raise KeyReusedError
        if row["answer"] is not None:
            return bytes(row["answer"])
        raise KeyInUseError if row["alive"] or not row["effects"] else AnswerLostError

    async def count(self, claim: Claim, transaction: Transaction) -> None:
        """Count an effect, in its own transaction. Raises ClaimLostError."""
        if not await transaction.fetch(_count(), **_identity(claim)):
            raise ClaimLostError

    async def keep(self, claim: Claim, answer: bytes) -> None:
        """Store the answer, for whoever sends the request again."""
        await self._database.run(lambda work: work.fetch(_keep(), **_identity(claim), answer=answer))

    async def give_up(self, claim: Claim) -> bool:
        """Free the key, unless something was changed under it. Tells whether it is free."""
        return bool(await self._database.run(lambda work: work.fetch(_give_up(), **_identity(claim))))


def _identity(claim: Claim) -> dict[str, Any]:
    return {"viewer": claim.viewer, "key": claim.key, "attempt": claim.attempt}


_now = func.clock_timestamp()
_is_key = and_(_keys.c.viewer == bindparam("viewer", type_=Text), _keys.c.key == bindparam("key", type_=Text))
_is_claim = and_(_is_key, _keys.c.attempt == bindparam("attempt", type_=UUID(as_uuid=False)))


def _after(name: str) -> Any:
    """The moment that lies so many seconds ahead."""
    return _now + bindparam(name, type_=Double) * literal_column("interval '1 second'", Interval)


@lru_cache
def _claim() -> Statement:
    old = (
        select(_keys.c.viewer, _keys.c.key)
        .where(_keys.c.expires_at <= _now, ~_is_key)
        .limit(literal_column(str(MAX_EXPIRED)))
        .with_for_update(skip_locked=True)
        .cte("old")
    )
    removed = delete(_keys).where(_keys.c.viewer == old.c.viewer, _keys.c.key == old.c.key).cte("removed")
    statement = insert(_keys).values(
        viewer=bindparam("viewer", type_=Text),
        key=bindparam("key", type_=Text),
        request=bindparam("request", type_=LargeBinary),
        leased_until=_after("lease"),
        expires_at=_after("lifetime"),
    )
    new = statement.excluded
    is_dead = and_(
        _keys.c.request == new.request,
        _keys.c.answer.is_(None),
        _keys.c.effects == literal_column("0"),
        _keys.c.leased_until <= _now,
    )
    anew = statement.on_conflict_do_update(
        index_elements=[_keys.c.viewer, _keys.c.key],
        set_={
            "request": new.request,
            "attempt": func.gen_random_uuid(),
            "effects": literal_column("0"),
            "answer": None,
            "leased_until": new.leased_until,
            "expires_at": new.expires_at,
        },
        where=or_(_keys.c.expires_at <= _now, is_dead),
    )
    return compile_statement(anew.returning(_keys.c.attempt).add_cte(removed))


@lru_cache
def _find() -> Statement:
    alive = (_keys.c.leased_until > _now).label("alive")
    return compile_statement(select(_keys.c.request, _keys.c.answer, _keys.c.effects, alive).where(_is_key))


@lru_cache
def _count() -> Statement:
    counted = update(_keys).where(_is_claim).values(effects=_keys.c.effects + literal_column("1"))
    return compile_statement(counted.returning(_keys.c.effects))


@lru_cache
def _keep() -> Statement:
    kept = update(_keys).where(_is_claim).values(answer=bindparam("answer", type_=LargeBinary))
    return compile_statement(kept)


@lru_cache
def _give_up() -> Statement:
    freed = delete(_keys).where(_is_claim, _keys.c.effects == literal_column("0"))
    return compile_statement(freed.returning(_keys.c.attempt))
