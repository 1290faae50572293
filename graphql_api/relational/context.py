"""The context of an operation: its viewer, the database as the viewer may read it, and its dataloaders."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiodataloader import DataLoader, dispatch_queue
from aiodataloader import Loader as Queued

from graphql_api.execution.projection import ALL_COLUMNS, Projection
from graphql_api.identity.authenticator import Authenticator
from graphql_api.identity.viewer import Viewer
from graphql_api.log_feed.feed import Feed
from graphql_api.postgres.database import Database
from graphql_api.postgres.statement import Statement
from graphql_api.settings import Settings

Row = Mapping[str, Any] | asyncpg.Record
"""A row by its columns' names, with values as `postgres.type_codecs` has them."""


class ViewerDatabase:
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
        """Run one read and return its rows. A statement with a parameter :tenant gets the viewer's."""
        self.statements += 1
        return await self._database.fetch(statement, tenant=self.tenant, **values)


BatchLoad = Callable[[ViewerDatabase, Sequence[Any], Any], Awaitable[Mapping[Any, Any]]]
"""Loads for many keys at once: `batch(db, keys, page)` returns the value of each key, from one statement.

A key that is left out reads as null. `page` is whatever selects among the values of a key: a page of a list,
the columns of a row. It is part of the loader's identity, so it must be hashable.
"""


class Loader(DataLoader[Any, Any]):
    """A dataloader: loads by key through one batch.

    It is in no cycle of references, so that what an operation has loaded is freed with it, and doesn't wait
    for the garbage collector.
    """

    def __init__(
        self, batch: BatchLoad, page: Any, db: ViewerDatabase, running: set[asyncio.Task[Any]]
    ) -> None:
        self._batch = batch
        self._page = page
        self._db = db
        self._running = running
        super().__init__()

    def get_cache_key(self, key: Any) -> Any:
        """The key itself."""
        return key

    def do_resolve_reject(self, key: Any, future: asyncio.Future[Any]) -> None:
        """Queue a key. The batch begins with the event loop's next turn.

        aiodataloader would start a task for that, which begins a turn later.
        """
        self._queue.append(Queued(key, future))
        if len(self._queue) == 1:
            self.loop.call_soon(dispatch_queue, self)

    async def batch_load_fn(self, keys: list[Any]) -> list[Any]:
        """The values of the keys that were asked for in one turn of the event loop."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - narrows; a coroutine runs in a task
        self._running.add(task)
        try:
            values = await self._batch(self._db, keys, self._page)
        finally:
            self._running.discard(task)
        return [values.get(key) for key in keys]


class Loaders:
    """The dataloaders of one operation: one for each batch and page, and for the viewer's tenant."""

    __slots__ = ("_db", "_loaders", "_running")

    def __init__(self, db: ViewerDatabase) -> None:
        self._db = db
        self._loaders: dict[Hashable, Loader] = {}
        self._running: set[asyncio.Task[Any]] = set()

    def get(self, batch: BatchLoad, page: Hashable = None) -> Loader:
        """The loader of `batch` with `page`, made at its first use."""
        identity = (batch, page, self._db.tenant)
        loader = self._loaders.get(identity)
        if loader is None:
            loader = self._loaders[identity] = Loader(batch, page, self._db, self._running)
        return loader

    def cancel(self) -> None:
        """Cancel the batches under way, and with them their statements."""
        for task in self._running:
            task.cancel()


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of a process that all operations share."""

    settings: Settings
    database: Database
    authenticator: Authenticator
    feed: Feed


@dataclass(slots=True)
class Context:
    """The context of one operation, or of one event of a subscription. Never shared between two."""

    viewer: Viewer
    services: Services
    client: str = ""
    """The caller's network address, for limits on attempts."""
    projection: Projection = ALL_COLUMNS
    """Which columns the operation reads of each type's rows."""
    db: ViewerDatabase = field(init=False)
    loaders: Loaders = field(init=False)

    def __post_init__(self) -> None:
        self.switch_viewer(self.viewer)

    def switch_viewer(self, viewer: Viewer) -> None:
        """Go on as another viewer, such as the one who has just logged in. Forgets all that was loaded."""
        self.viewer = viewer
        self.db = ViewerDatabase(self.services.database, viewer)
        self.clear_loaders()

    def cancel(self) -> None:
        """Cancel the batches under way: the operation was cancelled."""
        self.loaders.cancel()

    def clear_loaders(self) -> None:
        """Forget all that was loaded: after a write it may no longer hold."""
        self.loaders = Loaders(self.db)
