"""What commands say while they work, on a terminal and elsewhere."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from graphql_api.cli import progress
from graphql_api.cli.progress import StepDisplay
from graphql_api.postgres.address import Address
from tests.cli.test_cli import Shell


def test_without_a_terminal_only_a_long_step_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with StepDisplay("connecting"):
        pass
    assert capfd.readouterr().err == ""

    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.01)
    with StepDisplay("connecting") as screen:
        lines = [_line(capfd)]
        screen.progress("checking the backup", 1, 4)
        lines.append(_line(capfd))
        screen.progress("replaying the log", 7, 0)
        lines.append(_line(capfd))
    assert lines == ["connecting", "checking the backup: 25 %", "replaying the log"]
    assert capfd.readouterr().err == ""  # the same step isn't named again at once


def _line(capfd: pytest.CaptureFixture[str]) -> str:
    """Waits for a line, and returns it."""
    text = ""
    while not text.endswith("\n"):
        time.sleep(0.005)
        text += capfd.readouterr().err
    return text.removeprefix("graphql-api: ").removesuffix("\n")


@pytest.mark.slow
def test_on_a_terminal_each_step_is_shown_and_the_output_stays_clean(
    lone_address: Address, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    shell = Shell(lone_address, tmp_path)
    with subprocess.Popen(
        (sys.executable, "-m", "graphql_api", "doctor"),
        env=shell.environment | {"TERM": "xterm", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        screen = _all_of(ours)
        assert process.stdout is not None
        out = process.stdout.read().decode()
    os.close(ours)

    assert "connecting" in screen
    assert "checking triggers" in screen
    assert [line.split()[0] for line in out.splitlines()] == ["ok"] * 19


def _all_of(terminal: int) -> str:
    """Returns what is written to a terminal until its last writer has closed it."""
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # so Linux says that nobody writes any more
            piece = b""
        if not piece:
            return b"".join(pieces).decode()
        pieces.append(piece)
