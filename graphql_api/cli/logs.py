"""The log in a terminal: the newest lines, and those to come."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.text import Text

from graphql_api.cli.database import embedded_or_given, opened
from graphql_api.cli.errors import UsageError
from graphql_api.identity.signing_keys import derive_key, signing_key
from graphql_api.log_feed.errors import FeedUnavailableError, UnfitDatabaseError
from graphql_api.log_feed.feed import Feed
from graphql_api.log_feed.filter import InvalidFilterError, LogFilter
from graphql_api.log_feed.hub import Event
from graphql_api.postgres.address import Address
from graphql_api.postgres.type_codecs import rfc3339
from graphql_api.postgres.vocabularies import LEVELS, OTHER
from graphql_api.relational.scalars import serialize_json
from graphql_api.settings import Settings

_STYLES = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
_RETRY_SECONDS = 1.0
_QUIET_SECONDS = 0.5
"""Without --follow: when nothing has come for so long, there is nothing more to show."""


def logs(
    follow: Annotated[  # noqa: FBT002 - a flag of the command line
        bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")
    ] = False,
    level: Annotated[str | None, typer.Option(help="At least this serious.")] = None,
    component: Annotated[list[str] | None, typer.Option(help="Only of this part; repeat for more.")] = None,
    search: Annotated[str | None, typer.Option(help="Only with this in the message.")] = None,
    after: Annotated[str | None, typer.Option(help="Go on after this cursor.")] = None,
    lines: Annotated[int, typer.Option(help="First the newest so many.", min=0)] = 20,
) -> None:
    """Print the log: colours on a terminal, JSON lines with cursors in a pipe."""
    settings = Settings()
    wanted = _filter(level, component, search)
    key = derive_key(signing_key(settings), "feed")
    with embedded_or_given(settings) as address:
        try:
            asyncio.run(_show(address, key, wanted, lines=lines, follow=follow, after=after))
        except (KeyboardInterrupt, BrokenPipeError):
            raise typer.Exit from None


def _filter(level: str | None, components: list[str] | None, search: str | None) -> LogFilter:
    minimum = LEVELS.canonical(level) if level is not None else None
    if minimum == OTHER:  # would be the least serious of all, and show everything
        raise UsageError(f"--level is one of {', '.join(_STYLES).lower()}")
    try:
        return LogFilter(
            minimum_level=minimum,
            components=frozenset(components) if components else None,
            search=search,
        )
    except InvalidFilterError as error:
        raise UsageError(str(error)) from None


async def _show(
    address: Address, key: bytes, wanted: LogFilter, *, lines: int, follow: bool, after: str | None
) -> None:
    write = _on_terminal() if sys.stdout.isatty() else _in_pipe
    async with opened(address) as database:
        feed = Feed(database, address, key)
        try:
            quiet = None if follow else _QUIET_SECONDS
            on_ready = _say_ready if follow else lambda: None
            async for event in _events(
                feed, wanted, lines=lines, quiet=quiet, after=after, on_ready=on_ready
            ):
                if not (follow or event.replayed):
                    break
                write(event)
        finally:
            await feed.close()


def _say_ready() -> None:
    """Tell whoever started the command that it shows every line that is written from now on."""
    sys.stderr.write("following the log\n")


async def _events(
    feed: Feed,
    wanted: LogFilter,
    *,
    lines: int,
    quiet: float | None,
    after: str | None,
    on_ready: Callable[[], None],
) -> AsyncIterator[Event]:
    """Events of the feed, over outages of the database. Raises FeedError where the feed can't continue.

    `on_ready` is called once, when every line that is committed afterwards will be among the events.
    """
    ready = False
    while True:
        try:
            async with await feed.subscribe(wanted, after=after, backfill=lines) as subscription:
                after = subscription.cursor
                if not ready:
                    ready = True
                    on_ready()
                while batch := await subscription.batch(quiet):
                    for event in batch:
                        yield event
                    after = subscription.cursor
                break
        except UnfitDatabaseError:
            raise
        except FeedUnavailableError:
            await asyncio.sleep(_RETRY_SECONDS)


def _on_terminal() -> Callable[[Event], None]:
    console = Console(highlight=False, soft_wrap=True)

    def write(event: Event) -> None:
        row = event.row
        style = _STYLES.get(LEVELS.canonical(row["level"]), "")
        line = Text.assemble(
            (_moment(row["timestamp"]) or "", "dim"),
            " ",
            (f"{row['level']:<8}", style),
            " ",
            (row["component"], "cyan"),
            " ",
            row["message"],
        )
        if row["details"] is not None:
            line.append(f" {_details(row['details']).decode()}", "dim")
        console.print(line)

    return write


def _in_pipe(event: Event) -> None:
    row = event.row
    fields = {name: row[name] for name in ("id", "level", "component", "message")}
    fields["timestamp"] = _moment(row["timestamp"])
    details = None if row["details"] is None else orjson.Fragment(_details(row["details"]))
    sys.stdout.buffer.write(orjson.dumps({"cursor": event.cursor, **fields, "details": details}) + b"\n")
    sys.stdout.buffer.flush()


def _moment(stored: str | None) -> str | None:
    return None if stored is None else rfc3339(stored)


def _details(text: str) -> bytes:
    return orjson.dumps(serialize_json(text))
