import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, cast
from unittest.mock import Mock

import pytest
import strawberry
from graphql import GraphQLError, OperationType, located_error

from graphql_api.execution.analysis import RequestLimits
from graphql_api.execution.errors import RequestError
from graphql_api.execution.operations import GraphQLRequest, Operations, Result
from graphql_api.execution.subscriptions import Subscriptions
from tests.execution.contexts import BareContext


@dataclass
class Context(BareContext):
    number: int
    closed: list[int]


Info = strawberry.Info[Context, None]


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Cat(Named):
    age: int = 3


@strawberry.type
class Dog(Named):
    age: int = 4


@strawberry.type
class Item:
    text: str | None
    number: int | None


@strawberry.type
class Query:
    @strawberry.field
    def items(self, count: int, length: int = 0) -> list[Item]:
        """The first has a text that can't be serialized, and none a number that can."""
        items = [Item(text="x" * length, number=cast("int", "secret")) for _ in range(count)]
        items[0].text = cast("str", {})
        return items

    @strawberry.field
    def pets(self) -> list[Named]:
        return [Cat(name="Tom"), Dog(name="Rex")]

    @strawberry.field
    def number(self, info: Info) -> int:
        return info.context.number

    @strawberry.field
    def broken(self) -> str | None:
        raise ValueError("secret")

    @strawberry.field
    def required(self) -> str:
        raise ValueError("secret")

    @strawberry.field
    async def cancelled(self) -> str | None:
        raise asyncio.CancelledError

    @strawberry.field
    async def endless(self) -> str | None:
        await asyncio.sleep(3600)
        return None


@strawberry.type
class Event:
    @strawberry.field
    def number(self, info: Info) -> int:
        return info.context.number


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def events(self, info: Info, fail: bool = False) -> AsyncIterator[Event]:
        try:
            for _ in range(2):
                yield Event()
            if fail:
                raise ValueError("secret")
        finally:
            info.context.closed.append(info.context.number)

    @strawberry.subscription
    async def refused(self) -> AsyncIterator[Event]:
        raise ValueError("secret")
        yield Event()


def masked(error: GraphQLError) -> GraphQLError:
    return GraphQLError("masked", path=error.path) if error.original_error else error


SCHEMA = strawberry.Schema(Query, subscription=Subscription, types=[Cat, Dog])
Engine = Literal["compiled", "stock"]


@pytest.fixture(params=["compiled", "stock"])
def operations(request: pytest.FixtureRequest) -> Operations:
    return Operations(SCHEMA, mask=masked, limits=RequestLimits(errors=3), engine=request.param)


async def execute(operations: Operations, query: str, **variables: object) -> Result:
    operation = operations.prepare(GraphQLRequest(query, variables=variables))
    return await operations.execute(operation, Context(7, []))


def messages(result: Result) -> list[str]:
    return [error.message for error in result.errors]


async def test_a_query_runs_in_the_context_it_is_given(operations: Operations) -> None:
    assert (await execute(operations, "{ number }")).render() == b'{"data":{"number":7}}'


async def test_the_type_of_an_operation_is_known_before_it_runs(operations: Operations) -> None:
    assert operations.prepare(GraphQLRequest("{ number }")).type is OperationType.QUERY
    request = GraphQLRequest("subscription { events { number } }")
    assert operations.prepare(request).type is OperationType.SUBSCRIPTION


async def test_a_request_that_names_no_operation_is_refused(operations: Operations) -> None:
    with pytest.raises(RequestError):
        operations.prepare(GraphQLRequest("{ number }", operation_name="other"))


async def test_what_resolvers_raise_is_masked(operations: Operations) -> None:
    result = await execute(operations, "{ number broken }")
    assert result.executed
    assert messages(result) == ["masked"]
    assert b"secret" not in result.render()


async def test_null_in_a_required_place_is_data_that_is_null(operations: Operations) -> None:
    result = await execute(operations, "{ required }")
    assert result.executed
    assert result.render().startswith(b'{"data":null,"errors":[')


async def test_a_variable_of_the_wrong_type_is_a_request_without_data(operations: Operations) -> None:
    result = await execute(operations, "query($a: Boolean!) { number @skip(if: $a) }", a=1)
    assert not result.executed
    assert result.errors[0].extensions == {"code": "BAD_USER_INPUT"}
    assert result.render().startswith(b'{"errors":[')


async def test_errors_are_bounded(operations: Operations) -> None:
    result = await execute(operations, "{ a: broken b: broken c: broken d: broken }")
    assert len(result.errors) == 3


async def test_what_someone_else_cancelled_is_an_error(operations: Operations) -> None:
    with pytest.raises(RuntimeError, match="cancelled"):
        await execute(operations, "{ cancelled }")


async def test_cancelling_an_operation_is_no_error_of_its_own(operations: Operations) -> None:
    context = Context(7, [])
    operation = operations.prepare(GraphQLRequest("{ endless }"))
    task = asyncio.create_task(operations.execute(operation, context))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert context.cancelled


class Contexts:
    """Makes contexts with rising numbers."""

    def __init__(self) -> None:
        self.made = 0
        self.closed: list[int] = []

    def __call__(self) -> Context:
        self.made += 1
        return Context(self.made, self.closed)


async def subscribe(operations: Operations, query: str, contexts: Contexts) -> list[Result]:
    operation = operations.prepare(GraphQLRequest(query))
    return [
        result async for due in Subscriptions(operations).subscribe(operation, contexts) for result in due
    ]


async def test_a_subscription_has_a_context_and_each_event_another(operations: Operations) -> None:
    results = await subscribe(operations, "subscription { events { number } }", Contexts())
    assert [result.render() for result in results] == [
        b'{"data":{"events":{"number":2}}}',
        b'{"data":{"events":{"number":3}}}',
    ]


async def test_a_source_that_fails_ends_in_a_masked_error(operations: Operations) -> None:
    *_, last = await subscribe(operations, "subscription { events(fail: true) { number } }", Contexts())
    assert (last.executed, messages(last)) == (False, ["masked"])


async def test_a_source_that_cannot_begin_is_a_masked_error(operations: Operations) -> None:
    (result,) = await subscribe(operations, "subscription { refused { number } }", Contexts())
    assert (result.executed, messages(result)) == (False, ["masked"])


async def test_a_subscription_with_a_bad_variable_never_begins(operations: Operations) -> None:
    request = GraphQLRequest("subscription($f: Boolean!) { events(fail: $f) { number } }")
    contexts = Contexts()
    ((result,),) = [
        each async for each in Subscriptions(operations).subscribe(operations.prepare(request), contexts)
    ]
    assert not result.executed
    assert contexts.closed == []


async def test_closing_a_subscription_closes_its_source(operations: Operations) -> None:
    contexts = Contexts()
    operation = operations.prepare(GraphQLRequest("subscription { events { number } }"))
    results = Subscriptions(operations).subscribe(operation, contexts)
    await anext(results)
    await results.aclose()
    assert contexts.closed == [1]


async def test_a_result_is_rendered_once_for_all_its_readers() -> None:
    result = Result({"number": 1})
    assert result.render() is result.render()


async def test_the_plans_of_an_operation_are_kept_as_far_as_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"v{number}" for number in range(5)]
    variables = " ".join(f"${name}: Boolean!" for name in names)
    fields = " ".join(f"{name}: number @include(if: ${name})" for name in names)
    text = f"query ({variables}) {{ {fields} }}"

    async def compiled() -> int:
        operations = Operations(strawberry.Schema(Query), mask=lambda error: error)
        for _ in range(2):
            for outcome in range(32):
                given = {name: bool(outcome >> bit & 1) for bit, name in enumerate(names)}
                operation = operations.prepare(GraphQLRequest(text, variables=given))
                await operations.execute(operation, Context(1, []))
        return operations.compiled

    assert await compiled() == 32
    monkeypatch.setattr("graphql_api.execution.operations.MAX_PLAN_MEMORY", 100_000)
    assert await compiled() == 64


@pytest.mark.parametrize("engine", ["compiled", "stock"])
@pytest.mark.parametrize("fields", ["text", "a: text b: text", "text number"])
async def test_a_column_with_an_error_counts_in_the_size_of_the_response(engine: Engine, fields: str) -> None:
    limits = RequestLimits(errors=3, response_size=100_000)
    operations = Operations(SCHEMA, mask=masked, limits=limits, engine=engine)
    query = f"{{ items(count: 60, length: %s) {{ {fields} }} }}"
    assert (await execute(operations, query % 100)).data is not None
    refused = await execute(operations, query % 2_000)
    assert messages(refused) == ["bytes of the response: more than the limit of 100000"]


async def test_only_errors_that_are_shown_are_located(monkeypatch: pytest.MonkeyPatch) -> None:
    located = Mock(side_effect=located_error)
    monkeypatch.setattr("graphql_api.execution.executor.located_error", located)
    operations = Operations(SCHEMA, mask=masked, limits=RequestLimits(errors=3), engine="compiled")
    result = await execute(operations, "{ items(count: 5000) { number } }")
    assert [error.path for error in result.errors] == [["items", index, "number"] for index in range(3)]
    assert located.call_count == 3
    assert operations._scheduler.pauses >= 49


async def test_types_of_an_interface_count_in_the_memory_of_a_plan() -> None:
    operations = Operations(SCHEMA, mask=masked, engine="compiled")
    aliases = " ".join(f"a{number}: age" for number in range(50))
    query = f"{{ pets {{ name ... on Cat {{ {aliases} }} ... on Dog {{ {aliases} }} }} }}"
    for _ in range(2):
        assert (await execute(operations, query)).data["pets"][1]["a49"] == 4
    assert operations.compiled == 1
    assert operations._plans.currsize > 102 * 2_000


async def test_a_plan_that_outgrows_the_cache_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphql_api.execution.operations.MAX_PLAN_MEMORY", 100_000)
    operations = Operations(SCHEMA, mask=masked, engine="compiled")
    aliases = " ".join(f"a{number}: age" for number in range(50))
    await execute(operations, f"{{ pets {{ ... on Cat {{ {aliases} }} ... on Dog {{ {aliases} }} }} }}")
    assert operations._plans.currsize == 0
