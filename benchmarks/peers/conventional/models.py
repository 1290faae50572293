"""The tables, as far as the workloads use them, mapped by SQLAlchemy's ORM."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import DateTime, Numeric, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """What all models share."""

    type_annotation_map = {datetime: DateTime(timezone=True), Decimal: Numeric, str: Text}  # noqa: RUF012

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("uuid_generate_v4()"))


class User(Base):
    """A user."""

    __tablename__ = "users"

    email: Mapped[str]
    created_at: Mapped[datetime | None]


class Account(Base):
    """An account of a user."""

    __tablename__ = "tradelocker_accounts"

    user_id: Mapped[UUID | None]
    account_number: Mapped[str]
    server: Mapped[str]
    is_active: Mapped[bool | None]
    last_sync: Mapped[datetime | None]


class Session(Base):
    """A run of the bot in an account."""

    __tablename__ = "trading_sessions"

    account_id: Mapped[UUID | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    pnl: Mapped[Decimal | None]


class Trade(Base):
    """A trade of a session."""

    __tablename__ = "trades"

    session_id: Mapped[UUID | None]
    strategy_id: Mapped[UUID | None]
    symbol: Mapped[str]
    direction: Mapped[str]
    entry_price: Mapped[Decimal]
    exit_price: Mapped[Decimal | None]
    size: Mapped[Decimal]
    entry_time: Mapped[datetime]
    exit_time: Mapped[datetime | None]
    pnl: Mapped[Decimal | None]
    status: Mapped[str]
    ai_confidence: Mapped[Decimal | None]


class Strategy(Base):
    """What decides trades."""

    __tablename__ = "ai_strategies"

    name: Mapped[str]


class Performance(Base):
    """How a strategy did in a period."""

    __tablename__ = "strategy_performance"

    strategy_id: Mapped[UUID | None]
    timestamp: Mapped[datetime | None]
    win_rate: Mapped[Decimal | None]
    profit_factor: Mapped[Decimal | None]
    sharpe_ratio: Mapped[Decimal | None]
    trades_count: Mapped[int | None]
    period_start: Mapped[datetime | None]
    period_end: Mapped[datetime | None]


class RiskSettings(Base):
    """The limits of an account."""

    __tablename__ = "risk_settings"

    account_id: Mapped[UUID | None]
    max_daily_loss: Mapped[Decimal | None]
    max_position_size: Mapped[Decimal | None]
    max_open_positions: Mapped[int | None]
    risk_per_trade: Mapped[Decimal | None]
    updated_at: Mapped[datetime | None]


class SystemLog(Base):
    """A line of the log."""

    __tablename__ = "system_logs"

    timestamp: Mapped[datetime | None] = mapped_column(server_default=func.now())
    level: Mapped[str]
    component: Mapped[str]
    message: Mapped[str]
    details: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
