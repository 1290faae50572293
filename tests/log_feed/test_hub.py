"""Which events the hub keeps, and which subscribers it wakes."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from graphql_api.domain.account_changes import CHANGES, ChangeFilter
from graphql_api.log_feed import BufferLimits, Event, Feed, FeedOptions, LogFilter
from graphql_api.log_feed.feed_offset import Cursor, CursorCodec, FeedOffset, FeedPage
from graphql_api.log_feed.feed_schema import LOGS, FeedSchema
from graphql_api.log_feed.hub import Hub
from graphql_api.log_feed.stats import FeedStats
from tests.log_feed.conftest import KEY, MakeFeed, events, write, write_many

EVERYTHING = LogFilter()


@pytest.mark.parametrize("limits", [BufferLimits(rows=10), BufferLimits(bytes=40_000)])
async def test_the_buffer_is_bounded_whoever_stalls(
    make_feed: MakeFeed, connection: "asyncpg.Connection", limits: BufferLimits
) -> None:
    feed = make_feed(options=FeedOptions(buffer=limits))
    stalled = [await feed.subscribe(LogFilter(search=text)) for text in ("x", "xx", "xxx")]
    async with await feed.subscribe(EVERYTHING) as quick:
        for _ in range(5):
            await write(connection, *["x" * 2000] * 10)
            await events(quick, 10)
            assert feed.stats.buffered_rows <= limits.rows
            assert feed.stats.buffered_bytes <= limits.bytes
    for subscription in stalled:
        assert len(await events(subscription, 50)) == 50
        await subscription.aclose()


async def test_what_is_kept_counts_in_bytes_of_memory_whatever_its_script() -> None:
    async def buffered(text: str) -> int:
        hub = hub_of()
        row = {"timestamp": None, "level": "info", "component": "api", "message": text, "details": None}
        await publish(hub, row)
        return hub.stats.buffered_bytes

    assert 100_000 < await buffered("x" * 100_000) < 110_000
    assert 400_000 < await buffered("🙂" * 100_000) < 410_000


async def test_one_page_is_kept_however_large(make_feed: MakeFeed, connection: "asyncpg.Connection") -> None:
    feed = make_feed(options=FeedOptions(buffer=BufferLimits(rows=1)))
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write_many(connection, 20)
        await events(subscription, 20)
        assert feed.stats.catch_ups == 0


async def test_a_group_ends_with_its_last_member(feed: Feed) -> None:
    first, second = [await feed.subscribe(EVERYTHING) for _ in range(2)]
    other = await feed.subscribe(LogFilter(search="x"))
    assert feed.stats.groups == 2
    await first.aclose()
    assert feed.stats.groups == 2
    await second.aclose()
    assert feed.stats.groups == 1
    await other.aclose()
    assert feed.stats.groups == 0


async def test_what_callers_make_of_an_event_stays_with_it(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as one, await feed.subscribe(LogFilter(search="x")) as two:
        await write(connection, "x")
        (event,) = await events(one, 1)
        event.results["a document"] = b"{}"
        assert (await events(two, 1))[0].results == {"a document": b"{}"}


async def test_who_gets_the_same_events_gets_the_same_batch(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as one, await feed.subscribe(EVERYTHING) as two:
        await write_many(connection, 250)
        await events(two, 20)
        batches = [await one.batch() for _ in range(3)]
        assert [len(batch) for batch in batches] == [100, 100, 50]
        async with await feed.subscribe(EVERYTHING) as three, await feed.subscribe(EVERYTHING) as four:
            await write_many(connection, 30)
            first, second = await three.batch(), await four.batch()
            assert first is second
            first.results["a document"] = b"[]"
            assert second.results == {"a document": b"[]"}


async def test_a_subscriber_is_woken_once_for_all_rows_of_a_page(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        waiting = asyncio.create_task(subscription.batch())
        await asyncio.sleep(0)
        await write_many(connection, 50)
        assert len(await waiting) == 50


async def test_the_numbers_of_an_idle_feed_are_those_of_no_feed(
    feed: Feed, connection: "asyncpg.Connection"
) -> None:
    async with await feed.subscribe(EVERYTHING) as subscription:
        await write(connection, "x")
        await events(subscription, 1)
        assert (feed.stats.subscribers, feed.stats.buffered_rows, feed.stats.connected) == (1, 1, True)
        assert feed.stats.lag() > 0
    stats = feed.stats
    assert (stats.subscribers, stats.buffered_rows, stats.buffered_bytes, stats.groups) == (0, 0, 0, 0)
    assert (stats.connected, stats.lag()) == (False, 0.0)
    assert (stats.rows, stats.deliveries) == (1, 1)


def hub_of(schema: FeedSchema = LOGS) -> Hub:
    """A hub whose tail has begun, as that of an idle feed."""
    hub = Hub(CursorCodec(KEY), FeedStats(), BufferLimits(), heartbeat=20.0, schema=schema)
    hub.move_to(Cursor(FeedOffset(1, ()), 1, 1))
    return hub


async def publish(hub: Hub, *rows: dict[str, Any]) -> None:
    """Publish rows of one transaction each, as the tail does."""
    cursor = hub.read_up_to
    assert cursor is not None
    first = cursor.offset.next_xid
    page: Any = [
        {"xid": xid, "following_xid": None, "id": f"{xid:032x}", **row} for xid, row in enumerate(rows, first)
    ]
    await hub.publish(FeedPage(cursor.offset, page, (), complete=True), 1, 1)


def change(user: int, row_id: str = "x") -> dict[str, Any]:
    """A changed row of an account that has its user's number."""
    present = {"account_id": f"account {user}", "user_id": f"user {user}"}
    former = dict.fromkeys(("former_account_id", "former_user_id"))
    return {"kind": "TRADE", "change": "ADDED", "row_id": row_id, "is_there": True, **present, **former}


@dataclass(frozen=True)
class Counted:
    """A filter that counts the events that it has to look at."""

    filter: ChangeFilter
    seen: list[Event] = field(default_factory=list, compare=False)

    shape = None

    @property
    def keys(self) -> frozenset[str] | None:
        return self.filter.keys

    def values(self) -> dict[str, Any]:
        return {}

    def choose(self, events: Iterable[Event], cache: dict[Any, Any]) -> list[Event]:
        looked_at = list(events)
        self.seen.extend(looked_at)
        return self.filter.choose(looked_at, cache)


async def test_a_row_is_given_only_to_filters_that_it_can_match() -> None:
    hub, rows = hub_of(CHANGES), [change(number % 10, f"row {number}") for number in range(100)]
    wanted = [Counted(ChangeFilter(user_id=f"user {user}")) for user in range(300)]
    wanted += [Counted(ChangeFilter(account_ids=frozenset({f"account {user}"}))) for user in range(300)]
    some = Counted(ChangeFilter("user 3", frozenset({"account 3", "account 4", "account 1000"})))
    groups = {each: hub.join(each) for each in [*wanted, some]}
    await publish(hub, *rows)
    assert sum(len(each.seen) for each in wanted) == 200
    assert [event.row.id for event in groups[wanted[3]].events] == [f"row {n}" for n in range(3, 100, 10)]
    assert [event.row.id for event in groups[wanted[304]].events] == [f"row {n}" for n in range(4, 100, 10)]
    assert [event.row.id for event in groups[some].events] == [f"row {n}" for n in range(3, 100, 10)]
    for group in groups.values():
        hub.leave(group)
    await publish(hub, *rows)
    assert sum(len(each.seen) for each in wanted) == 200


async def test_filters_without_accounts_are_given_every_row() -> None:
    hub = hub_of(CHANGES)
    everything, trades, nothing = (
        hub.join(wanted)
        for wanted in (
            ChangeFilter(),
            ChangeFilter(kinds=frozenset({"TRADE"})),
            ChangeFilter(account_ids=frozenset()),
        )
    )
    await publish(hub, change(1), change(2))
    assert [len(group.events) for group in (everything, trades, nothing)] == [2, 2, 0]


async def test_a_row_that_changes_hands_is_given_to_all_whom_it_concerns() -> None:
    hub = hub_of(CHANGES)
    moved = {**change(1), "former_account_id": "account 2", "former_user_id": "user 2", "change": "CHANGED"}
    groups = [hub.join(ChangeFilter(user_id=f"user {user}")) for user in range(1, 4)]
    await publish(hub, moved)
    shown = [[event.row.change for event in group.events] for group in groups]
    assert shown == [["ADDED"], ["REMOVED"], []]


class Message(str):
    """A message that counts how often it is made ready for the search."""

    __slots__ = ("encoded",)

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        self.encoded = getattr(self, "encoded", 0) + 1
        return super().encode(encoding, errors)


async def test_a_message_is_folded_once_for_all_who_search() -> None:
    hub, message = hub_of(), Message("Filled at 42")
    groups = [hub.join(LogFilter(search=text)) for text in ("filled", "FILLED", "42", "else")]
    others = hub.join(LogFilter(search="filled", components=frozenset({"other"})))
    row = {"timestamp": None, "level": "info", "component": "api", "message": message, "details": None}
    await publish(hub, row)
    assert [len(group.events) for group in (*groups, others)] == [1, 1, 1, 0, 0]
    assert message.encoded == 1


@dataclass(frozen=True)
class Slow:
    """A filter that takes its time."""

    number: int

    shape = keys = None

    def values(self) -> dict[str, Any]:
        return {}

    def choose(self, events: Iterable[Event], cache: dict[Any, Any]) -> list[Event]:
        time.sleep(0.006)
        return list(events)


async def test_other_tasks_run_while_groups_choose_and_see_a_page_as_a_whole() -> None:
    hub = hub_of()
    groups = [hub.join(Slow(number)) for number in range(10)]
    before = hub.read_up_to
    row = {"timestamp": None, "level": "info", "component": "api", "message": "m", "details": None}
    publishing = asyncio.create_task(publish(hub, row))
    await asyncio.sleep(0)
    turns = 0
    while not publishing.done():
        if turns == 3:
            late = hub.join(Slow(10))
        assert all(group.end == 0 for group in groups) or hub.read_up_to != before
        turns += 1
        await asyncio.sleep(0)
    assert turns >= len(groups)
    assert hub.read_up_to != before
    assert [group.end for group in (*groups, late)] == [1] * 11


async def test_subscribers_of_many_filters_are_woken_over_several_turns_of_the_loop() -> None:
    hub = hub_of(CHANGES)
    groups = [hub.join(ChangeFilter(user_id=f"user {user}")) for user in range(1000)]
    waiting = [asyncio.create_task(group.arrival.wait()) for group in groups]
    await asyncio.sleep(0)
    await publish(hub, *(change(user) for user in range(1000)))
    woken = []
    while not all(task.done() for task in waiting):
        await asyncio.sleep(0)
        woken.append(sum(task.done() for task in waiting))
    assert len(set(woken)) > 4
