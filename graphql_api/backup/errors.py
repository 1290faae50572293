"""What keeps a backup or a restore from being made."""


class BackupError(Exception):
    """A backup or a restore that can't be made or trusted; the message says why and what to do."""
