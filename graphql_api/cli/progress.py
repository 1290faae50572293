"""Says on standard error what a command is doing: at once on a terminal, elsewhere only if it takes long."""

import threading
from time import monotonic
from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

QUIET_SECONDS = 5.0
"""Seconds of a step after which it is named where there is no terminal, such as in a pipe or by cron."""
_REPEAT = 60.0
"""Seconds after which it is named again."""


class StepDisplay:
    """Shows the step that a command is at: a bar on a terminal, else a line if it takes long."""

    def __init__(self, step: str) -> None:
        self._now = (step, 0, 0)
        console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description:>24}", markup=False),
            BarColumn(),
            _SizeColumn(binary_units=True),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,  # standard output may be a file, even if standard error is a terminal
            redirect_stderr=False,
        )
        self._bar = self._bars.add_task(step, total=None)
        self._is_terminal = console.is_terminal
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._name_long_steps, name="progress", daemon=True)

    def __enter__(self) -> Self:
        if self._is_terminal:
            self._bars.start()
        else:
            self._thread.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._is_terminal:
            self._bars.stop()
        else:
            self._ended.set()
            self._thread.join()

    def progress(self, step: str, done: int, total: int) -> None:
        """Shows a step with the bytes that are done, and its size in bytes; 0 if that is unknown."""
        if step != self._now[0]:
            self._bars.remove_task(self._bar)
            self._bar = self._bars.add_task(step)
        self._now = (step, done, total)
        self._bars.update(self._bar, completed=done, total=total or None)

    def _name_long_steps(self) -> None:
        named, at = "", monotonic()
        while not self._ended.wait(QUIET_SECONDS):
            step, done, total = self._now
            if step != named or monotonic() - at >= _REPEAT:
                named, at = step, monotonic()
                share = f": {100 * done / total:.0f} %" if total else ""
                typer.echo(f"graphql-api: {step}{share}", err=True)


class _SizeColumn(DownloadColumn):
    """The bytes that are done; nothing for a step that isn't measured."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.total or task.completed else Text()
