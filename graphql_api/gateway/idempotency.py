"""Idempotency-Key: a mutation sent again under its key is answered as before, and not carried out again.

As the IETF's draft of the header has it: 422 for a key that stands for another request, 409 for one whose
request is under way. Keys are a viewer's own. Where HTTP has the header, any transport may have
`extensions.idempotencyKey`.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from hashlib import sha256
from http import HTTPStatus

import orjson

from graphql_api.execution.operations import Operation
from graphql_api.execution.results import Result
from graphql_api.gateway.background import Background
from graphql_api.gateway.errors import RETRY_AFTER, TIMEOUT, UNAVAILABLE, HTTPError, unavailable
from graphql_api.gateway.idempotency_keys import (
    AnswerLostError,
    Claim,
    IdempotencyKeys,
    KeyInUseError,
    KeyReusedError,
)
from graphql_api.identity.viewer import Viewer
from graphql_api.postgres.database import DatabaseUnavailableError, beginning_with

logger = logging.getLogger(__name__)

_KEY = re.compile(r"[!-~]{1,255}")
_UNKNOWN = frozenset({UNAVAILABLE, TIMEOUT})
"""Codes of errors that leave open whether the change was made."""
_PAUSES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts to settle with a database that is away."""
_PATIENCE = 1.0
"""Seconds that an answer waits for being settled."""


class Idempotency:
    """Carries out each keyed mutation once.

    Fields of `unkeyed` neither need a key nor take one: they are open to anyone, and answer with secrets that
    aren't to be stored.
    """

    def __init__(self, keys: IdempotencyKeys, unkeyed: Collection[str], background: Background) -> None:
        self._keys = keys
        self._unkeyed = frozenset(unkeyed)
        self._background = background

    async def once(
        self, operation: Operation, viewer: Viewer, run: Callable[[], Awaitable[Result]]
    ) -> Result:
        """What `run` answers, or has answered before under the operation's key. Raises HTTPError."""
        key = find_key(operation)
        if key is None or viewer.principal is None or not self._takes_key(operation):
            return await run()
        claim = await self._claim(viewer.principal, key, digest_of(operation))
        if isinstance(claim, bytes):
            return Result.rendered(claim)
        try:
            with beginning_with(partial(self._keys.count, claim)):
                result = await run()
            result.render()
        except BaseException:
            await self._settle(claim, None)
            raise
        await self._settle(claim, result)
        return result

    def _takes_key(self, operation: Operation) -> bool:
        fields = operation.root_fields
        if fields & self._unkeyed and not fields <= self._unkeyed:
            names = ", ".join(sorted(fields & self._unkeyed))
            raise _invalid(f"{names} can't be asked for together with other fields under a key")
        return not fields & self._unkeyed

    async def _claim(self, viewer: str, key: str, request: bytes) -> Claim | bytes:
        try:
            return await self._keys.claim(viewer, key, request)
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
                RETRY_AFTER,
            ) from None
        except AnswerLostError:
            raise HTTPError(
                HTTPStatus.CONFLICT,
                "IDEMPOTENCY_ANSWER_LOST",
                "Idempotency-Key: the change was made, and its answer was lost: read what it is now",
            ) from None
        except (DatabaseUnavailableError, TimeoutError):
            raise unavailable("the database can't be reached at the moment: try again") from None

    async def _settle(self, claim: Claim, result: Result | None) -> None:
        """Say what came of a claim; while the database is away, go on trying behind the answer's back."""
        await asyncio.wait([self._background.start(self._settled(claim, result))], timeout=_PATIENCE)

    async def _settled(self, claim: Claim, result: Result | None) -> None:
        for pause in _PAUSES:
            try:
                await self._store(claim, result)
            except (DatabaseUnavailableError, TimeoutError):
                await asyncio.sleep(pause)
            except Exception:
                logger.warning("the answer under an Idempotency-Key couldn't be stored", exc_info=True)
                return
            else:
                return
        # What was done is done, and counted: a repetition won't be carried out again.
        logger.warning("the answer under an Idempotency-Key couldn't be stored: the database stayed away")

    async def _store(self, claim: Claim, result: Result | None) -> None:
        """Store the answer; but where nothing was changed and something failed, free the key."""
        if (result is None or result.errors) and await self._keys.give_up(claim):
            return
        if result is not None and not _is_unknown(result):
            await self._keys.keep(claim, result.render())


def _is_unknown(result: Result) -> bool:
    return any((error.extensions or {}).get("code") in _UNKNOWN for error in result.errors)


def find_key(operation: Operation) -> str | None:
    """The key that a request came with. Raises HTTPError (400)."""
    key = (operation.request.extensions or {}).get("idempotencyKey")
    if key is None:
        return None
    if isinstance(key, str):
        key = key.strip().removeprefix('"').removesuffix('"')  # the draft has quotes around it
        if _KEY.fullmatch(key):
            return key
    raise _invalid("must have 1 to 255 visible characters")


def digest_of(operation: Operation) -> bytes:
    """What tells a request from every other."""
    location = operation.document.ast.loc
    text = location.source.body if location else ""
    request = operation.request
    return sha256(
        orjson.dumps([text, request.operation_name, request.variables], option=orjson.OPT_SORT_KEYS)
    ).digest()


def _invalid(rule: str) -> HTTPError:
    return HTTPError(HTTPStatus.BAD_REQUEST, "IDEMPOTENCY_KEY_INVALID", f"Idempotency-Key: {rule}")
