"""A pool of connections to PostgreSQL; reads, changes and transactions on them. This package's front door.

    fetch           one read
    fetch_by_key    one read for many keys. Reads of several requests share a statement (BatchedReads), if it
                    `may_batch`: page_query.page_statement and Entity.load_by_ids say so when they compile it
    change, run     one statement that writes, or a transaction: repeated after a conflict with another one

Statements are built once, as SQL text (`statement`), and values come as text (`type_codecs`). Errors of the
server are mapped to exceptions in `errors`.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from itertools import groupby
from math import inf
from operator import itemgetter
from time import monotonic, thread_time
from typing import Any, TypeVar, TypeVarTuple

import asyncpg
from cachetools import TTLCache
from sqlalchemy import literal_column, select, text
from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from graphql_api.postgres.address import Address
from graphql_api.postgres.errors import (
    ConnectionLostError,
    ContentionError,
    DatabaseUnavailableError,
    StatementTimeoutError,
    state_of,
)
from graphql_api.postgres.pooler import is_transaction_pooled
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.quotas import ConcurrencyQuota, current_usage, recent_thread_time

log = logging.getLogger(__name__)

_PING = compile_statement(select(1))
_VALID_INDEXES = compile_statement(
    select(literal_column("relname"))
    .select_from(text("pg_index JOIN pg_class ON pg_class.oid = indexrelid"))
    .where(text("indisvalid AND pg_table_is_visible(indrelid)"))
)
# With many trades in the table, PostgreSQL would plan parallel workers even for statements over a few
# thousand, which cost more CPU than these statements themselves.
_SETTINGS = {"max_parallel_workers_per_gather": "0"}
_MOST_HINTS = 10_000
"""Hints that are kept, the most recent ones."""
_CATALOG_REMEMBERED = 60.0
"""Seconds for which hints, and the names of indexes, are cached."""
_MAX_IDLE = 240.0
"""Seconds after which an idle connection is replaced: Neon ends it after five minutes."""
_REPEATED_AFTER = 0.01
"""Seconds after which what has lost its connection is repeated. Idle connections often end together with it:
meanwhile the event loop learns which."""
_REFUSAL_REMEMBERED = 1.0
"""Seconds for which the pool doesn't grow after the server has refused a connection."""
_REFUSAL_LOGGED = 60.0
"""Seconds between two log lines about refused connections."""
_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_CONFLICTS = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InvalidCachedStatementError,  # a table was altered since the statement was prepared
)
_MAX_ATTEMPTS = 5

_MAX_SHARED_ROWS = 200
"""Rows up to which a read may share a statement; a larger read has a statement of its own."""
_BATCH_MAX_WAIT = 0.01
"""The most seconds that a read waits for an earlier statement of its shape to return."""
_SHARED_TIMEOUT = 2.0
"""Seconds after which a batched statement is cancelled, and its reads are repeated one by one."""

_LONG_STATEMENT = 0.003
"""Seconds, a round trip aside, from which a statement's time counts in its operation's usage.

A shorter time may be spent waiting for other statements.
"""
_ROUND_TRIP_GROWS = 1.001
"""The factor by which the shortest time grows with each statement, to follow changes of the network."""
_PARAMETER = re.compile(r"\$(\d+)")
_EXPLAINED = "graphql_api_explained"
_MOST_NOTED = 20
"""The most statements whose texts are kept for one operation."""
_MOST_CANCELLED = 5.0
"""The most seconds that a cancelled statement counts, since PostgreSQL may have been unreachable."""
_CORES = 2
"""Statements that PostgreSQL is assumed to run at once: of more, each counts for a part of its time."""

NUMBER = "_number"
"""The column with the number, from 1, of the key that a row was read for."""
_NUMBER_OF = itemgetter(NUMBER)

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Transaction:
    """Statements that take effect together, or not at all."""

    def __init__(self, connection: "asyncpg.Connection") -> None:
        self._connection = connection

    async def fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        """Runs one statement and returns its rows, in the types of `postgres.type_codecs`."""
        return await self._connection.fetch(statement.sql, *statement.arguments(values))


Work = Callable[[Transaction], Awaitable[T]]
"""The work of a transaction. It may be called again after a conflict, each time in a new transaction."""

_first_work: ContextVar[Work[None] | None] = ContextVar("first_work", default=None)


@contextmanager
def beginning_with(first: Work[None]) -> Iterator[None]:
    """Begins every transaction of the block with `first`; if that raises, the transaction is rolled back."""
    token = _first_work.set(first)
    try:
        yield
    finally:
        _first_work.reset(token)


class _NothingWrittenError(Exception):
    """A change has found nothing to write to: its transaction is rolled back."""


class Database:
    """A PostgreSQL database with a pool of connections, which connects when it is first used.

    Connections that are used in the block of a `Usage` count for its owner, who may use half of them at once.
    Others are for the process itself, for which one connection of three or more stays free.

    Every read takes a connection, runs one statement and gives the connection back, so concurrent resolvers
    never share one. Prepared statements, which a pooler in transaction mode can't keep, aren't used if the
    URL or the first connection shows that there is one.
    """

    def __init__(
        self,
        address: Address,
        *,
        pool_size: int = 10,
        pool_timeout: float = 8.0,
        statement_timeout: float = 10.0,
        prepared_statements: bool | None = None,
        batched_reads: bool = True,
    ) -> None:
        """Times are in seconds. With `prepared_statements` None, the first connection looks for a pooler.

        `batched_reads`: whether reads of few rows that are made at the same time share a statement.
        """
        self.address = address
        self._statement_timeout = statement_timeout
        if prepared_statements is None and address.pooled:
            prepared_statements = False
        self._prepared_statements = prepared_statements
        self._probe: asyncio.Task[bool] | None = None
        self._pool = _Pool(self._connect, pool_size, pool_timeout)
        self._pool_timeout = pool_timeout
        # At least two, since the owner of a transaction may read during it.
        self._quota = ConcurrencyQuota(max(2, pool_size // 2), max(2, pool_size - 1))
        self._round_trip = inf
        """The shortest time that a statement has taken lately, in seconds: about a round trip."""
        self._catalog: TTLCache[str, frozenset[str]] = TTLCache(1, _CATALOG_REMEMBERED)
        self.hints: TTLCache[Hashable, int] = TTLCache(_MOST_HINTS, _CATALOG_REMEMBERED)
        """What reads have found out about the number of rows, for a minute.

        Outdated hints only make reads slower.
        """
        self.batched_reads = BatchedReads(self._fetch_by_key) if batched_reads else None

    async def fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        """Runs one read and returns its rows, in the types of `postgres.type_codecs`.

        A read that loses its connection is repeated once, after a moment. Raises DatabaseUnavailableError,
        TimeoutError, or asyncpg.PostgresError for a statement that the server refuses.
        """
        arguments = statement.arguments(values)
        try:
            return await self._fetch(statement.sql, arguments)
        except ConnectionLostError:
            await asyncio.sleep(_REPEATED_AFTER)
            return await self._fetch(statement.sql, arguments)

    def fetch_by_key(
        self,
        statement: Statement,
        keys: Sequence[str],
        tenants: Sequence[str | None],
        *,
        at_once: bool = True,
        **values: Any,
    ) -> Awaitable[list[list[asyncpg.Record]]]:
        """Runs a read of :keys, each for its tenant of :tenants, and returns the rows of each key.

        Each row has its key's NUMBER. Without `at_once`, reads of the same iteration of the event loop share
        a statement. Raises as `fetch` does.
        """
        reads = self.batched_reads
        is_small = len(keys) * values.get("fetch", 1) <= _MAX_SHARED_ROWS
        if reads is None or not statement.may_batch or not is_small:
            return self._fetch_by_key(statement, keys, tenants, values)
        return reads.fetch(statement, keys, tenants, values, at_once=at_once)

    async def _fetch_by_key(
        self,
        statement: Statement,
        keys: Sequence[str],
        tenants: Sequence[str | None],
        values: Mapping[str, Any],
    ) -> list[list[asyncpg.Record]]:
        rows = await self.fetch(statement, keys=keys, tenants=tenants, **values)
        if len(keys) == 1:
            return [rows]
        by_key: list[list[asyncpg.Record]] = [[] for _ in keys]
        for number, of_key in groupby(rows, _NUMBER_OF):
            by_key[number - 1] += of_key
        return by_key

    async def change(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        """Runs one statement that writes, as a transaction, and returns its rows: none if it wrote nothing.

        Raises as `run` does. It isn't repeated if the connection is lost: the change may have been made.
        """
        if _first_work.get() is None:
            return await _retry_conflicts(self._fetch, statement.sql, statement.arguments(values))

        async def work(transaction: Transaction) -> list[asyncpg.Record]:
            rows = await transaction.fetch(statement, **values)
            if not rows:
                raise _NothingWrittenError  # rolls back the work that the transaction began with, too
            return rows

        try:
            return await self.run(work)
        except _NothingWrittenError:
            return []

    async def run(self, work: Work[T]) -> T:
        """Runs `work` in a transaction, and again if PostgreSQL aborted it because of another transaction.

        Raises ContentionError after several attempts, and what `transaction` and `work` raise.
        """

        async def attempt() -> T:
            async with self.transaction() as transaction:
                return await work(transaction)

        return await _retry_conflicts(attempt)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Opens a transaction, read committed: committed at the end of the block, rolled back if it raises.

        Raises ConnectionLostError if the connection is lost; if that happens during COMMIT, the transaction
        may have been committed.
        """
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._open_transaction())
            except ConnectionLostError:  # nothing has happened yet
                await asyncio.sleep(_REPEATED_AFTER)
                connection = await stack.enter_async_context(self._open_transaction())
            transaction = Transaction(connection)
            first = _first_work.get()
            if first is not None:
                await first(transaction)
            yield transaction

    def pool_usage(self) -> tuple[int, int]:
        """Returns the size of the pool, and how many of its connections are in use."""
        return self._pool.size, self._pool.in_use

    async def valid_indexes(self) -> frozenset[str]:
        """Returns the names of the valid indexes, as of at most a minute ago."""
        names = self._catalog.get("indexes")
        if names is None:
            names = frozenset(row["relname"] for row in await self.fetch(_VALID_INDEXES))
            self._catalog["indexes"] = names
        return names

    async def generic_plan(self, sql: str) -> str:
        """Returns the plan of a statement for any arguments."""
        # EXPLAIN's own option GENERIC_PLAN needs the simple protocol, in which asyncpg returns no rows.
        parameters = max(map(int, _PARAMETER.findall(sql)), default=0)
        arguments = f"({', '.join(['NULL'] * parameters)})" if parameters else ""
        async with self._open_transaction() as connection:
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await connection.execute(f"PREPARE {_EXPLAINED} AS {sql}")
            try:
                rows = await connection.fetch(f"EXPLAIN EXECUTE {_EXPLAINED}{arguments}")
            finally:
                await connection.execute(f"DEALLOCATE {_EXPLAINED}")
        return "\n".join(row[0] for row in rows)

    async def ping(self) -> None:
        """Raises DatabaseUnavailableError unless the database answers."""
        await self.fetch(_PING)

    async def close(self) -> None:
        """Closes the connections. No others are opened afterwards."""
        if self._probe is not None:
            self._probe.cancel()
        await self._pool.close()

    async def _fetch(self, sql: str, arguments: list[Any]) -> list[asyncpg.Record]:
        usage = current_usage()
        connection = await self._take(usage.owner)
        began, worked, most = monotonic(), recent_thread_time(), _MOST_CANCELLED
        try:
            # asyncpg cancels the statement at the server, too, before the connection's next use, so the
            # connection can be given back.
            rows = await connection.fetch(sql, *arguments)
        except _ERRORS as error:
            _translate_error(connection, error)
            raise
        else:
            usage.rows += len(rows)
            most = inf
            # Only of statements that were answered: a statement on a lost connection ends at once.
            self._round_trip = min(monotonic() - began, self._round_trip * _ROUND_TRIP_GROWS)
            return rows
        finally:
            took = monotonic() - began
            if self._round_trip < inf:
                took -= self._round_trip
            if took > _LONG_STATEMENT:
                took = min(
                    took - (thread_time() - worked), most
                )  # without the time in which this process worked
                usage.database += max(0.0, took) * min(1.0, _CORES / self._pool.in_use)
                if usage.owner and len(usage.statements) < _MOST_NOTED:
                    usage.statements.append((took, sql))
            self._give_back(connection, usage.owner)

    async def _take(self, owner: str) -> "asyncpg.Connection":
        if owner and not self._quota.enter_at_once(owner):
            try:
                async with asyncio.timeout(self._pool_timeout):
                    await self._quota.enter(owner)
            except TimeoutError as error:
                raise DatabaseUnavailableError from error
        try:
            return self._pool.take_idle() or await self._pool.take()
        except BaseException:
            if owner:
                self._quota.leave(owner)
            raise

    def _give_back(self, connection: "asyncpg.Connection", owner: str) -> None:
        self._pool.give_back(connection)
        if owner:
            self._quota.leave(owner)

    @asynccontextmanager
    async def _open_transaction(self) -> AsyncIterator["asyncpg.Connection"]:
        # Not with asyncpg's `transaction()`: after a BEGIN without an answer, it takes later transactions of
        # the connection for savepoints, which are never committed.
        owner = current_usage().owner
        connection = await self._take(owner)
        try:
            await _control(connection, "BEGIN ISOLATION LEVEL READ COMMITTED")
            try:
                yield connection
            except BaseException:
                await _control(connection, "ROLLBACK")
                raise
            await _control(connection, "COMMIT")
        except _ERRORS as error:
            _translate_error(connection, error)
            raise
        finally:
            self._give_back(connection, owner)

    async def _connect(self) -> "asyncpg.Connection":
        if self._prepared_statements is None:
            self._prepared_statements = not await self._is_transaction_pooled()
        return await self.address.connect(
            command_timeout=self._statement_timeout,
            prepared_statements=self._prepared_statements,
            settings=_SETTINGS,
        )

    async def _is_transaction_pooled(self) -> bool:
        """Whether there is a pooler in transaction mode: found out once for all connections."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(is_transaction_pooled(self.address))
            self._probe.add_done_callback(lambda probe: probe.cancelled() or probe.exception())
        return await asyncio.shield(self._probe)


# Reads that share a statement


@dataclass(eq=False, slots=True)
class _Waiting:
    """A read that waits for a statement to share."""

    keys: Sequence[str]
    tenants: Sequence[str | None]
    context: Context
    rows: "asyncio.Future[list[list[asyncpg.Record]] | None]"
    """The rows of each key; None if it has to be read by a statement of its own."""


@dataclass(eq=False, slots=True)
class _Shape:
    """The reads of one statement whose values are equal except for their keys."""

    statement: Statement
    values: Mapping[str, Any]
    out: int = 1
    """How many statements of this shape are running."""
    waiting: list[_Waiting] = field(default_factory=list)
    timer: asyncio.Handle | None = None


class BatchedReads:
    """Sends reads of one shape, made at the same time by several viewers, in one statement.

    The first read is sent at once. Reads that come while it runs wait until it returns, at most
    `_BATCH_MAX_WAIT`, and are sent together. None joins a statement that is running already, so that each
    sees everything that was committed before it was made. Each key has its viewer's tenant, and the statement
    compares them key by key. If a batched statement fails, each of its reads is repeated by itself.
    """

    def __init__(self, fetch_by_key: Callable[..., Awaitable[list[list[asyncpg.Record]]]]) -> None:
        self._fetch_by_key = fetch_by_key
        self._shapes: dict[Hashable, _Shape] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.reads = 0
        """How many reads were sent together with others."""
        self.statements = 0
        """The number of statements for these reads."""

    async def fetch(
        self,
        statement: Statement,
        keys: Sequence[str],
        tenants: Sequence[str | None],
        values: Mapping[str, Any],
        *,
        at_once: bool = True,
    ) -> list[list[asyncpg.Record]]:
        """Returns the rows of each key, read for its tenant.

        `values` are hashable, and in the same order for each read of a statement. Without `at_once`, the
        first read waits for others of the same iteration of the event loop.
        """
        identity = (statement, *values.values())
        shape = self._shapes.get(identity)
        if shape is None and not at_once:
            shape = self._shapes[identity] = _Shape(statement, values, out=0)
            shape.timer = asyncio.get_running_loop().call_soon(self._send, identity, shape)
        if shape is not None:
            rows = await self._wait(identity, shape, keys, tenants)
            if rows is not None:
                return rows
            return await self._fetch_by_key(statement, keys, tenants, values)
        shape = self._shapes[identity] = _Shape(statement, values)
        try:
            return await self._fetch_by_key(statement, keys, tenants, values)
        finally:
            self._return(identity, shape)

    async def _wait(
        self, identity: Hashable, shape: _Shape, keys: Sequence[str], tenants: Sequence[str | None]
    ) -> list[list[asyncpg.Record]] | None:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(keys, tenants, copy_context(), loop.create_future())
        shape.waiting.append(waiting)
        if shape.timer is None:
            shape.timer = loop.call_later(_BATCH_MAX_WAIT, self._send, identity, shape)
        return await waiting.rows

    def _return(self, identity: Hashable, shape: _Shape) -> None:
        """Sends the reads that wait for a statement which has now returned."""
        shape.out -= 1
        if shape.waiting:
            self._send(identity, shape)
        elif not shape.out:
            del self._shapes[identity]

    def _send(self, identity: Hashable, shape: _Shape) -> None:
        """Sends the reads that still wait in one statement."""
        if shape.timer is not None:
            shape.timer.cancel()
            shape.timer = None
        waiting = [each for each in shape.waiting if not each.rows.done()]
        shape.waiting = []
        if waiting:
            shape.out += 1
            # In the context of the read that has waited longest, whose owner the connection counts for.
            task = asyncio.get_running_loop().create_task(
                self._fetch_together(identity, shape, waiting), context=waiting[0].context
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif not shape.out:
            del self._shapes[identity]

    async def _fetch_together(self, identity: Hashable, shape: _Shape, waiting: Sequence[_Waiting]) -> None:
        keys = [key for each in waiting for key in each.keys]
        tenants = [tenant for each in waiting for tenant in each.tenants]
        rows: list[list[asyncpg.Record]] | None = None
        self.reads += len(waiting)
        self.statements += 1
        try:
            async with asyncio.timeout(_SHARED_TIMEOUT):
                rows = await self._fetch_by_key(shape.statement, keys, tenants, shape.values)
        except Exception as error:  # noqa: BLE001 - each who waits meets it again, if it is about theirs
            log.debug("the reads of a batched statement are repeated one by one: %s", type(error).__name__)
        finally:
            start = 0
            for each in waiting:
                end = start + len(each.keys)
                if not each.rows.done():
                    each.rows.set_result(None if rows is None else rows[start:end])
                start = end
            self._return(identity, shape)


# Connections


class _Pool:
    """At most `size` connections; the one that was used last is taken first."""

    def __init__(
        self, connect: Callable[[], Awaitable["asyncpg.Connection"]], size: int, timeout: float
    ) -> None:
        self.size = size
        self._connect = connect
        self._timeout = timeout
        self._idle: list[tuple[float, asyncpg.Connection]] = []
        self._open = 0
        """The number of connections that are in use, idle, or being opened."""
        self._waiting: deque[asyncio.Future[asyncpg.Connection | None]] = deque()
        """Futures of those that wait for a connection. If the result is None, the waiter opens one itself."""
        self._refused = 0
        """How many connections were refused while the pool had, or tried to open, others."""
        self._full_until = 0.0
        self._refusal_logged_until = 0.0
        self._closed = False

    @property
    def in_use(self) -> int:
        return self._open - len(self._idle)

    def take_idle(self) -> "asyncpg.Connection | None":
        """Returns an idle connection, if there is one."""
        while self._idle:
            since, connection = self._idle.pop()
            if not connection.is_closed() and monotonic() - since < _MAX_IDLE:
                return connection
            connection.terminate()
            self._open -= 1
        return None

    async def take(self) -> "asyncpg.Connection":
        """Opens a connection, or waits for one. Raises DatabaseUnavailableError."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        while not self._closed:
            if self._has_room():
                if (opened := await self._open_one()) is not None:
                    return opened
            elif (given := await self._wait(deadline)) is not None:
                return given
            if (idle := self.take_idle()) is not None:
                return idle
        raise DatabaseUnavailableError

    def give_back(self, connection: "asyncpg.Connection") -> None:
        """Returns a connection to the pool, or hands it to the request that has waited longest."""
        if connection.is_closed() or self._closed:
            self._drop(connection)
        elif not self._hand_over(connection):
            self._idle.append((monotonic(), connection))

    async def close(self) -> None:
        """Closes idle connections now, and those in use when they are given back."""
        self._closed = True
        while self._hand_over(None):
            pass
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.close(timeout=1) for _, connection in idle), return_exceptions=True)
        self._open -= len(idle)

    def _has_room(self) -> bool:
        return self._open < self.size and (self._open == 0 or monotonic() >= self._full_until)

    async def _open_one(self) -> "asyncpg.Connection | None":
        """Opens a connection; None if the server refuses it while the pool has, or tries to open, others."""
        self._open += 1
        refused_before = self._refused
        try:
            return await self._connect()
        except BaseException as error:
            self._open -= 1
            self._hand_over(None)
            # PostgreSQL counts connections that are being opened: a role's limit can refuse all of several at
            # once, and has room for one of them when it is tried alone.
            was_alone = not self._open and self._refused == refused_before
            if isinstance(error, asyncpg.PostgresError) and not was_alone:
                self._note_refusal(error)
                return None
            if isinstance(error, (*_ERRORS, TimeoutError)):
                raise _unconnected(error) from error
            raise

    def _note_refusal(self, error: "asyncpg.PostgresError") -> None:
        now = monotonic()
        self._refused += 1
        self._full_until = now + _REFUSAL_REMEMBERED
        if now >= self._refusal_logged_until:
            self._refusal_logged_until = now + _REFUSAL_LOGGED
            log.warning("PostgreSQL refuses more connections, requests wait for those there are: %s", error)

    async def _wait(self, deadline: float) -> "asyncpg.Connection | None":
        future: asyncio.Future[asyncpg.Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            async with asyncio.timeout_at(deadline):
                return await future
        except BaseException as error:
            with suppress(ValueError):
                self._waiting.remove(future)
            if (
                future.done() and not future.cancelled()
            ):  # it came at the last moment, and is for another waiter
                if (connection := future.result()) is None:
                    self._hand_over(None)
                else:
                    self.give_back(connection)
            if isinstance(error, TimeoutError):
                raise DatabaseUnavailableError from error
            raise

    def _hand_over(self, connection: "asyncpg.Connection | None") -> bool:
        """Hands a connection to the request that has waited longest. Returns False if none waits."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(connection)
                return True
        return False

    def _drop(self, connection: "asyncpg.Connection") -> None:
        connection.terminate()
        self._open -= 1
        self._hand_over(None)


# Conflicts and errors


async def _retry_conflicts(attempt: Callable[[*Arguments], Awaitable[T]], *arguments: *Arguments) -> T:
    """Repeats an attempt that PostgreSQL aborted because of another transaction, after random pauses.

    Raises ContentionError after _MAX_ATTEMPTS.
    """
    try:
        return await attempt(*arguments)
    except _CONFLICTS as error:
        conflicts = [error]

    # Used only after a failure: for a success, tenacity would take as long as a statement.
    async def repeat() -> T:
        if conflicts:
            raise conflicts.pop()
        return await attempt(*arguments)

    retrying = AsyncRetrying(
        retry=retry_if_exception_type(_CONFLICTS),
        stop=stop_after_attempt(_MAX_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.02),
    )
    try:
        return await retrying(repeat)
    except RetryError as error:
        raise ContentionError from error.last_attempt.exception()


async def _control(connection: "asyncpg.Connection", command: str) -> None:
    """Begins or ends a transaction.

    If that is interrupted, the connection's state is unknown: terminates it.
    """
    try:
        await connection.execute(command)
    except BaseException as error:
        answered = isinstance(error, asyncpg.PostgresError) and not connection.is_closed()
        if not answered or connection.is_in_transaction():
            connection.terminate()
        raise


def _translate_error(connection: "asyncpg.Connection", error: Exception) -> None:
    """Raises the exception for an error of the server or the connection; returns if it is the statement's.

    asyncpg may not know yet that the connection has ended.
    """
    state = state_of(error)
    if connection.is_closed() or getattr(error, "severity_en", None) in ("FATAL", "PANIC"):
        connection.terminate()
        if not isinstance(state, StatementTimeoutError):
            raise ConnectionLostError(sqlstate=getattr(error, "sqlstate", None)) from error
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        connection.terminate()  # a new connection may reach the server that is the primary now
    if state is not None:
        raise state from error


def _unconnected(error: BaseException) -> Exception:
    """Returns the exception to raise if no connection could be opened."""
    state = state_of(error)
    return (
        state
        if isinstance(state, DatabaseUnavailableError)
        else DatabaseUnavailableError(sqlstate=getattr(error, "sqlstate", None))
    )
