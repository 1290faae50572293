"""Prints tables of text, for commands."""

import sys

from rich.console import Console
from rich.table import Table

from graphql_api.postgres.type_codecs import rfc3339

_WIDTH_IN_A_PIPE = 1000


def print_table(table: Table) -> None:
    """Prints a table; in a pipe, a line for each row, however long."""
    width = None if sys.stdout.isatty() else _WIDTH_IN_A_PIPE
    Console(width=width, highlight=False, markup=False).print(table)


def day(stored: str | None) -> str:
    """Returns the date of a stored timestamp, empty for none."""
    return rfc3339(stored)[:10] if stored is not None else ""
