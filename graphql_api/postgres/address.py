"""Where a PostgreSQL is, as its owner writes it down."""

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from graphql_api.postgres.type_codecs import SESSION_SETTINGS, set_text_codecs

# libpq's own words, which asyncpg would pass on to the server as settings that it doesn't know.
_LIBPQ_ONLY = {
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "require_auth",
    "requirepeer",
    "sslcertmode",
    "sslcompression",
    "sslsni",
    "tcp_user_timeout",
}
_PREPARED = 200
"""Prepared statements that a connection keeps: enough for what a platform's clients ask again and again. With
fifty conditions in its filter, one takes the server 0.3 MB in each connection, and filters are easily varied.
"""
_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_HOST = re.compile(r"(?P<name>/.*|\[[^\[\]]+\]|[^\[\]:/]+)(?::(?P<port>.*))?")


class InvalidAddressError(ValueError):
    """A database URL that nothing can connect to; the message names the rule, and never the URL."""


@dataclass(frozen=True, slots=True)
class Address:
    """One PostgreSQL address, several hosts included."""

    dsn: str = field(repr=False)
    """What asyncpg reads; the password is in it."""
    pooled: bool
    """Behind a transaction pooler: no LISTEN, no prepared statements that outlive a transaction."""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read a `postgresql://` URL: Neon's, libpq's, or SQLAlchemy's `postgresql+asyncpg://`.

        Raises InvalidAddressError for any other scheme, and for what is no host, port or sslmode.
        """
        scheme, separator, rest = url.strip().partition("://")
        if not separator or scheme not in _SCHEMES:
            raise InvalidAddressError("a database URL begins with postgresql://")
        try:
            parts = urlsplit("postgresql://" + rest)
        except ValueError:  # its message would repeat the URL
            raise InvalidAddressError("a database URL has an invalid host") from None
        if parts.netloc.count("@") > 1 or parts.fragment:
            raise InvalidAddressError("in a database URL's password, write @ as %40 and # as %23")
        query = _query(parts)
        if query.get("sslmode", "prefer") not in _SSL_MODES:
            raise InvalidAddressError(f"a database URL's sslmode is one of {', '.join(_SSL_MODES)}")
        hosts = _hosts(parts, query)
        return cls(
            dsn=urlunsplit(parts._replace(query=urlencode(query))),
            pooled=any("-pooler." in host or host.endswith("-pooler") for host in hosts),
        )

    async def connect(
        self, *, application: str = "graphql-api", timeout: float = 10.0, command_timeout: float | None = None
    ) -> "asyncpg.Connection":
        """Open a connection that speaks text (`postgres.type_codecs`).

        `timeout` bounds the connecting, `command_timeout` each statement, both in seconds. Neon wakes a
        sleeping database within the default. Raises OSError, TimeoutError or asyncpg.PostgresError.
        """
        connection = await self.connect_plain(
            application=application, timeout=timeout, command_timeout=command_timeout
        )
        try:
            await set_text_codecs(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def connect_plain(
        self, *, application: str = "graphql-api", timeout: float = 10.0, command_timeout: float | None = None
    ) -> "asyncpg.Connection":
        """Open a connection with asyncpg's own types: for migrations, COPY and LISTEN."""

        async def connect(settings: dict[str, str]) -> "asyncpg.Connection":
            connection: asyncpg.Connection = await asyncpg.connect(
                self.dsn,
                timeout=timeout,
                command_timeout=command_timeout,
                server_settings=settings,
                # A pooler hands each transaction another backend, which has not prepared our statements.
                statement_cache_size=0 if self.pooled else _PREPARED,
            )
            return connection

        try:
            return await connect({"application_name": application, **SESSION_SETTINGS})
        except asyncpg.ProtocolViolationError:
            # Some poolers refuse settings at the start. `postgres.type_codecs` reads timestamps of any zone.
            return await connect({})


def _query(parts: SplitResult) -> dict[str, str]:
    """The parameters of a URL; a host or port given twice, as SQLAlchemy has it, in one list."""
    query: dict[str, str] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key in _LIBPQ_ONLY:
            continue
        query[key] = f"{query[key]},{value}" if key in ("host", "port") and key in query else value
    return query


def _hosts(parts: SplitResult, query: dict[str, str]) -> list[str]:
    """The names of all hosts; refuses at once what asyncpg would stumble over at the first connection."""
    written = [part for part in (parts.netloc.rpartition("@")[2], query.get("host")) if part]
    names, ports = [], query.get("port", "").split(",")
    for host in ",".join(written).split(",") if written else ():
        match = _HOST.fullmatch(host)
        if match is None:
            raise InvalidAddressError("a database URL has an invalid host or port")
        names.append(match["name"])
        ports.append(match["port"] or "")
    if not all(port == "" or (port.isdecimal() and 0 < int(port) < 65536) for port in ports):
        raise InvalidAddressError("a database URL has a port that is no number from 1 to 65535")
    return names
