"""One operation from request to result, whatever carried the request here."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from inspect import isawaitable
from typing import Any, Literal, cast

import strawberry
from graphql import (
    ExecutionResult,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    located_error,
)
from graphql.execution import create_source_event_stream

from graphql_api.execution.compiler import Plans
from graphql_api.execution.costs import CostRules, Costs
from graphql_api.execution.documents import Document, Documents, Guard, RequestError, Rules
from graphql_api.execution.executor import Run
from graphql_api.execution.fields import check_columns
from graphql_api.execution.inputs import coerce_variables
from graphql_api.execution.invocation import Invocation
from graphql_api.execution.limits import LIMIT_EXCEEDED, LimitError, check_values
from graphql_api.execution.persisted_documents import NoDocuments, PersistedDocuments, name_in
from graphql_api.execution.projection import OperationContext
from graphql_api.execution.results import Progress, Result, Results
from graphql_api.execution.root_authorization import refusals, root_fields
from graphql_api.execution.subscriptions import MAX_SHARED_RESULTS, Rights, View, shelf_of

Mask = Callable[[GraphQLError], GraphQLError]
"""What a client may see of an error."""
NewContext = Callable[[], OperationContext]
"""Makes a context: one operation's, or one event's of a subscription."""


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

    @property
    def root_fields(self) -> frozenset[str]:
        """The names of the fields at its root, fragments included."""
        return frozenset(field.name.value for field in root_fields(self.document, self.definition))


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
        cost_rules: CostRules | None = None,
        max_cost: int | None = None,
        max_values: int | None = None,
        max_characters: int = 15_000,
        max_tokens: int = 2_000,
        max_errors: int = 100,
        suggestions: bool = True,
        engine: Literal["compiled", "stock"] = "compiled",
    ) -> None:
        self._schema = schema._schema  # noqa: SLF001 - graphql-core's own, which Strawberry doesn't publish
        check_columns(self._schema)
        self._mask = mask
        self._persisted = NoDocuments() if persisted is None else persisted
        self._costs = Costs(self._schema, cost_rules or {})
        self.max_cost = max_cost
        self._max_values = max_values
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
        excess = self._excess(cost, request.variables)
        if excess is not None:
            raise RequestError(LIMIT_EXCEEDED, [excess])
        return Operation(document, definition, request, cost)

    def _excess(self, cost: int, variables: Mapping[str, Any] | None) -> LimitError | None:
        if self.max_cost is not None and cost > self.max_cost:
            return LimitError("cost", self.max_cost, cost)
        if self._max_values is not None and variables:
            return check_values(variables, self._max_values)
        return None

    async def execute(self, operation: Operation, context: OperationContext) -> Result:
        """Run a query or a mutation. What a resolver raises is in the result, masked."""
        invocation = self._invoke(operation, context)
        if isinstance(invocation, Result):
            return invocation
        return await self._run(invocation)

    def refuse(self, operation: Operation, context: OperationContext) -> Result | None:
        """Why the context's viewer may not ask for the operation's root fields; None if they may."""
        errors = refusals(self._schema, operation.document, operation.definition, context)
        return self._refusal(errors) if errors else None

    async def subscribe(
        self, operation: Operation, new_context: NewContext, rights: Rights | None = None
    ) -> AsyncGenerator[Results, None]:
        """Run a subscription: a result for each event, each with a context of its own; together if due so.

        Subscribers of equal `rights` share the results of events that are `Shareable`.
        Of a source's `Progress` there is no result, but an empty list that knows it.
        A result that wasn't executed is the last one: the subscription was refused, or its source failed.
        Close the generator to end the subscription.
        """
        context = new_context()
        refusal = self.refuse(operation, context)
        invocation = refusal or self._invoke(operation, context)
        if isinstance(invocation, Result):
            yield Results([invocation])
            return
        source = create_source_event_stream(invocation.stock_executor())
        if isawaitable(source):
            source = await source
        if isinstance(source, ExecutionResult):
            yield Results([self._refusal(source.errors or ())])
            return
        view = View(operation.document, operation.definition, operation.request.variables, rights)
        try:
            async with aclosing(cast("AsyncGenerator[Any, None]", source)) as events:
                async for event in events:
                    yield await self._answers(event, view.key(), invocation, new_context)
        except Exception as error:  # noqa: BLE001 - whatever ended the source, the subscriber is told
            yield Results([self._refusal([located_error(error)])])

    async def _answers(
        self, due: Any, key: Hashable | None, invocation: Invocation, new_context: NewContext
    ) -> Results:
        if isinstance(due, Progress):
            return Results(progress=due)
        shelf = shelf_of(due) if isinstance(due, list) else None
        if shelf is None:
            return Results([await self._answer(due, key, invocation, new_context)])
        results: Results | None = shelf.get(key)
        if results is None:
            results = Results([await self._answer(event, key, invocation, new_context) for event in due])
            if (
                key is not None
                and not any(result.errors for result in results)
                and len(shelf) < MAX_SHARED_RESULTS
            ):
                shelf[key] = results
        return results

    async def _answer(
        self, event: Any, key: Hashable | None, invocation: Invocation, new_context: NewContext
    ) -> Result:
        shelf = shelf_of(event)
        if shelf is not None and (known := shelf.get(key)) is not None:
            return cast("Result", known)
        result = await self._run(replace(invocation, root_value=event, context=new_context()))
        if shelf is not None and key is not None and not result.errors and len(shelf) < MAX_SHARED_RESULTS:
            # As bytes: the data itself would hold more than they do.
            result = shelf[key] = Result.rendered(result.render())
        return result

    def _invoke(self, operation: Operation, context: OperationContext) -> Invocation | Result:
        variables = coerce_variables(
            self._schema,
            operation.document.variables,
            operation.definition,
            operation.request.variables,
            hide_suggestions=not self._suggestions,
        )
        if isinstance(variables, list):
            return Result(errors=RequestError("BAD_USER_INPUT", variables).errors, executed=False)
        return Invocation(
            self._schema,
            operation.document,
            operation.definition,
            variables,
            context,
            hide_suggestions=not self._suggestions,
        )

    async def _run(self, invocation: Invocation) -> Result:
        plan = self.plans.get(invocation) if self.plans is not None else None
        try:
            if plan is not None:
                invocation.context.projection = plan.projection
                result = await Run(plan, invocation).execute()
            else:
                result = await _execute_stock(invocation)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                invocation.context.cancel()
                raise
            # A resolver waited for what someone else cancelled. Nobody cancelled us, so we can answer.
            raise RuntimeError("a resolver was cancelled") from error
        return Result(result.data, self._masked(result.errors) if result.errors else ())

    def _refusal(self, errors: Sequence[GraphQLError]) -> Result:
        return Result(errors=self._masked(errors), executed=False)

    def _masked(self, errors: Sequence[GraphQLError]) -> list[GraphQLError]:
        return [self._mask(error) for error in errors[: self._max_errors]]


async def _execute_stock(invocation: Invocation) -> ExecutionResult:
    result = invocation.stock_executor().execute_operation()
    if isawaitable(result):
        result = await result
    return cast("ExecutionResult", result)
