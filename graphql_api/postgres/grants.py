"""The GRANT statements for a database role that isn't the owner of the tables."""

from collections.abc import Sequence

from graphql_api.postgres.tables import DOCUMENTED
from graphql_api.postgres.tables.base import SERVICE_SCHEMA

_SCHEMAS = f"{SERVICE_SCHEMA}, log_feed, activity"


def grants(role: str) -> Sequence[str]:
    """Returns the statements that let `role` serve, without the right to change any table's definition."""
    grantee = '"{}"'.format(role.replace('"', '""'))
    privileges = (
        f"USAGE ON SCHEMA {_SCHEMAS}",
        f"SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {_SCHEMAS}",
        f"SELECT ON {', '.join(DOCUMENTED)}",
        "INSERT, UPDATE (password_hash, last_login) ON users",
        "UPDATE (id) ON tradelocker_accounts",  # to lock an account's row while its risk settings change
        "INSERT, UPDATE ON risk_settings",
        "INSERT ON system_logs",
    )
    return [f"GRANT {each} TO {grantee};" for each in privileges]
