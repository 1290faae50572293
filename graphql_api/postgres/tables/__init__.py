"""All tables and views: `platform` has those of the platform, `service` has the service's own."""

from typing import Final

from graphql_api.postgres.tables.base import (
    finite,
    is_in_calendar,
    metadata,
    sort_key,
    unbounded,
    views,
    within_calendar,
)
from graphql_api.postgres.tables.platform import (
    account_performance,
    accounts,
    active_strategies_performance,
    risk_settings,
    sessions,
    strategies,
    strategy_performance,
    system_logs,
    trades,
    users,
)
from graphql_api.postgres.tables.service import (
    account_logs,
    idempotency_keys,
    logins,
    recorders,
    refresh_tokens,
    risk_events,
    risk_standings,
    service_tokens,
    unattributed_logs,
    user_roles,
)

DOCUMENTED: Final = sorted(
    {*(table.name for table in metadata.tables.values() if table.schema is None), *views.tables}
)
"""The names of the tables and views that the database's owner documents."""

__all__ = [
    "DOCUMENTED",
    "account_logs",
    "account_performance",
    "accounts",
    "active_strategies_performance",
    "finite",
    "idempotency_keys",
    "is_in_calendar",
    "logins",
    "metadata",
    "recorders",
    "refresh_tokens",
    "risk_events",
    "risk_settings",
    "risk_standings",
    "service_tokens",
    "sessions",
    "sort_key",
    "strategies",
    "strategy_performance",
    "system_logs",
    "trades",
    "unattributed_logs",
    "unbounded",
    "user_roles",
    "users",
    "views",
    "within_calendar",
]
