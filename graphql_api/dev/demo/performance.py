"""Demo performance records: how each strategy did on each of thirty days."""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from graphql_api.dev.demo.rows import DAY, Performance, Strategy, Trade, identifier, moment, total

_WINDOW = 30
_TRADING_DAYS = 252
_STEP = Decimal("0.0001")
_LARGEST = Decimal("999999.9999")  # what numeric(10,4) holds


@dataclass(slots=True)
class _Results:
    """The results of one strategy's trades, by the day on which they were closed."""

    by_day: defaultdict[int, list[Decimal]] = field(default_factory=lambda: defaultdict(list))

    def between(self, first_day: int, last_day: int) -> list[list[Decimal]]:
        return [self.by_day[day] for day in range(first_day, last_day) if day in self.by_day]


def performance(
    rng: random.Random, strategies: Sequence[Strategy], trades: Iterable[Trade], first: int, last: int
) -> tuple[list[Strategy], list[Performance]]:
    """Returns the strategies with their scores, and one row a day for each that has traded.

    A score is gross profit over gross profit and gross loss, from 0 to 1.
    """
    results: dict[UUID | None, _Results] = defaultdict(_Results)
    for trade in trades:
        if trade.exit_time is not None and trade.pnl is not None and trade.pnl.is_finite():
            day = int(trade.exit_time.timestamp()) // DAY
            results[trade.strategy_id].by_day[day].append(trade.pnl)
    rows = [
        _row(rng, strategy.id, day, days)
        for strategy in strategies
        for day in range(first // DAY + 1, last // DAY + 1)
        if (days := results[strategy.id].between(day - _WINDOW, day))
    ]
    return [_scored(strategy, results[strategy.id]) for strategy in strategies], rows


def _scored(strategy: Strategy, results: _Results) -> Strategy:
    amounts = [amount for day in results.by_day.values() for amount in day]
    moved = total([abs(amount) for amount in amounts])
    if not moved:
        return strategy
    won = total([amount for amount in amounts if amount > 0])
    return strategy._replace(performance_score=(won / moved).quantize(_STEP))


def _row(rng: random.Random, strategy_id: UUID, day: int, days: list[list[Decimal]]) -> Performance:
    amounts = [amount for each in days for amount in each]
    won = total([amount for amount in amounts if amount > 0])
    lost = total([-amount for amount in amounts if amount < 0])
    wins = sum(amount > 0 for amount in amounts)
    return Performance(
        identifier(rng),
        strategy_id,
        moment(day * DAY + 300, rng.randrange(1_000_000)),
        (Decimal(wins) / len(amounts)).quantize(_STEP),
        min(won / lost, _LARGEST).quantize(_STEP) if lost else None,
        _sharpe([total(each) for each in days]),
        len(amounts),
        moment((day - _WINDOW) * DAY),
        moment(day * DAY),
    )


def _sharpe(daily: list[Decimal]) -> Decimal | None:
    """Returns the annual Sharpe ratio of daily results; None where they don't vary."""
    mean = sum(daily, Decimal(0)) / len(daily)
    variance = sum(((amount - mean) ** 2 for amount in daily), Decimal(0)) / len(daily)
    if not variance:
        return None
    yearly = mean / variance.sqrt() * Decimal(_TRADING_DAYS).sqrt()
    return max(-_LARGEST, min(yearly, _LARGEST)).quantize(_STEP)
