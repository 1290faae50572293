"""Every environment variable that the service reads, in one frozen class."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from graphql_api.time_zones import time_zone_names

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|[0-9a-f:.]*:[0-9a-f:.]*")  # a name in ASCII, or IPv6


def _data_dir() -> Path:
    checkout = Path(__file__).parents[1]
    is_checkout = (checkout / "pyproject.toml").exists()
    return checkout / ".data" if is_checkout else user_data_path("graphql-api", appauthor=False)


def _known_timezone(name: str) -> str:
    if name not in time_zone_names():
        raise ValueError("must be the IANA name of a time zone, such as Europe/Berlin")
    return name


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


def normalized_origin(text: str) -> str:
    """Returns the origin as browsers send it (RFC 6454 6.2), so that equal origins are equal texts.

    That is in lower case, without the scheme's default port, and without a slash. Raises ValueError.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(_no_origin(text)) from None
    surplus = parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc
    if not parts.scheme or surplus or not _HOST.fullmatch(host):
        raise ValueError(_no_origin(text))
    if ":" in host:
        host = f"[{host}]"
    suffix = "" if port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{port}"
    return f"{parts.scheme}://{host}{suffix}"


def _no_origin(text: str) -> str:
    return f"{text!r} is no origin, such as https://app.example: a scheme, a host, and a port if it needs one"


def _origin_or_any(text: str) -> str:
    return "*" if text == "*" else normalized_origin(text)


def _listed(value: object) -> object:
    """Returns the items of a list as the environment has it: between commas, or in a JSON array."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("must be a JSON array, or items between commas") from None
    return [item for part in value.split(",") if (item := part.strip())]


FromList = (NoDecode, BeforeValidator(_listed))


# Values that fit the column of risk_settings: others PostgreSQL would round, or refuse in every reset.
Amount = Annotated[
    Decimal | None, Field(ge=0, max_digits=20, decimal_places=8), BeforeValidator(_none_if_empty)
]
Count = Annotated[int | None, Field(ge=0, le=2**31 - 1), BeforeValidator(_none_if_empty)]
Ratio = Annotated[Decimal | None, Field(ge=0, le=1, decimal_places=4), BeforeValidator(_none_if_empty)]


class Settings(BaseSettings):
    """The settings of a deployment.

    Each field is an environment variable, GRAPHQL_API_ and its name unless it has an alias.
    """

    model_config = SettingsConfigDict(env_prefix="GRAPHQL_API_", frozen=True, extra="ignore")

    # The deployment
    profile: Literal["development", "production"] = Field(
        "development",
        description="production has no GraphiQL and no introspection, and makes no secret key of its own.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=256, description="Processes that serve.")
    data_dir: Path = Field(
        default_factory=_data_dir,
        description="Folder of the embedded PostgreSQL, and of development's secret key. Default: .data in a "
        "checkout, else where the platform keeps the data of programs.",
    )
    trusted_proxies: Annotated[tuple[str, ...], *FromList] = Field(
        ("127.0.0.1", "::1"),
        description="Addresses or networks of proxies whose X-Forwarded-For is believed, between commas.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="json writes each line of the log as an object, for programs that collect logs."
    )
    log_operations: bool = Field(
        default=False,
        description="Whether each query and mutation has a line in the log: request id, operation, viewer, "
        "duration. Never variables.",
    )
    slow_operation: float = Field(
        1.0,
        ge=0,
        description="Seconds from which an operation is logged as slow, with the plans of its long "
        "statements; 0 is never.",
    )
    tracing: bool = Field(
        default=False,
        description="Whether operations and statements are traced with OpenTelemetry. Traces go to "
        "OTEL_EXPORTER_OTLP_ENDPOINT.",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="A Redis or Valkey (redis://, rediss://) in which all processes count failed logins and "
        "points together. Default: each process counts for itself.",
    )
    demo_logins: dict[str, str] = Field(
        {},
        description="Passwords by e-mail (a JSON object) that GraphiQL offers to everybody. "
        "`serve` sets those of the demo data.",
    )

    # The database
    database_url: SecretStr | None = Field(
        None,
        validation_alias="DATABASE_URL",
        description="URL of the primary, as its host prints it (docs/postgresql.md). Default: embedded "
        "PostgreSQL with demo data.",
    )
    database_direct_url: SecretStr | None = Field(
        None,
        validation_alias="DATABASE_DIRECT_URL",
        description="URL of the primary without a pooler, for notifications and migrations. "
        "Default: DATABASE_URL.",
    )
    database_replica_url: SecretStr | None = Field(
        None,
        validation_alias="DATABASE_REPLICA_URL",
        description="URL of a streaming replica that answers queries (docs/scaling.md). It isn't used while "
        "it can't be reached or lags, nor for a viewer until it has what they have written.",
    )
    replica_max_lag: float = Field(
        5.0, gt=0, le=60, description="Seconds that the replica may lag before it isn't used any more."
    )
    database_pool_size: int = Field(
        10,
        ge=3,
        le=1000,
        description="Connections to the database that a process opens at most. It needs three: one for "
        "itself, one for a mutation's transaction, and one for what the mutation reads meanwhile.",
    )
    database_pool_timeout: float = Field(
        8.0, gt=0, description="Seconds that a request waits for one of these connections before it fails."
    )
    database_prepared_statements: bool | None = Field(
        None,
        description="Whether connections keep prepared statements. Default: yes, except through a pooler in "
        "transaction mode, which is detected. true suits PgBouncer with max_prepared_statements.",
    )
    database_shared_reads: bool = Field(
        default=True,
        description="Whether small reads that requests make at the same time go to the database as one "
        "statement, each key with its own tenant (docs/security.md).",
    )
    statement_timeout: float = Field(10.0, gt=0, description="Seconds after which a statement is cancelled.")

    # Backups
    backup_dir: Path | None = Field(
        None,
        description="Folder of the backups, best on another disk (docs/recovery.md). "
        "Default: backups in data_dir.",
    )
    backup_method: Literal["copy", "dump"] | None = Field(
        None,
        description="copy makes base backups, and every moment between them can be restored; it needs a "
        "server that lets its files be copied. dump runs pg_dump daily. Default: dump for Neon's hosts, "
        "else copy.",
    )
    backup_bucket: str | None = Field(
        None,
        description="Where dumps are kept instead of the folder, such as s3://bucket/prefix; keys, region "
        "and endpoint are in AWS's own variables (docs/neon.md).",
    )
    backup_retention: int = Field(
        30,
        ge=1,
        le=3650,
        description="Days for which every moment can be restored; older backups are removed.",
    )
    backup_verification: int = Field(
        7, ge=1, le=365, description="Days after which a backup is restored and compared again."
    )
    embedded_backups: bool = Field(
        default=True, description="Whether `serve` takes backups of the embedded PostgreSQL."
    )

    # Logins and tokens
    secret_key: SecretStr | None = Field(
        None,
        description="Signs tokens and cursors: 32 bytes or more. Production refuses to start without it.",
    )
    access_token_lifetime: int = Field(
        900, ge=60, le=3600, description="Seconds after which an access token expires."
    )
    login_lifetime: int = Field(
        30 * 86_400,
        ge=3600,
        description="Seconds after which a login expires, and its user has to log in again, even if active.",
    )
    identity_cache: float = Field(
        15.0,
        ge=0,
        le=30,
        description="Seconds for which a process caches who the viewer of a token is. A revocation may take "
        "as long in other processes.",
    )
    identity_recheck: float = Field(
        30.0, gt=0, description="Seconds after which the token of an open socket is checked again."
    )
    password_threads: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Passwords that a process verifies at once, 64 MiB each; others wait. By default one for "
        "each processor, and four at most.",
    )
    login_failures_per_email_and_address: int = Field(
        10,
        ge=1,
        description="Failed logins within login_failures_window for one e-mail from one network address (or "
        "IPv6 network of 64 bits). Then logins for it from there have to wait.",
    )
    login_failures_per_email: int = Field(
        100,
        ge=1,
        description="Failed logins within login_failures_window for one e-mail from all addresses. Then "
        "logins for it have to wait, its owner's too.",
    )
    login_failures_per_address: int = Field(
        50,
        ge=1,
        description="Failed logins within login_failures_window from one network address for all e-mails. "
        "Then logins from there have to wait.",
    )
    login_failures_window: int = Field(
        300, ge=1, description="Seconds after which failed logins are forgotten."
    )

    # HTTP and WebSockets
    allowed_origins: Annotated[tuple[Annotated[str, AfterValidator(_origin_or_any)], ...], *FromList] = Field(
        (),
        description="Origins of pages in browsers that may call, besides our own, between commas: "
        "https://app.example,https://admin.example; or * for any. Development allows those of localhost too.",
    )
    get_requests: Literal["off", "preflight", "open"] | None = Field(
        None,
        description="Queries by GET: off; preflight, which needs a header that makes browsers ask first; or "
        "open. Default: open in development, off in production.",
    )
    max_body_size: int = Field(1024 * 1024, gt=0, description="Bytes of an HTTP request's body.")
    max_header_size: int = Field(32 * 1024, gt=0, description="Bytes of an HTTP request's line and headers.")
    max_message_size: int = Field(1024 * 1024, gt=0, description="Bytes of one message on a WebSocket.")
    max_concurrent_operations: int = Field(
        256,
        gt=0,
        description="Queries and mutations that a process runs at once, and half as many sign-ins; "
        "others get SERVICE_UNAVAILABLE.",
    )
    max_viewer_operations: int = Field(
        8,
        gt=0,
        description="Queries and mutations of one viewer that a process runs at once. Others of theirs wait "
        "for their turn, within operation_timeout: a quarter of max_concurrent_operations at most, and half "
        "of them for all viewers.",
    )
    max_connections: int = Field(
        20_000, gt=0, description="Connections that a process holds open; fewer if it may open fewer files."
    )
    max_sockets: int = Field(
        10_000, gt=0, description="WebSockets and event streams that a process holds open."
    )
    max_anonymous_sockets: int = Field(
        1_000,
        gt=0,
        description="WebSockets and event streams from one network address on which nobody has signed in; "
        "at most a quarter of max_sockets.",
    )
    max_viewer_sockets: int = Field(
        1_000,
        gt=0,
        description="WebSockets and event streams of one viewer; at most half of max_sockets.",
    )
    max_socket_subscriptions: int = Field(100, gt=0, description="Operations at once on one WebSocket.")
    receive_timeout: float = Field(
        20.0, gt=0, description="Seconds that a client may take to send a request, headers and body."
    )
    send_timeout: float = Field(
        30.0,
        gt=0,
        description="Seconds for which a client may leave what it was sent unread before it is disconnected.",
    )
    operation_timeout: float = Field(15.0, gt=0, description="Seconds that a query or a mutation may take.")
    socket_init_timeout: float = Field(
        5.0, gt=0, le=60, description="Seconds that a WebSocket may take to send connection_init."
    )
    anonymous_socket_timeout: float = Field(
        30.0,
        gt=0,
        description="Seconds after which a WebSocket is closed if nobody has signed in on it and no "
        "operation runs.",
    )
    heartbeat: float = Field(
        20.0, gt=0, description="Seconds between heartbeats on sockets and event streams."
    )
    log_feed_retention: int = Field(
        30,
        ge=1,
        description="Days for which subscribers of the log can resume after a cursor; what the feed keeps of "
        "older lines is removed, never the lines.",
    )
    lame_duck_time: float = Field(
        0.0,
        ge=0,
        le=300,
        description="Seconds for which a process still accepts requests after SIGTERM, while /readyz answers "
        "503: as long as a balancer takes to notice.",
    )
    activity_retention: int = Field(
        7,
        ge=1,
        description="Days for which subscribers of accounts' activity can resume after a cursor.",
    )
    drain_time: float = Field(
        5.0, ge=0, description="Seconds over which a process that stops spreads the closing of its sockets."
    )
    shutdown_timeout: int = Field(
        20, gt=0, description="Seconds for which a process that stops waits for running requests."
    )
    idempotency_lifetime: int = Field(
        86_400,
        ge=60,
        description="Seconds for which a mutation that is sent again under its Idempotency-Key gets the same "
        "answer.",
    )

    # Documents and operations
    max_characters: int = Field(15_000, gt=0, description="Characters of a document.")
    max_tokens: int = Field(2_000, gt=0, description="Tokens of a document.")
    max_depth: int = Field(
        10,
        gt=0,
        description="Levels of fields, fragments expanded; edges, node and nodes don't count.",
    )
    max_aliases: int = Field(30, ge=0, description="Aliases of an operation, fragments expanded.")
    max_directives: int = Field(50, ge=0, description="Directives of an operation, fragments expanded.")
    max_root_fields: int = Field(
        20, gt=0, description="Fields at the root of an operation, fragments expanded."
    )
    max_values: int = Field(
        2_000,
        gt=0,
        description="Values in an operation's variables: scalars, lists and objects, at all levels.",
    )
    max_cost: int = Field(100_000, gt=0, description="Points that one operation may cost.")
    max_response_size: int = Field(
        16 * 1024 * 1024, gt=0, description="Bytes of an operation's response, counted before it is rendered."
    )
    max_errors: int = Field(100, gt=0, le=1000, description="Errors that one response lists.")
    points_per_minute: int | None = Field(
        None,
        ge=0,
        description="Points that a viewer may spend in a minute; 0 is no limit. "
        "Default: twenty times max_cost in production, no limit in development.",
    )
    persisted_documents: int = Field(
        5_000_000,
        ge=0,
        description="Characters of documents that a process keeps for clients that send only their hash; "
        "0 turns automatic persisted queries off.",
    )
    trusted_documents: Path | None = Field(
        None,
        description="A JSON file of documents by their SHA-256, or a folder of .graphql files: no other "
        "document is run.",
    )
    engine: Literal["compiled", "stock"] = Field(
        "compiled",
        description="What executes operations: our compiler, or graphql-core's own executor (stock).",
    )

    # Traders' logs
    trader_log_components: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=50)], ...], *FromList
    ] = Field(
        (),
        description="Components whose log lines traders may read, between commas, if a line's `details` name "
        "accounts, sessions or trades of theirs and of nobody else. Default: traders read no lines. "
        "With the demo data, `serve` sets the components of its bot.",
    )

    # Risk
    default_max_daily_loss: Amount = Field(
        Decimal(1000), description="The maxDailyLoss that resetRiskSettings sets; empty is no limit."
    )
    default_max_position_size: Amount = Field(
        Decimal(1), description="The maxPositionSize that resetRiskSettings sets; empty is no limit."
    )
    default_max_open_positions: Count = Field(
        5, description="The maxOpenPositions that resetRiskSettings sets; empty is no limit."
    )
    default_risk_per_trade: Ratio = Field(
        Decimal("0.01"), description="The riskPerTrade that resetRiskSettings sets; empty is no limit."
    )
    risk_timezone: Annotated[str, AfterValidator(_known_timezone)] = Field(
        "UTC",
        description="The IANA name of the time zone at whose midnight the day of maxDailyLoss begins.",
    )

    risk_events: bool = Field(
        default=True,
        description="Whether this process may be the one that records when limits are crossed. If no process "
        "may, only changes of limits are recorded. The recorder polls twice a second, so a database that "
        "stops while it is idle never stops.",
    )

    @model_validator(mode="after")
    def _writers_are_known_to_all_workers(self) -> Self:
        if self.database_replica_url and self.workers > 1 and not self.redis_url:
            raise ValueError(
                "DATABASE_REPLICA_URL with more than one worker needs GRAPHQL_API_REDIS_URL, by which all of "
                "them know who has just written"
            )
        return self

    @model_validator(mode="after")
    def _the_rate_limit_allows_every_operation(self) -> Self:
        if self.points_per_minute and self.points_per_minute < self.max_cost:
            raise ValueError("points_per_minute must be at least max_cost, or 0")
        return self
