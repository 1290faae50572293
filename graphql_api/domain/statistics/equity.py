"""Results in the order they came in: what they add up to, its peak and drawdown, and where it starts."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CTE, FromClause, Integer, Select, and_, case, false, func, literal_column, select, true
from sqlalchemy.dialects.postgresql import distinct_on

from graphql_api.domain.statistics.arithmetic import ZERO, quotient
from graphql_api.domain.statistics.trade_set import TradeSet, is_status, read
from graphql_api.postgres import tables
from graphql_api.relational.context import Reader, Row

_NOTHING = {"max_drawdown": "0.00000000", "max_drawdown_pct": None}
_SO_FAR = (None, 0)


async def drawdown(db: Reader, keys: Sequence[str], trades: TradeSet) -> Mapping[str, Row]:
    """One row for each parent: `max_drawdown`, and `max_drawdown_pct` where the start is known."""
    rows = await read(db, _drawdown, keys, trades)
    return dict.fromkeys(keys, _NOTHING) | {row["_parent"]: row for row in rows}


def results(trades: FromClause) -> CTE:
    """Closed trades that have a pnl. Read several times, so a statement holds them once."""
    columns = (trades.c[name] for name in ("_parent", "id", "session_id", "moment", "pnl"))
    counted = and_(is_status(trades.c.status, "CLOSED"), trades.c.pnl.is_not(None))
    return select(*columns).where(counted).cte("results")


def running(results: FromClause) -> FromClause:
    """Each result with the `peak` of the running sum, which begins at 0, and the `drawdown` below it."""
    parent = results.c["_parent"]
    order = (results.c.moment, results.c.id)
    cumulative = func.sum(results.c.pnl).over(partition_by=parent, order_by=order, rows=_SO_FAR)
    sums = select(*results.c, cumulative.label("cumulative")).subquery("sums")
    highest = func.max(sums.c.cumulative).over(
        partition_by=sums.c["_parent"], order_by=(sums.c.moment, sums.c.id), rows=_SO_FAR
    )
    peaks = select(*sums.c, func.greatest(highest, ZERO).label("peak")).subquery("peaks")
    return select(*peaks.c, (peaks.c.peak - peaks.c.cumulative).label("drawdown")).subquery("running")


def starts(results: FromClause) -> CTE:
    """The `balance` each parent's results start from; null if it is unknown.

    Of each account the initial balance of the session its first result is from, added up. One that is
    missing, NaN, 0 or negative makes the whole unknown.
    """
    parent = results.c["_parent"]
    by_session = (
        select(parent, results.c.session_id, func.min(results.c.moment).label("first"))
        .group_by(parent, results.c.session_id)
        .subquery("by_session")
    )
    # Looked up one by one: PostgreSQL takes them for many, and would read everybody's sessions to join them.
    sessions = tables.sessions.c
    session = (
        select(sessions.id, sessions.account_id, tables.finite(sessions.initial_balance).label("balance"))
        .where(sessions.id == by_session.c.session_id)
        .limit(literal_column("1", Integer))
        .lateral("session")
    )
    account = func.coalesce(session.c.account_id, session.c.id)  # a session without one stands alone
    firsts = (
        select(by_session.c["_parent"], session.c.balance)
        .select_from(by_session.outerjoin(session, true()))
        .ext(distinct_on(by_session.c["_parent"], account))
        .order_by(by_session.c["_parent"], account, by_session.c.first, by_session.c.session_id)
        .subquery("firsts")
    )
    known = func.bool_and(func.coalesce(firsts.c.balance > 0, false()))
    balance = case((known, func.sum(firsts.c.balance))).label("balance")
    starts = select(firsts.c["_parent"], balance).group_by(firsts.c["_parent"]).cte("starts")
    return starts.prefix_with("MATERIALIZED")  # or PostgreSQL would compute it again for each result


def _drawdown(trades: FromClause) -> Select[Any]:
    counted = results(trades)
    line, start = running(counted), starts(counted)
    parent, below_peak = line.c["_parent"], line.c.drawdown
    percent = quotient(below_peak * literal_column("100"), start.c.balance + line.c.peak)
    return (
        select(
            parent,
            func.max(below_peak).label("max_drawdown"),
            func.max(percent).label("max_drawdown_pct"),
        )
        .select_from(line.join(start, parent == start.c["_parent"]))
        .group_by(parent)
    )
