"""Maps SQLSTATEs to exceptions: states of the server in which a correct statement fails.

An incorrect statement raises asyncpg's own error. A correct one that the server can't run now raises one of
these:

    DatabaseUnavailableError       worth trying again later
    ├── ConnectionLostError        the connection ended during a statement
    └── ContentionError            other transactions caused a conflict, several times in a row
    StatementTimeoutError          a TimeoutError: the server ended the statement
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg

SOON: Final = 1
"""Seconds to wait before trying again; for longer outages, clients increase the wait themselves."""
LATER: Final = 5
"""Seconds to wait if the server takes longer to recover."""
AFTER_REPAIR: Final = 30
"""Seconds to wait if an operator has to repair something."""

CONNECTION_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # asyncpg's error for a connection that was ended between two statements
)
"""Errors of a connection outside of the pool that is refused, lost or doesn't answer."""

UNREACHABLE: Final = "the database can't be reached at the moment: try again"
_READ_ONLY = "the database takes no changes at the moment: try again later"
_EXHAUSTED = "the database is out of resources at the moment: try again later"
_NOT_READY = "the database isn't ready for this service: try again later"


class DatabaseUnavailableError(Exception):
    """The database can't run a statement now.

    Clients may read the message; the cause is PostgreSQL's error.
    """

    def __init__(
        self, message: str = UNREACHABLE, *, retry_after: int = SOON, sqlstate: str | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds to wait before trying again."""
        self.sqlstate = sqlstate
        """PostgreSQL's SQLSTATE, if there was one."""


class ConnectionLostError(DatabaseUnavailableError):
    """The connection ended during a statement: the server stopped, failed over, or ended the connection."""


class ContentionError(DatabaseUnavailableError):
    """PostgreSQL aborted a transaction because of others, in each of several attempts."""

    def __init__(self) -> None:
        super().__init__("others are changing the same at the moment: try again")


class StatementTimeoutError(TimeoutError):
    """The server ended a statement because of a timeout that is set at the server."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("the server ended the statement")
        self.sqlstate = sqlstate


@dataclass(frozen=True, slots=True)
class _State:
    message: str
    retry_after: int


_TIMEOUTS: Final = frozenset(
    {
        "25P04",  # transaction_timeout
        "55P03",  # lock_not_available: lock_timeout
        "57014",  # query_canceled: statement_timeout, or an administrator
    }
)
_STATES: Mapping[str, _State] = {
    "25006": _State(_READ_ONLY, LATER),  # read_only_sql_transaction: a standby, or set so
    # The role, the schema or a pooler lacks something, until an operator repairs it.
    "26000": _State(_NOT_READY, AFTER_REPAIR),  # invalid_sql_statement_name: a pooler gave another backend
    "42P05": _State(_NOT_READY, AFTER_REPAIR),  # duplicate_prepared_statement: the same
    "3F000": _State(_NOT_READY, AFTER_REPAIR),  # invalid_schema_name: not migrated
    "42501": _State(_NOT_READY, AFTER_REPAIR),  # insufficient_privilege
    "42703": _State(_NOT_READY, AFTER_REPAIR),  # undefined_column: not migrated
    "42883": _State(_NOT_READY, AFTER_REPAIR),  # undefined_function: the same
    "42P01": _State(_NOT_READY, AFTER_REPAIR),  # undefined_table: the same
    # Whole classes of SQLSTATEs.
    "08": _State(UNREACHABLE, SOON),  # connection_exception
    "53": _State(_EXHAUSTED, LATER),  # disk_full, out_of_memory, too_many_connections, …
    "57": _State(UNREACHABLE, SOON),  # admin_shutdown, crash_shutdown, cannot_connect_now, …
    "58": _State(_EXHAUSTED, LATER),  # io_error, …
}


def state_of(error: BaseException) -> DatabaseUnavailableError | StatementTimeoutError | None:
    """Returns the exception for the state that an asyncpg error shows; None if the statement is at fault."""
    if isinstance(
        error.__cause__, asyncpg.PostgresError
    ):  # asyncpg raises these for a connection that was ended
        error = error.__cause__
    code = getattr(error, "sqlstate", None) if isinstance(error, asyncpg.PostgresError) else None
    if code is None:
        return None
    if code in _TIMEOUTS:
        return StatementTimeoutError(code)
    state = _STATES.get(code) or _STATES.get(code[:2])
    if state is None:
        return None
    return DatabaseUnavailableError(state.message, retry_after=state.retry_after, sqlstate=code)


def is_transient(error: asyncpg.PostgresError) -> bool:
    """Whether an error may go away by itself, as those of a server that is starting do."""
    state = state_of(error)
    return isinstance(state, DatabaseUnavailableError) and state.retry_after < AFTER_REPAIR
