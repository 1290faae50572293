"""Idempotency-Key: a mutation sent again under its key gets the same answer, and isn't carried out again.

As the IETF's draft of the header specifies, the status is 422 for a key that was sent with another request,
and 409 for one whose request is still running. Keys belong to a viewer. Over HTTP the key is in the header;
over any transport it may be in `extensions.idempotencyKey`.

`Idempotency` is the policy, `IdempotencyKeys` the storage. Running a keyed mutation is an *attempt* with an
id of its own. Every transaction of the attempt begins by writing the key's row, with that id, and by locking
the key until the transaction ends. So the change and its key are committed together: if the process or
PostgreSQL dies, either both are there or neither is, and a key under which nothing was changed is free at
once. The row counts the transactions as `effects`; the answer is stored after them.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

from graphql import GraphQLError
from sqlalchemy import (
    BigInteger,
    Double,
    Integer,
    Interval,
    LargeBinary,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import UUID, insert
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential

from graphql_api.execution.inputs import dump_json
from graphql_api.execution.operations import Operation, Result
from graphql_api.gateway.errors import TIMEOUT, UNAVAILABLE, HTTPError, database_unavailable
from graphql_api.identity.viewer import Viewer
from graphql_api.postgres.database import Database, Transaction, beginning_with
from graphql_api.postgres.errors import SOON, DatabaseUnavailableError
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.postgres.tables import idempotency_keys as _rows

log = logging.getLogger(__name__)

MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer that is stored; a longer one counts as lost. A viewer could fill the disk otherwise."""
MAX_EXPIRED = 100
"""Expired keys that are deleted whenever an answer is stored."""

_KEY = re.compile(r"[!-~]{1,255}")
_UNKNOWN_OUTCOME = frozenset({UNAVAILABLE, TIMEOUT})
"""Codes of errors after which the change may have been made or not."""
_MAX_STORING = 16.0
"""Seconds for which storing an answer is tried again while the database can't be reached."""
_MAX_PAUSE = 1.0
"""The most seconds between two of these attempts."""
_CHECKED_AGAIN = 2.0
"""Seconds after which a missing answer is looked for again once its attempt's connection has ended: the
process may still store it over another connection."""
_SETTLE_TIMEOUT = 1.0
"""Seconds for which sending an answer waits until it is stored."""

StartTask = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts a task that the process waits for when it stops."""


class KeyReusedError(Exception):
    """The key was sent before with another request."""


class KeyInUseError(Exception):
    """The same request is running under this key."""


class AnswerLostError(Exception):
    """The change was made under this key, and its answer was never stored."""


class KeyTakenError(GraphQLError):
    """Another attempt holds the key, so this attempt's transaction is rolled back.

    It is a GraphQLError so that it isn't logged as unexpected. No client reads it: `Idempotency.once` returns
    the answer or another error instead.
    """


@dataclass(slots=True)
class Attempt:
    """One run of a keyed mutation."""

    principal: str
    """Whose key it is: a user's id, or a service token's digest."""
    key: str
    request: bytes
    """The digest of the request."""
    id: str = field(default_factory=lambda: str(uuid4()))
    is_refused: bool = False
    """Whether another attempt was found to hold the key."""


class Idempotency:
    """Carries out each keyed mutation once.

    Mutations of `keyless_fields` ignore keys: their answers hold secrets, which must not be stored.
    """

    def __init__(self, keys: "IdempotencyKeys", keyless_fields: Collection[str], start: StartTask) -> None:
        self._keys = keys
        self._keyless_fields = frozenset(keyless_fields)
        self._start = start

    async def once(
        self, operation: Operation, viewer: Viewer, run: Callable[[], Awaitable[Result]], seconds: float
    ) -> Result:
        """Returns what `run` returns, or the answer stored under the operation's key. Raises HTTPError.

        Looks for a stored answer for at most `seconds`.
        """
        until = asyncio.get_running_loop().time() + seconds
        key = find_key(operation)
        if key is None or viewer.principal is None or not self._takes_key(operation):
            return await run()
        attempt = Attempt(viewer.principal, key, digest_of(operation))
        stored = await self._find_answer(attempt, until)
        if stored is not None:
            return Result.rendered(stored)
        try:
            with beginning_with(partial(self._keys.count_effect, attempt)):
                result = await run()
            is_too_long = len(result.render()) > MAX_ANSWER
        except BaseException:
            await self._settle(attempt, None)
            raise
        if attempt.is_refused:
            stored = await self._find_answer(attempt, until)
            if stored is None:
                raise _in_use()
            return Result.rendered(stored)
        await self._settle(attempt, None if is_too_long else result)
        return result

    def _takes_key(self, operation: Operation) -> bool:
        keyless = operation.root_fields & self._keyless_fields
        if keyless and not operation.root_fields <= self._keyless_fields:
            names = ", ".join(sorted(keyless))
            raise _invalid(f"{names} can't be asked for together with other fields under a key")
        return not keyless

    async def _find_answer(self, attempt: Attempt, until: float) -> bytes | None:
        """Returns the answer that is stored under the key, None if the key is free. Raises HTTPError."""
        try:
            async with asyncio.timeout_at(until):
                return await self._keys.find_answer(attempt)
        except KeyReusedError:
            raise HTTPError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "IDEMPOTENCY_KEY_REUSED",
                "Idempotency-Key: was sent before with another request: use a new one",
            ) from None
        except KeyInUseError:
            raise _in_use() from None
        except AnswerLostError:
            raise HTTPError(
                HTTPStatus.CONFLICT,
                "IDEMPOTENCY_ANSWER_LOST",
                "Idempotency-Key: the change was made, and its answer was lost: read what it is now",
            ) from None
        except (DatabaseUnavailableError, TimeoutError) as error:
            raise database_unavailable(error) from None

    async def _settle(self, attempt: Attempt, result: Result | None) -> None:
        """Stores an answer, or that there is none. If the database can't be reached, a task tries again."""
        await asyncio.wait([self._start(self._settle_with_retries(attempt, result))], timeout=_SETTLE_TIMEOUT)

    async def _settle_with_retries(self, attempt: Attempt, result: Result | None) -> None:
        try:
            async for retry in AsyncRetrying(
                retry=retry_if_exception_type((DatabaseUnavailableError, TimeoutError)),
                wait=wait_exponential(multiplier=0.25, max=_MAX_PAUSE),
                stop=stop_after_delay(_MAX_STORING),
                reraise=True,
            ):
                with retry:
                    await self._store(attempt, result)
        except Exception:
            # The key's row counts the effects, so the mutation won't be carried out again.
            log.warning("the answer under an Idempotency-Key couldn't be stored", exc_info=True)

    async def _store(self, attempt: Attempt, result: Result | None) -> None:
        if result is None or _is_outcome_unknown(result):
            await self._keys.give_up_answer(attempt)
        else:
            await self._keys.store_answer(attempt, result.render(), only_of_effects=bool(result.errors))


def _is_outcome_unknown(result: Result) -> bool:
    return any((error.extensions or {}).get("code") in _UNKNOWN_OUTCOME for error in result.errors)


def find_key(operation: Operation) -> str | None:
    """Returns the key of a request, None without one. Raises HTTPError (400)."""
    key = (operation.request.extensions or {}).get("idempotencyKey")
    if key is None:
        return None
    if isinstance(key, str):
        key = key.strip().removeprefix('"').removesuffix('"')  # the draft puts it in quotes
        if _KEY.fullmatch(key):
            return key
    raise _invalid("must have 1 to 255 visible characters")


def digest_of(operation: Operation) -> bytes:
    """Returns the SHA-256 of a request: its document, operation name and variables."""
    parts = [operation.text, operation.request.operation_name, operation.request.variables]
    return sha256(dump_json(parts, sort_keys=True)).digest()


def _in_use() -> HTTPError:
    return HTTPError(
        HTTPStatus.CONFLICT,
        "IDEMPOTENCY_KEY_IN_USE",
        "Idempotency-Key: its request is under way: ask again for the answer",
        retry_after=SOON,
    )


def _invalid(rule: str) -> HTTPError:
    return HTTPError(HTTPStatus.BAD_REQUEST, "IDEMPOTENCY_KEY_INVALID", f"Idempotency-Key: {rule}")


class IdempotencyKeys:
    """The keys of all viewers, in the primary database."""

    def __init__(self, database: Database, *, lifetime: float, lease: float) -> None:
        """`lifetime`: seconds for which answers are stored.

        `lease`: seconds after an attempt's last transaction in which it may still store its answer.
        """
        self._database = database
        self._seconds = {"lifetime": lifetime, "lease": lease}

    async def find_answer(self, attempt: Attempt) -> bytes | None:
        """Returns the answer to the attempt's request that is stored under its key; None if the key is free.

        An answer counts as lost once its attempt's connection has ended, even before the end of the lease.

        Raises KeyReusedError, KeyInUseError, AnswerLostError or DatabaseUnavailableError.
        """
        is_second_check = False
        while rows := await self._database.fetch(_find(), viewer=attempt.principal, key=attempt.key):
            (row,) = rows
            if row["request"] != attempt.request:
                raise KeyReusedError
            if row["answer"] is not None:
                return bytes(row["answer"])
            if row["is_leased"] and row["is_connected"]:
                raise KeyInUseError
            if is_second_check or not row["is_leased"]:
                raise AnswerLostError
            await asyncio.sleep(_CHECKED_AGAIN)
            is_second_check = True
        return None

    async def count_effect(self, attempt: Attempt, transaction: Transaction) -> None:
        """Counts a transaction as an effect of the attempt, which holds the key from then on.

        Writes in that transaction, and doesn't wait for another one that has the key. Raises KeyTakenError.
        """
        if not await transaction.fetch(_count_effect(), **_parameters(attempt), **self._seconds):
            attempt.is_refused = True
            raise KeyTakenError("another attempt holds the key")

    async def store_answer(self, attempt: Attempt, answer: bytes, *, only_of_effects: bool = False) -> None:
        """Stores the answer to be sent if the request comes again, unless another attempt has the key.

        With `only_of_effects`, an attempt that has changed nothing leaves its key free.
        """
        if only_of_effects:
            await self._database.run(
                lambda work: work.fetch(_answer_effects(), **_parameters(attempt), answer=answer)
            )
        else:
            values = {**_parameters(attempt), **self._seconds}
            await self._database.run(lambda work: work.fetch(_store_answer(), **values, answer=answer))

    async def give_up_answer(self, attempt: Attempt) -> None:
        """Records that no answer will be stored, if something was changed."""
        await self._database.run(lambda work: work.fetch(_give_up_answer(), **_parameters(attempt)))


def _parameters(attempt: Attempt) -> dict[str, Any]:
    return {
        "viewer": attempt.principal,
        "key": attempt.key,
        "request": attempt.request,
        "attempt": attempt.id,
    }


_now = func.clock_timestamp()
_viewer, _key = bindparam("viewer", type_=Text), bindparam("key", type_=Text)
_is_key = and_(_rows.c.viewer == _viewer, _rows.c.key == _key)
_is_attempt = and_(_is_key, _rows.c.attempt == bindparam("attempt", type_=UUID(as_uuid=False)))


def _after(parameter: str) -> Any:
    """Returns the SQL of the time that is the parameter's number of seconds from now."""
    return _now + bindparam(parameter, type_=Double) * literal_column("interval '1 second'", Interval)


# Expired; or claimed, by a version before revision 0008, for a change that was never made.
_is_over = or_(
    _rows.c.expires_at <= _now,
    and_(_rows.c.effects == literal_column("0"), _rows.c.answer.is_(None), _rows.c.leased_until <= _now),
)
_new_row: dict[str, Any] = {
    "viewer": _viewer,
    "key": _key,
    "request": bindparam("request", type_=LargeBinary),
    "attempt": bindparam("attempt", type_=UUID(as_uuid=False)),
    "leased_until": _after("lease"),
    "expires_at": _after("lifetime"),
    "backend": func.pg_backend_pid(type_=Integer),
    "server_started": func.pg_postmaster_start_time(),
}


@lru_cache
def _find() -> Statement:
    # Whether the attempt's process is connected. Behind a pooler that isn't known, and only the lease tells.
    connected = text("EXISTS (SELECT FROM pg_stat_activity WHERE pid = idempotency_keys.backend)")
    return compile_statement(
        select(
            _rows.c.request,
            _rows.c.answer,
            (_rows.c.leased_until > _now).label("is_leased"),
            or_(
                _rows.c.server_started.is_(None),
                and_(_rows.c.server_started == func.pg_postmaster_start_time(), connected),
            ).label("is_connected"),
        ).where(_is_key, ~_is_over)
    )


@lru_cache
def _count_effect() -> Statement:
    # Without the lock, a second attempt would wait for the transaction of the first. An attempt whose id the
    # row has doesn't need the lock, which another attempt, about to be refused, may hold for a moment.
    lock = func.pg_try_advisory_xact_lock(func.hashtextextended(_viewer + " " + _key, 0, type_=BigInteger))
    is_free = or_(select(_rows.c.key).where(_is_attempt).exists(), lock)
    new_row = {**_new_row, "effects": literal_column("1")}
    statement = insert(_rows).from_select(list(new_row), select(*new_row.values()).where(is_free))
    new, is_ours = statement.excluded, _rows.c.attempt == statement.excluded.attempt
    counted = statement.on_conflict_do_update(
        index_elements=[_rows.c.viewer, _rows.c.key],
        set_={
            **{name: new[name] for name in _new_row},
            "effects": case((is_ours, _rows.c.effects), else_=literal_column("0")) + literal_column("1"),
            "answer": None,
        },
        where=or_(is_ours, _is_over),
    )
    return compile_statement(counted.returning(_rows.c.effects))


@lru_cache
def _store_answer() -> Statement:
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
    statement = insert(_rows).values(**_new_row, answer=bindparam("answer", type_=LargeBinary))
    new = statement.excluded
    stored = statement.on_conflict_do_update(
        index_elements=[_rows.c.viewer, _rows.c.key],
        set_={**{name: new[name] for name in _new_row}, "answer": new.answer},
        where=or_(_rows.c.attempt == new.attempt, _is_over),
    )
    return compile_statement(stored.add_cte(deleted))


@lru_cache
def _answer_effects() -> Statement:
    answered = update(_rows).where(_is_attempt).values(answer=bindparam("answer", type_=LargeBinary))
    return compile_statement(answered)


@lru_cache
def _give_up_answer() -> Statement:
    return compile_statement(update(_rows).where(_is_attempt).values(leased_until=_now))
