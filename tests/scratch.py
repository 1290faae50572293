"""Temporary folders for a test run. The next run removes those of a run that was killed."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import psutil

_MEMORY = Path("/dev/shm")
_ROOM = 2 << 30  # bytes; a container's default is far less
_PREFIX = "graphql-api-tests-"


def scratch_folder() -> Path:
    """Returns a new folder for database servers: in memory if there is room, since a busy disk is slow."""
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_MEMORY if in_memory else None))
    folder.chmod(0o755)  # as root we run servers as another account, which has to get in
    return folder


def remove_abandoned_folders() -> None:
    """Removes the folders of runs that were killed. Each takes a gigabyte of memory."""
    for parent in (_MEMORY, Path(tempfile.gettempdir())):
        for folder in parent.glob(f"{_PREFIX}*"):
            owner = re.fullmatch(rf"{_PREFIX}(\d+)-.*", folder.name)
            if owner and not psutil.pid_exists(int(owner[1])):
                shutil.rmtree(folder, ignore_errors=True)
