"""The helper that forks processes of `python -m graphql_api`."""

import subprocess
import sys


def test_a_run_ends_without_a_socket_that_nobody_has_closed() -> None:
    program = """
import os
from pathlib import Path
from tests import forked
code, out, err = forked.run(["--version"], env=os.environ, cwd=Path.cwd())
assert code == 0, err
"""
    done = subprocess.run(
        (sys.executable, "-W", "error::ResourceWarning", "-c", program), capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")
