"""Risk events: when a limit was crossed or kept again, and when limits were changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import strawberry

from graphql_api.domain.policy import ACCOUNTS, RISK_EVENTS, TRADES
from graphql_api.domain.risk.settings import LIMITS_CHANGED
from graphql_api.domain.risk.status import RiskLimit
from graphql_api.domain.trade import Trade
from graphql_api.execution.fields import FromKey, declared
from graphql_api.postgres import tables
from graphql_api.relational.context import Context, Row, ViewerDatabase
from graphql_api.relational.enums import value
from graphql_api.relational.filters import DateTimeFilter, compare_filter
from graphql_api.relational.node import Node
from graphql_api.relational.pagination import SortOrder
from graphql_api.relational.relation import Connection, ListSpec, column, computed, one

if TYPE_CHECKING:
    from graphql_api.domain.account import Account

MAX_TRADES = 100
"""How many trades an event names at most."""

_events = tables.risk_events.c


@strawberry.enum(description="What happened to an account's limits.")
class RiskEventKind(Enum):
    LIMIT_CROSSED = value("LIMIT_CROSSED", "A limit that was kept is exceeded.")
    LIMIT_KEPT = value("LIMIT_KEPT", "A limit that was exceeded is kept again, or was removed.")
    LIMITS_CHANGED = value(LIMITS_CHANGED, "The limits themselves were changed.")


@strawberry.enum(description="Who changed limits.")
class RiskLimitsAuthor(Enum):
    USER = value("USER", "Somebody who was signed in: the trader, or an administrator.")
    SERVICE = value("SERVICE", "A program with a service token.")
    PROGRAM = value("PROGRAM", "Another program, by SQL: nobody knows for whom.")


@strawberry.type(description="The limits of an account at some time. Null means that there is no such limit.")
class RiskLimits:
    """Read from the JSON object of a risk event."""

    max_daily_loss: Decimal | None = column("The largest loss of a day, in the account's currency.")
    max_position_size: Decimal | None = column("The largest size of one position.")
    max_open_positions: int | None = column("How many positions may be open at once.")
    risk_per_trade: Decimal | None = column("The part of the balance that one trade may risk, from 0 to 1.")


def _limits(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


async def _trades(
    db: ViewerDatabase, keys: Sequence[str], columns: frozenset[str] | None
) -> Mapping[str, list[Row]]:
    """Returns the trades of each text of ids, in its order, as far as they are there and the viewer's."""
    ids = {id_ for key in keys for id_ in key.split()}
    found = await TRADES.load_by_ids(db, list(ids), columns) if ids else {}
    return {key: [found[id_] for id_ in key.split() if id_ in found] for key in keys}


def _load_trades(context: Context, _: Mapping[str, Any]) -> Any:
    return context.loaders.get(_trades, context.projection.columns(TRADES))


@strawberry.type(
    description=(
        "A limit of an account was crossed or is kept again, or the limits were changed. Each is recorded"
        " once."
    )
)
class RiskEvent(Node, rows_of=RISK_EVENTS):
    """A row of graphql_api.risk_events."""

    kind: RiskEventKind = column("What happened.", convert=RiskEventKind)
    occurred_at: datetime = column("When it was noticed, a moment after the commit that did it.", name="at")
    limit: RiskLimit | None = column(
        "The limit that was crossed or is kept again; null if the limits were changed.",
        name="risk_limit",
        convert=RiskLimit,
    )
    value: Decimal | None = column(
        "What the limit is compared with: the day's loss, the size of the largest open trade, the number"
        " of open trades, or the part of its session's balance that the day's worst trade lost. Null if"
        " there is none."
    )
    allowed: Decimal | None = column("What the limit allowed; null if it was taken away.")
    since: datetime | None = column("Since when the limit is or was exceeded.")
    trades: list[Trade] = declared(
        f"The trades by which the limit was crossed, the foremost first, {MAX_TRADES} at most: the day's"
        " losses, the open trades that are too large, all open trades, or the day's losses that risked too"
        " much. Empty where it is kept again.",
        FromKey("trade_ids", _load_trades),
    )
    before: RiskLimits | None = computed(
        "The limits before they were changed; null if there were none.", _limits, columns=("limits_before",)
    )
    after: RiskLimits | None = computed(
        "The limits after they were changed; null if they were deleted.", _limits, columns=("limits_after",)
    )
    author: RiskLimitsAuthor | None = column("Who changed the limits.", convert=RiskLimitsAuthor)
    author_id: strawberry.ID | None = column("The id of the user for whom they were changed, if it is known.")
    account: Annotated["Account", strawberry.lazy("graphql_api.domain.account")] | None = one(
        "The account.", ACCOUNTS, key="account_id"
    )


@strawberry.input(description="Conditions on risk events; all that are given must hold.")
class RiskEventFilter:
    kinds: list[RiskEventKind] | None = compare_filter("Of one of these kinds.", _events.kind)
    limits: list[RiskLimit] | None = compare_filter("About one of these limits.", _events.risk_limit)
    occurred_at: DateTimeFilter | None = compare_filter("Noticed in this range.", _events.at)


RISK_EVENT_LIST = ListSpec(RISK_EVENTS, default_order=SortOrder(_events.at), filter_input=RiskEventFilter)

RiskEventConnection = Connection[RiskEvent]
