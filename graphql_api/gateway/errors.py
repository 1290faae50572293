"""Masks errors: clients read their own mistakes, and of an unexpected error an id that the log has, too."""

import logging
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import asyncpg
from cachetools import TTLCache
from graphql import GraphQLError, located_error

from graphql_api.execution.errors import BAD_USER_INPUT
from graphql_api.execution.operations import Result
from graphql_api.postgres.errors import SOON, UNREACHABLE, DatabaseUnavailableError, StatementTimeoutError

log = logging.getLogger(__name__)

UNAVAILABLE = "SERVICE_UNAVAILABLE"
TIMEOUT = "TIMEOUT"
INTERNAL = "INTERNAL_SERVER_ERROR"

Headers = Sequence[tuple[bytes, bytes]]

_SAME_INCIDENT = 10.0
"""Seconds in which all errors of one state of the database are one incident, with one line in the log."""
_incidents: TTLCache[tuple[str, ...], str] = TTLCache(100, _SAME_INCIDENT)
"""Ids of incidents by their cause."""


class HTTPError(Exception):
    """Refuses a request: with a status and headers over HTTP, with the same `result` over any transport."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        message: str,
        headers: Headers = (),
        *,
        retry_after: int | None = None,
        **extensions: Any,
    ) -> None:
        """`retry_after`: whole seconds, sent as a header and, for sockets, as an extension."""
        super().__init__(message)
        if retry_after is not None:
            headers = (*headers, *retry_after_header(retry_after))
            extensions = {"retryAfter": retry_after, **extensions}
        self.status = status
        self.headers = headers
        self.result = error_result(GraphQLError(message, extensions={"code": code, **extensions}))


def unavailable(message: str, *, retry_after: int = SOON, **extensions: Any) -> HTTPError:
    """Returns the error for a request that can't be served now, but perhaps in `retry_after` seconds."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPError(status, UNAVAILABLE, message, retry_after=retry_after, **extensions)


def database_unavailable(error: DatabaseUnavailableError | TimeoutError) -> HTTPError:
    """Returns the error for a request that the database can't serve now, and logs the database's state."""
    if isinstance(error, DatabaseUnavailableError):
        return unavailable(str(error), retry_after=error.retry_after, incident=_log_state(error))
    return unavailable(UNREACHABLE)


def internal_error(error: Exception) -> HTTPError:
    """Returns the error for an unexpected exception, and logs it."""
    result = masked_result(error)
    failure = HTTPError(HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL, result.errors[0].message)
    failure.result = result
    return failure


def retry_after_header(seconds: int) -> Headers:
    """Returns the header that says when to try again."""
    return ((b"retry-after", b"%d" % seconds),)


def retry_after_headers(result: Result) -> Headers:
    """Returns that header for the longest `retryAfter` of a result's errors; no header if none has one."""
    waits = [(error.extensions or {}).get("retryAfter") for error in result.errors]
    seconds = [wait for wait in waits if wait is not None]
    return retry_after_header(max(seconds)) if seconds else ()


def error_result(*errors: GraphQLError) -> Result:
    """Returns the result of an operation that wasn't executed."""
    return Result(errors=errors, executed=False)


def masked_result(error: Exception) -> Result:
    """Returns the result of an operation that failed as a whole, with the error masked."""
    return error_result(mask(located_error(error)))


def mask(error: GraphQLError) -> GraphQLError:
    """Returns what a client may read of `error`.

    Errors of the request, and those that a resolver raised for the client (subclasses of GraphQLError), are
    returned as they are. Any other is logged with an id, and clients read only the id. Errors because the
    database is unavailable or too slow have codes and messages of their own.
    """
    cause = _cause(error)
    if cause is None:
        if "code" not in (error.extensions or {}):
            # An error of graphql-core about the request as a whole.
            error.extensions = {"code": BAD_USER_INPUT, **(error.extensions or {})}
        return error
    if isinstance(cause, DatabaseUnavailableError):
        incident = _log_state(cause, error)
        return _replaced(error, UNAVAILABLE, str(cause), retryAfter=cause.retry_after, incident=incident)
    if isinstance(cause, StatementTimeoutError):
        incident = _log_state(cause, error)
        return _replaced(error, TIMEOUT, "this took too long", retryAfter=SOON, incident=incident)
    if isinstance(cause, TimeoutError):
        return _replaced(error, TIMEOUT, "this took too long", retryAfter=SOON)
    if isinstance(cause, asyncpg.UntranslatableCharacterError):
        return _replaced(error, BAD_USER_INPUT, "a text has a character that the database's encoding lacks")
    incident = secrets.token_hex(8)
    log.error("incident %s at %s", incident, _place(error), exc_info=cause)
    return _replaced(error, INTERNAL, f"unexpected error, logged as {incident}", incident=incident)


def _cause(error: GraphQLError) -> Exception | None:
    """Returns the exception behind an error, for masking; None if the error is meant for clients."""
    cause: Exception | None = error.original_error
    while isinstance(cause, GraphQLError):
        # graphql-core raises the base class itself for a value that a type can't represent, or whose type
        # can't be determined: those are faults of the service. Errors for clients are of subclasses.
        if type(cause) is GraphQLError:
            return cause
        cause = cause.original_error
    return cause


def _log_state(
    state: DatabaseUnavailableError | StatementTimeoutError, error: GraphQLError | None = None
) -> str:
    """Logs PostgreSQL's message, once in 10 seconds, and returns the id of the incident."""
    cause = state.__cause__ or state
    key = type(state).__name__, type(cause).__name__, state.sqlstate or ""
    incident = _incidents.get(key)
    if incident is None:
        incident = _incidents[key] = secrets.token_hex(8)
        log.warning(
            "incident %s at %s: %s, said by PostgreSQL as %s: %s",
            incident,
            _place(error) if error is not None else "the request",
            state,
            state.sqlstate or type(cause).__name__,
            cause,
        )
    return incident


def _place(error: GraphQLError) -> str:
    return ".".join(str(key) for key in error.path or ()) or "the operation"


def _replaced(error: GraphQLError, code: str, message: str, **extensions: Any) -> GraphQLError:
    return GraphQLError(message, nodes=error.nodes, path=error.path, extensions={"code": code, **extensions})
