"""Users, the platform's customers: their type, filters, orders and root fields."""

from datetime import datetime
from enum import Enum

import strawberry

from graphql_api.domain.account import ACCOUNT_LIST, AccountConnection
from graphql_api.domain.policy import USERS
from graphql_api.domain.statistics.trade_stats import TradeStats, stats_of
from graphql_api.postgres import tables
from graphql_api.postgres.vocabularies import SUBSCRIPTION_STATUSES
from graphql_api.relational.enums import OrderDirection, from_vocabulary, value
from graphql_api.relational.filters import StringFilter, compare_filter
from graphql_api.relational.node import Node
from graphql_api.relational.pagination import SortOrder
from graphql_api.relational.permissions import reads_graph
from graphql_api.relational.relation import Connection, ListSpec, column, many, root_many, root_one

_users = tables.users.c


@strawberry.enum(
    description="Where a subscription stands. The column is free text: see `subscriptionStatusRaw`."
)
class SubscriptionStatus(Enum):
    """The column's meaning, by `postgres.vocabularies.SUBSCRIPTION_STATUSES`."""

    TRIAL = value("TRIAL", "Trying it out: stored as trial or trialing.")
    ACTIVE = value("ACTIVE", "Paid: stored as active.")
    PAST_DUE = value("PAST_DUE", "A payment is late: stored as past_due or unpaid.")
    CANCELLED = value("CANCELLED", "Ended by the user: stored as cancelled or canceled.")
    EXPIRED = value("EXPIRED", "Ended by itself: stored as expired or incomplete_expired.")
    NONE = value("NONE", "Stored as none, or as an empty text.")
    OTHER = value("OTHER", "Stored as anything else.")


@strawberry.type(description="A customer of the platform.")
class User(Node, rows_of=USERS):
    """A row of users."""

    email: str = column("The address they sign in with.")
    created_at: datetime | None = column("When they joined.")
    last_login: datetime | None = column("When they last signed in.")
    is_active: bool | None = column("Whether they may sign in.")
    subscription_status: SubscriptionStatus | None = column(
        "Where their subscription stands.", convert=from_vocabulary(SubscriptionStatus, SUBSCRIPTION_STATUSES)
    )
    subscription_status_raw: str | None = column(
        "The subscription's status as it is stored.", name="subscription_status"
    )
    subscription_expires: datetime | None = column("When their subscription ends.")
    accounts: AccountConnection = many(
        "Their accounts, by number.", ACCOUNT_LIST, parent=USERS, parent_key=tables.accounts.c.user_id
    )
    stats: TradeStats = stats_of(
        "Statistics of the trades of all their accounts.", parent=USERS, parent_key=tables.accounts.c.user_id
    )


@strawberry.input(description="Conditions on users; all that are given must hold.")
class UserFilter:
    email: StringFilter | None = compare_filter("By address.", _users.email)
    is_active: bool | None = compare_filter("Whether they may sign in.", _users.is_active)
    subscription_status: list[SubscriptionStatus] | None = compare_filter(
        "With one of these.", SUBSCRIPTION_STATUSES.sql(_users.subscription_status)
    )


@strawberry.enum(description="What users can be sorted by.")
class UserOrderField(Enum):
    CREATED_AT = value("CREATED_AT", "When they joined.")
    LAST_LOGIN = value("LAST_LOGIN", "When they last signed in.")
    EMAIL = value("EMAIL", "Their address.")


@strawberry.input(description="How to sort users.")
class UserOrder:
    field: UserOrderField = strawberry.field(description="What to sort by.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Which end comes first."
    )


USER_LIST = ListSpec(
    USERS,
    default_order=SortOrder(_users.created_at),
    filter_input=UserFilter,
    order_input=UserOrder,
    order_columns={
        UserOrderField.CREATED_AT: _users.created_at,
        UserOrderField.LAST_LOGIN: _users.last_login,
        UserOrderField.EMAIL: _users.email,
    },
)

UserConnection = Connection[User]


@strawberry.type
class Query:
    user: User | None = root_one(
        "The user with this id; null if there is none that the viewer may see.", USERS, check=reads_graph
    )
    users: UserConnection = root_many(
        "Every user, for operators; for others, themselves alone.", USER_LIST, check=reads_graph
    )
