"""Errors of backups and restores."""

from typing import Final

from graphql_api.dev.embedded.programs import EmbeddedPostgresError
from graphql_api.postgres.errors import CONNECTION_ERRORS


class BackupError(Exception):
    """A backup or a restore has failed, or can't be trusted; the message says why and what to do."""


FAILURES: Final = (*CONNECTION_ERRORS, BackupError, EmbeddedPostgresError)
"""Errors of taking a backup or receiving the log after which it is tried again later."""


def reason_of(error: Exception) -> str:
    """Returns why something has failed, for a log."""
    if isinstance(error, OSError) and error.filename is None:
        return f"the database can't be reached: {error.strerror or error or 'no answer'}"
    return str(error) or type(error).__name__
