"""Detects a pooler in transaction mode, such as PgBouncer, between the service and PostgreSQL."""

import asyncio
import random

import asyncpg

from graphql_api.postgres.address import Address

_TIMEOUT = 5.0
_ROUNDS = 20
_PAUSE = 0.005
"""The most seconds between two rounds; random, since other clients may be in step with these."""


async def is_transaction_pooled(address: Address) -> bool:
    """Whether each transaction on a connection to `address` may get another server process.

    Then a connection's prepared statements are missing in that process, or are those of another client; and
    LISTEN gets no notifications. One connection can show that there is no pooler; two are needed to
    distinguish session mode from transaction mode. Raises as `Address.connect_plain` does.
    """
    first = await address.connect_plain(prepared_statements=False)
    try:
        if first.get_server_pid() == await _server_process(first):
            return False
        second = await address.connect_plain(prepared_statements=False)
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await _share_processes(first, second)
        except (TimeoutError, asyncpg.PostgresError):
            return True  # a pool of one connection, or a mode without transactions
        finally:
            second.terminate()
    finally:
        first.terminate()


async def _share_processes(first: "asyncpg.Connection", second: "asyncpg.Connection") -> bool:
    """Whether two clients get the same server process, or one client gets several."""
    before = await _server_process(first)
    for _ in range(_ROUNDS):
        async with second.transaction():
            if await _server_process(second) == before:
                return True
            if await _server_process(first) != before:
                return True
        await asyncio.sleep(random.uniform(0, _PAUSE))  # noqa: S311 - a pause
    return False


async def _server_process(connection: "asyncpg.Connection") -> int:
    return int(await connection.fetchval("SELECT pg_backend_pid()"))
