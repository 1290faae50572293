"""A PostgreSQL of our own, for a machine that has none."""

from graphql_api.dev.embedded.programs import EmbeddedPostgresError
from graphql_api.dev.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
