import asyncio
from collections.abc import AsyncIterator
from io import BytesIO

import asyncpg
import pytest

from graphql_api.dev.demo.copying import end_with_connection
from graphql_api.postgres.address import Address


async def lines() -> AsyncIterator[bytes]:
    """More than fit into a connection while nobody reads it."""
    while True:
        yield b"x" * 100_000 + b"\n"
        await asyncio.sleep(0)


async def test_a_copy_ends_with_its_connection_also_while_the_server_reads_nothing(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    await connection.execute("CREATE TABLE copied (line text)")
    copying = await address.connect_plain()
    async with connection.transaction():
        await connection.execute("LOCK TABLE copied")  # so the server doesn't read what is copied
        task = asyncio.create_task(
            end_with_connection(copying, copying.copy_to_table("copied", source=lines()))
        )
        await asyncio.sleep(0.5)
        assert not task.done()
        await connection.execute("SELECT pg_terminate_backend($1)", copying.get_server_pid())
        with pytest.raises((ConnectionError, asyncpg.PostgresError)):
            await asyncio.wait_for(task, 20)
    copying.terminate()


async def test_a_copy_that_is_refused_says_why(connection: "asyncpg.Connection") -> None:
    await connection.execute("CREATE TABLE copied (line int)")
    copying = connection.copy_to_table("copied", source=BytesIO(b"no number\n"))
    with pytest.raises(asyncpg.DataError):
        await end_with_connection(connection, copying)
