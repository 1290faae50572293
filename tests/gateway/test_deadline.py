"""A deadline that wasn't reached leaves nothing to the garbage collector."""

import asyncio
import gc
import weakref

from graphql_api.gateway.deadline import Deadline


async def test_one_that_began_to_watch_refers_to_nothing_in_a_circle() -> None:
    deadline = Deadline(60.0)
    dead = weakref.ref(deadline)
    gc.collect()
    gc.disable()
    try:
        with deadline:
            while deadline._watcher is None:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0)
        del deadline
        for _ in range(3):  # until the watcher has been cancelled
            await asyncio.sleep(0)
        assert dead() is None
    finally:
        gc.enable()
