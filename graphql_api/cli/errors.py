"""Errors that people can mend, as one sentence instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

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
from graphql_api.postgres.migrate import MigrationBlockedError, NotOurDatabaseError, UnknownRevisionError


class UsageError(Exception):
    """The command can't run as it was given; the message says what to do instead."""


_MENDABLE = (
    UsageError,
    EmbeddedPostgresError,
    FeedError,
    IdentityError,
    IndexMismatchError,
    InvalidAddressError,
    MigrationBlockedError,
    NotOurDatabaseError,
    OtherUsersError,
    ManifestError,
    SampleMissingError,
    SecretKeyError,
    UnknownRevisionError,
)


@contextmanager
def spoken() -> Iterator[None]:
    """Turn what a person can mend into a sentence on standard error and exit status 1."""
    try:
        yield
    except _MENDABLE as error:
        _say(str(error))
    except ValidationError as error:
        _say("; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors()))
    except SettingsError as error:
        # Its text has the field in quotation marks, between names of pydantic's own.
        field = str(error).split('"')[1]
        _say(f"{field}: must be JSON, as docs/settings.md shows")
    except DatabaseUnavailableError as error:
        _say(f"the database can't be reached: {error.__cause__ or 'no answer'}")
    except (OSError, asyncpg.PostgresError) as error:
        _say(f"the database can't be used: {error}")


def _say(sentence: str) -> None:
    typer.echo(f"graphql-api: {sentence}", err=True)
    raise SystemExit(1)
