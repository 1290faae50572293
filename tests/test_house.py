"""What holds for the code as a whole."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 300


def ours() -> list[Path]:
    """Every Python file of the project, whether or not it is committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split() if (path := ROOT / name).exists()]


def test_no_file_has_become_two() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in ours()}

    assert {name: lines for name, lines in long.items() if lines > LONGEST} == {}
