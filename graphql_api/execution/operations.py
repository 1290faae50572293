"""One operation from request to result, whatever transport brings the request: this package's front door.

    prepare      the operation of a request: its document, parsed and validated once for each text
                 (`documents`), what it contains (`analysis`), and what it may cost (`costs`)
    execute      a query or a mutation: variables are coerced (`inputs`), the plan is compiled once
                 (`compiler`), and run (`executor`)

`subscriptions` does the same for each event of a subscription, once for all subscribers who may share the
result.

A plan is run a level at a time: each field once, for all its parents. A field that leads to other rows is
resolved by `executor.LoaderResolver`: it queues the keys of all parents in a dataloader
(`relational.context.Loader`), which then calls the relation's batch function (`relational.relation`), and so
reads all their rows in one statement. The executor completes the rows' columns
to JSON (`leaf_serializers`). Operations that can't be compiled are run by graphql-core's executor
(`stock_executor`).
"""

import asyncio
from collections import Counter
from collections.abc import (
    Callable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Literal, cast

import orjson
import strawberry
from cachetools import LRUCache
from graphql import ExecutionResult, GraphQLError, OperationType, located_error
from graphql.execution.values import VariableValues

from graphql_api.execution.analysis import RequestLimits
from graphql_api.execution.compiler import Compiler
from graphql_api.execution.costs import NO_BASE, BaseCost, CostRules, check_rules
from graphql_api.execution.documents import Documents, ParsedOperation
from graphql_api.execution.errors import (
    BAD_USER_INPUT,
    LIMIT_EXCEEDED,
    ArgumentError,
    LimitError,
    RequestError,
)
from graphql_api.execution.executor import Execution, OperationPlan, ResponseTooLargeError
from graphql_api.execution.fields import AroundHook, check_columns, check_of, declaration_of
from graphql_api.execution.inputs import check_reuse, check_value_count
from graphql_api.execution.persisted_documents import NoPersistedDocuments, PersistedDocuments, hash_in
from graphql_api.execution.projection import OperationContext
from graphql_api.execution.stock_executor import Invocation
from graphql_api.execution.yielding import YieldScheduler

MAX_PLAN_MEMORY: Final = 64 * 1024 * 1024
"""Bytes of all cached plans; an operation has a plan for each outcome of its conditions."""
_COMPILED_AT_ONCE: Final = 1_000
"""Characters of a document that is compiled without a pause before and after it, in 5 ms at most."""
Mask = Callable[[GraphQLError], GraphQLError]
"""Returns what a client may see of an error that a resolver raised."""


@dataclass(frozen=True, slots=True)
class GraphQLRequest:
    """A request in the words of the GraphQL-over-HTTP specification."""

    query: str
    """The document's text; empty where the extensions have its hash."""
    operation_name: str | None = None
    variables: Mapping[str, Any] | None = None
    extensions: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Result:
    """The result of an operation, or of one event of a subscription."""

    data: Any = None
    """A dict; all of it, or lists in it, may be JSON that is rendered already (orjson.Fragment)."""
    errors: Sequence[GraphQLError] = ()
    extensions: Mapping[str, Any] | None = None
    executed: bool = True
    """False where nothing ran: the response then has no data entry. In a subscription it is the end."""
    is_incomplete: bool = False
    """Whether something couldn't be read that may be there, for a reason that isn't meant for clients."""
    _rendered: bytes | None = None

    @classmethod
    def rendered(cls, response: bytes) -> "Result":
        """Returns a result whose response was rendered before."""
        return cls(_rendered=response)

    def add_extension(self, name: str, value: Any) -> None:
        """Adds an extension to the response. A response given to `rendered` stays as it is."""
        self.extensions = {**(self.extensions or {}), name: value}
        if self.data is not None or self.errors:
            self._rendered = None

    def render(self) -> bytes:
        """Returns the response as JSON, rendered once however many read it. Raises orjson.JSONEncodeError."""
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


@dataclass(frozen=True, slots=True)
class Operation:
    """A request whose document is valid and whose operation is known."""

    parsed: ParsedOperation
    request: GraphQLRequest
    cost: int
    """The most it may cost, in points."""
    prepared_at: float = field(default_factory=monotonic)
    """When it was prepared, in seconds of the monotonic clock."""

    @property
    def type(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.parsed.definition.operation

    @property
    def text(self) -> str:
        """The text of the document, which an earlier request may have sent."""
        return self.parsed.text

    @property
    def root_fields(self) -> frozenset[str]:
        """The names of its root fields, fragments included."""
        return frozenset(field.name.value for field in self.parsed.analysis.root_fields)


def _lasting(request: GraphQLRequest, parsed: ParsedOperation) -> GraphQLRequest:
    """Returns what a subscription needs of its request for as long as it lives: the variables it declares."""
    given = request.variables or {}
    declared = (each.variable.name.value for each in parsed.definition.variable_definitions or ())
    return GraphQLRequest(
        "", request.operation_name, {name: given[name] for name in declared if name in given}
    )


_NO_VARIABLES = VariableValues({}, {})


class Operations:
    """Executes operations of one schema. Holds no state of any request."""

    def __init__(
        self,
        schema: strawberry.Schema,
        *,
        mask: Mask,
        limits: RequestLimits | None = None,
        cost_rules: CostRules | None = None,
        base_cost: BaseCost = NO_BASE,
        persisted: PersistedDocuments | None = None,
        introspection: bool = True,
        engine: Literal["compiled", "stock"] = "compiled",
    ) -> None:
        """Raises ValueError if the schema's declared fields or the cost rules don't fit the schema.

        Without `introspection` clients can't ask for the schema, and errors don't suggest names of it.
        """
        self._schema = schema._schema  # noqa: SLF001 - graphql-core's own, which Strawberry doesn't publish
        check_columns(self._schema)
        check_rules(self._schema, cost_rules or {})
        self._mask = mask
        self._persisted = NoPersistedDocuments() if persisted is None else persisted
        self._hide_suggestions = not introspection
        self._compiler = Compiler(self._schema) if engine == "compiled" else None
        self.limits = RequestLimits() if limits is None else limits
        self.documents = Documents(
            self._schema,
            limits=self.limits,
            cost_rules=cost_rules,
            base_cost=base_cost,
            introspection=introspection,
        )
        self._plans: LRUCache[tuple[ParsedOperation, tuple[Any, ...]], OperationPlan] = LRUCache(
            MAX_PLAN_MEMORY, getsizeof=lambda plan: plan.memory
        )
        """By operation, and the values of the variables that its conditions depend on."""
        self._scheduler = YieldScheduler()
        self._around = {
            name: declaration.around
            for root in (self._schema.query_type, self._schema.subscription_type)
            for name, field in (root.fields if root is not None else {}).items()
            if (declaration := declaration_of(field)) is not None and declaration.around is not None
        }
        self.compiled = 0
        """Plans compiled so far."""
        self.fallbacks: Counter[str] = Counter()
        """Operations that the stock executor ran though compiling is on, by reason."""

    def text_of(self, request: GraphQLRequest) -> str:
        """Returns the text of a request's document, which may come as a hash. Raises RequestError."""
        text, hash_ = request.query, hash_in(request.extensions) if request.extensions else None
        if hash_ is not None or not text or self._persisted.is_safelist:
            return self._persisted.find(text, hash_)
        return text

    def prepare(self, request: GraphQLRequest, text: str | None = None) -> Operation:
        """Finds the operation that a request names, in `text` if that is known. Raises RequestError."""
        if text is None:
            text = self.text_of(request)
        document = self.documents.get(text)
        if request.extensions and (hash_ := hash_in(request.extensions)) is not None:
            self._persisted.store(hash_, text)
        parsed = document.operation(request.operation_name)
        limits, definition = self.limits, parsed.definition
        cost = parsed.analysis.cost.constant
        if cost is None:
            cost = parsed.analysis.cost.evaluate(request.variables or {})
        if limits.cost is not None and cost > limits.cost:
            raise RequestError(LIMIT_EXCEEDED, [LimitError("cost", limits.cost, cost, [definition])])
        if request.variables:
            check_value_count(request.variables, limits.values, definition)
        if parsed.analysis.reused:
            check_reuse(request.variables or {}, parsed.analysis.reused, definition)
        if definition.operation is OperationType.SUBSCRIPTION:
            request = _lasting(request, parsed)
        return Operation(parsed, request, cost)

    async def execute(self, operation: Operation, context: OperationContext) -> Result:
        """Runs a query or a mutation. Errors that resolvers raise are in the result, masked."""
        invocation = self.invocation(operation, context)
        if isinstance(invocation, Result):
            return invocation
        for node in operation.parsed.analysis.root_fields:
            around = self._around.get(node.name.value)
            if around is not None and operation.type is OperationType.QUERY:
                if refusal := self.check_root_fields(operation, context):
                    return refusal
                try:
                    async with around(context):
                        return await self.run(invocation)
                except asyncio.CancelledError:
                    context.cancel()  # entering `around` may have begun to load
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
                    key = (node.alias or node.name).value
                    return self.refusal([located_error(error, [node], [key])])
        return await self.run(invocation)

    def around(self, operation: ParsedOperation) -> AroundHook | None:
        """Returns the hook that the operation's first root field declares; None if it declares none."""
        return self._around.get(operation.analysis.root_fields[0].name.value)

    def requires_primary(self, operation: Operation) -> bool:
        """Whether a root field has to be read from the primary, before everything else: it has a hook."""
        return operation.type is OperationType.QUERY and any(
            node.name.value in self._around for node in operation.parsed.analysis.root_fields
        )

    def check_root_fields(self, operation: Operation, context: OperationContext) -> Result | None:
        """Returns a result with errors if the viewer may not ask for the root fields; None if they may."""
        root = self._schema.get_root_type(operation.type)
        errors = []
        for node in operation.parsed.analysis.root_fields:
            field = root.fields.get(node.name.value) if root is not None else None
            check = check_of(field) if field is not None else None
            if check is None:
                continue
            try:
                check(context)
            except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
                key = node.alias or node.name
                errors.append(located_error(error, [node], [key.value]))
        return self.refusal(errors) if errors else None

    def invocation(self, operation: Operation, context: OperationContext) -> Invocation | Result:
        """Returns an operation with its variables coerced; a result with errors where they don't fit."""
        parsed, variables = operation.parsed, _NO_VARIABLES
        if parsed.definition.variable_definitions:
            coerced = parsed.variables.coerce(operation.request.variables or {})
            if isinstance(coerced, list):
                return Result(errors=RequestError(BAD_USER_INPUT, coerced).errors, executed=False)
            variables = coerced
        undecided = [
            GraphQLError(f"Variable '${name}' decides what is selected: it must be true or false, not null.")
            for name in parsed.analysis.conditions
            if not isinstance(variables.coerced.get(name), bool)
        ]
        if undecided:
            return Result(errors=RequestError(BAD_USER_INPUT, undecided).errors, executed=False)
        return Invocation(self._schema, parsed, variables, context, hide_suggestions=self._hide_suggestions)

    async def run(self, invocation: Invocation, executions_in_context: int = 1) -> Result:
        """Runs one operation, or one event's. So many executions share its context at the same time."""
        plan = self._cached_plan(invocation)
        if plan is None and self._compiler is not None:
            is_large = len(invocation.operation.text) > _COMPILED_AT_ONCE
            if is_large:
                await self._scheduler.pause()
            plan = self._compile(self._compiler, invocation)
            if is_large:
                await self._scheduler.pause()
        try:
            if plan is None:
                executor = invocation.stock_executor()
                result = self._rendered_within_limit(await executor.run())
                is_incomplete = executor.has_failed_to_read
            else:
                memory = plan.memory
                execution = self.execution(plan, invocation, executions_in_context)
                result = await execution.run()
                is_incomplete = execution.has_failed_to_read
                if plan.memory != memory:
                    self._keep(plan, invocation)
        except ResponseTooLargeError:
            if executions_in_context == 1:  # else others load in the same context
                invocation.context.cancel()
            return self._too_large(invocation)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                invocation.context.cancel()
                raise
            # A resolver waited for a task that was cancelled; this operation wasn't, so it gets an error.
            raise RuntimeError("a resolver was cancelled") from error
        errors = self._masked(result.errors) if result.errors else ()
        return Result(result.data, errors, is_incomplete=is_incomplete)

    def execution(
        self, plan: OperationPlan, invocation: Invocation, executions_in_context: int = 1
    ) -> Execution:
        """Returns the execution of a plan. Loaders in its context read no more than the plan's projection."""
        invocation.context.projection = plan.projection
        limits = self.limits
        return Execution(
            plan, invocation, self._scheduler, limits.response_size, executions_in_context, limits.errors
        )

    def _rendered_within_limit(self, result: ExecutionResult) -> ExecutionResult:
        """Returns the stock executor's result, rendered to be measured. Raises ResponseTooLargeError."""
        limit = self.limits.response_size
        if limit is None or result.data is None:
            return result
        data = orjson.dumps(result.data)
        if len(data) > limit:
            raise ResponseTooLargeError
        return ExecutionResult(cast("Any", orjson.Fragment(data)), result.errors)

    def _too_large(self, invocation: Invocation) -> Result:
        limit = self.limits.response_size or 0
        error = LimitError("bytes of the response", limit, nodes=[invocation.operation.definition])
        return Result(None, [error])

    def plan(self, invocation: Invocation) -> OperationPlan | None:
        """Returns the plan to run, compiled if it isn't cached; None if the stock executor has to run it."""
        if self._compiler is None:
            return None
        plan = self._cached_plan(invocation)
        return plan if plan is not None else self._compile(self._compiler, invocation)

    def _cached_plan(self, invocation: Invocation) -> OperationPlan | None:
        return self._plans.get((invocation.operation, _outcome(invocation)))

    def _compile(self, compiler: Compiler, invocation: Invocation) -> OperationPlan | None:
        parsed = invocation.operation
        analysis, reason = parsed.analysis, parsed.analysis.stock_reason
        if reason is None:
            outcome = _outcome(invocation)
            conditions = dict(zip(analysis.conditions, outcome, strict=True))
            try:
                plan = compiler.compile(parsed.definition, parsed.fragments, conditions)
            except RecursionError:
                reason = "depth"
            else:
                self.compiled += 1
                self._keep(plan, invocation)
                return plan
        self.fallbacks[reason] += 1
        return None

    def _keep(self, plan: OperationPlan, invocation: Invocation) -> None:
        """Caches a plan, if there is room; for one that is cached, updates its size, which may have grown."""
        key = invocation.operation, _outcome(invocation)
        if plan.memory <= self._plans.maxsize:
            self._plans[key] = plan
        else:
            self._plans.pop(key, None)

    def refusal(self, errors: Sequence[GraphQLError]) -> Result:
        """Returns the result of an operation that doesn't run, with its errors masked."""
        return Result(errors=self._masked(errors), executed=False)

    def _masked(self, errors: Sequence[GraphQLError]) -> list[GraphQLError]:
        return [self._mask(ArgumentError.of(error)) for error in errors[: self.limits.errors]]


def _outcome(invocation: Invocation) -> tuple[Any, ...]:
    """Returns the values of the variables in @skip and @include: a plan is compiled for each outcome."""
    values = invocation.variables.coerced
    return tuple(values.get(name) for name in invocation.operation.analysis.conditions)
