"""Accounts: where a user's money is, at a broker."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from graphql_api.domain.policy import ACCOUNTS, SESSIONS, USERS
from graphql_api.domain.risk import RiskSettings, current_risk_settings
from graphql_api.domain.risk.status import RiskStatus, risk_status_of_account
from graphql_api.domain.session import SESSION_LIST, Session, SessionConnection
from graphql_api.domain.statistics.fields import stats_of
from graphql_api.domain.statistics.types import TradeStats
from graphql_api.domain.trade import TRADE_LIST, TradeConnection
from graphql_api.postgres import tables
from graphql_api.relational.comparisons import DateTimeFilter, StringFilter
from graphql_api.relational.connection import Connection
from graphql_api.relational.enums import OrderDirection, value
from graphql_api.relational.filters import Term, compares
from graphql_api.relational.node import Node
from graphql_api.relational.page import Order
from graphql_api.relational.permissions import reads_graph
from graphql_api.relational.relation import Listing, column, many, one, root_many, root_one
from graphql_api.relational.relation_loader import Children, FirstChild

if TYPE_CHECKING:
    from graphql_api.domain.user import User

_accounts = tables.accounts.c

current_session = FirstChild(
    Children(SESSIONS, ACCOUNTS, tables.sessions.c.account_id),
    Order(tables.sessions.c.started_at),
    Term(tables.sessions.c.ended_at, "is_null"),
)


@strawberry.type(description="An account at a broker, on which the bot trades.")
class Account(Node):
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
        "Its sessions, the newest first.", SESSION_LIST, of=ACCOUNTS, by=tables.sessions.c.account_id
    )
    trades: TradeConnection = many(
        "Trades of all its sessions, the newest first.",
        TRADE_LIST,
        of=ACCOUNTS,
        by=tables.sessions.c.account_id,
    )
    risk_settings: RiskSettings | None = one(
        "The limits its bot keeps to; null where none were ever set.", current_risk_settings, key="id"
    )
    risk_status: RiskStatus = risk_status_of_account("How it stands against those limits now.")
    stats: TradeStats = stats_of(
        "Statistics of the trades of all its sessions.", of=ACCOUNTS, by=tables.sessions.c.account_id
    )
    current_session: Session | None = one("The running session that started last.", current_session, key="id")


@strawberry.input(description="Which accounts.")
class AccountFilter:
    """Conditions on accounts; all that are given must hold."""

    account_number: StringFilter | None = compares("By number.", _accounts.account_number)
    server: StringFilter | None = compares("By the broker's server.", _accounts.server)
    is_active: bool | None = compares("Whether the bot may trade on it.", _accounts.is_active)
    last_sync: DateTimeFilter | None = compares("By last synchronisation.", _accounts.last_sync)


@strawberry.enum(description="What accounts can be ordered by.")
class AccountOrderField(Enum):
    """Columns with an order."""

    ACCOUNT_NUMBER = value("ACCOUNT_NUMBER", "The broker's number.")
    LAST_SYNC = value("LAST_SYNC", "When they were last synchronised.")


@strawberry.input(description="An order of accounts.")
class AccountOrder:
    """A column and a direction."""

    field: AccountOrderField = strawberry.field(description="By what.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Which end comes first."
    )


ACCOUNT_LIST = Listing(
    ACCOUNTS,
    default=Order(_accounts.account_number, descending=False),
    filter=AccountFilter,
    order=AccountOrder,
    orders={
        AccountOrderField.ACCOUNT_NUMBER: _accounts.account_number,
        AccountOrderField.LAST_SYNC: _accounts.last_sync,
    },
)

AccountConnection = Connection[Account]


@strawberry.type
class Query:
    """Accounts at the root."""

    account: Account | None = root_one("The account with this id.", ACCOUNTS, check=reads_graph)
    accounts: AccountConnection = root_many("The viewer's accounts.", ACCOUNT_LIST, check=reads_graph)
