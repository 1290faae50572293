"""The two executors side by side."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import isawaitable
from typing import Any

import orjson
import strawberry
from graphql import GraphQLError
from graphql.execution.executor import CollectedErrors
from graphql.pyutils import Path

from graphql_api.execution.analysis import RequestLimits
from graphql_api.execution.errors import ArgumentError, RequestError
from graphql_api.execution.operations import GraphQLRequest, Operations, Result
from graphql_api.execution.stock_executor import Invocation
from tests.execution.generated_documents import Request

MakeContext = Callable[[], Any]


def formatted(errors: Sequence[GraphQLError]) -> list[bytes]:
    """Returns errors as clients get them."""
    return [orjson.dumps(error.formatted) for error in errors]


def untouched(error: GraphQLError) -> GraphQLError:
    """Returns the error itself: a mask that hides nothing."""
    return error


class EveryError(CollectedErrors):
    """Collects all errors, also those below a position that is null already."""

    def has_nulled_position(self, start_path: Path | None) -> bool:
        return False


class Executors:
    """Runs a request with both executors. They share documents, so that each is parsed and validated once."""

    def __init__(self, schema: strawberry.Schema) -> None:
        limits = RequestLimits(errors=10_000, tokens=10_000)
        self.stock = Operations(schema, mask=untouched, limits=limits, engine="stock")
        self.compiled = Operations(schema, mask=untouched, limits=limits, engine="compiled")
        self.compiled.documents = self.stock.documents

    async def run(self, operations: Operations, request: Request, context: Any) -> Result:
        try:
            operation = operations.prepare(GraphQLRequest(request.query, None, request.variables))
        except RequestError as error:
            raise AssertionError(f"{error}\n{request.query}") from error
        return await operations.execute(operation, context)

    async def both(self, request: Request, new_context: MakeContext) -> tuple[Result, Result]:
        """Returns the result of the stock executor, and that of the compiled plan."""
        return (
            await self.run(self.stock, request, new_context()),
            await self.run(self.compiled, request, new_context()),
        )

    async def every_error(self, request: Request, context: Any, root_value: Any = None) -> set[bytes]:
        """Returns all errors that may be reported: those of the stock executor if no error nulls a parent.

        `root_value` is a subscription's event.
        """
        operation = self.stock.prepare(GraphQLRequest(request.query, None, request.variables))
        invocation = self.stock.invocation(operation, context)
        assert isinstance(invocation, Invocation)
        executor = replace(invocation, root_value=root_value).stock_executor()
        executor.error_propagation = False
        executor.collected_errors = EveryError()
        result = executor.execute_operation()
        if isawaitable(result):
            await result
        while executor.background_futures:
            await asyncio.wait(executor.background_futures)
        return set(formatted([ArgumentError.of(error) for error in executor.collected_errors.errors]))


def assert_same(stock: Result, compiled: Result) -> None:
    """Asserts that data and errors are the same, and in the same order."""
    assert stock.executed == compiled.executed
    assert orjson.dumps(stock.data) == orjson.dumps(compiled.data)
    assert formatted(stock.errors) == formatted(compiled.errors)


def assert_equivalent(stock: Result, compiled: Result, possible: set[bytes]) -> None:
    """Asserts that data are the same, and that errors differ only if the specification allows it.

    If several errors null the same parent, graphql-core reports those of the tasks that fail first. So below
    such a null, each executor must report at least one error, and only `possible` ones; everywhere else the
    errors must be equal.
    """
    assert stock.executed == compiled.executed
    assert orjson.dumps(stock.data) == orjson.dumps(compiled.data)
    assert set(formatted(compiled.errors)) <= possible | set(formatted(stock.errors))
    first, second = by_null(stock), by_null(compiled)
    assert first.keys() == second.keys()
    for place, errors in first.items():
        choices = [error for error in possible if is_below(orjson.loads(error).get("path") or [], place)]
        if len(choices) <= 1:
            assert errors == second[place]


def by_null(result: Result) -> dict[tuple[Any, ...], list[bytes]]:
    """Returns the sorted errors by the position of the null that they caused."""
    by_path = defaultdict(list)
    for error in result.errors:
        value, depth = result.data, 0
        path = error.path or []
        while value is not None and depth < len(path):
            value = value[path[depth]]
            depth += 1
        by_path[tuple(path[:depth])].append(formatted([error])[0])
    return {key: sorted(errors) for key, errors in by_path.items()}


def is_below(path: Sequence[Any], place: Sequence[Any]) -> bool:
    return tuple(path[: len(place)]) == tuple(place)
