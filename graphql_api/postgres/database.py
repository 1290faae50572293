"""The pool, and the ways to use it: one read, one change, or a transaction of several statements."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import exc, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from graphql_api.postgres.address import Address
from graphql_api.postgres.statement import Statement, compile_statement

_PING = compile_statement(select(1))
_WARM_FOR = 30.0
"""Seconds after which a connection that nobody used goes back to the pool, which replaces old ones."""
_CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_ATTEMPTS = 5
_PAUSE = 0.01  # seconds: half the longest pause before the second attempt; each further one is doubled
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


class DatabaseUnavailableError(Exception):
    """PostgreSQL can't be reached, or every connection is in use. Worth trying again shortly."""


class ConnectionLostError(DatabaseUnavailableError):
    """The connection died under a statement: the server stopped, failed over, or ended the session."""


class ContentionError(DatabaseUnavailableError):
    """A transaction met others again and again, and gave way each time."""


class _NothingWrittenError(Exception):
    """A change found nothing to write to."""


class Transaction:
    """Statements that take effect together, or not at all."""

    def __init__(self, connection: "asyncpg.Connection") -> None:
        self._connection = connection

    async def fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        """Run one statement and return its rows, in the types of `postgres.type_codecs`."""
        return await self._connection.fetch(statement.sql, *statement.arguments(values))


T = TypeVar("T")
Work = Callable[[Transaction], Awaitable[T]]
"""What is done in a transaction. It may be done again, each time as if it were the first."""

_first: ContextVar[Work[None] | None] = ContextVar("first", default=None)


@contextmanager
def beginning_with(first: Work[None]) -> Iterator[None]:
    """Let every transaction of the block begin with `first`; if that raises, there is none."""
    token = _first.set(first)
    try:
        yield
    finally:
        _first.reset(token)


@dataclass(slots=True)
class _Lease:
    """A connection that is out of the pool, and its place there."""

    place: PoolProxiedConnection
    connection: "asyncpg.Connection"
    last_used: float = 0.0


class Database:
    """A PostgreSQL behind SQLAlchemy's pool, read through the driver.

    Every read takes a connection, runs one statement and gives the connection back, so concurrent
    resolvers never share one.
    """

    def __init__(
        self,
        address: Address,
        *,
        pool_size: int = 10,
        pool_timeout: float = 8.0,
        statement_timeout: float = 10.0,
    ) -> None:
        self.address = address

        async def connect() -> "asyncpg.Connection":
            return await address.connect(command_timeout=statement_timeout)

        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            json_deserializer=str,  # jsonb stays the text it came as
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=pool_timeout,
            pool_recycle=240,  # Neon lets go of a connection after five idle minutes
            pool_reset_on_return=None,  # a read leaves nothing to roll back; `transaction` ends its own
        )
        self._warm: list[_Lease] = []
        self._waiting = 0

    async def fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        """Run one read and return its rows, in the types of `postgres.type_codecs`.

        A read that loses its connection is repeated once. Raises DatabaseUnavailableError, TimeoutError
        after the statement timeout, or asyncpg.PostgresError for what the server refuses.
        """
        arguments = statement.arguments(values)
        try:
            return await self._fetch(statement.sql, arguments)
        except ConnectionLostError:
            return await self._fetch(statement.sql, arguments)

    async def _fetch(self, sql: str, arguments: list[Any]) -> list[asyncpg.Record]:
        lease = await self._take()
        try:
            # A cancelled statement is cancelled at the server too: asyncpg sees to it before the
            # connection's next use, so the connection goes back as it is.
            return await lease.connection.fetch(sql, *arguments)
        except _FAILURES as error:
            _raise_if_lost(lease.connection, error)
            raise
        finally:
            self._give_back(lease)

    async def change(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        """Run one statement that writes, a transaction by itself, and return its rows: some, if it wrote.

        Raises as `run` does. If the connection dies, the change may have been made: nothing is repeated.
        """
        if _first.get() is None:
            return await _giving_way(lambda: self._fetch(statement.sql, statement.arguments(values)))

        async def work(transaction: Transaction) -> list[asyncpg.Record]:
            rows = await transaction.fetch(statement, **values)
            if not rows:
                raise _NothingWrittenError  # so that `first`, which may count changes, didn't happen either
            return rows

        try:
            return await self.run(work)
        except _NothingWrittenError:
            return []

    async def run(self, work: Work[T]) -> T:
        """Do `work` in a transaction, and again if PostgreSQL ended it in favour of another.

        Raises ContentionError if that goes on, and what `transaction` and `work` raise.
        """

        async def attempt() -> T:
            async with self.transaction() as transaction:
                return await work(transaction)

        return await _giving_way(attempt)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """One transaction, read committed: committed at the end of the block, rolled back if it raises.

        Raises ConnectionLostError if the connection dies; if it does so at the very end, the transaction
        may have been committed.
        """
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._begun())
            except ConnectionLostError:  # nothing has happened yet
                connection = await stack.enter_async_context(self._begun())
            transaction = Transaction(connection)
            first = _first.get()
            if first is not None:
                await first(transaction)
            yield transaction

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator["asyncpg.Connection"]:
        # Not with asyncpg's `transaction()`: after a BEGIN that got no answer, it takes what follows on the
        # connection for savepoints, which nobody commits.
        async with self._connection() as connection:
            await _order(connection, "BEGIN")
            try:
                yield connection
            except BaseException:
                await _order(connection, "ROLLBACK")
                raise
            await _order(connection, "COMMIT")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["asyncpg.Connection"]:
        lease = await self._take()
        try:
            yield lease.connection
        except _FAILURES as error:
            _raise_if_lost(lease.connection, error)
            raise
        finally:
            self._give_back(lease)

    # The pool's check-out switches to a greenlet and back, which takes longer than many a statement. So a
    # connection that has just been used stays out for the next one, unless somebody waits for the pool.

    async def _take(self) -> _Lease:
        now = monotonic()
        while self._warm:
            lease = self._warm.pop()
            if now - lease.last_used < _WARM_FOR and not lease.connection.is_closed():
                return lease
            self._put_back(lease)
        self._waiting += 1
        try:
            return await self._check_out()
        finally:
            self._waiting -= 1

    def _give_back(self, lease: _Lease) -> None:
        if self._waiting or lease.connection.is_closed():
            self._put_back(lease)
        else:
            lease.last_used = monotonic()
            self._warm.append(lease)

    def _put_back(self, lease: _Lease) -> None:
        if lease.connection.is_closed():
            lease.place.invalidate()  # it gets a new one
        lease.place.close()

    async def _check_out(self) -> _Lease:
        # SQLAlchemy wraps the errors of the statements that it makes on its first connection.
        refusals = (OSError, exc.TimeoutError, exc.DBAPIError, self.engine.dialect.loaded_dbapi.Error)
        while True:
            try:
                place = await self.engine.raw_connection()
            except refusals as error:
                raise DatabaseUnavailableError from error
            connection = place.driver_connection
            assert connection is not None  # noqa: S101 - narrows; a pooled connection always has its driver's
            lease = _Lease(place, connection)
            if not connection.is_closed():
                return lease
            self._put_back(lease)  # the server closed it while it was idle

    def pool_usage(self) -> tuple[int, int]:
        """How many connections there may be, and how many are in use."""
        pool = self.engine.pool
        assert isinstance(pool, QueuePool)  # noqa: S101 - narrows: the kind that async engines use
        return pool.size(), pool.checkedout() - len(self._warm)

    async def ping(self) -> None:
        """Ask for an answer. Raises DatabaseUnavailableError if there is none."""
        await self.fetch(_PING)

    async def close(self) -> None:
        """Close the pool."""
        while self._warm:
            self._put_back(self._warm.pop())
        await self.engine.dispose()


async def _giving_way(attempt: Callable[[], Awaitable[T]]) -> T:
    """Do something again as long as PostgreSQL ends it in favour of another. Raises ContentionError."""
    for number in range(1, _ATTEMPTS + 1):
        try:
            return await attempt()
        except _CONFLICTS as error:
            if number == _ATTEMPTS:
                raise ContentionError from error
        # At random, lest the same ones meet again.
        await asyncio.sleep(random.uniform(0, _PAUSE * 2**number))  # noqa: S311 - keeps no secret
    raise AssertionError  # the last attempt returns or raises


async def _order(connection: "asyncpg.Connection", command: str) -> None:
    """Begin or end a transaction. Cut short, nobody knows whether there is one: that ends the connection."""
    try:
        await connection.execute(command)
    except BaseException as error:
        answered = isinstance(error, asyncpg.PostgresError) and not connection.is_closed()
        if not answered or connection.is_in_transaction():
            connection.terminate()
        raise


def _raise_if_lost(connection: "asyncpg.Connection", error: Exception) -> None:
    """Raise ConnectionLostError if `error` ended the connection; asyncpg may not have noticed yet."""
    if connection.is_closed() or getattr(error, "severity_en", None) in ("FATAL", "PANIC"):
        connection.terminate()
        raise ConnectionLostError from error
