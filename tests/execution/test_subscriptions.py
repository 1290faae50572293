"""Results of events that many subscribers get are computed once for each view of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import strawberry
from graphql import GraphQLError

from graphql_api.execution.errors import PermissionsChangedError
from graphql_api.execution.fields import FromParent, declared
from graphql_api.execution.operations import GraphQLRequest, Operations, Result
from graphql_api.execution.subscriptions import (
    MAX_SHARED_RESULTS,
    Progress,
    Results,
    SharedEvent,
    Subscriptions,
)
from graphql_api.log_feed import hub as feed
from tests.execution.contexts import BareContext
from tests.execution.executors import untouched


@dataclass
class Line:
    """A shareable event that counts how often it is read."""

    results: dict[Any, Any] = field(default_factory=dict)
    reads: int = 0
    loaded: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once what has to be loaded for it is there."""

    def read(self) -> int:
        self.reads += 1
        return 7

    def fail(self) -> int:
        self.reads += 1
        raise ValueError


class Lines(list[Line]):
    """Several events that are due at the same time."""

    def __init__(self, *lines: Line) -> None:
        super().__init__(lines)
        self.results: dict[Any, Any] = {}


@dataclass(kw_only=True)
class Due(BareContext):
    """A context with what the source will yield."""

    due: Line | Lines | Progress


@strawberry.type
class Event:
    number: int = declared("A number.", FromParent(Line.read))
    broken: int | None = declared("None.", FromParent(Line.fail))

    @strawberry.field
    def text(self, times: int = 1) -> str:
        assert isinstance(self, Line)
        return "x" * times * (self.read() // 7)

    @strawberry.field
    async def slow(self, fails: bool = False) -> int:
        assert isinstance(self, Line)
        self.read()
        await self.loaded.wait()
        if fails:
            raise ValueError
        return 7

    @strawberry.field
    async def refused(self) -> int | None:
        raise GraphQLError("not for you")


@strawberry.type
class Query:
    nothing: int = 0


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def lines(self, info: strawberry.Info[Due, None], after: str = "") -> AsyncIterator[Event]:
        yield info.context.due  # type: ignore[misc]


SCHEMA = strawberry.Schema(Query, subscription=Subscription)


@pytest.fixture(params=["compiled", "stock"])
def operations(request: pytest.FixtureRequest) -> Operations:
    return Operations(SCHEMA, mask=untouched, engine=request.param)


async def deliver(
    operations: Operations, line: Line, query: str, rights: Hashable = "reader", **variables: Any
) -> Result:
    (result,) = await deliver_due(operations, line, query, rights, **variables)
    return result


async def deliver_due(
    operations: Operations,
    due: Line | Lines | Progress,
    query: str,
    rights: Hashable = "reader",
    **variables: Any,
) -> Results:
    operation = operations.prepare(GraphQLRequest(query, variables=variables))
    (results,) = [
        each
        async for each in Subscriptions(operations).subscribe(operation, lambda: Due(due=due), lambda: rights)
    ]
    return results


NUMBER = "subscription { lines { number } }"
FEED_EVENTS: tuple[Callable[..., SharedEvent], ...] = (feed.Event, feed.EventBatch)
"""The log feed's classes of events, which know nothing of this package: mypy holds them to it here."""


@pytest.mark.parametrize("event", FEED_EVENTS)
def test_the_log_feeds_events_are_shared(event: Any) -> None:
    (attribute,) = SharedEvent.__annotations__
    assert attribute in event.__slots__


async def test_an_event_is_worked_out_once_for_all_who_ask_the_same(operations: Operations) -> None:
    line = Line()
    answers = [(await deliver(operations, line, NUMBER)).render() for _ in range(3)]
    assert answers == [b'{"data":{"lines":{"number":7}}}'] * 3
    assert line.reads == 1


async def test_another_document_is_another_view(operations: Operations) -> None:
    line = Line()
    await deliver(operations, line, NUMBER)
    other = await deliver(operations, line, "subscription { lines { n: number } }")
    assert other.render() == b'{"data":{"lines":{"n":7}}}'


async def test_other_rights_are_another_view(operations: Operations) -> None:
    line = Line()
    for rights in ("reader", "writer", "reader"):
        await deliver(operations, line, NUMBER, rights)
    assert line.reads == 2


async def test_rights_that_change_while_an_event_waits_end_the_subscription(operations: Operations) -> None:
    """Its result isn't sent, and isn't shared with subscribers who have the former permissions."""
    line, rights = Line(), ["operator"]
    operation = operations.prepare(GraphQLRequest("subscription { lines { slow } }"))
    subscription = Subscriptions(operations).subscribe(operation, lambda: Due(due=line), lambda: rights[0])
    waiting = asyncio.ensure_future(anext(subscription))
    while not line.reads:
        await asyncio.sleep(0)
    rights[0] = "reader"
    line.loaded.set()
    (result,) = await waiting
    assert not result.executed
    assert [type(error) for error in result.errors] == [PermissionsChangedError]
    assert [each async for each in subscription] == []


async def test_variables_of_the_selection_make_another_view(operations: Operations) -> None:
    query = "subscription ($times: Int) { lines { ...all } } fragment all on Event { text(times: $times) }"
    line = Line()
    answers = [await deliver(operations, line, query, times=times) for times in (1, 2, 1)]
    assert [orjson.loads(answer.render())["data"]["lines"]["text"] for answer in answers] == ["x", "xx", "x"]
    assert line.reads == 2


async def test_a_condition_makes_another_view(operations: Operations) -> None:
    query = "subscription ($all: Boolean!) { lines { __typename number @include(if: $all) } }"
    line = Line()
    with_, without = [(await deliver(operations, line, query, all=each)).render() for each in (True, False)]
    assert b"number" in with_
    assert b"number" not in without


async def test_from_where_a_subscriber_came_makes_no_difference(operations: Operations) -> None:
    query = "subscription ($after: String!) { lines(after: $after) { number } }"
    line = Line()
    for after in ("a", "b"):
        await deliver(operations, line, query, after=after)
    assert line.reads == 1


async def test_failures_are_not_shared(operations: Operations) -> None:
    line = Line()
    for _ in range(2):
        assert (await deliver(operations, line, "subscription { lines { broken } }")).errors
    assert line.results == {}


async def test_an_event_keeps_few_results(operations: Operations) -> None:
    line = Line()
    for number in range(MAX_SHARED_RESULTS + 3):
        answer = await deliver(operations, line, f"subscription {{ lines {{ n{number}: number }} }}")
        assert f'"n{number}":7'.encode() in answer.render()
    assert len(line.results) == MAX_SHARED_RESULTS


async def test_events_that_are_due_together_have_a_result_each(operations: Operations) -> None:
    lines = Lines(Line(), Line())
    results = await deliver_due(operations, lines, NUMBER)
    assert [result.render() for result in results] == [b'{"data":{"lines":{"number":7}}}'] * 2
    assert [line.reads for line in lines] == [1, 1]


async def test_who_asks_the_same_of_the_same_events_shares_their_results(operations: Operations) -> None:
    lines = Lines(Line(), Line())
    first, second, other = [
        await deliver_due(operations, lines, NUMBER, rights) for rights in ("reader", "reader", "writer")
    ]
    assert first is second
    assert first is not other


async def test_results_are_shared_by_line_where_other_lines_are_due(operations: Operations) -> None:
    line = Line()
    for lines in (Lines(line, Line()), Lines(Line(), line), Lines(line)):
        await deliver_due(operations, lines, NUMBER)
    assert line.reads == 1


async def test_results_with_an_error_are_everyones_own(operations: Operations) -> None:
    lines = Lines(Line(), Line())
    broken = "subscription { lines { broken } }"
    first, second = [await deliver_due(operations, lines, broken) for _ in range(2)]
    assert first is not second
    assert [len(result.errors) for result in (*first, *second)] == [1] * 4


async def begun(operations: Operations, lines: Lines, query: str) -> "list[asyncio.Task[Results]]":
    """Three subscribers that are due the same events, each as far as it comes."""
    tasks = [asyncio.create_task(deliver_due(operations, lines, query)) for _ in range(3)]
    while not all(line.reads for line in lines):
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    return tasks


async def test_what_one_subscriber_loads_the_others_wait_for(operations: Operations) -> None:
    line = Line()
    tasks = await begun(operations, Lines(line), "subscription { lines { slow } }")
    line.loaded.set()
    first, second, third = await asyncio.gather(*tasks)
    assert first is second is third
    assert line.reads == 1


async def test_a_subscriber_that_leaves_lets_another_load(operations: Operations) -> None:
    line = Line()
    first, *others = await begun(operations, Lines(line), "subscription { lines { slow } }")
    first.cancel()
    await asyncio.wait([first])
    line.loaded.set()
    second, third = await asyncio.gather(*others)
    assert second is third
    assert (second[0].errors, line.reads) == ((), 2)


async def test_those_who_have_waited_for_a_failure_load_for_themselves(operations: Operations) -> None:
    line = Line()
    lines = Lines(line)
    tasks = await begun(operations, lines, "subscription { lines { slow(fails: true) } }")
    line.loaded.set()
    for results in await asyncio.gather(*tasks):
        assert len(results[0].errors) == 1
    assert (line.reads, lines.results) == (3, {})


async def test_a_subscription_ends_where_an_event_cannot_be_read(operations: Operations) -> None:
    """An event with null in place of what wasn't read would say that there is nothing."""
    lines = Lines(Line(), Line())
    for line in lines:
        line.loaded.set()
    # What is wrong with a value would be wrong again, and an error for clients says so itself.
    for selected in ("broken slow", "number refused"):
        results = await deliver_due(operations, lines, f"subscription {{ lines {{ {selected} }} }}")
        assert [(result.executed, len(result.errors)) for result in results] == [(True, 1)] * 2
    (end,) = await deliver_due(operations, lines, "subscription { lines { slow(fails: true) } }")
    assert (end.executed, len(end.errors)) == (False, 1)


async def test_views_of_events_that_are_due_together_are_bounded(operations: Operations) -> None:
    lines = Lines(Line())
    for number in range(MAX_SHARED_RESULTS + 2):
        await deliver_due(operations, lines, f"subscription {{ lines {{ n{number}: number }} }}")
    assert len(lines.results) == MAX_SHARED_RESULTS


async def test_progress_has_no_result_and_is_nobody_elses(operations: Operations) -> None:
    for cursor in ("here", "there"):
        results = await deliver_due(operations, Progress(cursor), NUMBER)
        assert (results, results.progress) == ([], Progress(cursor))
    assert (await deliver_due(operations, Lines(Line()), NUMBER)).progress is None
