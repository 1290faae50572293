"""`graphql-api migrate`: migrates the database with a display of the progress, or prints the steps."""

import asyncio
from time import monotonic
from typing import Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from graphql_api.postgres.address import Address
from graphql_api.postgres.documented_schema import Difference
from graphql_api.postgres.indexes import BuildProgress, IndexChange
from graphql_api.postgres.migrate import Options, Reporter, Step, current_revision, migrate, plan

_REPEAT = 10.0
"""Seconds after which the reason for waiting is printed again."""


def show_plan(address: Address, revision: str, options: Options) -> None:
    """Prints the steps that a migration would take, with what each locks."""
    steps = asyncio.run(plan(address, revision, options=options))
    if not steps:
        typer.echo("Nothing to do: the database is up to date.")
    for number, step in enumerate(steps, 1):
        typer.echo(f"{number:>2}. {step}{_size(step)}\n    {step.locks}")


def run(address: Address, revision: str, options: Options) -> None:
    """Migrates, with a line for each step, and a bar on a terminal while an index is built."""
    with StepReporter() as screen:
        asyncio.run(migrate(address, revision, options=options, reporter=screen))
    typer.echo(f"The database is at {asyncio.run(current_revision(address))}.")


def _size(step: Step) -> str:
    """Returns how large the table is that a build reads."""
    size = step.table_bytes if isinstance(step, IndexChange) and step.action != "drop" else 0
    return f", {size / 2**20:,.0f} MiB" if size else ""


class StepReporter(Reporter):
    """Shows a migration's steps on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._bar: TaskID | None = None
        self._last_wait: tuple[str, float] = ("", 0.0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def started(self, step: Step) -> None:
        self._print(f"{step}{_size(step)}: {step.locks}")

    def progressed(self, step: Step, progress: BuildProgress) -> None:
        if progress.waits_for is not None:
            self.waits(f"waiting for the transaction of process {progress.waits_for} to end")
        if self._bar is None:
            self._bar = self._progress.add_task("")
        self._progress.update(
            self._bar,
            description=progress.phase,
            completed=progress.done,
            total=progress.total or None,
        )

    def finished(self, step: Step) -> None:
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None

    def waits(self, reason: str) -> None:
        text, when = self._last_wait
        if reason != text or monotonic() - when >= _REPEAT:
            self._print(f"  {reason}")
            self._last_wait = (reason, monotonic())

    def differs(self, difference: Difference) -> None:
        self._print(f"{difference.severity.value}: {difference}")

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False)
