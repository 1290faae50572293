"""The garbage collector examines recent objects only, between the steps of the event loop."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from graphql_api.transport import garbage_collection
from graphql_api.transport.garbage_collection import GarbageCollection, collect_and_freeze
from tests.transport.conftest import until


class Cycle:
    """Refers to itself."""

    def __init__(self) -> None:
        self.own = self


@pytest.fixture
async def started() -> AsyncIterator[None]:
    collection = GarbageCollection()
    collection.start()
    try:
        yield
    finally:
        collection.stop()
        gc.unfreeze()


@pytest.mark.usefixtures("started")
async def test_what_lives_on_is_left_alone() -> None:
    living = []
    for _ in range(40):
        living.append([[number] for number in range(5_000)])
        await asyncio.sleep(0)
    assert len(gc.get_objects()) < 60_000


@pytest.mark.usefixtures("started")
async def test_cycles_that_end_with_a_step_are_found_after_it() -> None:
    cycle = Cycle()
    dead = weakref.ref(cycle)
    lists = [[number] for number in range(50_000)]  # meanwhile it isn't of the youngest any more
    assert dead() is not None
    del cycle
    lists += [[number] for number in range(50_000)]
    assert dead() is not None
    await asyncio.sleep(0)
    assert dead() is None


@pytest.mark.usefixtures("started")
async def test_a_step_examines_only_the_youngest_and_all_others_are_examined_once_after_it() -> None:
    def collections() -> list[int]:
        return [generation["collections"] for generation in gc.get_stats()]

    await asyncio.sleep(0)
    before = collections()
    lists = [[number] for number in range(50_000)]
    during = collections()
    await asyncio.sleep(0)
    after = collections()
    assert len(lists) == 50_000
    assert [during[0] - before[0] >= 9, *during[1:]] == [True, *before[1:]]
    assert after[1:] == [before[1], before[2] + 1]


async def test_cycles_that_end_later_are_found_in_a_quiet_second(monkeypatch: pytest.MonkeyPatch) -> None:
    cycle = Cycle()
    dead = weakref.ref(cycle)
    collect_and_freeze()
    del cycle
    gc.collect()
    assert dead() is not None
    monkeypatch.setattr(garbage_collection, "_INTERVAL", 0.0)
    collection = GarbageCollection()
    collection.start()
    try:
        await until(lambda: dead() is None)
    finally:
        collection.stop()
        gc.unfreeze()


async def test_when_it_has_ended_the_collector_is_as_it_was() -> None:
    before = gc.get_threshold(), list(gc.callbacks)
    collection = GarbageCollection()
    collection.start()
    assert (gc.get_threshold(), gc.callbacks) != before
    collection.stop()
    assert (gc.get_threshold(), gc.callbacks) == before
    gc.unfreeze()
