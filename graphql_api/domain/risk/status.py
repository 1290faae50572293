"""Risk status: how an account stands against its limits now."""

import operator
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from decimal import Context as Precision
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

import strawberry
from sqlalchemy import ColumnElement, FromClause, Select, and_, func, or_, select

from graphql_api.domain.policy import ACCOUNTS, TRADES
from graphql_api.domain.risk.settings import LIMIT_COLUMNS, current_risk_settings
from graphql_api.domain.statistics.arithmetic import or_zero
from graphql_api.domain.statistics.trade_set import Aggregation, TradeSet, aggregate_lists, is_status
from graphql_api.domain.time_buckets import Interval, bucket_start, zone_parameters
from graphql_api.execution.fields import FromLoader, declared
from graphql_api.postgres import tables
from graphql_api.relational.context import Context, Row, ViewerDatabase
from graphql_api.relational.enums import value
from graphql_api.relational.relation import RelationReader, column

_TRADES_OF_ACCOUNT = TradeSet(RelationReader(TRADES, ACCOUNTS, tables.sessions.c.account_id))
_ZERO = Decimal("0.00000000")
_WIDE = Precision(prec=60)


@strawberry.enum(description="A limit of RiskSettings.")
class RiskLimit(Enum):
    MAX_DAILY_LOSS = value("MAX_DAILY_LOSS", "Today's trades lost more than `maxDailyLoss` together.")
    MAX_POSITION_SIZE = value("MAX_POSITION_SIZE", "An open trade is larger than `maxPositionSize`.")
    MAX_OPEN_POSITIONS = value("MAX_OPEN_POSITIONS", "More trades are open than `maxOpenPositions`.")
    RISK_PER_TRADE = value(
        "RISK_PER_TRADE",
        "A trade that closed today lost more than `riskPerTrade` of its session's initial balance. Where"
        " that balance is unknown or not above 0, the limit isn't checked.",
    )


@strawberry.type(
    description=(
        "How much of its limits an account uses now. Today begins at midnight in UTC, or in the time zone"
        " that the service is configured with (GRAPHQL_API_RISK_TIMEZONE); a trade counts for the day of"
        " its exit. A value that is exactly at a limit keeps it. Null means that there is no such limit."
    )
)
class RiskStatus:
    """Resolved from what `risk_status` returns for an account."""

    daily_pnl: Decimal = column("The sum of the pnl of the trades that closed today, without NaN and null.")
    daily_loss_used: Decimal | None = column(
        "How much of `maxDailyLoss` is used: today's loss, or 0 if there is a profit; null without this"
        " limit."
    )
    daily_loss_remaining: Decimal | None = column(
        "How much may still be lost today, 0 or more; null without this limit."
    )
    open_positions: int = column("How many trades are open.")
    open_positions_remaining: int | None = column(
        "How many more positions may be opened, 0 or more; null without this limit."
    )
    largest_position: Decimal | None = column("The size of the largest open trade; null if none is open.")
    breached: list[RiskLimit] = column("The limits that are exceeded.")


def risk_status_of_account(description: str) -> Any:
    """Declares a field of an account with its RiskStatus."""

    def prepare(context: Context, _: Mapping[str, Any]) -> Any:
        load = context.loaders.get(risk_status, context.services.settings.risk_timezone).load
        return lambda row: load(row["id"])

    return declared(description, FromLoader(prepare))


async def risk_status(db: ViewerDatabase, keys: Sequence[str], timezone: str) -> Mapping[str, Row]:
    """Returns the risk status of each account; the day begins at midnight in `timezone`."""
    query = _limits_and_sessions(for_tenant=db.tenant is not None)
    found = await aggregate_lists(db, query, keys, _TRADES_OF_ACCOUNT, **zone_parameters(timezone))
    with_trades = {key: [row for row in found[key] if row["open_positions"] is not None] for key in keys}
    return {key: risk_status_of(found[key][0] if found[key] else {}, with_trades[key]) for key in keys}


class LimitUsage(NamedTuple):
    """A limit, and the value that is compared with it."""

    value: Decimal | int | None
    """The day's loss, the size of the largest open trade, the number of open trades, or the part of its
    session's balance that the day's worst trade lost, cut to 8 digits. None where there is no such trade, and
    for the last also where there is no limit."""
    allowed: Decimal | int | None
    """None where there is no such limit."""
    is_exceeded: bool


def limit_usage(limits: Row | Mapping[str, Any], sessions: Sequence[Row]) -> Mapping[RiskLimit, LimitUsage]:
    """Returns how each limit is used.

    `limits` is the row of settings that is in force, or empty; `sessions` are the rows of `_by_session`.
    """
    max_loss, max_size, max_open, max_risk = (
        limits.get(name)
        for name in ("max_daily_loss", "max_position_size", "max_open_positions", "risk_per_trade")
    )
    lost = max(-sum((Decimal(session["daily_pnl"]) for session in sessions), _ZERO), _ZERO)
    opened = sum(session["open_positions"] for session in sessions)
    sizes = (session["largest_position"] for session in sessions)
    largest = max((Decimal(size) for size in sizes if size is not None), default=None)
    max_loss, max_size, max_risk = (
        None if limit is None else Decimal(limit) for limit in (max_loss, max_size, max_risk)
    )
    risks_more = max_risk is not None and any(
        exceeds_risk(session["worst_pnl"], session["initial_balance"], max_risk) for session in sessions
    )
    return {
        RiskLimit.MAX_DAILY_LOSS: LimitUsage(lost, max_loss, max_loss is not None and lost > max_loss),
        RiskLimit.MAX_POSITION_SIZE: LimitUsage(
            largest, max_size, max_size is not None and largest is not None and largest > max_size
        ),
        RiskLimit.MAX_OPEN_POSITIONS: LimitUsage(
            opened, max_open, max_open is not None and opened > max_open
        ),
        RiskLimit.RISK_PER_TRADE: LimitUsage(
            None if max_risk is None else _worst_risk(sessions), max_risk, risks_more
        ),
    }


def risk_status_of(limits: Row | Mapping[str, Any], sessions: Sequence[Row]) -> Row:
    """Returns the fields of RiskStatus; the parameters are those of `limit_usage`."""
    usage = limit_usage(limits, sessions)
    max_loss, max_open = usage[RiskLimit.MAX_DAILY_LOSS].allowed, usage[RiskLimit.MAX_OPEN_POSITIONS].allowed
    lost, opened = usage[RiskLimit.MAX_DAILY_LOSS].value, usage[RiskLimit.MAX_OPEN_POSITIONS].value
    assert lost is not None  # noqa: S101 - narrows
    assert opened is not None  # noqa: S101 - narrows
    return {
        "daily_pnl": sum((Decimal(session["daily_pnl"]) for session in sessions), _ZERO),
        "daily_loss_used": None if max_loss is None else lost,
        "daily_loss_remaining": None if max_loss is None else max(max_loss - lost, _ZERO),
        "open_positions": opened,
        "open_positions_remaining": None if max_open is None else max(max_open - opened, 0),
        "largest_position": usage[RiskLimit.MAX_POSITION_SIZE].value,
        "breached": [limit for limit, used in usage.items() if used.is_exceeded],
    }


def exceeds_risk(pnl: Any, balance: Any, max_risk: Decimal) -> bool:
    """Whether a trade lost more than the part `max_risk` of its session's initial balance."""
    if pnl is None or balance is None or Decimal(balance) <= 0:
        return False
    return -Decimal(pnl) > max_risk * Decimal(balance)


def _worst_risk(sessions: Sequence[Row]) -> Decimal | None:
    """Returns the largest part of its session's initial balance that a trade of the day lost."""
    known = [
        (max(-Decimal(session["worst_pnl"]), _ZERO), Decimal(session["initial_balance"]))
        for session in sessions
        if session["worst_pnl"] is not None and session["initial_balance"] is not None
    ]
    worst = max((lost / balance for lost, balance in known if balance > 0), default=None)
    return None if worst is None else worst.quantize(_ZERO, ROUND_DOWN, _WIDE)


def counts_today(
    status: ColumnElement[str], moment: ColumnElement[datetime], now: ColumnElement[datetime]
) -> ColumnElement[bool]:
    """Returns the condition that a trade closed on the day of `now`.

    Run the statement with the zone's `zone_parameters`.
    """
    return and_(is_status(status, "CLOSED"), moment >= bucket_start(Interval.DAY, now))


@cache
def _limits_and_sessions(*, for_tenant: bool) -> Aggregation:
    """Returns the query of the limits in force, beside each row of `_by_session`.

    One statement has one snapshot, so that a limit and the values that are compared with it are of one time.
    """

    def query(trades: FromClause) -> Select[Any]:
        columns = (tables.risk_settings.c[limit.column] for limit in LIMIT_COLUMNS)
        finite = (tables.finite(each).label(each.name) for each in columns)
        limits = current_risk_settings.query(*finite, for_tenant=for_tenant).subquery("limits")
        sessions = _by_session(trades).subquery("sessions")
        parents = limits.c["_parent"], sessions.c["_parent"]
        return select(
            func.coalesce(*parents).label("_parent"),
            *(column for side in (limits, sessions) for column in side.c if column not in parents),
        ).select_from(limits.join(sessions, operator.eq(*parents), full=True))

    return query


def _by_session(trades: FromClause) -> Select[Any]:
    """Returns the sums over open trades and over those that closed today, for each session that has either.

    The recorder of risk events computes the same sums in memory (`event_recording._sum_up`).
    """
    parent, pnl, sessions = trades.c["_parent"], trades.c.pnl, tables.sessions
    is_open = is_status(trades.c.status, "OPEN")
    is_todays = counts_today(trades.c.status, trades.c.moment, func.now())
    return (
        select(
            parent,
            tables.finite(sessions.c.initial_balance).label("initial_balance"),
            or_zero(func.sum(pnl).filter(is_todays)).label("daily_pnl"),
            func.min(pnl).filter(is_todays).label("worst_pnl"),
            func.count().filter(is_open).label("open_positions"),
            func.max(trades.c.size).filter(is_open).label("largest_position"),
        )
        .select_from(trades.join(sessions, sessions.c.id == trades.c.session_id))
        .where(or_(is_open, is_todays))
        .group_by(parent, sessions.c.id)
    )
