"""Folders for what a test run leaves behind nowhere."""

import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOM = 2 << 30  # bytes; a container's default is far less


def scratch_folder() -> Path:
    """A new folder for database servers, in memory where there is room: a busy disk makes clones slow."""
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    folder = Path(tempfile.mkdtemp(prefix="graphql-api-tests-", dir=_MEMORY if in_memory else None))
    folder.chmod(0o755)  # as root we run servers as another account, which has to get in
    return folder
