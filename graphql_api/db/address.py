"""Where a PostgreSQL is, as its owner writes it down."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from graphql_api.db.codecs import SESSION, use_text

# libpq's own words that asyncpg would pass on to the server as settings it doesn't know.
_LIBPQ_ONLY = {
    "channel_binding",
    "gssencmode",
    "sslnegotiation",
    "options_endpoint",
    "keepalives",
    "fallback_application_name",
}


class InvalidAddressError(ValueError):
    """A database URL that nothing can connect to; the message names no password."""


@dataclass(frozen=True, slots=True)
class Address:
    """One PostgreSQL address. `dsn` is what asyncpg reads, several hosts included."""

    dsn: str
    pooled: bool
    """Behind a transaction pooler: no LISTEN, no prepared statements that outlive a transaction."""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read a `postgresql://` URL: Neon's, libpq's, or SQLAlchemy's `postgresql+asyncpg://`.

        Raises InvalidAddressError for any other scheme.
        """
        scheme, separator, rest = url.strip().partition("://")
        if not separator or scheme not in ("postgresql", "postgres", "postgresql+asyncpg"):
            raise InvalidAddressError("a database URL begins with postgresql://")
        parts = urlsplit("postgresql://" + rest)
        query = [(key, value) for key, value in parse_qsl(parts.query) if key not in _LIBPQ_ONLY]
        hosts = [parts.netloc.rpartition("@")[2], *(value for key, value in query if key == "host")]
        return cls(
            dsn=urlunsplit(parts._replace(query=urlencode(query))),
            pooled=any("-pooler." in host or host.endswith("-pooler") for host in hosts),
        )

    async def connect(
        self, *, application: str = "graphql-api", timeout: float = 10.0, command_timeout: float | None = None
    ) -> "asyncpg.Connection":
        """Open a connection that speaks text (`db.codecs`).

        `timeout` bounds the connecting, `command_timeout` each statement, both in seconds. Neon wakes a
        sleeping database within the default. Raises OSError, TimeoutError or asyncpg.PostgresError.
        """
        connection = await self.connect_plain(
            application=application, timeout=timeout, command_timeout=command_timeout
        )
        await use_text(connection)
        return connection

    async def connect_plain(
        self, *, application: str = "graphql-api", timeout: float = 10.0, command_timeout: float | None = None
    ) -> "asyncpg.Connection":
        """Open a connection with asyncpg's own types: for migrations, COPY and LISTEN."""
        connection: asyncpg.Connection = await asyncpg.connect(
            self.dsn,
            timeout=timeout,
            command_timeout=command_timeout,
            server_settings={"application_name": application, **SESSION},
            # A pooler hands each transaction another backend, which has not prepared our statements.
            statement_cache_size=0 if self.pooled else 1000,
        )
        return connection
