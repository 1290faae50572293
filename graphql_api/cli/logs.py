"""`graphql-api logs`: prints the newest log lines, and follows new ones."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import orjson
from rich.console import Console
from rich.text import Text
from tenacity import AsyncRetrying, retry_if_exception, wait_fixed

from graphql_api.cli.database import named_or_embedded, opened
from graphql_api.cli.errors import UsageError, not_one_of
from graphql_api.identity.signing_keys import derive_key, signing_key
from graphql_api.log_feed.errors import FeedUnavailableError, UnfitDatabaseError
from graphql_api.log_feed.feed import Feed
from graphql_api.log_feed.filter import InvalidFilterError, LogFilter
from graphql_api.log_feed.hub import Event
from graphql_api.postgres.address import Address
from graphql_api.postgres.type_codecs import rfc3339
from graphql_api.postgres.vocabularies import LOG_LEVELS
from graphql_api.relational.scalars import serialize_json
from graphql_api.settings import Settings

_STYLES = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
LEVEL_NAMES = tuple(level.lower() for level in _STYLES)
_RETRY_SECONDS = 1.0
_QUIET_SECONDS = 0.5
"""Without --follow: seconds without a line after which, once live, the command ends."""


def show(
    *,
    follow: bool,
    level: str | None,
    components: Sequence[str] | None,
    search: str | None,
    after: str | None,
    lines: int,
) -> None:
    """Prints the newest log lines that match, and with `follow` those that are written from now on.

    Raises UsageError for an invalid filter, FeedError for an invalid cursor and where lines are missing.
    """
    settings = Settings()
    wanted = _filter(level, components, search)
    with named_or_embedded(settings) as address, suppress(KeyboardInterrupt, BrokenPipeError):
        key = derive_key(signing_key(settings), "feed")
        asyncio.run(_show(address, key, wanted, lines=lines, follow=follow, after=after))


def _filter(level: str | None, components: Sequence[str] | None, search: str | None) -> LogFilter:
    # A word that means nothing would be OTHER, the least serious level, and show everything.
    if level is not None and not LOG_LEVELS.recognizes(level):
        raise not_one_of("--level", level, LEVEL_NAMES)
    try:
        return LogFilter(
            minimum_level=LOG_LEVELS.canonical(level) if level is not None else None,
            components=frozenset(components) if components else None,
            search=search,
        )
    except InvalidFilterError as error:
        raise UsageError(str(error)) from None


async def _show(
    address: Address, key: bytes, wanted: LogFilter, *, lines: int, follow: bool, after: str | None
) -> None:
    write = _on_terminal() if sys.stdout.isatty() else _in_pipe
    timeout = None if follow else _QUIET_SECONDS
    announced = not follow
    async with opened(address) as database:
        feed = Feed(database, address, key)

        async def read() -> None:
            nonlocal after, announced
            async with await feed.subscribe(wanted, after=after, backfill=lines) as subscription:
                after = subscription.cursor
                if not announced:
                    announced = True
                    sys.stderr.write("following the log\n")  # every line that is committed from now on
                while True:
                    batch = await subscription.batch(timeout)
                    if not batch and (subscription.is_live or subscription.closed):  # else there may be more
                        return
                    for event in batch:
                        if not (follow or event.replayed):
                            return
                        write(event)
                    after = subscription.cursor

        # While the database can't be reached, it waits, and then continues after the last cursor.
        retrying = AsyncRetrying(retry=retry_if_exception(_is_outage), wait=wait_fixed(_RETRY_SECONDS))
        try:
            await retrying(read)
        finally:
            await feed.close()


def _is_outage(error: BaseException) -> bool:
    return isinstance(error, FeedUnavailableError) and not isinstance(error, UnfitDatabaseError)


def _on_terminal() -> Callable[[Event], None]:
    console = Console(highlight=False, soft_wrap=True)

    def write(event: Event) -> None:
        row = event.row
        style = _STYLES.get(LOG_LEVELS.canonical(row["level"]), "")
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
