"""Errors of backups and restores."""

from typing import Final

from graphql_api.dev.embedded.programs import EmbeddedPostgresError
from graphql_api.postgres.errors import CONNECTION_ERRORS


class BackupError(Exception):
    """A backup or a restore that can't be made or trusted; the message says why and what to do."""


FAILURES: Final = (*CONNECTION_ERRORS, BackupError, EmbeddedPostgresError)
"""What taking a backup or receiving the log fails of that may be better later."""


def reason_of(error: Exception) -> str:
    """Returns why something has failed, for a log."""
    if isinstance(error, OSError) and error.filename is None:
        return f"the database can't be reached: {error.strerror or error or 'no answer'}"
    return str(error) or type(error).__name__
