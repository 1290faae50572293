"""A compiled plan gives the same response as the stock executor, for any document and any error."""

import asyncio
import gc
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings

from graphql_api.execution import executor
from graphql_api.execution.operations import GraphQLRequest, Operations, Result
from graphql_api.execution.subscriptions import Results, Subscriptions
from tests.execution.executors import Executors, assert_equivalent, assert_same, formatted
from tests.execution.faulty_schema import schema
from tests.execution.faulty_values import Context, SharedRows, shared_events
from tests.execution.generated_documents import Request, documents

Check = Callable[[Request], Coroutine[Any, Any, None]]

# graphql-core leaves coroutines behind where an error ends a selection early. Python warns wherever it finds
# them, even inside a named tuple, where nothing can be imported to warn with.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def often(few: int, many: int) -> pytest.MarkDecorator:
    """So many examples with every run, and so many with a drill."""
    drill = pytest.param(many, marks=[pytest.mark.drill, pytest.mark.timeout(3600)])
    return pytest.mark.parametrize("examples", [few, drill])


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def try_out(
    runner: asyncio.Runner,
    check: Check,
    examples: int,
    kind: str = "query",
    excluded: frozenset[str] = frozenset(),
) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
    )
    @given(documents(schema._schema, kind, excluded=excluded))
    def run(request: Request) -> None:
        runner.run(check(request))

    run()


@often(150, 5000)
def test_where_nothing_waits_bytes_errors_and_their_order_are_the_same(
    runner: asyncio.Runner, examples: int
) -> None:
    executors = Executors(schema)

    async def check(request: Request) -> None:
        assert_same(*await executors.both(request, Context))

    try_out(runner, check, examples)
    assert_compiled(executors)


@often(150, 5000)
def test_where_fields_wait_bytes_are_the_same_and_errors_equivalent(
    runner: asyncio.Runner, examples: int
) -> None:
    executors = Executors(schema)

    async def check(request: Request) -> None:
        stock, compiled = await executors.both(request, lambda: Context(later=True))
        possible = await executors.every_error(request, Context(later=True)) if stock.executed else set()
        assert_equivalent(stock, compiled, possible)

    try_out(runner, check, examples)
    assert_compiled(executors)


@often(60, 2000)
def test_large_answers_which_are_rendered_in_pieces_have_the_same_bytes(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, examples: int
) -> None:
    monkeypatch.setattr(executor, "LARGE_RESULT", 1)
    executors = Executors(schema)
    rendered = 0

    async def check(request: Request) -> None:
        nonlocal rendered
        stock, compiled = await executors.both(request, Context)
        assert_same(stock, compiled)
        rendered += any(isinstance(value, orjson.Fragment) for value in (compiled.data or {}).values())

    try_out(runner, check, examples)
    assert rendered


@often(60, 2000)
def test_a_refusing_check_is_told_the_same(runner: asyncio.Runner, examples: int) -> None:
    executors = Executors(schema)

    async def check(request: Request) -> None:
        assert_same(*await executors.both(request, lambda: Context(log=["refuse"])))

    try_out(runner, check, examples)


@often(60, 2000)
@pytest.mark.parametrize("later", [False, True])
def test_mutations_do_the_same_in_the_same_order(
    runner: asyncio.Runner, examples: int, *, later: bool
) -> None:
    executors = Executors(schema)

    async def check(request: Request) -> None:
        contexts: list[Context] = []

        def new_context() -> Context:
            contexts.append(Context(later))
            return contexts[-1]

        stock, compiled = await executors.both(request, new_context)
        assert contexts[0].log == contexts[1].log
        possible = await executors.every_error(request, Context(later)) if stock.executed else set()
        assert_equivalent(stock, compiled, possible)

    try_out(runner, check, examples, "mutation")
    assert_compiled(executors)


@often(60, 2000)
def test_subscriptions_give_the_same_events(runner: asyncio.Runner, examples: int) -> None:
    executors = Executors(schema)

    async def events(operations: Operations, request: Request) -> list[Result]:
        operation = operations.prepare(GraphQLRequest(request.query, None, request.variables))
        return [
            result async for due in Subscriptions(operations).subscribe(operation, Context) for result in due
        ]

    async def check(request: Request) -> None:
        stock = await events(executors.stock, request)
        compiled = await events(executors.compiled, request)
        assert len(stock) == len(compiled)
        for first, second in zip(stock, compiled, strict=True):
            assert_same(first, second)

    try_out(runner, check, examples, "subscription", frozenset({"Subscription.shared"}))
    assert_compiled(executors)


@often(30, 1000)
@pytest.mark.parametrize("later", [False, True])
def test_subscribers_who_share_results_get_what_one_alone_gets(
    runner: asyncio.Runner, examples: int, *, later: bool
) -> None:
    executors = Executors(schema)
    shared = 0

    async def follow(
        operations: Operations, request: Request, events: Sequence[Any], access: str | None
    ) -> list[Results]:
        operation = operations.prepare(GraphQLRequest(request.query, None, request.variables))
        subscription = Subscriptions(operations).subscribe(
            operation, lambda: Context(later, due=events), None if access is None else lambda: access
        )
        return [results async for results in subscription]

    async def by_itself(request: Request, event: Any) -> tuple[Result, set[bytes]]:
        """The result of an event for a subscriber who shares none, and all errors that it may have."""
        ((result,),) = await follow(executors.stock, request, [event], None)
        if not result.executed:
            return result, set()
        return result, await executors.every_error(request, Context(later), event)

    async def check(request: Request) -> None:
        nonlocal shared
        expected = [
            [await by_itself(request, event) for event in (due if isinstance(due, SharedRows) else [due])]
            for due in shared_events()
        ]
        for operations in (executors.stock, executors.compiled):
            events = shared_events()
            subscribers = await asyncio.gather(
                *(follow(operations, request, events, access) for access in ("reader", "reader", "writer"))
            )
            for batches in subscribers:
                assert_sent(batches, expected)
            for first, second, other in zip(*subscribers, strict=True):
                assert first is not other
                if len(first) > 1 and first.are_sharable:
                    assert first is second
                    shared += 1

    sources = frozenset({"Subscription.rocks", "Subscription.beasts"})
    runner.run(check(Request("subscription { shared { name } }", {})))  # most others have errors
    assert shared == 2  # a list of events, by either executor
    try_out(runner, check, examples, "subscription", sources)
    assert_compiled(executors)


def assert_sent(batches: Sequence[Results], expected: Sequence[Sequence[tuple[Result, set[bytes]]]]) -> None:
    """Checks what a subscriber was sent: all results, or those before one whose rows couldn't be read."""
    for results, due in zip(batches, expected, strict=False):
        if not results[-1].executed:
            assert results is batches[-1]
            assert any(alone.is_incomplete or alone.errors for alone, _ in due)
            return
        assert len(due) == 1 or not any(alone.is_incomplete for alone, _ in due)
        for result, (alone, possible) in zip(results, due, strict=True):
            # What others share is rendered, and has no errors.
            sent = result if result.errors else Result(orjson.loads(result.render())["data"])
            assert_equivalent(alone, sent, possible)
    assert len(batches) == len(expected)


@often(60, 2000)
def test_errors_come_in_the_same_order_at_every_run(runner: asyncio.Runner, examples: int) -> None:
    executors = Executors(schema)

    async def check(request: Request) -> None:
        now = await executors.run(executors.compiled, request, Context())
        later = await executors.run(executors.compiled, request, Context(later=True))
        again = await executors.run(executors.compiled, request, Context(later=True))
        assert orjson.dumps(later.data) == orjson.dumps(again.data)
        assert formatted(later.errors) == formatted(again.errors)
        assert now.executed == later.executed

    try_out(runner, check, examples)


@often(60, 2000)
def test_nothing_is_left_unawaited(runner: asyncio.Runner, examples: int) -> None:
    executors = Executors(schema)

    async def check(request: Request) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await executors.run(executors.compiled, request, Context(later=True))
            gc.collect(0)
        assert [str(warning.message) for warning in caught] == []
        assert asyncio.all_tasks() == {asyncio.current_task()}

    try_out(runner, check, examples)


def assert_compiled(executors: Executors) -> None:
    """Checks that two executors were compared, and not the stock one with itself."""
    assert executors.compiled.compiled > 0
    assert not executors.compiled.fallbacks
