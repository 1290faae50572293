"""A field's check runs before its arguments are read and before anything is loaded."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest
import strawberry
from graphql import GraphQLError
from strawberry.types.arguments import StrawberryArgument

from graphql_api.execution.fields import FromLoader, declared, resolved
from graphql_api.execution.operations import GraphQLRequest, Operations
from graphql_api.execution.subscriptions import Subscriptions
from tests.execution.contexts import BareContext
from tests.execution.executors import untouched


@dataclass
class Rights(BareContext):
    allowed: bool = True


class ForbiddenError(GraphQLError):
    pass


def is_allowed(context: Any) -> None:
    if not context.allowed:
        raise ForbiddenError("forbidden")


def _number() -> StrawberryArgument:
    return StrawberryArgument("number", None, strawberry.annotation.StrawberryAnnotation(int), default=1)


@strawberry.type
class Query:
    loaded: int | None = declared(
        "Read by a loader.",
        FromLoader(lambda _, arguments: lambda _: arguments["number"]),
        arguments=[_number()],
        check=is_allowed,
    )

    @resolved("Read by a resolver.", check=is_allowed)
    def computed(self, number: int = 1) -> int | None:
        return number


@strawberry.type
class Subscription:
    @resolved("Two events.", check=is_allowed, subscription=True)
    async def events(self, number: int = 1) -> AsyncIterator[int | None]:
        for _ in range(2):
            yield number


SCHEMA = strawberry.Schema(Query, subscription=Subscription)


@pytest.fixture(params=["compiled", "stock"])
def operations(request: pytest.FixtureRequest) -> Operations:
    return Operations(SCHEMA, mask=untouched, engine=request.param)


def messages(answer: bytes) -> list[str]:
    return [error["message"] for error in orjson.loads(answer).get("errors", ())]


@pytest.mark.parametrize("field", ["loaded", "computed"])
async def test_who_may_not_ask_has_no_argument_read(operations: Operations, field: str) -> None:
    query = f"query ($n: Int) {{ {field}(number: $n) }}"  # null breaks the argument's rule when it is read
    operation = operations.prepare(GraphQLRequest(query, variables={"n": None}))
    refused = await operations.execute(operation, Rights(allowed=False))
    allowed = await operations.execute(operation, Rights(allowed=True))

    assert messages(refused.render()) == ["forbidden"]
    assert "Argument 'number'" in messages(allowed.render())[0]
    assert orjson.loads(refused.render())["data"] == {field: None}


async def test_who_may_not_subscribe_has_no_variable_read(operations: Operations) -> None:
    query = "subscription ($n: Int!) { events(number: $n) }"
    operation = operations.prepare(GraphQLRequest(query, variables={"n": "no number"}))
    ((refused,),) = [
        each async for each in Subscriptions(operations).subscribe(operation, lambda: Rights(allowed=False))
    ]

    assert messages(refused.render()) == ["forbidden"]
    assert not refused.executed


async def test_who_may_not_subscribe_any_more_gets_no_further_event(operations: Operations) -> None:
    rights = Rights(allowed=True)
    results = Subscriptions(operations).subscribe(
        operations.prepare(GraphQLRequest("subscription { events }")), lambda: replace(rights)
    )
    (first,) = await anext(results)
    assert first.render() == b'{"data":{"events":1}}'
    rights.allowed = False
    (second,) = await anext(results)
    assert orjson.loads(second.render())["data"] == {"events": None}


async def test_why_an_operation_is_refused_can_be_told_at_any_time(operations: Operations) -> None:
    query = "query { mine: computed ...more } fragment more on Query { loaded __typename }"
    operation = operations.prepare(GraphQLRequest(query))
    refusal = operations.check_root_fields(operation, Rights(allowed=False))

    assert operations.check_root_fields(operation, Rights(allowed=True)) is None
    assert refusal is not None
    assert sorted(str(error.path) for error in refusal.errors) == ["['loaded']", "['mine']"]
