"""Row types of the demo's tables, for COPY: the fields are the table's columns.

While rows are computed, money is a whole number of 1e-8, the smallest step of the columns, and time a whole
number of seconds since 1970.
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

ONE = 10**8
DAY = 86_400

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class User(NamedTuple):
    """A row of users."""

    id: UUID
    email: str
    password_hash: str
    created_at: datetime
    last_login: datetime | None
    is_active: bool
    subscription_status: str | None
    subscription_expires: datetime | None


class Account(NamedTuple):
    """A row of tradelocker_accounts."""

    id: UUID
    user_id: UUID
    account_number: str
    server: str
    api_key: str | None
    is_active: bool
    last_sync: datetime | None


class Session(NamedTuple):
    """A row of trading_sessions."""

    id: UUID
    account_id: UUID | None
    started_at: datetime
    ended_at: datetime | None
    initial_balance: Decimal | None
    final_balance: Decimal | None
    pnl: Decimal | None
    trades_count: int


class Trade(NamedTuple):
    """A row of trades."""

    id: UUID
    session_id: UUID | None
    symbol: str
    direction: str
    entry_price: Decimal
    exit_price: Decimal | None
    size: Decimal
    entry_time: datetime
    exit_time: datetime | None
    pnl: Decimal | None
    status: str
    strategy_id: UUID | None
    ai_confidence: Decimal | None


class Strategy(NamedTuple):
    """A row of ai_strategies."""

    id: UUID
    name: str
    description: str | None
    parameters: str | None
    created_at: datetime
    updated_at: datetime | None
    performance_score: Decimal | None
    is_active: bool


class Performance(NamedTuple):
    """A row of strategy_performance."""

    id: UUID
    strategy_id: UUID
    timestamp: datetime
    win_rate: Decimal | None
    profit_factor: Decimal | None
    sharpe_ratio: Decimal | None
    trades_count: int
    period_start: datetime
    period_end: datetime


class RiskSettings(NamedTuple):
    """A row of risk_settings."""

    id: UUID
    account_id: UUID
    max_daily_loss: Decimal | None
    max_position_size: Decimal | None
    max_open_positions: int | None
    risk_per_trade: Decimal | None
    updated_at: datetime


class SystemLog(NamedTuple):
    """A row of system_logs."""

    id: UUID
    timestamp: datetime
    level: str
    component: str
    message: str
    details: str | None


def chance(seed: int, part: str) -> random.Random:
    """Returns random numbers that repeat for a seed. Each part draws its own, so that they change apart."""
    return random.Random(f"{seed} {part}")  # noqa: S311 - sample data, no secret


def identifier(rng: random.Random) -> UUID:
    """Returns a random UUID, as uuid_generate_v4() would make it."""
    return UUID(int=rng.getrandbits(128), version=4)


def spelling(rng: random.Random, usual: str, *others: str) -> str:
    """Returns the usual word, or one time in twelve another, as several programs would have written it."""
    return rng.choice(others) if rng.randrange(12) == 0 else usual


def moment(second: int, microsecond: int = 0) -> datetime:
    """Returns a count of seconds since 1970 as the instant it means."""
    return _EPOCH + timedelta(seconds=second, microseconds=microsecond)


def money(units: int) -> Decimal:
    """Returns a whole number of 1e-8 as a decimal with eight digits after the point."""
    return Decimal(units).scaleb(-8)


def total(amounts: Sequence[Decimal | None]) -> Decimal:
    """Returns the sum of the amounts that are numbers."""
    return sum((amount for amount in amounts if amount is not None and amount.is_finite()), money(0))
