"""Statements that wait for a lock."""

import asyncio
from typing import Any

from graphql_api.postgres.address import Address

_WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database() AND application_name <> $1
"""


async def until_waiting(
    address: Address, count: int = 1, *, future: "asyncio.Future[Any] | None" = None, besides: str = ""
) -> None:
    """Returns once at least `count` statements wait for a lock. Fails if `future` is done before that.

    Those of the application `besides` aren't counted.
    """
    # In a transaction, pg_stat_activity would show the connections of its first look.
    connection = await address.connect_plain()
    try:
        while await connection.fetchval(_WAITING, besides) < count:
            assert future is None or not future.done()
            await asyncio.sleep(0.01)
    finally:
        await connection.close()
