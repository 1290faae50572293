"""The context of an operation: its viewer, the database as the viewer may read it, and its dataloaders."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, cast

import asyncpg
from aiodataloader import DataLoader
from aiodataloader import Loader as Queued

from graphql_api.execution.fields import LoadWithParent
from graphql_api.execution.projection import ALL_COLUMNS, Projection
from graphql_api.identity.authenticator import Authenticator
from graphql_api.identity.viewer import Scope, Viewer
from graphql_api.log_feed.feed import Feed
from graphql_api.postgres.database import Database
from graphql_api.postgres.statement import Statement
from graphql_api.quotas import Metered
from graphql_api.settings import Settings

TRADER_LOG_COMPONENTS: Final = "trader_log_components"
"""The parameter with the components of which traders may read the log lines about their own rows."""

Row = Mapping[str, Any] | asyncpg.Record
"""A row by its columns' names, with values as `postgres.type_codecs` has them."""


class ViewerDatabase:
    """The database as one viewer may read it."""

    __slots__ = ("_database", "_trader_log_components", "statements", "viewer")

    def __init__(self, database: Database, viewer: Viewer, trader_log_components: Sequence[str]) -> None:
        """Of `trader_log_components`, traders may read the log lines that are about their rows."""
        self._database = database
        self._trader_log_components = trader_log_components
        self.viewer = viewer
        self.statements = 0
        """How many statements have run so far."""

    @property
    def tenant(self) -> str | None:
        """The user whose rows may be read; None for every tenant's."""
        return self.viewer.tenant

    def fetch(self, statement: Statement, **values: Any) -> Awaitable[list[asyncpg.Record]]:
        """Runs one read, and returns its rows.

        A statement gets the viewer's tenant as :tenant, or as :tenants for each of its `keys`. It restricts
        its rows to the tenant by that (`Entity.restrict_to_tenant`).
        """
        self.statements += 1
        if "keys" in values:
            keys = values["keys"] = list(values["keys"])
            values["tenants"] = [self.tenant] * len(keys)
        self._add_components(statement, values)
        return self._database.fetch(statement, tenant=self.tenant, **values)

    def fetch_by_key(
        self, statement: Statement, keys: Sequence[str], *, at_once: bool = True, **values: Any
    ) -> Awaitable[list[list[asyncpg.Record]]]:
        """Runs one read, which other viewers' requests may share, and returns the rows of each key."""
        tenants = [self.tenant] * len(keys)
        return self.fetch_by_tenant(statement, keys, tenants, at_once=at_once, **values)

    def fetch_by_tenant(
        self,
        statement: Statement,
        keys: Sequence[str],
        tenants: Sequence[str | None],
        *,
        at_once: bool = True,
        **values: Any,
    ) -> Awaitable[list[list[asyncpg.Record]]]:
        """Runs one read, and returns the rows of each key, as far as the key's own tenant may read them."""
        self.statements += 1
        self._add_components(statement, values)
        return self._database.fetch_by_key(statement, keys, tenants, at_once=at_once, **values)

    def _add_components(self, statement: Statement, values: dict[str, Any]) -> None:
        if TRADER_LOG_COMPONENTS in statement.names:
            values[TRADER_LOG_COMPONENTS] = self._trader_log_components

    @property
    def hints(self) -> MutableMapping[Hashable, int]:
        """What earlier reads have found out about numbers of rows, by their keys (`Database.hints`)."""
        return self._database.hints

    async def has_index(self, name: str) -> bool:
        """Whether the database has an index of this name; as of at most a minute ago."""
        return name in await self._database.valid_indexes()


BatchLoad = Callable[[ViewerDatabase, Sequence[Any], Any], Awaitable[Mapping[Any, Any]]]
"""Loads for many keys at once: `batch(db, keys, request)` returns the value of each key, from one statement.

A key that is left out is null. `request` says what to read for each key: the columns of a row, or a page of a
list (`PageRequest`), for example. Each request has a loader of its own, so it must be hashable.
"""


class Loader(DataLoader[Any, Any]):
    """A dataloader: loads by key through one batch.

    It is in no reference cycle, so that the rows that an operation has loaded are freed with it, without
    garbage collection.
    """

    def __init__(self, batch: BatchLoad, request: Any, db: ViewerDatabase, queue: "_LoaderQueue") -> None:
        # Sets all that aiodataloader's constructor sets. That one also inspects the function that it is
        # given, which takes longer than everything else that a loader does.
        self.loop = queue.loop
        self._cache: dict[Any, asyncio.Future[Any]] = {}
        self._queue: list[Queued] = []
        self._batch = batch
        self.request = request
        self._db = db
        self._loader_queue = queue
        self._lists: list[tuple[Loader, LoadWithParent]] = []

    def get_cache_key(self, key: Any) -> Any:
        return key

    def __call__(self, key: Any) -> "asyncio.Future[Any]":
        return self.load(key)

    def load_each(self, keys: Iterable[Any]) -> list["asyncio.Future[Any]"]:
        """Returns what `load` returns for each of the keys, which are hashable and not None."""
        cache = self._cache
        futures = []
        for key in keys:
            future = cache.get(key)
            if future is None:
                future = cache[key] = self.loop.create_future()
                self.do_resolve_reject(key, future)
            futures.append(future)
        return futures

    def do_resolve_reject(self, key: Any, future: "asyncio.Future[Any]") -> None:
        """Queues a key. Its batch begins in the event loop's next iteration, or when the executor runs it.

        aiodataloader would start a task for the batch, which begins one iteration later.
        """
        self._queue.append(Queued(key, future))
        if len(self._queue) == 1:
            self._loader_queue.add(self)

    def load_with_list(self, list_loader: "Loader", load: LoadWithParent) -> None:
        """Loads what `list_loader` would load, together with its parent's row, if only one row is loaded."""
        self._lists.append((list_loader, load))

    async def load_queued(self) -> None:
        """Loads all keys that are queued, and sets the future of each to its value, or to the error."""
        queue, self._queue = self._queue, []
        lists, self._lists = self._lists, []
        try:
            values = None
            if len(queue) == len(lists) == 1:
                values = await self._load_with_list(queue[0].key, *lists[0])
            if values is None:
                values = await self._batch(self._db, [key for key, _ in queue], self.request)
        except Exception as error:  # noqa: BLE001 - raised again for each who waits
            for key, future in queue:
                self.clear(key)
                if not future.done():
                    future.set_exception(error)
            return
        for key, future in queue:
            if not future.done():
                future.set_result(values.get(key))

    async def _load_with_list(
        self, key: Any, list_loader: "Loader", load: LoadWithParent
    ) -> Mapping[Any, Any] | None:
        """Loads the only row, and the page of the list below it, which `list_loader` caches."""
        found = await load(self._db, key, self.request, list_loader.request)
        if found is None:
            return None
        row, page = found
        if row is not None:
            list_loader.prime(key, page)
        return {key: row}


_STARTED_AT_ONCE: Final = 1
"""Loaders that begin in one iteration of the event loop: each may build a statement for 20 ms."""


class _LoaderQueue:
    """The loaders of one operation that have keys to load, and the tasks of those that are loading."""

    __slots__ = ("_timer", "_waiting", "loop", "running")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.running: set[asyncio.Task[None]] = set()
        self._waiting: list[Loader] = []
        self._timer: asyncio.Handle | None = None

    def add(self, loader: Loader) -> None:
        """Starts a loader in the next iteration of the event loop."""
        self._waiting.append(loader)
        if self._timer is None:
            self._timer = self.loop.call_soon(self._start)

    def take_only(self) -> Loader | None:
        """Removes and returns the loader that waits, if it is the only one; None otherwise."""
        if self._timer is None or len(self._waiting) != 1:
            return None
        self._timer.cancel()
        self._timer = None
        return self._waiting.pop()

    def cancel(self) -> None:
        """Cancels the loads under way, and those that wait."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._waiting.clear()
        for task in self.running:
            task.cancel()

    def _start(self) -> None:
        self._timer = None
        waiting, self._waiting = self._waiting[:_STARTED_AT_ONCE], self._waiting[_STARTED_AT_ONCE:]
        if self._waiting:
            self._timer = self.loop.call_soon(self._start)
        for loader in waiting:
            task: asyncio.Task[None] = self.loop.create_task(Metered(loader.load_queued()))
            self.running.add(task)
            task.add_done_callback(self.running.discard)


class Loaders:
    """The dataloaders of one operation, one for each batch and request.

    They load rows of the viewer's tenant, but for those of `get_by_tenant`, whose keys name theirs.
    """

    __slots__ = ("_db", "_loaders", "_queue")

    def __init__(self, db: ViewerDatabase) -> None:
        self._db = db
        self._loaders: dict[Hashable, Loader] = {}
        self._queue: _LoaderQueue | None = None

    def get(self, batch: BatchLoad, request: Hashable = None) -> Loader:
        """Returns the loader of `batch` with `request`, made at its first use."""
        identity = (batch, request, self._db.tenant)
        return self._loaders.get(identity) or self._make(batch, request, identity)

    def get_by_tenant(self, batch: BatchLoad, request: Hashable = None) -> Loader:
        """Returns a loader whose keys name their tenants, so that a batch may have those of several."""
        identity = (batch, request)
        return self._loaders.get(identity) or self._make(batch, request, identity)

    def _make(self, batch: BatchLoad, request: Hashable, identity: Hashable) -> Loader:
        if self._queue is None:
            self._queue = _LoaderQueue()
        loader = self._loaders[identity] = Loader(batch, request, self._db, self._queue)
        return loader

    def load_queued(self) -> Awaitable[None] | None:
        """Returns an awaitable that loads the queued keys, if they are of one loader: that needs no task."""
        loader = self._queue.take_only() if self._queue is not None else None
        return None if loader is None else loader.load_queued()

    def cancel(self) -> None:
        """Cancels the batches under way, and with them their statements, and those that wait."""
        if self._queue is not None:
            self._queue.cancel()


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of a process that all operations share."""

    settings: Settings
    database: Database
    authenticator: Authenticator
    feed: Feed
    """New lines of the log."""
    activity: Feed
    """Changes of accounts' rows."""


class NeedsViewerError(LookupError):
    """What depends on one viewer was asked for in a context for several."""


class JointViewer:
    """Stands for several viewers who have the same scopes; all else of a viewer raises NeedsViewerError."""

    is_authenticated = True

    def __init__(self, scopes: frozenset[Scope]) -> None:
        self.scopes = scopes
        self.was_needed = False
        """Whether more than this was asked for."""

    def __getattr__(self, name: str) -> NoReturn:
        self.was_needed = True
        raise NeedsViewerError(name)


@dataclass(slots=True)
class Context:
    """The context of one operation, or of one event of a subscription. Never shared between two."""

    viewer: Viewer
    services: Services
    client: str = ""
    """The caller's network address, for limits on attempts."""
    projection: Projection = ALL_COLUMNS
    """Which columns the operation reads of each type's rows."""
    database: Database | None = None
    """A replica that is read instead of the primary, if there is one."""
    on_due: Callable[[Any, Any], None] | None = None
    """Called with the events of a subscription that come while the next one is awaited."""
    db: ViewerDatabase = field(init=False)
    loaders: Loaders = field(init=False)

    def __post_init__(self) -> None:
        self.switch_viewer(self.viewer)

    def switch_viewer(self, viewer: Viewer) -> None:
        """Continues as another viewer, such as the one who has just logged in. Clears the loaders."""
        self.viewer = viewer
        services = self.services
        database = self.database or services.database
        self.db = ViewerDatabase(database, viewer, services.settings.trader_log_components)
        self.clear_loaders()

    @property
    def joint_key(self) -> frozenset[Scope]:
        """The viewer's scopes: what viewers with the same may select differs by their tenants alone."""
        return self.viewer.scopes

    def joint(self) -> "Context | None":
        """Returns a context for events of viewers with these scopes; None for anonymous ones."""
        if not self.viewer.is_authenticated:
            return None
        return Context(cast("Viewer", JointViewer(self.viewer.scopes)), self.services)

    @property
    def is_joint(self) -> bool:
        """Whether it is a context for several viewers: loads of a tenant's rows have to name the tenant."""
        return isinstance(self.viewer, JointViewer)

    @property
    def needs_viewer(self) -> bool:
        """Whether a joint context was asked for what only a single viewer has."""
        return isinstance(self.viewer, JointViewer) and self.viewer.was_needed

    def load_queued(self) -> Awaitable[None] | None:
        """Returns an awaitable that loads the queued keys, if they are of one loader."""
        return self.loaders.load_queued()

    def cancel(self) -> None:
        """Cancels the batches under way: the operation was cancelled."""
        self.loaders.cancel()

    def clear_loaders(self) -> None:
        """Drops everything that was loaded: after a write it may be out of date."""
        self.loaders = Loaders(self.db)
