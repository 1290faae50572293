"""`graphql-api psql`: opens psql on the database that the commands work on, the embedded one too."""

import shutil
import signal
import subprocess
from collections.abc import Sequence

from graphql_api.cli.database import named_or_embedded
from graphql_api.dev.embedded.programs import Programs, SystemUser, environment
from graphql_api.settings import Settings

_APPLICATION = "graphql-api psql"


def run(arguments: Sequence[str]) -> int:
    """Runs psql with these arguments, and returns its exit status.

    Raises UsageError if there is no database, EmbeddedPostgresError if there is no psql.
    """
    with named_or_embedded(Settings()) as address:
        program = shutil.which("psql") or str(Programs.find(SystemUser(), None).folder / "psql")
        with subprocess.Popen(  # noqa: S603 - the user's own arguments, and no shell in between
            (program, *arguments), env={**environment(), **address.libpq_environment(_APPLICATION)}
        ) as process:
            former = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends psql's statement, not psql
            try:
                return process.wait()
            finally:
                signal.signal(signal.SIGINT, former)
