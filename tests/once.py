"""Folders that are made once for a whole run, and used by all its workers."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

RUN_FOLDER = "TEST_RUN_FOLDER"
"""The environment variable that names the run's folder: pytest-xdist's workers inherit it."""


def once_a_run(name: str, make: Callable[[Path], object]) -> Path:
    """Returns a folder of the run by its name, which `make` has filled for the first worker that needs it.

    It is removed when the run ends. If `make` raises, the next worker tries again.
    """
    folder = Path(os.environ[RUN_FOLDER]) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            half = folder.with_suffix(f".{os.getpid()}")
            half.mkdir(exist_ok=True)
            make(half)
            half.rename(folder)
    return folder
