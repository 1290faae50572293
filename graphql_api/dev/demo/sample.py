"""The whole sample: a desk, its trading over nine months, its log lines and its strategies' performance."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from graphql_api.dev.demo import rows
from graphql_api.dev.demo.desk import EMAILS, OPERATOR, TRADER, AccountProfile, profiles, risk_settings, user
from graphql_api.dev.demo.logs import lines
from graphql_api.dev.demo.market import Series, quotes
from graphql_api.dev.demo.oddities import ODDITIES, odd_trades, orphan_session, orphan_trade
from graphql_api.dev.demo.performance import performance
from graphql_api.dev.demo.rows import DAY, chance, total
from graphql_api.dev.demo.sessions import runs, shares
from graphql_api.dev.demo.strategies import strategies
from graphql_api.dev.demo.trades import history

DAYS = 270
"""The time that a sample covers, up to now."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The rows of each table, under its name, in an order in which they can be written."""

    users: Sequence[rows.User]
    tradelocker_accounts: Sequence[rows.Account]
    ai_strategies: Sequence[rows.Strategy]
    trading_sessions: Sequence[rows.Session]
    trades: Sequence[rows.Trade]
    strategy_performance: Sequence[rows.Performance]
    risk_settings: Sequence[rows.RiskSettings]
    system_logs: Sequence[rows.SystemLog]

    def tables(self) -> list[tuple[str, Sequence[Any]]]:
        """Returns each table's name and rows."""
        return [(table.name, getattr(self, table.name)) for table in fields(self)]


def make(*, seed: int, now: datetime, trades: int, password_hash: str) -> Sample:
    """Returns the sample of a seed, as it looks at `now`: the same arguments give the same rows.

    Raises ValueError if there are too few trades to include every case that a sample has.
    """
    if trades < 100:
        raise ValueError("a sample has 100 trades or more")
    last = int(now.timestamp())
    first = last - DAYS * DAY
    unscored = strategies(seed, first)
    ids = {strategy.name: strategy.id for strategy in unscored}
    users, desk = _people(chance(seed, "desk"), password_hash, ids, first, last)
    sessions, traded = _trading(chance(seed, "trades"), desk, quotes(seed, first, last), trades, last)
    scored, results = performance(chance(seed, "performance"), unscored, traded, first, last)
    return Sample(
        users=users,
        tradelocker_accounts=[profile.account for profile in desk],
        ai_strategies=scored,
        trading_sessions=sessions,
        trades=traded,
        strategy_performance=results,
        risk_settings=risk_settings(chance(seed, "risk"), desk, last),
        system_logs=lines(chance(seed, "logs"), sessions, traded, first, last),
    )


def _people(
    rng: random.Random, password_hash: str, strategies: Mapping[str, UUID], first: int, now: int
) -> tuple[list[rows.User], list[AccountProfile]]:
    users = [user(rng, email, password_hash, first, now) for email in EMAILS]
    desk: list[AccountProfile] = []
    for number, owner in enumerate(users):
        count = {TRADER: 3, OPERATOR: 0}.get(owner.email, 1 + number % 3)
        desk += profiles(rng, owner, range(number, number + count), strategies, first, now)
    return users, desk


def _trading(
    rng: random.Random, desk: Sequence[AccountProfile], market: Mapping[str, Series], count: int, now: int
) -> tuple[list[rows.Session], list[rows.Trade]]:
    plans = [runs(rng, profile, now) for profile in desk]
    weights = [run.weight(market) for plan in plans for run in plan]
    counts = iter(shares(count - len(ODDITIES) - 1, weights))
    odd = plans[0][-1]
    sessions: list[rows.Session] = []
    traded: list[rows.Trade] = []
    for plan in plans:
        for finished in history(rng, plan, [next(counts) for _ in plan], market):
            session, made = finished.session, finished.trades
            if finished.run is odd:
                made = made + odd_trades(rng, odd, session.id, finished.setups)
                pnl = total([trade.pnl for trade in made])
                session = session._replace(pnl=pnl, trades_count=len(made))
                traded.append(orphan_trade(rng, odd, finished.setups))
            sessions.append(session)
            traded += made
    return [*sessions, orphan_session(rng, odd)], traded
