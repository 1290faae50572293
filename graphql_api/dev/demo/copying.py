"""COPY into a table that fails when the connection ends; asyncpg's own would wait."""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any

import asyncpg

_CLOSE_TIMEOUT = 1.0
"""Seconds for COPY to raise what its connection has ended with."""


async def copy_records(connection: "asyncpg.Connection", table: str, records: Sequence[Any]) -> None:
    """Writes records, named tuples of a table's columns, into it. Raises ConnectionError, and asyncpg's."""
    copying = connection.copy_records_to_table(table, columns=records[0]._fields, records=records)
    await end_with_connection(connection, copying)


async def end_with_connection(connection: "asyncpg.Connection", copying: Awaitable[object]) -> None:
    """Awaits a COPY. Raises ConnectionError once the connection has ended.

    asyncpg waits until it may write again, and that is for ever if the connection has ended.
    """
    ended = asyncio.Event()

    def end(_: object) -> None:
        ended.set()

    connection.add_termination_listener(end)
    task, ending = asyncio.ensure_future(copying), asyncio.create_task(ended.wait())
    try:
        await asyncio.wait((task, ending), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait((task,), timeout=_CLOSE_TIMEOUT)
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await task
            raise ConnectionError("the server went away during a COPY")
        await task
    finally:
        task.cancel()
        ending.cancel()
        connection.remove_termination_listener(end)
