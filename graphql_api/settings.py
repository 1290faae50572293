"""Every environment variable the service reads, in one frozen class."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What a deployment may decide. Each field is one environment variable, GRAPHQL_API_ before its name."""

    model_config = SettingsConfigDict(env_prefix="GRAPHQL_API_", frozen=True, extra="ignore")

    database_url: SecretStr | None = Field(
        None,
        validation_alias="DATABASE_URL",
        description="The primary's address, as Neon prints it. Without one, an embedded PostgreSQL is used.",
    )
    database_direct_url: SecretStr | None = Field(
        None,
        validation_alias="DATABASE_DIRECT_URL",
        description="The primary without a pooler, for LISTEN and migrations. Default: DATABASE_URL.",
    )
    database_replica_url: SecretStr | None = Field(
        None,
        validation_alias="DATABASE_REPLICA_URL",
        description="A streaming replica that reads may use.",
    )
    database_pool_size: int = Field(10, ge=1, le=1000, description="Connections a process keeps.")
    database_pool_timeout: float = Field(
        8.0, gt=0, description="Seconds a request waits for a connection before it fails."
    )
    statement_timeout: float = Field(10.0, gt=0, description="Seconds after which a statement is cancelled.")

    profile: Literal["development", "production"] = Field(
        "development", description="production: no GraphiQL, no introspection, no default secret."
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Signs tokens and cursors: 32 bytes or more. Production refuses to start without it.",
    )
    data_dir: Path = Field(Path(".data"), description="Where the embedded PostgreSQL and its secret live.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=256, description="Processes that serve.")
    allowed_origins: tuple[str, ...] = Field(
        (), description="Origins (JSON array) that browsers may call from, besides our own."
    )
    engine: Literal["compiled", "stock"] = Field(
        "compiled", description="How operations run; stock is graphql-core's own executor."
    )
