"""Prints errors that a user of the command line can mend as one sentence, instead of a traceback."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class UsageError(Exception):
    """The command can't run with these arguments or settings; the message says what to do instead."""


def not_one_of(option: str, value: str, choices: Iterable[str]) -> UsageError:
    """Returns the error for an option with a value that it doesn't have."""
    return UsageError(f"{option} is one of {', '.join(choices)}, and not {value!r}")


@contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Prints errors that can be mended as a sentence on standard error, and exits with status 1."""
    try:
        yield
    except BrokenPipeError:
        # The reader of the output has closed the pipe. Python would report that again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if (sentence := sentence_of(error)) is None:
            raise
        typer.echo(f"graphql-api: {sentence}", err=True)
        raise SystemExit(1) from None


def sentence_of(error: Exception) -> str | None:
    """Returns what is wrong and how to mend it; None for an unexpected error, a fault of the service."""
    # Imported here, since only commands that fail need all of this.
    import asyncpg
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from graphql_api.backup.errors import BackupError
    from graphql_api.cli.settings_page import variable
    from graphql_api.dev.demo.load import OtherUsersError
    from graphql_api.dev.demo.scale import SampleMissingError
    from graphql_api.dev.embedded import EmbeddedPostgresError
    from graphql_api.execution.persisted_documents import ManifestError
    from graphql_api.identity.errors import IdentityError
    from graphql_api.identity.signing_keys import SecretKeyError
    from graphql_api.log_feed.errors import FeedError
    from graphql_api.postgres.address import InvalidAddressError
    from graphql_api.postgres.errors import DatabaseUnavailableError
    from graphql_api.postgres.indexes import IndexMismatchError
    from graphql_api.postgres.migrate import (
        MigrationBlockedError,
        NotOurDatabaseError,
        StandbyMigrationError,
        UnknownRevisionError,
    )
    from graphql_api.postgres.replica import UnfitReplicaError

    speaking = (
        UsageError,
        BackupError,
        EmbeddedPostgresError,
        FeedError,
        IdentityError,
        IndexMismatchError,
        InvalidAddressError,
        ManifestError,
        MigrationBlockedError,
        NotOurDatabaseError,
        OtherUsersError,
        SampleMissingError,
        SecretKeyError,
        StandbyMigrationError,
        UnfitReplicaError,
        UnknownRevisionError,
    )
    match error:
        case ValidationError():
            return "; ".join(_sentence_of_setting(part) for part in error.errors())
        case SettingsError():
            # Its text has the field in quotation marks, between names of pydantic's own.
            field = str(error).split('"')[1]
            return f"{variable(field)}: must be JSON, as docs/settings.md shows"
        case (
            DatabaseUnavailableError(__cause__=asyncpg.UndefinedTableError()) | asyncpg.UndefinedTableError()
        ):
            return f"the database isn't migrated, {error.__cause__ or error}: run `graphql-api migrate`"
        case DatabaseUnavailableError():
            return f"the database can't be reached: {error.__cause__ or 'no answer'}"
        case OSError() if error.filename is not None:
            return f"{error.filename}: {error.strerror}"
        case OSError():
            return f"the database can't be reached: {error or 'no answer'}"
        case asyncpg.InterfaceError() if "connection is closed" in str(error):
            return f"the database can't be reached: {error.__context__ or 'the connection was lost'}"
        case asyncpg.PostgresError():
            return f"the database can't be used: {error}"
        case _ if isinstance(error, speaking):
            return str(error)
    return None


def _sentence_of_setting(error: "ErrorDetails") -> str:
    from graphql_api.cli.settings_page import variable
    from graphql_api.settings import Settings

    rule = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return rule  # it is about several settings, which it names
    name = str(error["loc"][0])
    return f"{variable(name) if name in Settings.model_fields else name}: {rule}"
