"""What a subscriber sees."""

import asyncpg

from graphql_api.feed import Feed, LogFilter


async def write(connection: "asyncpg.Connection", *messages: str, level: str = "info") -> None:
    await connection.executemany(
        "INSERT INTO system_logs (level, component, message) VALUES ($1, 'test', $2)",
        [(level, message) for message in messages],
    )


async def test_a_row_reaches_a_subscriber(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(LogFilter()) as subscription:
        await write(connection, "hello")
        event = await anext(subscription)
    assert event.row["message"] == "hello"
    assert not event.replayed


async def test_a_cursor_resumes_after_its_row(feed: Feed, connection: "asyncpg.Connection") -> None:
    async with await feed.subscribe(LogFilter()) as subscription:
        await write(connection, "one", "two", "three")
        cursor = (await anext(subscription)).cursor
    async with await feed.subscribe(LogFilter(), after=cursor) as subscription:
        assert {(await anext(subscription)).row["message"] for _ in range(2)} <= {"one", "two", "three"}
        await write(connection, "four")
        assert (await anext(subscription)).row["message"] == "four"


async def test_a_backfill_comes_first(feed: Feed, connection: "asyncpg.Connection") -> None:
    for number in range(5):
        await write(connection, str(number))
    async with await feed.subscribe(LogFilter(), backfill=3) as subscription:
        await write(connection, "5")
        events = [await anext(subscription) for _ in range(4)]
    assert [event.row["message"] for event in events] == ["2", "3", "4", "5"]
    assert [event.replayed for event in events] == [True, True, True, False]
