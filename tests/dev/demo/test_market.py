from datetime import UTC, datetime

import pytest

from graphql_api.dev.demo.market import BAR, INSTRUMENTS, Series, quotes, step, weekend_after
from graphql_api.dev.demo.rows import DAY, ONE, chance


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


FIRST, LAST = at("2026-10-01"), at("2026-11-18 12:00")
ALWAYS = ("BTCUSD", "ETHUSD")


@pytest.fixture(scope="module")
def market() -> dict[str, Series]:
    return quotes(1, FIRST, LAST)


@pytest.mark.parametrize(
    ("symbol", "when", "is_open"),
    [
        ("EURUSD", "2026-11-20 20:59", True),  # Friday
        ("EURUSD", "2026-11-20 21:00", False),
        ("EURUSD", "2026-11-21 12:00", False),
        ("EURUSD", "2026-11-22 21:59", False),
        ("EURUSD", "2026-11-22 22:00", True),
        ("EURUSD", "2026-11-18 21:30", True),
        ("XAUUSD", "2026-11-18 20:59", True),
        ("XAUUSD", "2026-11-18 21:30", False),
        ("XAUUSD", "2026-11-18 23:00", True),
        ("NAS100", "2026-11-22 22:30", False),
        ("BTCUSD", "2026-11-21 12:00", True),
    ],
)
def test_markets_keep_their_hours(symbol: str, when: str, is_open: bool) -> None:
    assert INSTRUMENTS[symbol].is_open(at(when)) is is_open


def test_the_next_weekend_begins_on_friday_night() -> None:
    assert weekend_after(at("2026-11-18 12:00:30")) == at("2026-11-20 21:00")


def test_series_have_prices_only_while_the_market_is_open(market: dict[str, Series]) -> None:
    for series in market.values():
        assert all(series.instrument.is_open(second) for second in series.times)
    assert len(market["BTCUSD"].times) == (LAST - FIRST) // BAR
    assert len(market["EURUSD"].times) < len(market["BTCUSD"].times)


def test_every_price_is_a_positive_number_of_ticks(market: dict[str, Series]) -> None:
    for series in market.values():
        assert all(price > 0 and price % series.instrument.tick == 0 for price in series.prices)


def test_series_end_at_the_price_of_today(market: dict[str, Series]) -> None:
    assert all(series.prices[-1] == series.instrument.price for series in market.values())


def test_a_seed_gives_the_same_prices_again(market: dict[str, Series]) -> None:
    assert quotes(1, FIRST, LAST) == market


def test_another_seed_gives_other_prices(market: dict[str, Series]) -> None:
    assert quotes(2, FIRST, LAST)["EURUSD"].prices != market["EURUSD"].prices


def test_a_price_within_a_bar_lies_between_its_ends(market: dict[str, Series]) -> None:
    series = market["BTCUSD"]
    low, high = sorted(series.prices[100:102])
    assert all(low <= series.price(100, offset) <= high for offset in range(BAR))
    assert series.price(100, 0) == series.prices[100]


def test_the_last_bar_stands_still(market: dict[str, Series]) -> None:
    series = market["BTCUSD"]
    assert series.price(len(series.prices) - 1, BAR - 1) == series.prices[-1]


def test_bars_between_two_moments_lie_wholly_within_them(market: dict[str, Series]) -> None:
    series = market["BTCUSD"]
    start, end = FIRST + 1, FIRST + DAY - 1
    times = [series.times[bar] for bar in series.between(start, end)]
    assert len(times) == DAY // BAR - 2
    assert start <= times[0]
    assert times[-1] + BAR <= end


def test_walks_lean_neither_up_nor_down() -> None:
    euro = INSTRUMENTS["EURUSD"]
    rng = chance(1, "lean")
    steps = [step(euro, ONE, rng) - ONE for _ in range(20_000)]
    deviation = ONE * euro.volatility // 1_000_000
    assert abs(sum(steps)) < 4 * deviation * 142  # four standard errors, and 142 is the root of 20,000


def test_profit_is_the_change_times_the_lots() -> None:
    assert INSTRUMENTS["EURUSD"].profit(100_000, 50) == 50 * ONE  # ten pips on half a lot
    assert INSTRUMENTS["XAUUSD"].profit(-3 * ONE, 10) == -30 * ONE  # three dollars on ten ounces
