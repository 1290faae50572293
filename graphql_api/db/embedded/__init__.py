"""A PostgreSQL of our own, for a machine that has none."""

from graphql_api.db.embedded.programs import EmbeddedPostgresError
from graphql_api.db.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]
