"""Demo trades, drawn from a strategy's hit rate and the instrument's prices."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isqrt
from uuid import UUID

from graphql_api.dev.demo.market import BAR, Instrument, Series
from graphql_api.dev.demo.rows import Session, Trade, identifier, moment, money, spelling
from graphql_api.dev.demo.sessions import Run, opening_balance
from graphql_api.dev.demo.strategies import Assignment

BUY = ("buy", "long", "BUY", "b")
SELL = ("sell", "short", "Sell", "s")
OPEN = ("open", "active", "OPEN")
CLOSED = ("closed", "filled", "Closed")
CANCELLED = ("cancelled", "canceled", "removed")
REJECTED = ("rejected", "refused")

RISK = 4_000
"""Risk of a trade: millionths of the balance that a usual move costs or earns."""


def size(instrument: Instrument, price: int, hold: int, balance: int, largest: int, risk: int) -> int:
    """Returns the hundredths of a lot of which a usual move costs `risk` millionths of a balance."""
    usual_move = price * instrument.volatility * isqrt(hold) // 1_000_000
    return min(max(balance * risk * 100 // (usual_move * instrument.contract * 1_000_000), 1), largest)


@dataclass(frozen=True, slots=True)
class Setup:
    """Where a run can trade: a strategy on an instrument, within these bars."""

    assignment: Assignment
    series: Series
    bars: range
    size: int


def find_setups(run: Run, market: Mapping[str, Series], balance: Decimal, *, risk: int = RISK) -> list[Setup]:
    """Returns a setup for every assignment with enough bars in this run to open and to close a trade."""
    found = []
    for assignment in run.profile.assignments:
        series = market[assignment.instrument.symbol]
        bars = run.bars(market, assignment.instrument.symbol)
        if len(bars) > 1:
            price = series.prices[bars[0]]
            lots = size(
                assignment.instrument,
                price,
                assignment.hold,
                int(balance.scaleb(8)),
                run.profile.largest,
                risk,
            )
            found.append(Setup(assignment, series, bars, lots))
    return found


def trade(rng: random.Random, run: Run, session_id: UUID, setup: Setup) -> Trade:
    """Returns one trade of a run. It is open if the run is running and would hold it beyond now."""
    assignment, series = setup.assignment, setup.series
    entry_bar = setup.bars[0] + rng.randrange(len(setup.bars) - 1)
    exit_bar = entry_bar + 1 + rng.randrange(2 * assignment.hold)
    last = setup.bars[-1]
    is_open = run.running and exit_bar > last
    exit_bar = min(exit_bar, last)
    entry_offset, exit_offset = rng.randrange(BAR), rng.randrange(BAR)
    entry_price, exit_price = series.price(entry_bar, entry_offset), series.price(exit_bar, exit_offset)
    bought = (exit_price >= entry_price) == (rng.randrange(1000) < assignment.edge)
    lots = min(max(setup.size * rng.randrange(60, 141) // 100, 1), run.profile.largest)
    profit = assignment.instrument.profit(
        exit_price - entry_price if bought else entry_price - exit_price, lots
    )
    manual = rng.randrange(40) == 0
    opened = Trade(
        identifier(rng),
        session_id,
        assignment.instrument.symbol,
        spelling(rng, *(BUY if bought else SELL)),
        money(entry_price),
        None,
        Decimal(lots).scaleb(-2),
        moment(series.times[entry_bar] + entry_offset, rng.randrange(1_000_000)),
        None,
        None,
        spelling(rng, *OPEN),
        None if manual else assignment.strategy_id,
        None if manual else Decimal(5_000 + rng.randrange(4_600)).scaleb(-4),
    )
    fate = rng.randrange(1000)
    if fate < 30:
        return opened._replace(status=rng.choice(CANCELLED))
    if fate < 45:
        return opened._replace(status=rng.choice(REJECTED))
    if is_open:
        return opened
    return opened._replace(
        exit_price=money(exit_price),
        exit_time=moment(series.times[exit_bar] + exit_offset, rng.randrange(1_000_000)),
        pnl=money(profit),
        status=spelling(rng, *CLOSED),
    )


def trades(rng: random.Random, run: Run, session_id: UUID, count: int, setups: list[Setup]) -> list[Trade]:
    """Returns so many trades of a run, oldest first."""
    made = [trade(rng, run, session_id, rng.choice(setups)) for _ in range(count)]
    return sorted(made, key=lambda each: each.entry_time)


@dataclass(frozen=True, slots=True)
class Traded:
    """A run with its session's row, its trades' rows, and the setups that they were drawn from."""

    run: Run
    session: Session
    trades: list[Trade]
    setups: list[Setup]


def history(
    rng: random.Random,
    plan: Sequence[Run],
    counts: Sequence[int],
    market: Mapping[str, Series],
    *,
    risk: int = RISK,
) -> Iterator[Traded]:
    """Returns the runs of one account with their trades, each with the previous one's final balance."""
    session = None
    for run, count in zip(plan, counts, strict=True):
        session_id = identifier(rng)
        balance = opening_balance(session, run.profile)
        setups = find_setups(run, market, balance, risk=risk)
        made = trades(rng, run, session_id, count, setups)
        session = run.session(session_id, run.profile.account.id, balance, made)
        yield Traded(run, session, made, setups)
