"""Large transactions, and subscribers that stall while they arrive."""

import asyncpg
import pytest

from graphql_api.log_feed import Feed, FeedSubscription, LogFilter
from tests.drills.conftest import MakeFeed
from tests.drills.servers import Server
from tests.log_feed.conftest import messages, write

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600)]

EVERYTHING = LogFilter()
ROWS = 1_000_000


async def insert(connection: "asyncpg.Connection", rows: int) -> None:
    await connection.execute(
        "INSERT INTO system_logs (level, component, message)"
        " SELECT 'info', 'bulk', n::text FROM generate_series(1, $1::int) n",
        rows,
        timeout=300,
    )


async def numbers(subscription: FeedSubscription, count: int) -> set[str]:
    """The messages of so many events, all of them different."""
    seen: set[str] = set()
    received = 0
    while received < count:
        batch = await subscription.batch()
        received += len(batch)
        seen.update(event.row["message"] for event in batch)
    assert received == len(seen) == count
    return seen


async def bounded(feed: Feed, subscription: FeedSubscription, count: int) -> None:
    await numbers(subscription, count)
    assert feed.stats.buffered_rows <= feed.options.buffer.rows
    assert feed.stats.buffered_bytes <= feed.options.buffer.bytes


async def test_a_million_rows_of_one_transaction_arrive_once(server: Server, make_feed: MakeFeed) -> None:
    feed, connection = make_feed(server), await server.address.connect_plain()
    quick, slow = [await feed.subscribe(EVERYTHING) for _ in range(2)]
    start = quick.cursor
    await insert(connection, ROWS)
    await write(connection, "last")
    await bounded(feed, quick, ROWS)
    assert await messages(quick, 1) == ["last"]
    await bounded(feed, slow, ROWS)
    assert await messages(slow, 1) == ["last"]
    async with await make_feed(server).subscribe(EVERYTHING, after=start) as resumed:
        await numbers(resumed, ROWS)
        assert await messages(resumed, 1) == ["last"]
    await connection.close()


async def test_a_writer_open_over_many_rows_delays_nobody(server: Server, make_feed: MakeFeed) -> None:
    feed = make_feed(server)
    bulk, other = [await server.address.connect_plain() for _ in range(2)]
    subscription = await feed.subscribe(EVERYTHING)
    await bulk.execute("BEGIN")
    for number in range(20):
        await insert(bulk, 10_000)
        await write(other, f"live {number}")
        assert await messages(subscription, 1) == [f"live {number}"]
    await bulk.execute("COMMIT")
    received = 0
    while received < 200_000:
        received += len(await subscription.batch())
    assert received == 200_000
    await bulk.close()
    await other.close()
