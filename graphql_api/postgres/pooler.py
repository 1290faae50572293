"""Detects a pooler in transaction mode, as PgBouncer's usual mode is, between us and PostgreSQL."""

import asyncio
import random

import asyncpg

from graphql_api.postgres.address import Address

_TIMEOUT = 5.0
_ROUNDS = 20
_PAUSE = 0.005
"""Seconds between two rounds at most, at random: others' transactions may fall into step with ours."""


async def is_transaction_pooled(address: Address) -> bool:
    """Whether each transaction on a connection to `address` may get another server process.

    Then statements that were prepared on a connection are missing there, or, worse, are another client's;
    and LISTEN hears nothing. One connection shows that there is nothing in between; two are needed to see a
    pooler in session mode from one in transaction mode. Raises as `Address.connect_plain` does.
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
    """Whether two clients meet the same server process, or one meets several."""
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
