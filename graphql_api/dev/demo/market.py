"""Demo prices: a random walk for each instrument, drawn only while its market is open."""

import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress, cycle

from graphql_api.dev.demo.rows import DAY, ONE, chance

BAR = 300
"""Seconds between two prices of a series."""

_MINUTES_PER_DAY = DAY // 60
_FRIDAY_CLOSE = 4 * _MINUTES_PER_DAY + 21 * 60
_SUNDAY_OPEN = 6 * _MINUTES_PER_DAY + 22 * 60
_PAUSE = range(21 * 60, 23 * 60)


def _minute_of_week(second: int) -> int:
    return (second // 60 + 3 * _MINUTES_PER_DAY) % (7 * _MINUTES_PER_DAY)  # 1970 began on a Thursday


def weekend_after(second: int) -> int:
    """When foreign exchange next closes for a weekend."""
    return second + (_FRIDAY_CLOSE - _minute_of_week(second)) % (7 * _MINUTES_PER_DAY) * 60 - second % 60


def around_the_clock(_: int) -> bool:
    """Crypto never closes."""
    return True


def weekdays(second: int) -> bool:
    """Foreign exchange: Sunday 22:00 to Friday 21:00 UTC, which is open in summer and in winter."""
    return not _FRIDAY_CLOSE <= _minute_of_week(second) < _SUNDAY_OPEN


def weekdays_with_pause(second: int) -> bool:
    """Metals and indices: as foreign exchange, but for the break at New York's close."""
    return weekdays(second) and second // 60 % _MINUTES_PER_DAY not in _PAUSE


@dataclass(frozen=True, slots=True)
class Instrument:
    """What can be traded. Every quote currency is the US dollar, so profits are dollars too."""

    symbol: str
    price: int
    """The price at the end of its random walk, in units of 1e-8 dollars."""
    tick: int
    """The smallest step of its price, in units of 1e-8 dollars."""
    contract: int
    """Units in one lot."""
    volatility: int
    """Standard deviation of its price over a bar, in millionths."""
    is_open: Callable[[int], bool]
    """Whether it trades at a second since 1970."""

    def nearest(self, price: int) -> int:
        """Returns the nearest price that can be quoted; rounding down would bend every walk."""
        return max((price + self.tick // 2) // self.tick, 1) * self.tick

    def profit(self, change: int, size: int) -> int:
        """Returns what a change of the price earns on `size` hundredths of a lot, both in 1e-8 dollars."""
        return change * size * self.contract // 100


INSTRUMENTS = {
    instrument.symbol: instrument
    for instrument in (
        Instrument("EURUSD", 116_240_000, 1_000, 100_000, 265, weekdays),
        Instrument("GBPUSD", 133_580_000, 1_000, 100_000, 295, weekdays),
        Instrument("AUDUSD", 65_410_000, 1_000, 100_000, 330, weekdays),
        Instrument("XAUUSD", 4_085 * ONE, ONE // 100, 100, 530, weekdays_with_pause),
        Instrument("NAS100", 24_870 * ONE, ONE // 10, 1, 720, weekdays_with_pause),
        Instrument("BTCUSD", 91_350 * ONE, ONE // 100, 1, 1_470, around_the_clock),
        Instrument("ETHUSD", 3_020 * ONE, ONE // 100, 1, 2_060, around_the_clock),
    )
}


def step(instrument: Instrument, price: int, rng: random.Random, *, calm: int = 1) -> int:
    """Returns the price one bar later (or earlier); `calm` divides the move.

    The sum of 64 coin tosses is as good as a bell curve, and exact.
    """
    tosses = rng.getrandbits(64).bit_count() - 32  # standard deviation 4
    return instrument.nearest(price + price * instrument.volatility * tosses // (4_000_000 * calm))


@dataclass(frozen=True, slots=True)
class Series:
    """The prices of one instrument at the beginning of each bar in which its market was open."""

    instrument: Instrument
    times: Sequence[int]
    prices: Sequence[int]

    def between(self, start: int, end: int) -> range:
        """Returns the bars that lie within two moments."""
        return range(bisect_left(self.times, start), bisect_left(self.times, end - BAR + 1))

    def price(self, bar: int, offset: int) -> int:
        """Returns the price `offset` seconds into a bar, on the line to the next."""
        here = self.prices[bar]
        there = self.prices[min(bar + 1, len(self.prices) - 1)]
        return self.instrument.nearest(here + (there - here) * offset // BAR)


def quotes(seed: int, first: int, last: int) -> dict[str, Series]:
    """Returns the series of every instrument between two moments, by symbol."""
    return {
        symbol: _series(instrument, chance(seed, symbol), first, last)
        for symbol, instrument in INSTRUMENTS.items()
    }


def _series(instrument: Instrument, rng: random.Random, first: int, last: int) -> Series:
    bars = range(first - first % BAR, last, BAR)
    hours = [instrument.is_open(second) for second in bars[: 7 * DAY // BAR]]  # every week is alike
    times = list(compress(bars, cycle(hours)))
    prices = [instrument.price]
    for _ in times[1:]:
        prices.append(step(instrument, prices[-1], rng))
    prices.reverse()  # drawn backwards, so that it ends at a price of today
    return Series(instrument, times, prices)
