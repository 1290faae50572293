"""Background tasks run to their end, even if the task that waits for them is cancelled."""

import asyncio

from graphql_api.gateway.deadline import BackgroundTasks


async def test_the_end_waits_for_what_is_under_way_and_for_what_that_begins() -> None:
    background = BackgroundTasks()
    done: list[str] = []

    async def first() -> None:
        await asyncio.sleep(0)
        background.start(second())
        done.append("first")

    async def second() -> None:
        await asyncio.sleep(0)
        done.append("second")

    background.start(first())
    await background.finish(60)
    assert done == ["first", "second"]


async def test_what_takes_too_long_is_cancelled_and_may_clean_up() -> None:
    background = BackgroundTasks()
    done: list[str] = []

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")

    task = background.start(for_ever())
    await background.finish(0.01)
    assert task.cancelled()
    assert done == ["cleaned up"]
