"""The modules that docs/clients.md shows, and what runs them: Node.js and Python, with their packages."""

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.node import node_with

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "clients.md"
FOLDER = Path(__file__).parent / "javascript"
PYTHON_FOLDER = Path(__file__).parent / "python"
_BLOCK = re.compile(r"^```\w+ ([\w.]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def modules() -> dict[str, str]:
    """Returns the texts of the page's modules by their names."""
    return dict(_BLOCK.findall(PAGE.read_text("utf-8")))


def prepared_node() -> str:
    """Returns the path of Node.js, once the page's modules are in the folder `page` beside the scripts."""
    node = node_with(FOLDER)
    folder = FOLDER / "page"
    folder.mkdir(exist_ok=True)
    for name, text in modules().items():
        written = folder / name
        if not written.exists() or written.read_text("utf-8") != text:
            half = written.with_suffix(f".{os.getpid()}")  # other workers may read it meanwhile
            half.write_text(text, "utf-8")
            half.replace(written)
    return node


def python_packages() -> Path:
    """Returns the folder with the packages of `python/requirements.lock`. Skips if they can't be installed.

    They are older than the project's own, so they are installed apart.
    """
    locked, packages = PYTHON_FOLDER / "requirements.lock", PYTHON_FOLDER / ".packages"
    packages.mkdir(exist_ok=True)
    with locked.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest-xdist's workers come here together
        installed = packages / ".installed-from"
        if not installed.exists() or installed.read_bytes() != locked.read_bytes():
            pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            command = (*pip, "--upgrade", "--require-hashes", "--target", str(packages), "-r", str(locked))
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                pytest.skip(f"needs packages that pip can't install here: {result.stderr[-300:]}")
            installed.write_bytes(locked.read_bytes())
    return packages
