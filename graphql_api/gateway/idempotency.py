"""Idempotency-Key: a mutation sent again under its key gets the same answer, and isn't carried out again.

As the IETF's draft of the header has it: 422 for a key that was sent with another request, 409 for one whose
request is still running. Keys belong to a viewer. Where HTTP has the header, any transport may have
`extensions.idempotencyKey`.

`Idempotency` is the policy, `IdempotencyKeys` the storage. Running a keyed mutation is an *attempt* with an
id of its own. Every transaction of the attempt begins by adding one to `effects` in the key's row, under that
id. So the row says whether anything was changed, whenever the process may have died; and an attempt that was
taken for dead, and whose key was claimed by another, can't change anything any more.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from http import HTTPStatus
from typing import Any

import orjson
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
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from graphql_api.execution.operations import Operation, Result
from graphql_api.gateway.errors import TIMEOUT, UNAVAILABLE, HTTPError, database_unavailable
from graphql_api.identity.viewer import Viewer
from graphql_api.postgres.database import Database, Transaction, beginning_with
from graphql_api.postgres.errors import SOON, DatabaseUnavailableError
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.postgres.tables import idempotency_keys as _rows

log = logging.getLogger(__name__)

MAX_EXPIRED = 100
"""Expired keys that a claim deletes."""

_KEY = re.compile(r"[!-~]{1,255}")
_UNKNOWN_OUTCOME = frozenset({UNAVAILABLE, TIMEOUT})
"""Codes of errors that leave open whether the change was made."""
_ATTEMPTS = 7
"""Attempts to store an answer while the database is away, over 16 seconds."""
_PATIENCE = 1.0
"""Seconds that an answer waits for being stored before it is sent."""

StartTask = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts a task that the process waits for when it stops."""


class KeyReusedError(Exception):
    """The key was sent before with another request."""


class KeyInUseError(Exception):
    """The same request is running under this key."""


class AnswerLostError(Exception):
    """The change was made under this key, and its answer was never stored."""


class ClaimLostError(Exception):
    """The attempt was taken for dead, and another has claimed its key."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt's hold on its key, until the answer is stored or the key is released."""

    principal: str
    """Whose key it is: a user's id, or a service token's digest."""
    key: str
    attempt: str


class Idempotency:
    """Carries out each keyed mutation once.

    Mutations of `keyless_fields` neither need a key nor take one: their answers hold secrets, which aren't to
    be stored.
    """

    def __init__(self, keys: "IdempotencyKeys", keyless_fields: Collection[str], start: StartTask) -> None:
        self._keys = keys
        self._keyless_fields = frozenset(keyless_fields)
        self._start = start

    async def once(
        self, operation: Operation, viewer: Viewer, run: Callable[[], Awaitable[Result]], seconds: float
    ) -> Result:
        """Returns what `run` returns, or the answer stored under the operation's key. Raises HTTPError.

        Claiming the key takes no longer than `seconds`.
        """
        key = find_key(operation)
        if key is None or viewer.principal is None or not self._takes_key(operation):
            return await run()
        claim = await self._claim(viewer.principal, key, digest_of(operation), seconds)
        if isinstance(claim, bytes):
            return Result.rendered(claim)
        try:
            with beginning_with(partial(self._keys.count_effect, claim)):
                result = await run()
            result.render()
        except BaseException:
            await self._settle(claim, None)
            raise
        await self._settle(claim, result)
        return result

    def _takes_key(self, operation: Operation) -> bool:
        keyless = operation.root_fields & self._keyless_fields
        if keyless and not operation.root_fields <= self._keyless_fields:
            names = ", ".join(sorted(keyless))
            raise _invalid(f"{names} can't be asked for together with other fields under a key")
        return not keyless

    async def _claim(self, principal: str, key: str, request: bytes, seconds: float) -> Claim | bytes:
        try:
            async with asyncio.timeout(seconds):
                return await self._keys.claim(principal, key, request)
        except KeyReusedError:
            raise HTTPError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "IDEMPOTENCY_KEY_REUSED",
                "Idempotency-Key: was sent before with another request: use a new one",
            ) from None
        except KeyInUseError:
            raise HTTPError(
                HTTPStatus.CONFLICT,
                "IDEMPOTENCY_KEY_IN_USE",
                "Idempotency-Key: its request is under way: ask again for the answer",
                retry_after=SOON,
            ) from None
        except AnswerLostError:
            raise HTTPError(
                HTTPStatus.CONFLICT,
                "IDEMPOTENCY_ANSWER_LOST",
                "Idempotency-Key: the change was made, and its answer was lost: read what it is now",
            ) from None
        except (DatabaseUnavailableError, TimeoutError) as error:
            raise database_unavailable(error) from None

    async def _settle(self, claim: Claim, result: Result | None) -> None:
        """Stores an answer or releases the key; while the database is away, goes on trying in a task."""
        await asyncio.wait([self._start(self._settle_with_retries(claim, result))], timeout=_PATIENCE)

    async def _settle_with_retries(self, claim: Claim, result: Result | None) -> None:
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type((DatabaseUnavailableError, TimeoutError)),
                wait=wait_exponential(multiplier=0.25),
                stop=stop_after_attempt(_ATTEMPTS),
                reraise=True,
            ):
                with attempt:
                    await self._store_or_release(claim, result)
        except Exception:
            # The effects are counted in the key's row: the mutation won't be carried out again.
            log.warning("the answer under an Idempotency-Key couldn't be stored", exc_info=True)

    async def _store_or_release(self, claim: Claim, result: Result | None) -> None:
        """Stores the answer; but where nothing was changed and something failed, releases the key."""
        if (result is None or result.errors) and await self._keys.release(claim):
            return
        if result is not None and not _is_outcome_unknown(result):
            await self._keys.store_answer(claim, result.render())


def _is_outcome_unknown(result: Result) -> bool:
    return any((error.extensions or {}).get("code") in _UNKNOWN_OUTCOME for error in result.errors)


def find_key(operation: Operation) -> str | None:
    """Returns the key of a request, None without one. Raises HTTPError (400)."""
    key = (operation.request.extensions or {}).get("idempotencyKey")
    if key is None:
        return None
    if isinstance(key, str):
        key = key.strip().removeprefix('"').removesuffix('"')  # the draft has quotes around it
        if _KEY.fullmatch(key):
            return key
    raise _invalid("must have 1 to 255 visible characters")


def digest_of(operation: Operation) -> bytes:
    """Returns the SHA-256 of a request: its document, operation name and variables."""
    parts = [operation.text, operation.request.operation_name, operation.request.variables]
    return sha256(orjson.dumps(parts, default=repr, option=orjson.OPT_SORT_KEYS)).digest()


def _invalid(rule: str) -> HTTPError:
    return HTTPError(HTTPStatus.BAD_REQUEST, "IDEMPOTENCY_KEY_INVALID", f"Idempotency-Key: {rule}")


class IdempotencyKeys:
    """The keys of all viewers, in the primary database."""

    def __init__(self, database: Database, *, lifetime: float, lease: float) -> None:
        """`lifetime`: seconds for which answers are kept. `lease`: seconds after which an attempt is dead."""
        self._database = database
        self._lifetime = lifetime
        self._lease = lease

    async def claim(self, principal: str, key: str, request: bytes) -> Claim | bytes:
        """Claims a key for a request, given by its digest; or returns the answer that is stored under it.

        Raises KeyReusedError, KeyInUseError, AnswerLostError or DatabaseUnavailableError.
        """
        row_key = {"viewer": principal, "key": key}
        seconds = {"lifetime": self._lifetime, "lease": self._lease}
        claimed = await self._database.run(
            lambda work: work.fetch(_claim_key(), **row_key, **seconds, request=request)
        )
        if claimed:
            return Claim(principal, key, claimed[0]["attempt"])
        found = await self._database.fetch(_find(), **row_key)
        if not found:  # released, or expired, between the two statements
            raise KeyInUseError
        (row,) = found
        if row["request"] != request:
            raise KeyReusedError
        if row["answer"] is not None:
            return bytes(row["answer"])
        raise KeyInUseError if row["alive"] or not row["effects"] else AnswerLostError

    async def count_effect(self, claim: Claim, transaction: Transaction) -> None:
        """Adds one to the effects of an attempt, in the transaction that has the effect.

        Raises ClaimLostError.
        """
        if not await transaction.fetch(_count_effect(), **_parameters(claim)):
            raise ClaimLostError

    async def store_answer(self, claim: Claim, answer: bytes) -> None:
        """Stores the answer to be sent if the request comes again."""
        await self._database.run(
            lambda work: work.fetch(_store_answer(), **_parameters(claim), answer=answer)
        )

    async def release(self, claim: Claim) -> bool:
        """Deletes the key unless something was changed under it. Returns whether it did."""
        return bool(await self._database.run(lambda work: work.fetch(_release(), **_parameters(claim))))


def _parameters(claim: Claim) -> dict[str, Any]:
    return {"viewer": claim.principal, "key": claim.key, "attempt": claim.attempt}


_now = func.clock_timestamp()
_is_key = and_(_rows.c.viewer == bindparam("viewer", type_=Text), _rows.c.key == bindparam("key", type_=Text))
_is_claim = and_(_is_key, _rows.c.attempt == bindparam("attempt", type_=UUID(as_uuid=False)))


def _after(parameter: str) -> Any:
    """Returns the time that is as many seconds ahead as the parameter says."""
    return _now + bindparam(parameter, type_=Double) * literal_column("interval '1 second'", Interval)


@lru_cache
def _claim_key() -> Statement:
    expired = (
        select(_rows.c.viewer, _rows.c.key)
        .where(_rows.c.expires_at <= _now, ~_is_key)
        .limit(literal_column(str(MAX_EXPIRED)))
        .with_for_update(skip_locked=True)
        .cte("expired")
    )
    deleted = (
        delete(_rows).where(_rows.c.viewer == expired.c.viewer, _rows.c.key == expired.c.key).cte("deleted")
    )
    statement = insert(_rows).values(
        viewer=bindparam("viewer", type_=Text),
        key=bindparam("key", type_=Text),
        request=bindparam("request", type_=LargeBinary),
        leased_until=_after("lease"),
        expires_at=_after("lifetime"),
    )
    new = statement.excluded
    is_dead = and_(
        _rows.c.request == new.request,
        _rows.c.answer.is_(None),
        _rows.c.effects == literal_column("0"),
        _rows.c.leased_until <= _now,
    )
    upsert = statement.on_conflict_do_update(
        index_elements=[_rows.c.viewer, _rows.c.key],
        set_={
            "request": new.request,
            "attempt": func.gen_random_uuid(),
            "effects": literal_column("0"),
            "answer": None,
            "leased_until": new.leased_until,
            "expires_at": new.expires_at,
        },
        where=or_(_rows.c.expires_at <= _now, is_dead),
    )
    return compile_statement(upsert.returning(_rows.c.attempt).add_cte(deleted))


@lru_cache
def _find() -> Statement:
    alive = (_rows.c.leased_until > _now).label("alive")
    return compile_statement(select(_rows.c.request, _rows.c.answer, _rows.c.effects, alive).where(_is_key))


@lru_cache
def _count_effect() -> Statement:
    counted = update(_rows).where(_is_claim).values(effects=_rows.c.effects + literal_column("1"))
    return compile_statement(counted.returning(_rows.c.effects))


@lru_cache
def _store_answer() -> Statement:
    stored = update(_rows).where(_is_claim).values(answer=bindparam("answer", type_=LargeBinary))
    return compile_statement(stored)


@lru_cache
def _release() -> Statement:
    deleted = delete(_rows).where(_is_claim, _rows.c.effects == literal_column("0"))
    return compile_statement(deleted.returning(_rows.c.attempt))
