"""Risk settings as the graph shows them."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from graphql_api.domain.policy import ACCOUNTS, RISK_SETTINGS
from graphql_api.execution.fields import FromLoader, declared
from graphql_api.postgres import tables
from graphql_api.relational.context import Context
from graphql_api.relational.entity import row_loader
from graphql_api.relational.node import Node
from graphql_api.relational.page import Order
from graphql_api.relational.payloads import UserError
from graphql_api.relational.relation import column, computed, one
from graphql_api.relational.relation_loader import Children, FirstChild

if TYPE_CHECKING:
    from graphql_api.domain.account import Account

# Nothing keeps an account from having several rows: the one written last counts.
current_risk_settings = FirstChild(
    Children(RISK_SETTINGS, ACCOUNTS, tables.risk_settings.c.account_id),
    Order(tables.risk_settings.c.updated_at),
)


def version_of(id_: str, row_version: str) -> str:
    """What a row's version reads as: another one after every write, whoever wrote."""
    return f"{id_}.{row_version}"


@strawberry.type(description="The limits an account's bot keeps to. A limit that is null is no limit.")
class RiskSettings(Node):
    """The row of risk_settings that counts for an account."""

    max_daily_loss: Decimal | None = column("The largest loss of a day, in the account's currency.")
    max_position_size: Decimal | None = column("The largest size of one position.")
    max_open_positions: int | None = column("How many positions may be open at once.")
    risk_per_trade: Decimal | None = column("The part of the balance that one trade may risk, from 0 to 1.")
    updated_at: datetime | None = column("When it was last changed.")
    version: str = computed(
        "Changes with every write, whoever's. As `ifVersion`, it lets a change apply only to what was seen.",
        version_of,
        of=("id", "row_version"),
    )
    has_duplicates: bool = column("Whether the account has more rows than this one, which is the newest.")
    account: Annotated["Account", strawberry.lazy("graphql_api.domain.account")] | None = one(
        "The account.", ACCOUNTS, key="account_id"
    )


def _account(context: Context, _: Mapping[str, Any]) -> Any:
    load = row_loader(context, ACCOUNTS)
    return lambda payload: load(payload.account_id)


@strawberry.type(description="What became of a change of risk settings.")
class RiskSettingsPayload:
    """The settings after the change, or the reasons why there was none."""

    risk_settings: RiskSettings | None = strawberry.field(
        default=None, description="The settings as they are now; on CONFLICT those that were in the way."
    )
    account_id: strawberry.Private[str]
    account: Annotated["Account", strawberry.lazy("graphql_api.domain.account")] | None = declared(
        "The account, if the viewer may see it.", FromLoader(_account)
    )
    user_errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why nothing was changed; empty after a change."
    )
