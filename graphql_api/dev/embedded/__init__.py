"""An embedded PostgreSQL: a server that is started on demand, for development and tests."""

from graphql_api.dev.embedded.programs import EmbeddedPostgresError
from graphql_api.dev.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
