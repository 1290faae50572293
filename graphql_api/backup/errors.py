"""What keeps a backup or a restore from being made."""


class BackupError(Exception):
    """A backup or a restore that can't be made or trusted; the message says why and what to do."""


def reason_of(error: Exception) -> str:
    """Returns why something has failed, for a log."""
    if isinstance(error, OSError) and error.filename is None:
        return f"the database can't be reached: {error.strerror or error or 'no answer'}"
    return str(error) or type(error).__name__
