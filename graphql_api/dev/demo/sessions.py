"""Demo sessions: when each account's bot was started and stopped."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from graphql_api.dev.demo.desk import AccountProfile
from graphql_api.dev.demo.market import Series, weekdays, weekend_after
from graphql_api.dev.demo.rows import DAY, Session, Trade, moment, money, total

_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Run:
    """A session to be: one account's bot from `start` to `end`, or until now if it is running."""

    profile: AccountProfile
    start: int
    end: int
    running: bool

    def bars(self, market: Mapping[str, Series], symbol: str) -> range:
        """Returns the bars of an instrument in which this run trades. It opens in any but the last."""
        return market[symbol].between(self.start, self.end)[:-1]

    def weight(self, market: Mapping[str, Series]) -> int:
        """Returns a number that grows with the trades that this run has room for, to share trades out by."""
        return sum(
            max(len(self.bars(market, assignment.instrument.symbol)) - 1, 0)
            for assignment in self.profile.assignments
        )

    def session(
        self, session_id: UUID, account_id: UUID | None, balance: Decimal, trades: Sequence[Trade]
    ) -> Session:
        """Returns the row, with totals that agree with its trades; a running session has no final balance."""
        pnl = total([trade.pnl for trade in trades])
        return Session(
            session_id,
            account_id,
            moment(self.start),
            None if self.running else moment(self.end),
            balance,
            None if self.running else balance + pnl,
            pnl,
            len(trades),
        )


def runs(rng: random.Random, profile: AccountProfile, now: int) -> list[Run]:
    """Returns the runs of one account, oldest first, none at the same time as another."""
    last = now - rng.randrange(3 * DAY, 6 * DAY)
    while profile.rests_at_weekends and not weekdays(last):
        last -= _HOUR
    until = last - _HOUR if profile.running else now
    found: list[Run] = []
    start = profile.opened
    while True:
        while profile.rests_at_weekends and not weekdays(start):
            start += _HOUR
        end = start + rng.randrange(6 * _HOUR, 5 * DAY)
        if profile.rests_at_weekends:
            end = min(end, weekend_after(start))
        if end > until:
            break
        found.append(Run(profile, start, end, running=False))
        start = end + rng.randrange(_HOUR, 2 * DAY)
    if profile.running:
        found.append(Run(profile, last, now, running=True))
    return found


def shares(count: int, weights: Sequence[int]) -> list[int]:
    """Divides `count` by weight into whole numbers that add up to it."""
    whole = sum(weights)
    dealt, reached, result = 0, 0, []
    for weight in weights:
        reached += weight
        result.append(count * reached // whole - dealt)
        dealt += result[-1]
    return result


def opening_balance(previous: Session | None, profile: AccountProfile) -> Decimal:
    """Returns the initial balance of the next session: the final balance of the previous one."""
    if previous is None or previous.final_balance is None:
        return money(profile.balance)
    return previous.final_balance
