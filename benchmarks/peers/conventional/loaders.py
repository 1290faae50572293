"""A dataloader for each relation, made for each request. A batch opens a session of its own."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from aiodataloader import DataLoader
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import InstrumentedAttribute
from strawberry.fastapi import BaseContext

from benchmarks.peers.conventional.models import Account, Base, Performance, Session, Strategy, Trade

Sessions = async_sessionmaker[AsyncSession]


def by_id(sessions: Sessions, model: type[Base]) -> DataLoader[UUID, Any]:
    """Loads rows by their ids."""

    async def load(keys: list[UUID]) -> list[Any]:
        async with sessions() as session:
            found = {row.id: row for row in await session.scalars(select(model).where(model.id.in_(keys)))}
        return [found.get(key) for key in keys]

    return DataLoader(load)


def children(
    sessions: Sessions, model: type[Base], parent: InstrumentedAttribute[UUID | None], *order: Any
) -> DataLoader[UUID, list[Any]]:
    """Loads the rows below a parent, in order."""

    async def load(keys: list[UUID]) -> list[list[Any]]:
        found = defaultdict(list)
        async with sessions() as session:
            for row in await session.scalars(select(model).where(parent.in_(keys)).order_by(*order)):
                found[getattr(row, parent.key)].append(row)
        return [found[key] for key in keys]

    return DataLoader(load)


class Context(BaseContext):
    """What a request's resolvers share."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self.sessions = sessions
        self.accounts_of_user = children(sessions, Account, Account.user_id, Account.account_number)
        self.sessions_of_account = children(
            sessions, Session, Session.account_id, Session.started_at.desc(), Session.id.desc()
        )
        self.trades_of_session = children(
            sessions, Trade, Trade.session_id, Trade.entry_time.desc(), Trade.id.desc()
        )
        self.performance_of_strategy = children(
            sessions,
            Performance,
            Performance.strategy_id,
            Performance.timestamp.desc(),
            Performance.id.desc(),
        )
        self.account = by_id(sessions, Account)
        self.session = by_id(sessions, Session)
        self.strategy = by_id(sessions, Strategy)
