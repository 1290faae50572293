"""Accounts at a broker: their type, filters, orders and root fields, and the view account_performance."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from sqlalchemy import BigInteger, bindparam, select

from graphql_api.domain.account_logs import account_logs
from graphql_api.domain.policy import ACCOUNTS, SESSIONS, USERS
from graphql_api.domain.risk.events import RISK_EVENT_LIST, RiskEventConnection
from graphql_api.domain.risk.settings import RiskSettings, current_risk_settings
from graphql_api.domain.risk.status import RiskStatus, risk_status_of_account
from graphql_api.domain.session import SESSION_LIST, Session, SessionConnection
from graphql_api.domain.statistics.trade_stats import TradeStats, stats_of
from graphql_api.domain.system_log import ACCOUNT_LOG_LIST, SystemLogConnection
from graphql_api.domain.trade import TRADE_LIST, TradeConnection
from graphql_api.postgres import tables
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.relational.context import Row, ViewerDatabase
from graphql_api.relational.enums import OrderDirection, value
from graphql_api.relational.filters import Comparison, DateTimeFilter, StringFilter, compare_filter
from graphql_api.relational.node import Node
from graphql_api.relational.page_query import ROOT
from graphql_api.relational.pagination import SortOrder
from graphql_api.relational.permissions import reads_graph
from graphql_api.relational.relation import (
    Connection,
    LatestRelated,
    ListSpec,
    RelationReader,
    column,
    many,
    one,
    root_many,
    root_one,
    root_rows,
)

if TYPE_CHECKING:
    from graphql_api.domain.user import User

MAX_PERFORMANCE_ROWS = 5000

_accounts = tables.accounts.c
_first = bindparam("first", type_=BigInteger)

current_session = LatestRelated(
    RelationReader(SESSIONS, ACCOUNTS, tables.sessions.c.account_id),
    SortOrder(tables.sessions.c.started_at),
    Comparison(tables.sessions.c.ended_at, "is_null"),
)


@strawberry.type(description="An account at a broker, on which the bot trades.")
class Account(Node, rows_of=ACCOUNTS):
    """A row of tradelocker_accounts."""

    account_number: str = column("The broker's number for it, unique for its user only.")
    server: str = column("The broker's server.")
    has_api_key: bool = column("Whether a key for the broker is stored. The key itself is never shown.")
    is_active: bool | None = column("Whether the bot may trade on it.")
    last_sync: datetime | None = column("When it was last synchronised with the broker.")
    user: Annotated["User", strawberry.lazy("graphql_api.domain.user")] | None = one(
        "Whose it is.", USERS, key="user_id"
    )
    sessions: SessionConnection = many(
        "Its sessions, the newest first.",
        SESSION_LIST,
        parent=ACCOUNTS,
        parent_key=tables.sessions.c.account_id,
    )
    trades: TradeConnection = many(
        "Trades of all its sessions, the newest first.",
        TRADE_LIST,
        parent=ACCOUNTS,
        parent_key=tables.sessions.c.account_id,
    )
    risk_settings: RiskSettings | None = one(
        "The limits its bot keeps to; null where none were ever set.", current_risk_settings, key="id"
    )
    risk_status: RiskStatus = risk_status_of_account("How it stands against those limits now.")
    risk_events: RiskEventConnection = many(
        "Its risk events, the newest first: when a limit was crossed, when it was kept again, and when the"
        " limits were changed, and by whom.",
        RISK_EVENT_LIST,
        parent=ACCOUNTS,
        parent_key=tables.risk_events.c.account_id,
    )
    stats: TradeStats = stats_of(
        "Statistics of the trades of all its sessions.",
        parent=ACCOUNTS,
        parent_key=tables.sessions.c.account_id,
    )
    logs: SystemLogConnection = many(
        "Log lines about it, the newest first: of the components that traders may read, those whose details"
        " name it, its sessions or its trades, and nothing of another user's. A line takes a moment to come.",
        ACCOUNT_LOG_LIST,
        parent=ACCOUNTS,
        parent_key=account_logs.c.account_id,
    )
    current_session: Session | None = one("The running session that started last.", current_session, key="id")


@strawberry.input(description="Conditions on accounts; all that are given must hold.")
class AccountFilter:
    account_number: StringFilter | None = compare_filter("By number.", _accounts.account_number)
    server: StringFilter | None = compare_filter("By the broker's server.", _accounts.server)
    is_active: bool | None = compare_filter("Whether the bot may trade on it.", _accounts.is_active)
    last_sync: DateTimeFilter | None = compare_filter("By last synchronisation.", _accounts.last_sync)


@strawberry.enum(description="What accounts can be sorted by.")
class AccountOrderField(Enum):
    ACCOUNT_NUMBER = value("ACCOUNT_NUMBER", "The broker's number.")
    LAST_SYNC = value("LAST_SYNC", "When they were last synchronised.")


@strawberry.input(description="How to sort accounts.")
class AccountOrder:
    field: AccountOrderField = strawberry.field(description="What to sort by.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Which end comes first."
    )


ACCOUNT_LIST = ListSpec(
    ACCOUNTS,
    default_order=SortOrder(_accounts.account_number, descending=False),
    filter_input=AccountFilter,
    order_input=AccountOrder,
    order_columns={
        AccountOrderField.ACCOUNT_NUMBER: _accounts.account_number,
        AccountOrderField.LAST_SYNC: _accounts.last_sync,
    },
)

AccountConnection = Connection[Account]


@strawberry.type(description="A row of the view account_performance, with the ids that the view leaves out.")
class AccountPerformance:
    """A row of `account_sessions`: one session and its account."""

    account_number: str = column("The broker's number, unique for its user only.")
    started_at: datetime | None = column("When the session started.")
    ended_at: datetime | None = column("When it ended; null while it runs.")
    initial_balance: Decimal | None = column("The balance at its start.")
    final_balance: Decimal | None = column("The balance at its end.")
    pnl: Decimal | None = column("Profit or loss, as stored.")
    trades_count: int | None = column("How many trades, as stored.")
    account: Account | None = one("The account.", ACCOUNTS, key="account_id")
    session: Session | None = one("The session.", SESSIONS, key="session_id")


async def account_sessions(db: ViewerDatabase, _keys: Sequence[Any], first: int) -> Mapping[str, list[Row]]:
    """Returns the first rows of the view account_performance, for ROOT."""
    return {ROOT: list(await db.fetch(_account_sessions(db.tenant is not None), first=first))}


@lru_cache
def _account_sessions(for_tenant: bool) -> Statement:  # noqa: FBT001
    # The view names accounts by number alone, which two tenants may share: so a join of our own has ids.
    accounts, sessions = tables.accounts, tables.sessions
    columns = [
        accounts.c.account_number,
        *(sessions.c[part.name] for part in tables.account_performance.c if part.name in sessions.c),
        accounts.c.id.label("account_id"),
        sessions.c.id.label("session_id"),
    ]
    query = select(*columns).where(accounts.c.id.is_not(None))  # the view has no session without an account
    query = query.order_by(accounts.c.account_number, sessions.c.started_at, sessions.c.id).limit(_first)
    return compile_statement(SESSIONS.restrict_to_tenant(query, accounts, for_tenant=for_tenant))


@strawberry.type
class Query:
    account: Account | None = root_one(
        "The account with this id; null if there is none that the viewer may see.",
        ACCOUNTS,
        check=reads_graph,
    )
    accounts: AccountConnection = root_many("The viewer's accounts.", ACCOUNT_LIST, check=reads_graph)
    account_performance: list[AccountPerformance] = root_rows(
        "Sessions of the viewer's accounts, by account number. It has no pages: for more rows, ask accounts"
        " for their sessions.",
        account_sessions,
        max_rows=MAX_PERFORMANCE_ROWS,
        check=reads_graph,
    )
