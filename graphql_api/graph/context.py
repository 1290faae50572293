"""What an operation knows: who asks, what they may read, and the loaders it shares."""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiodataloader import DataLoader

from graphql_api.auth.viewer import Viewer
from graphql_api.db.database import Database
from graphql_api.db.statements import Statement

Row = Mapping[str, Any] | asyncpg.Record


class Reader:
    """The database as one viewer may read it."""

    __slots__ = ("_database", "statements", "tenant", "viewer")

    def __init__(self, database: Database, viewer: Viewer) -> None:
        self._database = database
        self.viewer = viewer
        self.tenant = viewer.tenant
        """The user whose rows may be read; None for every tenant's."""
        self.statements = 0
        """How many statements ran so far."""

    async def fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        """Run one read. A statement that names :tenant gets the viewer's."""
        self.statements += 1
        return await self._database.fetch(statement, tenant=self.tenant, **values)


Batch = Callable[[Reader, Sequence[Any], Any], Awaitable[Mapping[Any, Any]]]
"""Reads for many parents at once: `batch(db, keys, page)` gives the value of each key, in one statement.

A key left out reads as null. `page` is whatever selects among the values of a key; it is part of the
loader's identity, so it must be hashable.
"""


class Loaders:
    """The dataloaders of one operation: one for each batch, page and tenant."""

    __slots__ = ("_db", "_loaders")

    def __init__(self, db: Reader) -> None:
        self._db = db
        self._loaders: dict[Hashable, DataLoader[Any, Any]] = {}

    def of(self, batch: Batch, page: Hashable = None) -> DataLoader[Any, Any]:
        """The loader that reads `batch` with `page`, made at its first use."""
        identity = (batch, page, self._db.tenant)
        loader = self._loaders.get(identity)
        if loader is None:
            loader = self._loaders[identity] = self._make(batch, page)
        return loader

    def _make(self, batch: Batch, page: Hashable) -> DataLoader[Any, Any]:
        async def load(keys: list[Any]) -> list[Any]:
            values = await batch(self._db, keys, page)
            return [values.get(key) for key in keys]

        return DataLoader(load)


@dataclass(slots=True)
class Context:
    """One operation's, or one subscription event's. Never shared between two."""

    viewer: Viewer
    services: Any
    """What the process offers to resolvers; the composition root says what that is."""
    client: str = ""
    """The caller's network address, for limits on attempts."""
    db: Reader = field(init=False)
    loaders: Loaders = field(init=False)

    def __post_init__(self) -> None:
        self.db = Reader(self.services.database, self.viewer)
        self.loaders = Loaders(self.db)
