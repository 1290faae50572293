"""One operation from request to result, whatever transport brings the request: this package's front door.

    prepare      the operation of a request: its document, parsed and validated once for each text
                 (`documents`), what it contains (`analysis`), and what it may cost (`costs`)
    execute      a query or a mutation: variables are coerced (`inputs`), the plan is compiled once
                 (`compiler`), and run (`executor`)
    subscribe    a subscription: the same for each event, once for all subscribers who may share the result

A plan is run a level at a time: each field once, for all its parents. A field that leads to other rows is
resolved by `executor.LoaderResolver`: it queues the keys of all parents in a dataloader
(`relational.context.Loader`), which calls the relation's batch function (`relational.relation`) in the event
loop's next iteration, and so reads all their rows in one statement. The executor completes the rows' columns
to JSON (`leaf_serializers`). Operations that can't be compiled are run by graphql-core's executor
(`stock_executor`).
"""

import asyncio
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from inspect import isawaitable
from itertools import accumulate, pairwise
from time import monotonic
from typing import Any, Final, Literal, Protocol, cast

import orjson
import strawberry
from cachetools import LRUCache
from graphql import ExecutionResult, GraphQLError, OperationType, located_error
from graphql.execution import create_source_event_stream
from graphql.execution.values import VariableValues

from graphql_api.execution.analysis import RequestLimits
from graphql_api.execution.compiler import Compiler
from graphql_api.execution.costs import NO_BASE, BaseCost, CostRules, check_rules
from graphql_api.execution.direct_delivery import Deliver, Delivery, DirectDeliveries, Recipient
from graphql_api.execution.documents import Documents, ParsedOperation
from graphql_api.execution.errors import (
    BAD_USER_INPUT,
    LIMIT_EXCEEDED,
    ArgumentError,
    LimitError,
    PermissionsChangedError,
    RequestError,
)
from graphql_api.execution.executor import Execution, OperationPlan, ResponseTooLargeError
from graphql_api.execution.fields import OperationScope, check_columns, check_of, declaration_of
from graphql_api.execution.inputs import check_reuse, check_value_count, dump_json
from graphql_api.execution.persisted_documents import NoPersistedDocuments, PersistedDocuments, hash_in
from graphql_api.execution.projection import OperationContext, SharedContext
from graphql_api.execution.stock_executor import Invocation
from graphql_api.execution.yielding import YieldScheduler
from graphql_api.quotas import Metered, current_usage

MAX_PLAN_MEMORY: Final = 64 * 1024 * 1024
"""Bytes of all cached plans; an operation has a plan for each outcome of its conditions."""
_COMPILED_AT_ONCE: Final = 1_000
"""Characters of a document that is compiled without a pause before and after it, in 5 ms at most."""
MAX_SHARED_RESULTS: Final = 8
"""Results cached with one event. Those of further subscribers are computed for each of them."""

Mask = Callable[[GraphQLError], GraphQLError]
"""Returns what a client may see of an error that a resolver raised."""
NewContext = Callable[[], OperationContext]
"""Makes a context: one operation's, or one event's of a subscription."""
ReadAccess = Callable[[], Hashable]
"""Returns a subscriber's permissions as they are now. Subscribers with equal values may share results."""


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
class Progress:
    """How far a subscription's source has come: yielded while it has no events.

    It is no result, and no part of GraphQL. Transports send it to their clients between the results.
    """

    cursor: str
    """Where a client that has had every event so far may resume."""
    up_to_date: bool = False
    """Whether every event from before the subscription has been sent."""

    @property
    def message(self) -> dict[str, Any]:
        """Returns it as clients are sent it."""
        message: dict[str, Any] = {"cursor": self.cursor}
        if self.up_to_date:
            message["upToDate"] = True
        return message


class Results(list[Result]):
    """The results of events that were due at the same time, which many subscribers may share.

    Empty where there is `progress`. `encoded` is a cache for transports, by keys of their own: the results as
    they send them.
    """

    __slots__ = ("encoded", "progress")

    def __init__(self, results: Iterable[Result] = (), progress: Progress | None = None) -> None:
        super().__init__(results)
        self.encoded: dict[Any, Any] = {}
        self.progress = progress

    @property
    def are_sharable(self) -> bool:
        """Whether other subscribers may get them: errors are everyone's own."""
        return all(result.executed and not result.errors for result in self)


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


@dataclass(frozen=True, slots=True)
class _Grant:
    """What a subscriber may read, as it was at first. Those who were granted the same share results."""

    operation: Operation
    make_context: NewContext
    read_access: ReadAccess | None
    granted: Hashable
    result_key: Hashable

    @classmethod
    def of(cls, operation: Operation, make_context: NewContext, read_access: ReadAccess | None) -> "_Grant":
        """Returns what a subscriber may read now."""
        granted = None if read_access is None else read_access()
        return cls(operation, make_context, read_access, granted, _result_key(operation))

    @property
    def key(self) -> Hashable | None:
        """Equal for those whose results are the same; None for one who shares none."""
        return None if self.read_access is None else (self.result_key, self.granted)

    def holds(self) -> bool:
        """Whether the subscriber may still read the same."""
        return self.read_access is None or self.read_access() == self.granted

    def check(self) -> None:
        """Raises PermissionsChangedError unless the subscriber may still read the same."""
        if not self.holds():
            raise PermissionsChangedError(self.operation.parsed.definition)

    def new_context(self) -> OperationContext:
        """Returns the context of one event. Raises PermissionsChangedError."""
        self.check()
        return self.make_context()


@dataclass(frozen=True, slots=True)
class _SharedOperation:
    """What events of several viewers are executed by together."""

    key: Hashable
    operations: "Operations" = field(compare=False)
    invocation: Invocation = field(compare=False)
    context: OperationContext = field(compare=False)

    async def compute(self, due: Sequence[Delivery]) -> list[Results] | None:
        """Returns the results of each delivery's events; None if they have to be computed one by one."""
        context = self.context.shared()
        return (
            None if context is None else await self.operations.compute_together(due, self.invocation, context)
        )


_NO_VARIABLES = VariableValues({}, {})


class SharedEvent(Protocol):
    """An event that many subscribers get as the same object, with results that they share.

    A list of events that are due at the same time may be one, too.
    """

    rendered: dict[Any, Any]
    """Results by operation, variables and read access; kept as long as the event."""


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
        self._deliveries = DirectDeliveries()
        self._scopes = {
            name: declaration.scope
            for root in (self._schema.query_type, self._schema.subscription_type)
            for name, field in (root.fields if root is not None else {}).items()
            if (declaration := declaration_of(field)) is not None and declaration.scope is not None
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
        invocation = self._invocation(operation, context)
        if isinstance(invocation, Result):
            return invocation
        for node in operation.parsed.analysis.root_fields:
            scope = self._scopes.get(node.name.value)
            if scope is not None and operation.type is OperationType.QUERY:
                if refusal := self.check_root_fields(operation, context):
                    return refusal
                try:
                    async with scope(context):
                        return await self._run(invocation)
                except asyncio.CancelledError:
                    context.cancel()  # entering the scope may have begun to load
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
                    key = (node.alias or node.name).value
                    return self._refusal([located_error(error, [node], [key])])
        return await self._run(invocation)

    def requires_primary(self, operation: Operation) -> bool:
        """Whether a root field has to be read from the primary, before everything else: it has a scope."""
        return operation.type is OperationType.QUERY and any(
            node.name.value in self._scopes for node in operation.parsed.analysis.root_fields
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
        return self._refusal(errors) if errors else None

    async def subscribe(
        self,
        operation: Operation,
        new_context: NewContext,
        read_access: ReadAccess | None = None,
        deliver: Deliver | None = None,
    ) -> AsyncGenerator[Results, None]:
        """Runs a subscription: a result for each event, each with a context of its own.

        Yields together the results of events that are due at the same time. Subscribers with equal
        `read_access` share the results of a `SharedEvent`. A source's `Progress` is yielded with an empty
        list. A result that wasn't executed is the last one: the subscription was refused, or its source
        failed. The subscription also ends, before anything more is yielded, once `read_access` differs from
        its first value, since the source may have chosen events by that. Close the generator to end it.

        With `read_access`, results that come while the next ones are awaited may be given to `deliver`
        instead of being yielded.
        """
        grant = _Grant.of(operation, new_context, read_access)
        context = new_context()
        refusal = self.check_root_fields(operation, context)
        invocation = refusal or self._invocation(operation, context)
        if isinstance(invocation, Result):
            yield Results([invocation])
            return
        if deliver is not None and read_access is not None:
            context.recipient = self._recipient(invocation, grant, deliver)
        source = create_source_event_stream(invocation.stock_executor())
        if isawaitable(source):
            source = await source
        if isinstance(source, ExecutionResult):
            yield Results([self._refusal(source.errors or ())])
            return
        try:
            async with aclosing(cast("AsyncGenerator[Any, None]", source)) as events:
                async for event in events:
                    if isinstance(event, Progress):
                        grant.check()
                        yield Results(progress=event)
                        continue
                    results = await self._event_results(event, grant.key, invocation, grant.new_context)
                    grant.check()
                    yield results
                    if not results[-1].executed:
                        return
        except PermissionsChangedError as error:
            yield Results([self._refusal([error])])
        except Exception as error:  # noqa: BLE001 - whatever ended the source, the subscriber gets an error
            node = operation.parsed.analysis.root_fields[0]
            field = (node.alias or node.name).value
            yield Results([self._refusal([located_error(error, [node], [field])])])

    def _recipient(self, invocation: Invocation, grant: "_Grant", deliver: Deliver) -> Recipient:
        """Returns what takes the events that come while a subscriber waits for the next ones."""
        context = invocation.context
        return Recipient(
            self._deliveries,
            grant.key,
            lambda events: self._event_results(events, grant.key, invocation, grant.new_context),
            deliver,
            grant.holds,
            _SharedOperation((grant.result_key, context.shared_by), self, invocation, context),
        )

    async def _event_results(
        self, due: Any, key: Hashable | None, invocation: Invocation, new_context: NewContext
    ) -> Results:
        """Returns the results of an event, or of the events in a list of them that is shared."""
        shared = _shared_results(due) if isinstance(due, list) else None
        if shared is None:
            return Results([await self._event_result(due, key, invocation, new_context)])
        results = await _cached(shared, key)
        if results is None:
            loading = self._loading_scope(invocation)
            if loading is None:
                results = Results(
                    [await self._event_result(event, key, invocation, new_context) for event in due]
                )
                _cache(shared, key, results)
            else:
                async with current_usage().reserve():
                    results = await _cached(shared, key)
                    if results is None:
                        with _computing(shared, key):
                            results = await self._load_results(due, key, invocation, new_context(), loading)
                            _cache(shared, key, results)
        return results

    async def _load_results(
        self,
        due: Any,
        key: Hashable | None,
        invocation: Invocation,
        context: OperationContext,
        loading: OperationScope,
    ) -> Results:
        """Returns the results of events that share a context, so that their loads share statements."""
        async with loading(context):
            each = [self._event_result(event, key, invocation, lambda: context, len(due)) for event in due]
            if len(each) == 1:  # it needs no task of its own
                results = Results([await Metered(each[0])])
            else:
                results = Results(await asyncio.gather(*map(Metered, each)))
        failed = next((result for result in results if result.is_incomplete), None)
        if failed is not None:
            # Sent without its rows, the event would tell clients that they are gone: end, so that they
            # resume.
            return Results([Result(errors=failed.errors, executed=False)])
        return results

    async def compute_together(
        self, due: Sequence[Delivery], invocation: Invocation, context: SharedContext
    ) -> list[Results] | None:
        """Returns the results of several viewers' events, executed at once.

        None if an error came of it, or they can't be: then they have to be executed one by one.
        """
        plan = self._plan(invocation)
        if plan is None or plan.needs_viewer:
            return None
        context.projection = plan.projection
        events = [event for each in due for event in each.events]
        invocation = replace(invocation, context=context)
        scope = self._loading_scope(invocation) or nullcontext
        async with scope(context):
            execution = Execution(plan, invocation, self._scheduler, self.limits.response_size)
            data = await execution.run_each(events)
        if data is None or context.needs_viewer:
            plan.needs_viewer = context.needs_viewer
            return None
        rendered = [Result.rendered(orjson.dumps({"data": each})) for each in data]
        ends = accumulate((len(each.events) for each in due), initial=0)
        computed = []
        for each, (start, end) in zip(due, pairwise(ends), strict=True):
            results = Results(rendered[start:end])
            _cache(each.events.rendered, each.key, results)
            computed.append(results)
        return computed

    def _loading_scope(self, invocation: Invocation) -> OperationScope | None:
        """Returns the scope that events' results are executed in; None where they need only their events."""
        plan = self._plan(invocation)
        if plan is not None and not any(field.completion.may_await for field in plan.root.fields):
            return None
        node = invocation.operation.analysis.root_fields[0]
        return self._scopes.get(node.name.value, nullcontext)

    async def _event_result(
        self,
        event: Any,
        key: Hashable | None,
        invocation: Invocation,
        new_context: NewContext,
        executions_in_context: int = 1,
    ) -> Result:
        shared = _shared_results(event)
        if shared is not None and (known := shared.get(key)) is not None:
            return cast("Result", known)
        result = await self._run(
            replace(invocation, root_value=event, context=new_context()), executions_in_context
        )
        if shared is not None and key is not None and not result.errors:
            # Cached as bytes, which take less memory than the data.
            result = Result.rendered(result.render())
            _cache(shared, key, result)
        return result

    def _invocation(self, operation: Operation, context: OperationContext) -> Invocation | Result:
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

    async def _run(self, invocation: Invocation, executions_in_context: int = 1) -> Result:
        """Runs one operation, or one event's. So many executions share its context at the same time."""
        plan = self._cached_plan(invocation)
        if plan is None and self._compiler is not None:
            is_large = len(invocation.operation.text) > _COMPILED_AT_ONCE
            if is_large:
                await self._scheduler.pause()
            plan = self._compile(self._compiler, invocation)
            if is_large:
                await self._scheduler.pause()
        is_incomplete = False
        try:
            if plan is None:
                result = self._rendered_within_limit(await invocation.stock_executor().run())
            else:
                invocation.context.projection = plan.projection
                limits, memory = self.limits, plan.memory
                execution = Execution(
                    plan,
                    invocation,
                    self._scheduler,
                    limits.response_size,
                    executions_in_context,
                    limits.errors,
                )
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
        if plan is None:
            is_incomplete = any("retryAfter" in (error.extensions or {}) for error in errors)
        return Result(result.data, errors, is_incomplete=is_incomplete)

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

    def _plan(self, invocation: Invocation) -> OperationPlan | None:
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

    def _refusal(self, errors: Sequence[GraphQLError]) -> Result:
        return Result(errors=self._masked(errors), executed=False)

    def _masked(self, errors: Sequence[GraphQLError]) -> list[GraphQLError]:
        return [self._mask(ArgumentError.of(error)) for error in errors[: self.limits.errors]]


def _outcome(invocation: Invocation) -> tuple[Any, ...]:
    """Returns the values of the variables in @skip and @include: a plan is compiled for each outcome."""
    values = invocation.variables.coerced
    return tuple(values.get(name) for name in invocation.operation.analysis.conditions)


def _result_key(operation: Operation) -> Hashable:
    """Returns a key that is equal for subscribers whose results differ only by what they may read."""
    given = operation.request.variables or {}
    names = operation.parsed.analysis.result_variables
    values = {name: given[name] for name in names if name in given}
    return operation.parsed, dump_json(values, sort_keys=True)


def _shared_results(event: Any) -> dict[Any, Any] | None:
    """Returns the results that subscribers share of an event, if it is a SharedEvent."""
    return getattr(event, "rendered", None)


def _cache(shared: dict[Any, Any], key: Hashable | None, value: Any) -> None:
    """Caches results without errors, for subscribers to share."""
    errors = value.errors if isinstance(value, Result) else any(result.errors for result in value)
    if key is not None and not errors and (key in shared or len(shared) < MAX_SHARED_RESULTS):
        shared[key] = value


class _Computation:
    """A result that one subscriber computes, and others wait for."""

    __slots__ = ("_waiters", "is_cancelled")

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []
        self.is_cancelled = False

    async def wait(self) -> None:
        """Returns when the computation has ended, with or without a result."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def end(self) -> None:
        """Wakes all who wait."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


async def _cached(shared: dict[Any, Any], key: Hashable | None) -> Results | None:
    """Returns the results that another subscriber has computed, or waits for them; None if there are none."""
    while isinstance(found := shared.get(key), _Computation):
        await found.wait()
        if not found.is_cancelled:
            found = shared.get(key)
            return found if isinstance(found, Results) else None
    return cast("Results | None", found)


@contextmanager
def _computing(shared: dict[Any, Any], key: Hashable | None) -> Iterator[None]:
    """Makes other subscribers wait for the block's result; if it is cancelled, one of them computes it."""
    computation = _Computation()
    if key is not None and len(shared) < MAX_SHARED_RESULTS:
        shared[key] = computation
    try:
        yield
    except asyncio.CancelledError:
        computation.is_cancelled = True
        raise
    finally:
        if shared.get(key) is computation:
            del shared[key]
        computation.end()
