"""Database addresses: parses URLs as drivers and hosting providers write them, and connects."""

import os
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import asyncpg

from graphql_api.postgres.type_codecs import CONNECTION_SETTINGS, STATEMENT_SETTINGS, set_text_codecs
from graphql_api.settings import Settings

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for connecting. Neon starts a suspended database in less."""

_SCHEME = re.compile(r"postgres(?:ql)?(?:\+\w+)?")  # SQLAlchemy appends the driver
_HOST = re.compile(r"(?P<name>/.*|\[[^\[\]]+\]|[^\[\]:/]+)(?::(?P<port>.*))?")
# Selected by name, since some exist only in newer versions of PostgreSQL.
_LIFT_TIME_LIMITS = """
    SELECT set_config(name, '0', false) FROM pg_settings
    WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
                   'idle_session_timeout', 'transaction_timeout')
"""
_PREPARED_STATEMENTS = 200
"""Prepared statements that a connection keeps: enough for the operations that a platform's clients repeat.

A statement with fifty conditions takes 0.3 MB of the server's memory in each connection, and clients can vary
filters without limit.
"""

_NOTHING: Mapping[str, str] = MappingProxyType({})
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Values of `ssl` in URLs for asyncpg and SQLAlchemy, node-postgres, Ecto and others.
_SSL_VALUES: Mapping[str, str] = {
    **{mode: mode for mode in _SSL_MODES},
    **dict.fromkeys(("true", "1", "on", "yes", "no-verify"), "require"),
    **dict.fromkeys(("false", "0", "off", "no"), "disable"),
}
_SESSION_ATTRIBUTES = ("any", "primary", "standby", "prefer-standby", "read-write", "read-only")
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
# Environment variables of libpq for its programs, so that no parameter is visible on a command line.
_LIBPQ_VARIABLES: Mapping[str, str] = {
    **{name: f"PG{name.upper()}" for name in ("host", "port", "user", "password", "passfile", "service")},
    **{name: f"PG{name.upper()}" for name in ("sslmode", *_FILES, "krbsrvname", "options")},
    "dbname": "PGDATABASE",
    "database": "PGDATABASE",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}

# Parameters of other clients that don't change how a connection works, so they are left out. asyncpg would
# send them to the server, which has no such settings.
_IGNORED = frozenset(
    {
        # libpq
        *("channel_binding", "client_encoding", "fallback_application_name", "gssdelegation"),
        *("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "load_balance_hosts"),
        *("max_protocol_version", "sslcompression", "sslsni", "tcp_user_timeout"),
        # the pools and timeouts of Prisma, pgx, Ecto, Rails and node-postgres
        *("checkout_timeout", "connection_limit", "idle_timeout", "max", "pool", "pool_max_conn_idle_time"),
        *("pool_max_conn_lifetime", "pool_max_conns", "pool_min_conns", "pool_size", "pool_timeout"),
        *("socket_timeout", "uselibpqcompat"),
        "supa",  # Vercel's integration of Supabase
    }
)
# Parameters that asyncpg can't follow and that must not be ignored silently, each with the values that are
# allowed, since they require nothing.
_REFUSED: Mapping[str, frozenset[str]] = {
    "gssencmode": frozenset({"disable", "allow", "prefer"}),
    "min_protocol_version": frozenset({"3.0"}),
    "require_auth": frozenset(),
    "requirepeer": frozenset(),
    "sslaccept": frozenset({"accept_invalid_certs"}),
    "sslcertmode": frozenset({"disable", "allow"}),
    "sslidentity": frozenset(),
}
# Parameters by which other drivers are configured for a transaction pooler, each with the values that do so.
_POOLED: Mapping[str, frozenset[str]] = {
    "binary_parameters": frozenset({"yes"}),  # Go's lib/pq
    "pgbouncer": frozenset({"true", "1", "yes", "on"}),  # Prisma, Supabase
    "pool_mode": frozenset({"transaction", "statement"}),
    "prepareThreshold": frozenset({"0"}),  # JDBC
    "prepared_statement_cache_size": frozenset({"0"}),  # SQLAlchemy
    "prepared_statements": frozenset({"false", "0"}),  # Rails
    "statement_cache_size": frozenset({"0"}),  # asyncpg, Prisma
}


class InvalidAddressError(ValueError):
    """An invalid database URL; the message names the rule, and never contains the URL."""


@dataclass(frozen=True, slots=True)
class Address:
    """A database on one host, or on several hosts of which one is chosen."""

    dsn: str = field(repr=False)
    """The URL for asyncpg, which contains the password."""
    pooled: bool = False
    """Whether the URL is that of a pooler in transaction mode, where LISTEN and prepared statements don't
    work."""
    application: str | None = None
    """The `application_name` of the URL."""
    timeout: float = CONNECT_TIMEOUT
    """The most seconds for connecting."""
    system_certificates: bool = False
    """Whether the server's certificate is verified with the operating system's (`sslrootcert=system`)."""
    ignored: tuple[str, ...] = ()
    """Parameters of the URL that were left out, since they are for other clients."""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Parses a URL as libpq, asyncpg, SQLAlchemy, Prisma and similar clients take it.

        Raises InvalidAddressError for another scheme, for an invalid host or port, and for a parameter that
        asyncpg can't follow. An unknown parameter is sent to the server as a setting.
        """
        scheme, separator, rest = url.strip().partition("://")
        if not separator or not _SCHEME.fullmatch(scheme):
            raise InvalidAddressError("a database URL begins with postgresql://")
        try:
            parts = urlsplit("postgresql://" + rest)
        except ValueError:  # its message would contain the URL
            raise InvalidAddressError("a database URL has an invalid host") from None
        if parts.netloc.count("@") > 1 or parts.fragment:
            raise InvalidAddressError("in a database URL's password, write @ as %40 and # as %23")
        query = _query(parts)
        ignored = tuple(name for name in query if name in _IGNORED)
        for name in ignored:
            del query[name]
        _refuse(query)
        system_certificates = _read_tls(query)
        application, timeout = _read_session(query)
        hosts = _hosts(parts, query)
        if len(hosts) > 1:  # asyncpg would take the first that answers, even a standby
            query.setdefault("target_session_attrs", "read-write")
        pooled = _read_pooled(query) | any(_is_pooler(*host) for host in hosts)
        return cls(
            dsn=urlunsplit(parts._replace(query=urlencode(query))),
            pooled=pooled,
            application=application,
            timeout=timeout,
            system_certificates=system_certificates,
            ignored=ignored,
        )

    def libpq_environment(self, application: str) -> dict[str, str]:
        """Returns the variables with which PostgreSQL's own programs connect there."""
        parts = urlsplit(self.dsn)
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        hosts = _hosts(parts._replace(query=""), {})
        given = {
            "user": unquote(user),
            "password": unquote(password),
            "dbname": unquote(parts.path.removeprefix("/")),
            "host": ",".join(host.strip("[]") for host, _ in hosts),
            "port": ",".join(port for _, port in hosts) if any(port for _, port in hosts) else "",
            **dict(parse_qsl(parts.query)),
        }
        if self.system_certificates:
            given |= {"sslmode": "verify-full", "sslrootcert": "system"}
        return {
            **{
                _LIBPQ_VARIABLES[name]: value
                for name, value in given.items()
                if value and name in _LIBPQ_VARIABLES
            },
            "PGAPPNAME": self.application or application,
            "PGCONNECT_TIMEOUT": f"{self.timeout:.0f}",
        }

    async def connect(
        self,
        *,
        application: str = "graphql-api",
        command_timeout: float | None = None,
        prepared_statements: bool | None = None,
        settings: Mapping[str, str] = _NOTHING,
    ) -> "asyncpg.Connection":
        """Opens a connection as `connect_plain` does, with the types of `postgres.type_codecs`."""
        connection = await self.connect_plain(
            application=application,
            command_timeout=command_timeout,
            prepared_statements=prepared_statements,
            settings=settings,
        )
        try:
            await set_text_codecs(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    @asynccontextmanager
    async def open(
        self, *, application: str, command_timeout: float, settings: Mapping[str, str] = _NOTHING
    ) -> AsyncIterator["asyncpg.Connection"]:
        """Opens a connection for the block, as `connect` does, and terminates it at the end."""
        connection = await self.connect(
            application=application, command_timeout=command_timeout, settings=settings
        )
        try:
            yield connection
        finally:
            # Not `close`, which would wait for an answer that may never come.
            connection.terminate()

    async def connect_plain(
        self,
        *,
        application: str = "graphql-api",
        command_timeout: float | None = None,
        prepared_statements: bool | None = None,
        settings: Mapping[str, str] = _NOTHING,
    ) -> "asyncpg.Connection":
        """Opens a connection with asyncpg's own types.

        `application` is the `application_name`, unless the URL has one. `command_timeout` bounds each
        statement, in seconds. `prepared_statements`: whether to keep them; by default unless `pooled`.
        `settings` are PostgreSQL's, besides STATEMENT_SETTINGS; for a pooler that refuses them, both are left
        out.
        Raises InvalidAddressError, OSError, TimeoutError or asyncpg.PostgresError.
        """
        keep = not self.pooled if prepared_statements is None else prepared_statements

        async def connect(settings: dict[str, str]) -> "asyncpg.Connection":
            connection: asyncpg.Connection = await asyncpg.connect(
                self.dsn,
                timeout=self.timeout,
                command_timeout=command_timeout,
                server_settings=settings,
                # Behind a pooler, the next transaction's server process hasn't prepared our statements.
                statement_cache_size=_PREPARED_STATEMENTS if keep else 0,
                ssl=_system_tls(self.dsn, _certificate_versions(self.dsn))
                if self.system_certificates
                else None,
            )
            return connection

        usual = {"application_name": self.application or application, **CONNECTION_SETTINGS}
        try:
            # Poolers refuse unknown settings, and some refuse all.
            for tried in ({**usual, **STATEMENT_SETTINGS, **settings}, usual):
                with suppress(asyncpg.ProtocolViolationError):
                    return await connect(tried)
            # `postgres.type_codecs` reads timestamps of any zone.
            return await connect({})
        except asyncpg.TargetServerAttributeNotMatched as error:  # as while the primary moves
            raise ConnectionError(
                "no host in the database URL is what target_session_attrs asks for"
            ) from error
        except asyncpg.ClientConfigurationError as error:
            raise InvalidAddressError(f"a database URL doesn't hold together: {error}") from error

    async def connect_unlimited(self, *, application: str) -> "asyncpg.Connection":
        """Opens a connection as `connect_plain` does, without the time limits of its role or database.

        It is for work whose time grows with the database, such as migrations and backups.
        """
        connection = await self.connect_plain(application=application)
        try:
            await connection.execute(_LIFT_TIME_LIMITS)
        except BaseException:
            connection.terminate()
            raise
        return connection


def direct_address(settings: Settings) -> Address:
    """Returns the primary's address without a pooler. Raises InvalidAddressError if no database is named."""
    url = settings.database_direct_url or settings.database_url
    if url is None:
        raise InvalidAddressError("set DATABASE_URL to the database")
    return Address.parse(url.get_secret_value())


def _query(parts: SplitResult) -> dict[str, str]:
    """Returns the parameters; a host or port that is given twice, as SQLAlchemy has it, in one list."""
    query: dict[str, str] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        query[key] = f"{query[key]},{value}" if key in ("host", "port") and key in query else value
    return query


def _refuse(query: dict[str, str]) -> None:
    for name, harmless in _REFUSED.items():
        value = query.pop(name, None)
        if value is not None and value not in harmless:
            raise InvalidAddressError(
                f"a database URL's {name} can't be {value!r}: asyncpg has no such thing"
            )
    attributes = query.get("target_session_attrs", "any")
    if attributes not in _SESSION_ATTRIBUTES:
        raise InvalidAddressError(
            f"a database URL's target_session_attrs is one of {', '.join(_SESSION_ATTRIBUTES)}"
        )


def _read_tls(query: dict[str, str]) -> bool:
    """Translates `ssl` to `sslmode`, and returns whether to trust the operating system's certificates."""
    mode = query.get("sslmode")
    if mode == "no-verify":  # node-postgres
        mode = query["sslmode"] = "require"
    if mode is not None and mode not in _SSL_MODES:
        raise InvalidAddressError(f"a database URL's sslmode is one of {', '.join(_SSL_MODES)}")
    if (value := query.pop("ssl", None)) is not None:
        if value.lower() not in _SSL_VALUES:
            raise InvalidAddressError(
                f"a database URL's ssl is true, false, or one of {', '.join(_SSL_MODES)}"
            )
        if mode is not None and (mode == "disable") != (_SSL_VALUES[value.lower()] == "disable"):
            raise InvalidAddressError("a database URL's ssl and sslmode contradict each other")
        query.setdefault("sslmode", _SSL_VALUES[value.lower()])
    if query.get("sslrootcert") == "system":
        del query["sslrootcert"]
        if query.setdefault("sslmode", "verify-full") != "verify-full":  # as libpq has it
            raise InvalidAddressError("a database URL with sslrootcert=system has sslmode=verify-full")
        return True
    for name in _FILES:
        if query.get(name) and not Path(query[name]).expanduser().is_file():
            raise InvalidAddressError(f"a database URL's {name} is not a file: {query[name]}")
    return query.get("sslmode") == "verify-full" and not _has_root_certificates(query)


def _has_root_certificates(query: dict[str, str]) -> bool:
    """Whether there are root certificates where libpq looks for them."""
    named = query.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    return bool(named) or (Path.home() / ".postgresql" / "root.crt").is_file()


def _read_session(query: dict[str, str]) -> tuple[str | None, float]:
    """Returns application and timeout, and translates Prisma's `schema` to a search path."""
    timeout = query.pop("connect_timeout", "") or "0"
    if not timeout.isdecimal():
        raise InvalidAddressError("a database URL's connect_timeout is a number of seconds")
    schema = query.pop("schema", "public")
    if schema not in ("", "public"):
        query.setdefault("search_path", schema)
    return query.pop("application_name", None) or None, float(timeout) or CONNECT_TIMEOUT


def _read_pooled(query: dict[str, str]) -> bool:
    pooled = False
    for name, values in _POOLED.items():
        pooled |= query.pop(name, "").lower() in values
    return pooled


def _is_pooler(host: str, port: str) -> bool:
    """Whether a host is known for a pooler in transaction mode: Neon's by name, Supabase's by port."""
    if host.endswith((".supabase.com", ".supabase.co")):
        return port == "6543"
    return "-pooler." in host or host.endswith("-pooler")


def _hosts(parts: SplitResult, query: dict[str, str]) -> list[tuple[str, str]]:
    """Returns every host with its port, '' if there is none.

    Refuses hosts and ports that asyncpg fails at later.
    """
    written = [part for part in (parts.netloc.rpartition("@")[2], query.get("host")) if part]
    common, *others = query.get("port", "").split(",")
    hosts = []
    for number, host in enumerate(",".join(written).split(",") if written else ()):
        match = _HOST.fullmatch(host)
        if match is None:
            raise InvalidAddressError("a database URL has an invalid host or port")
        listed = [common, *others][number] if number <= len(others) else common
        hosts.append((match["name"], match["port"] or listed))
    for port in (common, *others, *(port for _, port in hosts)):
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            raise InvalidAddressError("a database URL has a port that is no number from 1 to 65535")
    return hosts


def _certificate_versions(dsn: str) -> tuple[int, ...]:
    """Returns when each file of certificates was changed: they are renewed while the process runs."""
    query = dict(parse_qsl(urlsplit(dsn).query))
    files = (ssl.get_default_verify_paths().cafile, query.get("sslcert"), query.get("sslkey"))
    return tuple(Path(file).stat().st_mtime_ns for file in files if file)


@lru_cache(maxsize=4)
def _system_tls(dsn: str, _versions: tuple[int, ...]) -> ssl.SSLContext:
    """Verifies the server, its name included, with the operating system's certificates.

    Reading these takes 15 ms, in which nothing else runs.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    query = dict(parse_qsl(urlsplit(dsn).query))
    if "sslcert" in query:
        context.load_cert_chain(query["sslcert"], query.get("sslkey"), query.get("sslpassword"))
    return context
