"""Runs of the bots: when each account's bot was started and stopped."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from graphql_api.dev.demo.desk import Book
from graphql_api.dev.demo.market import Series, weekdays, weekend_after
from graphql_api.dev.demo.rows import DAY, Session, Trade, moment, money, total

_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Run:
    """A session to be: one account's bot from `start` to `end`, or until now if it is running."""

    book: Book
    start: int
    end: int
    running: bool

    def bars(self, market: Mapping[str, Series], symbol: str) -> range:
        """The bars of an instrument in which this run trades. It opens in any but the last."""
        return market[symbol].between(self.start, self.end)[:-1]

    def weight(self, market: Mapping[str, Series]) -> int:
        """How much this run can trade, next to the others."""
        return sum(max(len(self.bars(market, play.instrument.symbol)) - 1, 0) for play in self.book.plays)

    def session(
        self, session_id: UUID, account_id: UUID | None, balance: Decimal, trades: Sequence[Trade]
    ) -> Session:
        """The row, with totals that agree with its trades. A running session has no final balance yet."""
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


def runs(rng: random.Random, book: Book, now: int) -> list[Run]:
    """The runs of one account, oldest first, none at the same time as another."""
    last = now - rng.randrange(3 * DAY, 6 * DAY)
    while book.rests_at_weekends and not weekdays(last):
        last -= _HOUR
    until = last - _HOUR if book.running else now
    found: list[Run] = []
    start = book.opened
    while True:
        while book.rests_at_weekends and not weekdays(start):
            start += _HOUR
        end = start + rng.randrange(6 * _HOUR, 5 * DAY)
        if book.rests_at_weekends:
            end = min(end, weekend_after(start))
        if end > until:
            break
        found.append(Run(book, start, end, running=False))
        start = end + rng.randrange(_HOUR, 2 * DAY)
    if book.running:
        found.append(Run(book, last, now, running=True))
    return found


def shares(count: int, weights: Sequence[int]) -> list[int]:
    """`count` things dealt out by weight; the shares add up to it."""
    whole = sum(weights)
    dealt, reached, result = 0, 0, []
    for weight in weights:
        reached += weight
        result.append(count * reached // whole - dealt)
        dealt += result[-1]
    return result


def opening_balance(previous: Session | None, book: Book) -> Decimal:
    """What a session begins with: the previous one's final balance."""
    if previous is None or previous.final_balance is None:
        return money(book.balance)
    return previous.final_balance
