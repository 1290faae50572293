"""Node.js and the packages of a lock file, for tests with client libraries of other authors."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest


def node_with(folder: Path) -> str:
    """Installs the packages that `folder` locks there, and returns Node.js's path. Skips if it can't."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs Node.js and npm")
    modules = folder / "node_modules"
    modules.mkdir(exist_ok=True)
    locked = (folder / "package-lock.json").read_bytes()
    with (folder / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest-xdist's workers come here together
        installed = modules / ".installed-from"
        if not installed.exists() or installed.read_bytes() != locked:
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if result.returncode:
                pytest.skip(f"needs packages that npm can't install here: {result.stderr[-300:]}")
            installed.write_bytes(locked)
    return node
