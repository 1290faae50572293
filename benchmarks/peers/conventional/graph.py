"""The types and the queries."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import strawberry
from sqlalchemy import Select, func, select
from strawberry import Parent

from benchmarks.peers.conventional import models
from benchmarks.peers.conventional.loaders import Context

Info = strawberry.Info[Context, None]


@strawberry.type
class Performance:
    """How a strategy did in a period."""

    id: UUID
    timestamp: datetime | None
    win_rate: Decimal | None
    profit_factor: Decimal | None
    sharpe_ratio: Decimal | None
    trades_count: int | None
    period_start: datetime | None
    period_end: datetime | None


@strawberry.type
class Strategy:
    """What decides trades."""

    id: UUID
    name: str

    @strawberry.field
    async def performance(
        self, parent: Parent[models.Strategy], info: Info, first: int = 25
    ) -> list[Performance]:
        """The newest first."""
        return (await info.context.performance_of_strategy.load(parent.id))[:first]


@strawberry.type
class Trade:
    """A trade of a session."""

    id: UUID
    symbol: str
    direction: str
    entry_price: Decimal
    exit_price: Decimal | None
    size: Decimal
    entry_time: datetime
    exit_time: datetime | None
    pnl: Decimal | None
    status: str
    ai_confidence: Decimal | None

    @strawberry.field
    async def strategy(self, parent: Parent[models.Trade], info: Info) -> Strategy | None:
        """What decided it."""
        if parent.strategy_id is None:
            return None
        found: Strategy | None = await info.context.strategy.load(parent.strategy_id)
        return found

    @strawberry.field
    async def session(self, parent: Parent[models.Trade], info: Info) -> "Session | None":
        """Where it happened."""
        if parent.session_id is None:
            return None
        found: Session | None = await info.context.session.load(parent.session_id)
        return found


@strawberry.type
class Session:
    """A run of the bot in an account."""

    id: UUID
    started_at: datetime | None
    ended_at: datetime | None
    pnl: Decimal | None

    @strawberry.field
    async def account(self, parent: Parent[models.Session], info: Info) -> "Account | None":
        """Whose it is."""
        if parent.account_id is None:
            return None
        found: Account | None = await info.context.account.load(parent.account_id)
        return found

    @strawberry.field
    async def trades(self, parent: Parent[models.Session], info: Info, first: int = 25) -> list[Trade]:
        """The newest first."""
        return (await info.context.trades_of_session.load(parent.id))[:first]


@strawberry.type
class Account:
    """An account of a user."""

    id: UUID
    account_number: str
    server: str
    is_active: bool | None
    last_sync: datetime | None

    @strawberry.field
    async def sessions(self, parent: Parent[models.Account], info: Info, first: int = 25) -> list[Session]:
        """The newest first."""
        return (await info.context.sessions_of_account.load(parent.id))[:first]


@strawberry.type
class User:
    """A user."""

    id: UUID
    email: str
    created_at: datetime | None

    @strawberry.field
    async def accounts(self, parent: Parent[models.User], info: Info, first: int = 25) -> list[Account]:
        """By number."""
        return (await info.context.accounts_of_user.load(parent.id))[:first]


@strawberry.type
class TradePage:
    """Some trades, and how many there are."""

    first: strawberry.Private[int]
    query: strawberry.Private[Select[models.Trade]]

    @strawberry.field
    async def nodes(self, info: Info) -> list[Trade]:
        """The newest first."""
        page = self.query.order_by(models.Trade.entry_time.desc(), models.Trade.id.desc()).limit(self.first)
        async with info.context.sessions() as session:
            found: Any = (await session.scalars(page)).all()
        trades: list[Trade] = found
        return trades

    @strawberry.field
    async def total_count(self, info: Info) -> int:
        """How many there are without `first`."""
        async with info.context.sessions() as session:
            return await session.scalar(select(func.count()).select_from(self.query.subquery())) or 0


@strawberry.type
class Query:
    """The entry points."""

    @strawberry.field
    async def user(self, info: Info, id: UUID) -> User | None:  # noqa: A002
        """A user by id."""
        async with info.context.sessions() as session:
            found: Any = await session.get(models.User, id)
        user: User | None = found
        return user

    @strawberry.field
    async def trades(
        self, first: int = 25, strategy_id: UUID | None = None, symbol: str | None = None
    ) -> TradePage:
        """The newest trades of all, or of a strategy or in an instrument."""
        query = select(models.Trade)
        if strategy_id is not None:
            query = query.where(models.Trade.strategy_id == strategy_id)
        if symbol is not None:
            query = query.where(models.Trade.symbol == symbol)
        return TradePage(first=first, query=query)

    @strawberry.field
    async def strategies(self, info: Info, first: int = 25) -> list[Strategy]:
        """By name."""
        query = select(models.Strategy).order_by(models.Strategy.name, models.Strategy.id).limit(first)
        async with info.context.sessions() as session:
            found: Any = (await session.scalars(query)).all()
        strategies: list[Strategy] = found
        return strategies
