"""Demo strategies: what each trades, how long it holds, and how often it is right."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from graphql_api.dev.demo.market import INSTRUMENTS, Instrument
from graphql_api.dev.demo.rows import DAY, Strategy, chance, identifier, moment


@dataclass(frozen=True, slots=True)
class Recipe:
    """A strategy's row, and how it trades."""

    name: str
    description: str | None
    symbols: tuple[str, ...] = ()
    hold: int = 0
    """Bars a position is kept on average."""
    edge: int = 500
    """How many of a thousand positions are taken in the direction the price then goes."""
    parameters: Mapping[str, Any] | None = field(default=None, hash=False)
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Mandate:
    """The strategies an account runs, and what they may trade there."""

    strategies: tuple[str, ...]
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assignment:
    """One strategy on one instrument."""

    strategy_id: UUID
    instrument: Instrument
    hold: int
    edge: int


LONDON = "London Breakout"
REVERSION = "Mean Reversion FX"
GOLD = "Gold Trend Follower"
NASDAQ = "NASDAQ Opening Range"
CRYPTO = "Crypto Momentum"
GRID = "Crypto Grid"
NEWS = "News Fade"
ENSEMBLE = "LSTM Ensemble"
CARRY = "Aussie Carry"
PAPER = "Volatility Squeeze"

RECIPES = (
    Recipe(
        LONDON,
        "Trades the break of the Asian range in the first hours of London.",
        ("EURUSD", "GBPUSD"),
        24,
        530,
        {"range": {"from": "00:00", "to": "07:00", "timezone": "Europe/London"}, "buffer_pips": 3},
    ),
    Recipe(
        REVERSION,
        "Fades moves of two standard deviations back to the hourly mean.",
        ("EURUSD", "GBPUSD", "AUDUSD"),
        12,
        545,
        {"lookback_bars": 48, "entry_z": "2.0", "exit_z": "0.3", "sessions": ["london", "new_york"]},
    ),
    Recipe(
        GOLD,
        "Follows the four-hour trend in gold, with a trailing stop of three ATR.",
        ("XAUUSD",),
        96,
        520,
        {"fast_ema": 21, "slow_ema": 55, "atr_multiple": "3.0", "timeframe": "4h"},
    ),
    Recipe(
        NASDAQ,
        "Opening range of the US cash session.",
        ("NAS100",),
        36,
        525,
        {"range_minutes": 15, "take_profit_r": "1.8", "flat_by": "20:45"},
    ),
    Recipe(
        CRYPTO,
        "Cross-sectional momentum of the large coins, rebalanced every six hours.",
        ("BTCUSD", "ETHUSD"),
        72,
        535,
        {"lookback_hours": 36, "rebalance_hours": 6, "weights": {"BTCUSD": "0.6", "ETHUSD": "0.4"}},
    ),
    Recipe(
        GRID,
        "A ladder of small orders around the daily mean.",
        ("BTCUSD", "ETHUSD"),
        10,
        505,
        {"levels": 8, "spacing_bps": 35},
    ),
    Recipe(
        NEWS,
        "Fades the first reaction to scheduled releases.",
        ("EURUSD", "XAUUSD", "NAS100"),
        6,
        480,
        {
            "calendar": {"source": "https://calendar.example.com/v2", "api_token": "demo-calendar-token"},
            "impact": ["high"],
            "delay_seconds": 45,
        },
    ),
    Recipe(
        ENSEMBLE,
        "Votes of five recurrent networks, retrained every week.",
        tuple(INSTRUMENTS),
        48,
        550,
        {
            "models": 5,
            "threshold": "0.62",
            "features": ["returns", "volume", "regime"],
            "retrained": "weekly",
        },
    ),
    Recipe(CARRY, "Held for the swap. Retired.", ("AUDUSD",), 288, 510, {"min_swap": "0.4"}, is_active=False),
    Recipe(PAPER, None),  # never traded: no parameters, no performance, nothing to score
)


def strategies(seed: int, first: int) -> list[Strategy]:
    """Returns the rows of RECIPES, in their order, written in the months before `first`; not yet scored."""
    rng = chance(seed, "strategies")
    rows = []
    for recipe in RECIPES:
        created = first - rng.randrange(5, 200) * DAY + rng.randrange(DAY)
        updated = created + rng.randrange(200 * DAY) if recipe.parameters else None
        rows.append(
            Strategy(
                identifier(rng),
                recipe.name,
                recipe.description,
                json.dumps(recipe.parameters) if recipe.parameters else None,
                moment(created),
                moment(updated) if updated else None,
                None,
                recipe.is_active,
            )
        )
    return rows


def assignments(mandate: Mandate, ids: Mapping[str, UUID]) -> tuple[Assignment, ...]:
    """Returns what an account of this mandate trades. `ids` are the strategies' ids by name."""
    return tuple(
        Assignment(ids[recipe.name], INSTRUMENTS[symbol], recipe.hold, recipe.edge)
        for recipe in RECIPES
        if recipe.name in mandate.strategies
        for symbol in recipe.symbols
        if symbol in mandate.symbols
    )
