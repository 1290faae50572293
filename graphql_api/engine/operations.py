"""One operation from request to result, whatever carried the request here."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, Literal, cast

import orjson
import strawberry
from graphql import ExecutionResult, GraphQLError, OperationDefinitionNode, OperationType, located_error
from graphql.execution import create_source_event_stream
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graphql_api.engine.costs import Costs
from graphql_api.engine.documents import Document, Documents, Guard, RequestError, Rules
from graphql_api.engine.limits import LIMIT_EXCEEDED, LimitError
from graphql_api.engine.persisted import NoDocuments, PersistedDocuments, name_in
from graphql_api.engine.plans import Plans
from graphql_api.engine.prices import Prices
from graphql_api.engine.run import Run

Mask = Callable[[GraphQLError], GraphQLError]
"""What a client may see of an error."""


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """A request in the words of the GraphQL-over-HTTP specification."""

    query: str
    """The document's text; empty where the extensions name it."""
    operation_name: str | None = None
    variables: Mapping[str, Any] | None = None
    extensions: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """A request whose document is valid and whose operation is known."""

    document: Document
    definition: OperationDefinitionNode
    request: GraphQLRequest
    cost: int
    """The most it may cost, in points."""

    @property
    def kind(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.definition.operation


@dataclass(slots=True)
class Result:
    """What an operation, or one event of a subscription, came to."""

    data: Any = None
    """A dict, or JSON that is rendered already (orjson.Fragment)."""
    errors: Sequence[GraphQLError] = ()
    extensions: Mapping[str, Any] | None = None
    executed: bool = True
    """False where nothing ran: the response then has no data entry. In a subscription it is the end."""
    _rendered: bytes | None = None

    def render(self) -> bytes:
        """The response as JSON, rendered once however many read it. Raises orjson.JSONEncodeError."""
        if self._rendered is None:
            response: dict[str, Any] = {}
            if self.executed:
                response["data"] = self.data
            if self.errors:
                response["errors"] = [error.formatted for error in self.errors]
            if self.extensions:
                response["extensions"] = self.extensions
            self._rendered = orjson.dumps(response)
        return self._rendered


class Operations:
    """Executes operations of one schema. Holds no state of any request."""

    def __init__(
        self,
        schema: strawberry.Schema,
        *,
        mask: Mask,
        persisted: PersistedDocuments | None = None,
        rules: Rules = (),
        guard: Guard | None = None,
        prices: Prices | None = None,
        max_cost: int | None = None,
        max_characters: int = 15_000,
        max_tokens: int = 2_000,
        max_errors: int = 100,
        suggestions: bool = True,
        engine: Literal["compiled", "stock"] = "compiled",
    ) -> None:
        self._schema = schema._schema  # noqa: SLF001 - graphql-core's own, which Strawberry doesn't publish
        # Strawberry types its argument more widely than it calls it.
        self._executor = cast("type[StrawberryGraphQLCoreExecutionContext]", schema.execution_context_class)
        self._mask = mask
        self._persisted = NoDocuments() if persisted is None else persisted
        self._costs = Costs(self._schema, prices or {})
        self.max_cost = max_cost
        self._max_errors = max_errors
        self._suggestions = suggestions
        self.plans = Plans(self._schema) if engine == "compiled" else None
        """What compiled operations run by; None where the stock executor runs them all."""
        self.documents = Documents(
            self._schema,
            rules=rules,
            guard=guard,
            max_characters=max_characters,
            max_tokens=max_tokens,
            max_errors=max_errors,
            suggestions=suggestions,
        )

    def prepare(self, request: GraphQLRequest) -> Operation:
        """Find the operation that the request names. Raises RequestError."""
        name = name_in(request.extensions)
        text = self._persisted.find(request.query, name)
        document = self.documents.get(text)
        if name is not None:
            self._persisted.keep(name, text)
        definition = document.operation(request.operation_name)
        cost = self._costs.of(document, definition, request.variables)
        if self.max_cost is not None and cost > self.max_cost:
            raise RequestError(LIMIT_EXCEEDED, [LimitError("cost", self.max_cost, cost)])
        return Operation(document, definition, request, cost)

    async def execute(self, operation: Operation, context: Any) -> Result:
        """Run a query or a mutation. What a resolver raises is in the result, masked."""
        executor = self._build(operation, context)
        if isinstance(executor, Result):
            return executor
        return await self._run(executor, operation)

    async def subscribe(
        self, operation: Operation, new_context: Callable[[], Any]
    ) -> AsyncGenerator[Result, None]:
        """Run a subscription: a result for each event, each with a context of its own.

        A result that wasn't executed is the last one: the subscription was refused, or its source failed.
        Close the generator to end the subscription.
        """
        executor = self._build(operation, new_context())
        if isinstance(executor, Result):
            yield executor
            return
        source = create_source_event_stream(executor)
        if isawaitable(source):
            source = await source
        if isinstance(source, ExecutionResult):
            yield self._refusal(source.errors or ())
            return
        try:
            async with aclosing(cast("AsyncGenerator[Any, None]", source)) as events:
                async for event in events:
                    each = executor.build_per_event_executor(event)
                    each.context_value = new_context()
                    yield await self._run(cast("StrawberryGraphQLCoreExecutionContext", each), operation)
        except Exception as error:  # noqa: BLE001 - whatever ended the source, the subscriber is told
            yield self._refusal([located_error(error)])

    def _build(self, operation: Operation, context: Any) -> StrawberryGraphQLCoreExecutionContext | Result:
        request = operation.request
        executor = self._executor.build(
            self._schema,
            operation.document.ast,
            context_value=context,
            raw_variable_values=cast("dict[str, Any] | None", request.variables),
            operation_name=request.operation_name,
            is_awaitable=cast("Any", optimized_is_awaitable),
            hide_suggestions=not self._suggestions,
        )
        if isinstance(executor, list):
            return Result(errors=RequestError("BAD_USER_INPUT", executor).errors, executed=False)
        return cast("StrawberryGraphQLCoreExecutionContext", executor)

    async def _run(self, executor: StrawberryGraphQLCoreExecutionContext, operation: Operation) -> Result:
        plan = (
            self.plans.get(operation.document, operation.definition, executor.variable_values)
            if self.plans
            else None
        )
        try:
            result = executor.execute_operation() if plan is None else Run(plan, executor).execute()
            if isawaitable(result):
                result = await result
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # A resolver waited for what someone else cancelled. Nobody cancelled us, so we can answer.
            raise RuntimeError("a resolver was cancelled") from error
        result = cast("ExecutionResult", result)
        return Result(result.data, self._masked(result.errors) if result.errors else ())

    def _refusal(self, errors: Sequence[GraphQLError]) -> Result:
        return Result(errors=self._masked(errors), executed=False)

    def _masked(self, errors: Sequence[GraphQLError]) -> list[GraphQLError]:
        return [self._mask(error) for error in errors[: self._max_errors]]
