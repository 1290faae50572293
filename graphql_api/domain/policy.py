"""The access policy: of each table, the columns that may be read, by which scopes, and whose rows they are.

Every statement that finds rows for a viewer is built from these entities. `owner` is the column with the id
of the user whose row it is; `parent` leads to the entity that has it. An entity with neither is shared by
all tenants. password_hash and api_key are in no list of columns, so that they never leave the database.
"""

from sqlalchemy import ColumnElement, and_, func, literal_column, select

from graphql_api.domain.account_logs import account_logs, own_logs
from graphql_api.postgres import tables
from graphql_api.relational.entity import CountLimit, Entity, Parent, ReadLimit
from graphql_api.relational.permissions import READS_GRAPH, READS_LOGS

_has_api_key: ColumnElement[bool] = and_(
    tables.accounts.c.api_key.is_not(None), tables.accounts.c.api_key != ""
).label("has_api_key")

# The id of the transaction that last wrote the row: it changes with every write, also of other programs.
_row_version: ColumnElement[str] = literal_column("risk_settings.xmin::text").label("row_version")
_same_account = tables.risk_settings.alias("same_account")
_has_duplicates: ColumnElement[bool] = (
    select(func.count() > 1)
    .where(_same_account.c.account_id == tables.risk_settings.c.account_id)
    .correlate(tables.risk_settings)
    .scalar_subquery()
    .label("has_duplicates")
)

USERS = Entity(
    "User",
    tables.users,
    tuple(column for column in tables.users.c if column.name != "password_hash"),
    READS_GRAPH,
    owner=tables.users.c.id,
)
ACCOUNTS = Entity(
    "Account",
    tables.accounts,
    (*(column for column in tables.accounts.c if column.name != "api_key"), _has_api_key),
    READS_GRAPH,
    owner=tables.accounts.c.user_id,
)
SESSIONS = Entity(
    "Session",
    tables.sessions,
    tuple(tables.sessions.c),
    READS_GRAPH,
    parent=Parent(tables.sessions.c.account_id, ACCOUNTS),
)
TRADES = Entity(
    "Trade",
    tables.trades,
    tuple(tables.trades.c),
    READS_GRAPH,
    parent=Parent(tables.trades.c.session_id, SESSIONS),
    read_limit=ReadLimit(
        tables.trades.c.entry_time, "accountId, sessionId, a strategyId or a shorter range of entryTime"
    ),
)
RISK_SETTINGS = Entity(
    "RiskSettings",
    tables.risk_settings,
    (*tables.risk_settings.c, _row_version, _has_duplicates),
    READS_GRAPH,
    parent=Parent(tables.risk_settings.c.account_id, ACCOUNTS),
)
STRATEGIES = Entity("Strategy", tables.strategies, tuple(tables.strategies.c), READS_GRAPH)
STRATEGY_PERFORMANCE = Entity(
    "StrategyPerformance", tables.strategy_performance, tuple(tables.strategy_performance.c), READS_GRAPH
)
SYSTEM_LOGS = Entity(
    "SystemLog",
    tables.system_logs,
    tuple(tables.system_logs.c),
    READS_LOGS,
)
_trade_ids: ColumnElement[str] = func.coalesce(
    func.array_to_string(tables.risk_events.c.trades, literal_column("' '")), literal_column("''")
).label("trade_ids")
RISK_EVENTS = Entity(
    "RiskEvent",
    tables.risk_events,
    (*(column for column in tables.risk_events.c if column.name != "trades"), _trade_ids),
    READS_GRAPH,
    parent=Parent(tables.risk_events.c.account_id, ACCOUNTS),
)
# Log lines that traders may read, by id: those of some components that name only rows of theirs.
OWN_LOGS = Entity(
    "SystemLog",
    own_logs,
    tuple(own_logs.c[column.name] for column in tables.system_logs.c),
    READS_GRAPH,
    owner=own_logs.c.user_id,
    shown_as=SYSTEM_LOGS,
)
# The same lines, by the accounts that they name.
ACCOUNT_LOGS = Entity(
    "SystemLog",
    account_logs,
    tuple(account_logs.c),
    READS_GRAPH,
    parent=Parent(account_logs.c.account_id, ACCOUNTS),
    read_limit=ReadLimit(account_logs.c.at, "a shorter range of timestamp", every_list=True, weight=5),
    count_limit=CountLimit(
        tables.account_logs, account_logs.c.at, weight=20, narrowed_by="a shorter range of timestamp"
    ),
    shown_as=SYSTEM_LOGS,
)
