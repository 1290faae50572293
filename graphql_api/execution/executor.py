"""Runs compiled operations breadth-first: each field once, for all its parents at the same time.

    OperationPlan   one operation
    └── ObjectPlan      the selection of one object type    (assemble: columns of values to objects)
        └── FieldPlan       one response key of it          (resolver: parents to values)
            └── Completion      values to JSON, by the type (leaf, list, object, abstract)

All requests of the same operation share a plan, which holds no data of any of them, only what runs have found
out about it (its size, and whether it needs one viewer); an Execution is one run of it. A value is identified
by its index in a column. Paths and errors are made only where they are needed.

The file has, in this order: the plan, running it (begin with `Execution.run`), resolving, completing, paths,
errors.
"""

import asyncio
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from functools import partial
from itertools import accumulate, pairwise, repeat
from math import inf
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol, cast

import orjson
from graphql import (
    ExecutionResult,
    FieldNode,
    GraphQLAbstractType,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    OperationDefinitionNode,
    OperationType,
    Undefined,
    located_error,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.executor import invalid_return_type_error
from graphql.execution.values import get_argument_values
from graphql.pyutils import Path, is_iterable
from strawberry.types.field import StrawberryField

from graphql_api.execution.columns import (
    ColumnValues,
    Rows,
    Types,
    all_lists,
    all_present,
    all_started,
    any_awaitable,
    concatenated,
    text_size,
    types_of,
)
from graphql_api.execution.fields import Check, FromKey, FromLoader, Load, declaration_of
from graphql_api.execution.inputs import ArgumentReader, ConvertInput
from graphql_api.execution.leaf_serializers import KEPT_TYPES, LeafSerializer
from graphql_api.execution.projection import Lookahead, Projection
from graphql_api.execution.stock_executor import Invocation, StockExecutor
from graphql_api.execution.yielding import YieldScheduler
from graphql_api.quotas import Metered

# The plan


@dataclass(eq=False, slots=True)
class OperationPlan:
    """How to run one operation, for one outcome of its conditions (@skip and @include)."""

    operation: OperationDefinitionNode
    root: "ObjectPlan"
    projection: Projection
    memory: int
    """About how many bytes it takes, members of abstract types included that are compiled so far."""
    needs_viewer: bool = False
    """Whether it can't be executed for events of several viewers at once: it was tried."""


@dataclass(eq=False, slots=True)
class ObjectPlan:
    """The selection of one object type. Where a fragment is spread at several places, they share it."""

    type: GraphQLObjectType
    fields: tuple["FieldPlan", ...]
    leaf_fields: tuple["LeafField", ...]
    """The fields without selections that are read from the parent alone."""
    other_fields: tuple["FieldPlan", ...]
    reads_table: bool
    """Whether it reads so many columns that taking all columns of the rows apart at once is faster."""
    assemble: Callable[[int, Sequence[ColumnValues]], list[dict[str, Any]]]
    """Makes that many objects of a column of completed values for each field."""
    may_await: bool
    """Whether running it may have to wait for something to be loaded."""
    object_size: int
    """Bytes of each object in a response, without its values."""


class LeafField(NamedTuple):
    """A field that is read from the parent alone, and all keys of a selection that it has."""

    column: str
    """The column of a row that has its values as they stand; empty where they are computed."""
    plans: tuple["FieldPlan", ...]
    """One for each response key: the field and its aliases, which have the same values."""
    resolver: "PureResolver"
    completion: "LeafCompletion"
    serializer: LeafSerializer


@dataclass(eq=False, slots=True)
class FieldPlan:
    """One response key of a selection: its field, and how the values are resolved and completed."""

    index: int
    """Its place among the fields of the selection, from 0."""
    key: str
    parent: GraphQLObjectType
    definition: GraphQLField
    details: FieldDetailsList
    nodes: list[FieldNode]
    resolver: "FieldResolver"
    completion: "Completion"
    lookahead: Lookahead | None = None
    """The fields selected below it, for a source that reads what they need; None for an abstract type."""
    list_below: "FieldPlan | None" = None
    """The list that is loaded for its rows, if nothing else is: an only row is loaded together with it."""

    @property
    def name(self) -> str:
        """The field's name in the schema."""
        return self.nodes[0].name.value


class PlanLookahead:
    """A Lookahead that finds in a plan what is selected, when it is asked for the first time."""

    def __init__(self, plan: ObjectPlan) -> None:
        self._plan = plan
        self._known: dict[tuple[Any, ...], bool] = {}

    def selects(self, *path: Any) -> bool:
        """Whether a field is selected, by the path of sources to it."""
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = _selects(self._plan, path)
        return known


def _selects(plan: ObjectPlan, path: Sequence[Any]) -> bool:
    source, *inner = path
    for field in plan.fields:
        declaration = declaration_of(field.definition)
        if declaration is not None and declaration.source == source:
            below = object_plan_of(field.completion) if inner else None
            if not inner or (below is not None and _selects(below, inner)):
                return True
    return False


def object_plan_of(completion: "Completion") -> ObjectPlan | None:
    """Returns the selection of a field's objects, listed or not; None for leaves and abstract types."""
    while isinstance(completion, ListCompletion):
        completion = completion.item
    return completion.plan if isinstance(completion, ObjectCompletion) else None


# Running it

MAX_CONVERSIONS_AT_ONCE: Final = 100
"""Values converted one by one without a pause."""
MAX_CHARACTERS_AT_ONCE: Final = 30_000
"""Characters of values converted one by one without a pause; each may take 0.15 µs."""
MAX_WORK_AT_ONCE: Final = 20_000
"""Values completed without a pause, within some two milliseconds.

With shorter pieces, operations under way displace each other's rows from the processor's caches more often.
"""
WORK_OF_A_CALL: Final = 10
"""How many values one value counts for, if a function is called for it."""
MAX_CALLS_AT_ONCE: Final = MAX_WORK_AT_ONCE // WORK_OF_A_CALL
_CALLS_OF_A_PIECE: Final = MAX_CALLS_AT_ONCE // 4
"""Calls without a pause where MAX_CALLS_AT_ONCE isn't enough: some, such as cursors, take 4 µs."""
LARGE_RESULT: Final = 256 * 1024
"""Bytes of a response from which there is a pause before it is rendered: 1 to 2 ms a megabyte."""
_ERRORS_AT_ONCE: Final = 500


class ResponseTooLargeError(Exception):
    """A response beyond the limit on its bytes, found before it was rendered."""


class _Started(NamedTuple):
    """A field whose values have been asked for."""

    field: FieldPlan
    paths: "FieldPaths"
    values: list[Any]
    is_awaited: bool
    """Whether there is something to await among the values."""


class Execution:
    """One run of a plan. Never shared between two."""

    def __init__(
        self,
        plan: OperationPlan,
        invocation: Invocation,
        scheduler: YieldScheduler,
        max_size: int | None = None,
        executions_in_context: int = 1,
        max_errors: int | None = None,
    ) -> None:
        """The response may have `max_size` bytes, and has the first `max_errors` errors.

        `executions_in_context` executions share the context.
        """
        self.plan = plan
        self.scheduler = scheduler
        self.conversions: defaultdict[LeafSerializer, dict[Any, Any]] = defaultdict(dict)
        """The leaf values converted so far, by serializer."""
        self._size = 0
        self._max_size = inf if max_size is None else max_size
        self._work = 0
        """Values completed since the last pause."""
        self.context: Any = invocation.context
        self.errors = ErrorCollector()
        self._max_errors = max_errors
        self.has_failed_to_read = False
        """Whether something couldn't be read, for a reason that isn't meant for clients."""
        self._invocation = invocation
        self._stock: StockExecutor | None = None
        self._tasks: list[asyncio.Future[Any]] = []
        self._parts_running = executions_in_context
        """How many parts of the operation run at the same time: each may ask for further loads."""

    async def run(self) -> ExecutionResult:
        """Runs the operation. Errors of fields are in the result.

        Only a cancellation is raised, and ResponseTooLargeError.
        """
        is_mutation = self.plan.operation.operation is OperationType.MUTATION
        execute = self._resolve_serially if is_mutation else self.resolve_objects
        (data,), errors = await self._run(execute, [self._invocation.root_value])
        if errors:
            data = None
            self.errors.add(errors[0])
        if self._size >= LARGE_RESULT:
            await self._pause()
        return ExecutionResult(data, self.errors.first(self._max_errors) or None)

    async def run_each(self, events: Sequence[Any]) -> ColumnValues | None:
        """Runs the operation for several events of a subscription at once, and returns the data of each.

        None if there is an error anywhere. Raises as `run` does.
        """
        results, errors = await self._run(self.resolve_objects, events)
        return None if errors or self.errors.first(1) else results

    async def _run(
        self,
        execute: Callable[[ObjectPlan, ColumnValues, "ResponsePaths"], Awaitable["Completed"]],
        roots: ColumnValues,
    ) -> "Completed":
        try:
            return await execute(self.plan.root, roots, RootPath())
        except BaseException:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            raise
        finally:
            if self._stock is not None:
                # A reference cycle through these would keep all that was loaded until a garbage collection.
                del self._stock.async_helpers

    async def resolve_objects(
        self, plan: ObjectPlan, parents: ColumnValues, paths: "ResponsePaths"
    ) -> "Completed":
        """Returns an object for each parent. All loads of the level are asked for before any is awaited."""
        count = len(parents)
        columns: list[ColumnValues] = [()] * len(plan.fields)
        errors: dict[int, FieldError] = {}
        started = []
        for field in plan.other_fields:
            started.append(self._start(field, parents, paths))
            self._work += count * WORK_OF_A_CALL
            if self._work >= MAX_WORK_AT_ONCE:
                await self._pause()
        if plan.leaf_fields:
            await self._resolve_leaves(plan, parents, paths, columns, errors)
        self.count_response_bytes(count * plan.object_size)
        if len(started) == 1:
            only = started[0]
            if only.is_awaited and self._parts_running == 1:
                # Nothing else of the operation runs: what is queued needs no task to be loaded in.
                loading = self.context.load_queued()
                if loading is not None:
                    await loading
            columns[only.field.index], failed = await self._finish(only)
            if failed:
                merge_errors(errors, failed)
        elif started:
            await self._finish_all(started, columns, errors)
        if count * len(columns) > MAX_WORK_AT_ONCE:
            return await self._assemble_in_pieces(plan, count, columns), errors or None
        return plan.assemble(count, columns), errors or None

    async def _finish_all(
        self,
        started: Sequence[_Started],
        columns: list[ColumnValues],
        errors: dict[int, "FieldError"],
    ) -> None:
        """Sets the columns of several fields. Those that may load more do that at the same time."""
        deep = [each for each in started if each.field.completion.may_await]
        if deep:
            for each, (results, failed) in zip(deep, await self.gather(map(self._finish, deep)), strict=True):
                columns[each.field.index] = results
                merge_errors(errors, failed)
        for each in started:
            if not each.field.completion.may_await:
                columns[each.field.index], failed = await self._finish(each)
                merge_errors(errors, failed)
                if self._work >= MAX_WORK_AT_ONCE:
                    await self._pause()

    async def _assemble_in_pieces(
        self, plan: ObjectPlan, count: int, columns: Sequence[ColumnValues]
    ) -> list[dict[str, Any]]:
        """Returns the objects of many parents, made with pauses between them."""
        step = max(1, MAX_WORK_AT_ONCE // len(columns))
        objects: list[dict[str, Any]] = []
        for start in range(0, count, step):
            await self._pause()
            end = min(start + step, count)
            objects += plan.assemble(end - start, [column[start:end] for column in columns])
        return objects

    async def _resolve_leaves(
        self,
        plan: ObjectPlan,
        parents: ColumnValues,
        paths: "ResponsePaths",
        columns: list[ColumnValues],
        errors: dict[int, "FieldError"],
    ) -> None:
        """Sets the columns of the fields that are read from the parents alone."""
        count = len(parents)
        table = parents.table() if plan.reads_table and isinstance(parents, Rows) else {}
        size = 0
        for column, plans, resolver, completion, serializer in plan.leaf_fields:
            values = table.get(column)
            if values is not None:
                self._work += count
            else:
                self._work += count * WORK_OF_A_CALL
                if count > MAX_CALLS_AT_ONCE:
                    values = await self._resolve_in_pieces(resolver, plans[0], parents, paths, table)
                else:
                    values = resolver.resolve_table(table) if table else None
                    if values is None:
                        values = resolver.resolve(self, plans[0], parents, paths)
            if serializer.converts_each and completion.yields_between(values):
                await completion.convert_in_pieces(self, values)
            if self._work >= MAX_WORK_AT_ONCE:
                await self._pause()
            serialized = serializer.serialize_column(values, self.conversions)
            if serialized is None:
                for field in plans:
                    columns[field.index], failed = await completion.complete(
                        self, field, values, FieldPaths(paths, field)
                    )
                    merge_errors(errors, failed)
                continue
            results, added = serialized
            for field in plans:
                columns[field.index] = results
                size += added
        self.count_response_bytes(size)

    async def _resolve_in_pieces(
        self,
        resolver: "PureResolver",
        field: FieldPlan,
        parents: ColumnValues,
        paths: "ResponsePaths",
        table: Mapping[str, ColumnValues],
    ) -> list[Any]:
        """Returns a value for each of many parents, with pauses."""
        values: list[Any] = []
        for start in range(0, len(parents), _CALLS_OF_A_PIECE):
            await self._pause()
            piece = slice(start, start + _CALLS_OF_A_PIECE)
            columns = {name: table[name][piece] for name in resolver.columns or () if name in table}
            part = resolver.resolve_table(columns)
            values += resolver.resolve(self, field, parents[piece], paths) if part is None else part
        return values

    async def render_lists(self, items: list[Any], sizes: Sequence[int]) -> list[Any]:
        """Returns the items as lists of these sizes; in a large response, as JSON that is rendered already.

        Rendering pauses between pieces, and drops the items that are rendered.
        """
        ends = accumulate(sizes, initial=0)
        if self._size < LARGE_RESULT:
            return [items[start:end] for start, end in pairwise(ends)]
        rendered: list[Any] = []
        step, written = 1, 0
        for start, end in pairwise(ends):
            pieces = []
            while start < end:
                following = min(start + step, end)
                pieces.append(orjson.dumps(items[start:following])[1:-1])
                items[start:following] = repeat(None, following - start)
                size = len(pieces[-1])
                written += size
                if written >= LARGE_RESULT:
                    written = 0
                    await self._pause()
                step = max(1, LARGE_RESULT * (following - start) // (size + 1))
                start = following  # noqa: PLW2901
            rendered.append(orjson.Fragment(b"[%b]" % b",".join(pieces)))
        return rendered

    async def _pause(self) -> None:
        """Pauses, after so much work that other tasks should run."""
        await self.scheduler.pause()
        self._work = 0  # not before: other parts that begin meanwhile pause, too, in place of working as long

    async def _resolve_serially(
        self, plan: ObjectPlan, parents: ColumnValues, paths: "ResponsePaths"
    ) -> "Completed":
        """Resolves a mutation's root fields, each of which begins when the one before it is done."""
        columns = []
        for field in plan.fields:
            own = FieldPaths(paths, field)
            # Nothing else of the operation may run at the same time, so it needs no task.
            values = field.resolver.resolve(self, field, parents, own)
            is_awaited = any_awaitable(types_of(values))
            results, failed = await self._finish(_Started(field, own, values, is_awaited))
            if failed:
                return [None], failed
            columns.append(results)
        return plan.assemble(len(parents), columns), None

    def _start(self, field: FieldPlan, parents: ColumnValues, paths: "ResponsePaths") -> _Started:
        own = FieldPaths(paths, field)
        values = field.resolver.resolve(self, field, parents, own)
        if not field.resolver.may_await:
            return _Started(field, own, values, is_awaited=False)
        is_awaited = any_awaitable(types_of(values))
        return _Started(field, own, self._ensure_started(values) if is_awaited else values, is_awaited)

    async def _finish(self, started: _Started) -> "Completed":
        field, paths, values, is_awaited = started
        if is_awaited:
            values = await self._await_each(values)
        convert = field.resolver.convert_loaded
        if convert is not None:
            values = [_attempt(convert, each) for each in values]
        if not field.completion.may_await:
            self._work += len(values) * WORK_OF_A_CALL
        return await field.completion.complete(self, field, values, paths)

    def count_response_bytes(self, size: int) -> None:
        """Counts bytes that the response will have. Raises ResponseTooLargeError."""
        self._size += size
        if self._size > self._max_size:
            raise ResponseTooLargeError

    # Waiting

    async def gather(self, coroutines: Iterable[Coroutine[Any, Any, "Completed"]]) -> list["Completed"]:
        """Runs coroutines that may load further rows at the same time, so that their loads share batches."""
        first, *others = coroutines
        if not others:
            return [await first]
        tasks = self._ensure_started(others)
        self._parts_running += len(tasks)
        results = [await first, *[await task for task in tasks]]
        self._parts_running -= len(tasks)
        return results

    async def settle(self, values: list[Any]) -> list[Any]:
        """Awaits the values, and returns them; an exception for each that failed."""
        return await self._await_each(self._ensure_started(values))

    def _ensure_started(self, values: list[Any]) -> list[Any]:
        if all_started(types_of(values)):
            return values
        started: dict[int, asyncio.Future[Any]] = {}  # parents with one key share its awaitable
        for value in values:
            if hasattr(type(value), "__await__") and id(value) not in started:
                work = Metered(value) if asyncio.iscoroutine(value) else value
                started[id(value)] = future = asyncio.ensure_future(work)
                if future is not value:
                    self._tasks.append(future)
        return [started.get(id(value), value) for value in values]

    async def _await_each(self, values: list[Any]) -> list[Any]:
        # One after the other: the futures of a batch are done together, so only the first of them waits.
        settled = []
        for value in values:
            if hasattr(type(value), "__await__"):
                try:
                    settled.append(await value)
                except Exception as error:  # noqa: BLE001 - becomes the field's error
                    self.has_failed_to_read |= not isinstance(error, GraphQLError)
                    settled.append(error)
            else:
                settled.append(value)
        return settled

    # What fields need of the operation

    @property
    def variables(self) -> Mapping[str, Any]:
        """The coerced values of the operation's variables."""
        return self._invocation.variables.coerced

    def arguments(self, field: FieldPlan) -> dict[str, Any]:
        """Returns the coerced arguments of a field. Raises GraphQLError."""
        if not field.definition.args:
            return {}
        return get_argument_values(
            field.definition,
            field.nodes[0],
            self._invocation.variables,
            None,
            self._invocation.hide_suggestions,
        )

    async def introspect(self, field: FieldPlan) -> bytes | None:
        """Returns the JSON of a field of introspection. Raises GraphQLError."""
        return await self._invocation.introspect(field.nodes)

    def field_error(
        self, field: FieldPlan, paths: "ResponsePaths", index: int, error: Exception
    ) -> "FieldError":
        """Returns the error of one of a field's values."""
        return FieldError(error, field, paths, index, paths.sort_key(index))

    def info(self, field: FieldPlan, path: Path | None) -> GraphQLResolveInfo[Any]:
        """Returns what an ordinary resolver gets as `info`, as the stock executor makes it."""
        assert path is not None  # noqa: S101 - narrows; only the root has no path
        return self.stock.build_resolve_info(field.definition, field.nodes, field.parent, path)

    @property
    def stock(self) -> StockExecutor:
        """A stock executor of the same operation: for an `info`, and for what is too rare to be compiled."""
        if self._stock is None:
            self._stock = self._invocation.stock_executor()
        return self._stock


# Resolving: from parents to values


class FieldResolver(Protocol):
    """Resolves one field for all parents at once.

    A value that can't be resolved is an exception; one that isn't there yet is an awaitable.
    """

    may_await: bool
    """Whether there may be awaitables among the values."""

    @property
    def convert_loaded(self) -> Callable[[Any], Any] | None:
        """The function that converts each value once it is there; None where it isn't converted."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns that it reads of a parent that is a row; None if that isn't known."""

    def resolve(
        self, execution: Execution, field: FieldPlan, parents: ColumnValues, paths: "ResponsePaths"
    ) -> list[Any]:
        """Returns a value for each parent. `paths` are those of the values."""


def _attempt(function: Callable[[Any], Any], value: Any) -> Any:
    """Returns what a function returns for a value, or the exception that it raises; an exception as it is."""
    try:
        return value if isinstance(value, Exception) else function(value)
    except Exception as error:  # noqa: BLE001 - becomes the field's error
        return error


def call_for_each(function: Callable[[Any], Any], parents: Iterable[Any]) -> list[Any]:
    """Returns what a function returns for each parent, or the exception that it raises."""
    values = []
    for parent in parents:
        try:
            values.append(function(parent))
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            values.append(error)
    return values


@dataclass(frozen=True, slots=True)
class PureResolver:
    """Calls a function of the parent alone: for columns of its row, or a computation."""

    function: Callable[[Any], Any]
    columns: tuple[str, ...] | None = None
    compute: Callable[..., Iterable[Any]] | None = None
    """Computes the values of all rows from their columns; None where one column is the values."""
    may_await = False
    convert_loaded = None

    @property
    def column(self) -> str:
        """The column that has the values as they stand; empty where there is none."""
        return self.columns[0] if self.compute is None and self.columns else ""

    def resolve(
        self, _execution: Execution, _field: FieldPlan, parents: ColumnValues, _paths: "ResponsePaths"
    ) -> list[Any]:
        """Calls the function for each parent."""
        try:
            return list(map(self.function, parents))
        except Exception:  # noqa: BLE001 - raised again for the parent that it is about
            return call_for_each(self.function, parents)

    def resolve_table(self, table: Mapping[str, ColumnValues]) -> ColumnValues | None:
        """Returns a value for each row of a table of columns; None if it takes whole rows, or fails."""
        if not self.columns:
            return None
        try:
            if self.compute is None:
                return table[self.columns[0]]
            return list(self.compute(*[table[name] for name in self.columns]))
        except Exception:  # noqa: BLE001 - raised again for the row that it is about
            return None


@dataclass(eq=False, slots=True)
class LoaderResolver:
    """A declared load: every parent is asked for before anything is awaited."""

    source: FromLoader | FromKey
    check: Check | None
    convert: ConvertInput
    reader: ArgumentReader
    columns: tuple[str, ...] | None
    may_await = True
    convert_loaded: Callable[[Any], Any] | None = None
    _parsed: Any = Undefined
    """What the source's `parse` made of constant arguments: the same for every request."""

    def resolve(
        self, execution: Execution, field: FieldPlan, parents: ColumnValues, _paths: "ResponsePaths"
    ) -> list[Any]:
        """Prepares once, then loads for each parent, or once for all parents of one key."""
        source = self.source
        try:
            if self.check is not None:
                self.check(execution.context)
            load = self.prepare(execution, field)
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            return [error] * len(parents)
        if isinstance(source, FromLoader):
            if field.list_below is not None and source.row_loader is not None and len(parents) == 1:
                _load_list_with_row(execution, source.row_loader(execution.context), field.list_below)
            return call_for_each(load, parents)
        key_of = itemgetter(source.column)
        try:
            keys = list(map(key_of, parents))
            reference = source.reference
            if reference is not None and isinstance(parents, Rows) and reference in parents.joined:
                return parents.joined[reference].of(keys)
            different = dict.fromkeys(keys)
        except Exception:  # noqa: BLE001 - raised again for the parent that it is about
            return call_for_each(partial(_load_by_key, key_of, load), parents)
        different.pop(None, None)
        if field.list_below is not None and source.reference is not None and len(different) == 1:
            _load_list_with_row(execution, load, field.list_below)
        load_each = getattr(load, "load_each", None)  # of a KeyLoader
        values = call_for_each(load, different) if load_each is None else load_each(different)
        if len(different) == len(keys):
            return list(values)
        return list(map(dict(zip(different, values, strict=True)).get, keys))

    def prepare(self, execution: Execution, field: FieldPlan) -> Any:
        """Returns the load of this request's arguments. Raises an error if one of them is wrong."""
        parsed = self._parsed
        if parsed is Undefined:
            parsed = self._parse(execution, field)
        return self.source.prepare(execution.context, parsed)

    def _parse(self, execution: Execution, field: FieldPlan) -> Any:
        arguments = self.reader.read(execution.variables)
        if arguments is None:
            arguments = self.convert(execution.arguments(field))
        parsed = arguments
        if self.source.parse is not None:
            parsed = self.source.parse(execution.plan.projection, arguments, field.lookahead)
        if self.reader.is_constant:
            self._parsed = parsed
        return parsed


def _load_list_with_row(execution: Execution, row_loader: Any, field: FieldPlan) -> None:
    """Makes a loader load a list together with its parent's row, if that is the only row it loads."""
    resolver = field.resolver
    assert isinstance(resolver, LoaderResolver) and isinstance(resolver.source, FromKey)  # noqa: S101, PT018
    try:
        page_loader = resolver.prepare(execution, field)
    except Exception:  # noqa: BLE001 - raised again when the list is resolved
        return
    row_loader.load_with_list(page_loader, resolver.source.load_with_parent)


def _load_by_key(key_of: Callable[[Any], Any], load: Load, parent: Any) -> Any:
    key = key_of(parent)
    return None if key is None else load(key)


@dataclass(frozen=True, slots=True)
class EventResolver:
    """The root field of a subscription, whose value is the event itself."""

    check: Check | None
    may_await = True
    convert_loaded = None
    columns = None

    def resolve(
        self, execution: Execution, _field: FieldPlan, parents: ColumnValues, _paths: "ResponsePaths"
    ) -> list[Any]:
        """Returns the event, as long as the viewer may subscribe."""
        try:
            if self.check is not None:
                self.check(execution.context)
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            return [error] * len(parents)
        return list(parents)


@dataclass(frozen=True, slots=True)
class IntrospectionResolver:
    """`__schema` or `__type`: its JSON as a whole."""

    may_await = True
    convert_loaded = None
    columns = None

    def resolve(
        self, execution: Execution, field: FieldPlan, _parents: ColumnValues, _paths: "ResponsePaths"
    ) -> list[Any]:
        """Returns what reads the schema."""
        return [execution.introspect(field)]


@dataclass(frozen=True, slots=True)
class AttributeResolver:
    """An attribute of the parent, as Strawberry reads fields without a resolver."""

    declaration: StrawberryField
    may_await = True
    convert_loaded = None
    columns = None

    def resolve(
        self, _execution: Execution, _field: FieldPlan, parents: ColumnValues, _paths: "ResponsePaths"
    ) -> list[Any]:
        """Reads the attribute of each parent."""
        return call_for_each(lambda parent: self.declaration.get_result(parent, None, [], {}), parents)


@dataclass(frozen=True, slots=True)
class MethodResolver:
    """A Strawberry field's own resolver, called once for each parent."""

    declaration: StrawberryField
    check: Check | None
    convert: ConvertInput
    reader: ArgumentReader
    make_info: Callable[..., Any]
    """The schema's own class of `info`."""
    may_await = True
    convert_loaded = None
    columns = None

    def resolve(
        self, execution: Execution, field: FieldPlan, parents: ColumnValues, paths: "ResponsePaths"
    ) -> list[Any]:
        """Calls it for each parent, with the parent, an `info` and its arguments, as far as it takes them."""
        try:
            if self.check is not None:
                self.check(execution.context)
            read = self.reader.read(execution.variables)
            given = self.convert(execution.arguments(field)) if read is None else read
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            return [error] * len(parents)
        resolver = self.declaration.base_resolver
        assert resolver is not None  # noqa: S101 - narrows

        def call(index: int) -> Any:
            parent, arguments = parents[index], dict(given)
            raw_info = LazyInfo(execution, field, paths, index)
            info = self.make_info(_raw_info=raw_info, _field=self.declaration)
            for parameter, value in (
                (resolver.parent_parameter, parent),
                (resolver.root_parameter, parent),
                (resolver.info_parameter, info),
            ):
                if parameter is not None:
                    arguments[parameter.name] = value
            own = [parent] if resolver.self_parameter else []
            return resolver(*own, **arguments)

        return call_for_each(call, range(len(parents)))


class LazyInfo:
    """The stock executor's `info`, made when a resolver reads more of it than the context, which few do."""

    __slots__ = ("_execution", "_field", "_index", "_info", "_paths", "context")

    def __init__(self, execution: Execution, field: FieldPlan, paths: "ResponsePaths", index: int) -> None:
        self.context = execution.context
        self._execution, self._field, self._paths, self._index = execution, field, paths, index
        self._info: GraphQLResolveInfo[Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if self._info is None:
            self._info = self._execution.info(self._field, self._paths.path(self._index))
        return getattr(self._info, name)


@dataclass(frozen=True, slots=True)
class FunctionResolver:
    """Any other resolver, called as the stock executor calls it."""

    function: Callable[..., Any]
    check: Check | None = None
    may_await = True
    convert_loaded = None
    columns = None

    def resolve(
        self, execution: Execution, field: FieldPlan, parents: ColumnValues, paths: "ResponsePaths"
    ) -> list[Any]:
        """Calls the function once for each parent, with an `info` of its own."""
        try:
            if self.check is not None:
                self.check(execution.context)
            arguments = execution.arguments(field)
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            return [error] * len(parents)

        def call(index: int) -> Any:
            info = execution.info(field, paths.path(index))
            return self.function(parents[index], info, **arguments)

        return call_for_each(call, range(len(parents)))


# Completing: from values to JSON, the specification's CompleteValue for a column at a time

Completed = tuple[ColumnValues, "FieldErrors"]
"""A result for each value, and the errors that left some without."""

Step = Callable[[Execution, FieldPlan, ColumnValues, "ResponsePaths"], Awaitable[Completed]]
TypeTest = Callable[[Any, Any], Any]


@dataclass(eq=False, slots=True)
class Completion:
    """Completes the values of one type."""

    nullable: bool
    may_await: bool = dataclass_field(default=False, init=False)
    """Whether it may have to wait for something to be loaded."""

    async def complete(
        self,
        execution: Execution,
        field: FieldPlan,
        values: ColumnValues,
        paths: "ResponsePaths",
        types: Types | None = None,
    ) -> Completed:
        """Returns a result for each value: null, or no result but an error, for a value that failed.

        `types` are those that occur among the values, if they are known.
        """
        if not values:
            return [], None
        if all_present(types_of(values) if types is None else types):
            results, errors = await self.complete_present(execution, field, values, paths)
        else:
            results, errors = await self.complete_by(self.complete_present, execution, field, values, paths)
        return self.propagate(execution, paths, results, errors) if errors else (results, None)

    async def complete_present(
        self, execution: Execution, field: FieldPlan, values: ColumnValues, paths: "ResponsePaths"
    ) -> Completed:
        """Completes values of which none is null or an error."""
        raise NotImplementedError

    async def complete_by(
        self, step: Step, execution: Execution, field: FieldPlan, values: ColumnValues, paths: "ResponsePaths"
    ) -> Completed:
        """Calls `step` with the values that are neither null nor an error, if there are any."""
        errors = {}
        present = []
        for index, value in enumerate(values):
            if isinstance(value, Exception):
                errors[index] = execution.field_error(field, paths, index, value)
                if len(errors) % _ERRORS_AT_ONCE == 0:
                    await execution.scheduler.pause()
            elif value is not None and value is not Undefined:
                present.append(index)
            elif not self.nullable:
                errors[index] = execution.field_error(field, paths, index, null_error(field))
        results: list[Any] = [None] * len(values)
        if present:
            chosen = (
                values.subset(present) if isinstance(values, Rows) else [values[each] for each in present]
            )
            part, failed = await step(execution, field, chosen, SubsetPaths(paths, present))
            put_back(part, failed, present, results, errors)
        return results, errors

    def propagate(
        self,
        execution: Execution,
        paths: "ResponsePaths",
        results: ColumnValues,
        errors: dict[int, "FieldError"],
    ) -> Completed:
        """Nulls the values that failed, if this type is nullable; else passes their errors to the parents."""
        if not self.nullable:
            return results, errors
        results = list(results)
        for index, error in errors.items():
            execution.errors.add(error, paths, index)
            results[index] = None
        return results, None


def put_back(
    part: ColumnValues,
    failed: "FieldErrors",
    indexes: Sequence[int],
    results: list[Any],
    errors: dict[int, "FieldError"],
) -> None:
    """Puts the results and errors of some values back among those of all, at the values' indexes."""
    for index, result in zip(indexes, part, strict=True):
        results[index] = result
    for number, error in (failed or {}).items():
        errors[indexes[number]] = error


def null_error(field: FieldPlan) -> Exception:
    """Returns the error of a null where the type allows none."""
    return TypeError(f"Cannot return null for non-nullable field {field.parent}.{field.name}.")


@dataclass(eq=False, slots=True)
class LeafCompletion(Completion):
    """A scalar or an enum."""

    serializer: LeafSerializer

    def yields_between(self, values: ColumnValues) -> bool:
        """Whether converting a column takes so long that others should run in between."""
        if len(values) > MAX_CONVERSIONS_AT_ONCE:
            return True
        return (text_size(filter(None, values)) or 0) > MAX_CHARACTERS_AT_ONCE

    async def convert_in_pieces(self, execution: Execution, values: ColumnValues) -> None:
        """Converts the distinct values of a column beforehand, with pauses. Failures are reported later."""
        serializer = self.serializer
        if types_of(values) not in KEPT_TYPES:
            return
        known = execution.conversions[serializer]
        distinct = deque(set(values).difference(known))
        while distinct:
            # Before the first piece, too: all parts of an operation may begin in one iteration of the loop.
            await execution.scheduler.pause()
            piece: list[Any] = []
            characters = 0
            while distinct and len(piece) < MAX_CONVERSIONS_AT_ONCE and characters < MAX_CHARACTERS_AT_ONCE:
                value = distinct.pop()
                if value not in known:  # else another part has converted it meanwhile
                    piece.append(value)
                    characters += len(value) if isinstance(value, str) else 0
            if piece and serializer.serialize_column(piece, execution.conversions) is None:
                return

    async def complete(
        self,
        execution: Execution,
        field: FieldPlan,
        values: ColumnValues,
        paths: "ResponsePaths",
        types: Types | None = None,
    ) -> Completed:
        """Returns a result for each value, one by one if they can't be serialized at once."""
        serialized = self.serializer.serialize_column(values, execution.conversions)
        if serialized is not None:
            column, size = serialized
            execution.count_response_bytes(size)
            return column, None
        results: list[Any] = []
        errors: dict[int, FieldError] = {}
        for index, value in enumerate(values):
            if index % MAX_CONVERSIONS_AT_ONCE == 0:
                part = values[index : index + MAX_CONVERSIONS_AT_ONCE]
                execution.count_response_bytes(self.serializer.size_of(part))
                if index:
                    await execution.scheduler.pause()
            result = None
            try:
                if isinstance(value, Exception):
                    raise value  # noqa: TRY301 - what a resolver returns counts as what it raises
                if value is not None and value is not Undefined:
                    result = self.serializer.serialize(value)
                if result is None and not self.nullable:
                    raise null_error(field)  # noqa: TRY301
            except Exception as error:  # noqa: BLE001 - becomes the field's error
                errors[index] = execution.field_error(field, paths, index, error)
            results.append(result)
        return self.propagate(execution, paths, results, errors) if errors else (results, None)


@dataclass(eq=False, slots=True)
class RenderedCompletion(Completion):
    """What its resolver has rendered."""

    async def complete_present(
        self, execution: Execution, field: FieldPlan, values: ColumnValues, paths: "ResponsePaths"
    ) -> Completed:
        """Returns the values as JSON."""
        execution.count_response_bytes(sum(map(len, values)))
        return list(map(orjson.Fragment, values)), None


@dataclass(eq=False, slots=True)
class ListCompletion(Completion):
    """A list."""

    item: Completion

    def __post_init__(self) -> None:
        self.may_await = self.item.may_await

    async def complete_present(
        self, execution: Execution, field: FieldPlan, values: ColumnValues, paths: "ResponsePaths"
    ) -> Completed:
        """Completes the items of all lists together, and gives each list its own."""
        lists: Sequence[Sequence[Any]] = values
        broken: dict[int, Exception] = {}
        if not all_lists(types_of(values)):
            lists, broken = await self._items(field, values)
        sizes = list(map(len, lists))
        items = concatenated(lists)
        types: Types | None = types_of(items)
        if any_awaitable(types):
            items, types = await execution.settle(list(items)), None
        part, failed = await self.item.complete(execution, field, items, ItemPaths(paths, sizes), types)
        if not failed and not broken and isinstance(self.item, ObjectCompletion | AbstractCompletion):
            return await execution.render_lists(cast("list[Any]", part), sizes), None
        results = [part[start:end] for start, end in pairwise(accumulate(sizes, initial=0))]
        if not failed and not broken:
            return results, None
        errors: dict[int, FieldError] = {}
        start = 0
        for index, size in enumerate(sizes):
            inside = [failed[item] for item in range(start, start + size) if item in failed] if failed else []
            if index in broken:
                own = execution.field_error(field, paths, index, broken[index])
                # Its items came first, as far as there were any.
                inside.append(replace(own, sort_key=(*own.sort_key, size)))
            first = first_error(inside)
            if first is not None:
                errors[index] = first
            start += size
        return results, errors

    async def _items(
        self, field: FieldPlan, values: ColumnValues
    ) -> tuple[Sequence[Sequence[Any]], dict[int, Exception]]:
        """Returns the items of each value, and the errors of those that are no list or broke off."""
        lists: list[list[Any]] = []
        broken: dict[int, Exception] = {}
        for index, value in enumerate(values):
            items: list[Any] = []
            lists.append(items)
            try:
                if hasattr(value, "__aiter__"):
                    async for item in value:
                        items.append(item)  # noqa: PERF401 - what came before an error is kept
                elif is_iterable(value):
                    for item in value:
                        items.append(item)  # noqa: PERF402
                else:
                    broken[index] = GraphQLError(
                        f"Expected Iterable, but did not find one for field '{field.parent}.{field.name}'."
                    )
            except Exception as error:  # noqa: BLE001 - becomes the list's error
                broken[index] = error
        return lists, broken


@dataclass(eq=False, slots=True)
class ObjectCompletion(Completion):
    """An object of one type."""

    plan: ObjectPlan
    is_type_of: TypeTest | None
    """The type's `is_type_of`; None where that is true for every value."""

    def __post_init__(self) -> None:
        self.may_await = self.plan.may_await or self.is_type_of is not None

    def complete_present(
        self, execution: Execution, field: FieldPlan, values: ColumnValues, paths: "ResponsePaths"
    ) -> Coroutine[Any, Any, Completed]:
        """Runs the selection for all objects together."""
        if self.is_type_of is None:
            return execution.resolve_objects(self.plan, values, paths)
        return self._complete_tested(self.is_type_of, execution, field, values, paths)

    async def _complete_tested(
        self,
        test: TypeTest,
        execution: Execution,
        field: FieldPlan,
        values: ColumnValues,
        paths: "ResponsePaths",
    ) -> Completed:
        answers = await ask_types(execution, field, values, paths, test)
        type_ = self.plan.type
        tested = [
            answer
            if isinstance(answer, Exception)
            else value
            if answer
            else invalid_return_type_error(type_, value, field.details)
            for answer, value in zip(answers, values, strict=True)
        ]
        return await self.complete_by(self._run_plan, execution, field, tested, paths)

    async def _run_plan(
        self, execution: Execution, _field: FieldPlan, values: ColumnValues, paths: "ResponsePaths"
    ) -> Completed:
        return await execution.resolve_objects(self.plan, values, paths)


@dataclass(eq=False, slots=True)
class AbstractCompletion(Completion):
    """An interface or a union: each value says which type it is of."""

    type: GraphQLAbstractType
    for_type: Callable[[GraphQLObjectType], ObjectCompletion]
    """Returns the completion of one of its types; compiled for the first value of that type."""
    _valid: dict[Any, GraphQLObjectType] = dataclass_field(default_factory=dict)
    """Its types by the names that values have had."""

    def __post_init__(self) -> None:
        self.may_await = True

    async def complete_present(
        self, execution: Execution, field: FieldPlan, values: ColumnValues, paths: "ResponsePaths"
    ) -> Completed:
        """Groups the values by type, and completes those of each type together."""
        resolve_type = self.type.resolve_type
        if resolve_type is None:
            resolve_type = execution.stock.type_resolver
        if getattr(resolve_type, "is_decided_by_value", False):
            names: list[Any] = [resolve_type(value, cast("Any", None), self.type) for value in values]
        else:
            names = await ask_types(
                execution, field, values, paths, lambda value, info: resolve_type(value, info, self.type)
            )
        members: defaultdict[GraphQLObjectType, list[int]] = defaultdict(list)
        errors: dict[int, FieldError] = {}
        for index, name in enumerate(names):
            try:
                if isinstance(name, Exception):
                    raise name  # noqa: TRY301
                type_ = self._valid.get(name)
                if type_ is None:
                    info = execution.info(field, paths.field_path(0))
                    type_ = execution.stock.ensure_valid_runtime_type(
                        name, self.type, field.details, info, values[index]
                    )
                    self._valid[name] = type_
                members[type_].append(index)
            except Exception as error:  # noqa: BLE001 - becomes the field's error
                errors[index] = execution.field_error(field, paths, index, error)
        if not members:
            return [None] * len(values), errors
        parts = await execution.gather(
            self.for_type(type_).complete_present(
                execution, field, [values[index] for index in indexes], SubsetPaths(paths, indexes)
            )
            for type_, indexes in members.items()
        )
        results: list[Any] = [None] * len(values)
        for indexes, (part, failed) in zip(members.values(), parts, strict=True):
            put_back(part, failed, indexes, results, errors)
        return results, errors


async def ask_types(
    execution: Execution, field: FieldPlan, values: ColumnValues, paths: "ResponsePaths", test: TypeTest
) -> list[Any]:
    """Returns what a type test says of each value, or the exception that it raises."""
    answers: list[Any] = []
    for index, value in enumerate(values):
        try:
            answers.append(test(value, execution.info(field, paths.field_path(index))))
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            answers.append(error)
    return await execution.settle(answers) if any_awaitable(types_of(answers)) else answers


# Paths: where in the response a value is, computed only for errors and for resolvers with an `info`

SortKey = tuple[int, ...]
"""Orders fields as the response is read from top to bottom."""


class ResponsePaths(Protocol):
    """The paths of a column of values."""

    def path(self, index: int) -> Path | None:
        """Returns the path of a value; None for the root."""

    def sort_key(self, index: int) -> SortKey:
        """Returns a key that orders the value among those of the response, from top to bottom."""

    def field_path(self, index: int) -> Path | None:
        """Returns the path of the field whose value it is, or is an item of."""


@dataclass(eq=False, slots=True)
class RootPath:
    """The empty path."""

    def path(self, _index: int) -> None:
        """None: the root has no path."""

    def sort_key(self, _index: int) -> SortKey:
        return ()

    def field_path(self, _index: int) -> None:
        """None: the root is no field's value."""


@dataclass(eq=False, slots=True)
class FieldPaths:
    """The paths of one field of each parent."""

    parents: ResponsePaths
    field: FieldPlan

    def path(self, index: int) -> Path:
        """Returns the parent's path and the field's key."""
        return Path(self.parents.path(index), self.field.key, self.field.parent.name)

    def sort_key(self, index: int) -> SortKey:
        """Returns the parent's key and the field's index."""
        return (*self.parents.sort_key(index), self.field.index)

    def field_path(self, index: int) -> Path:
        return self.path(index)


@dataclass(eq=False, slots=True)
class ItemPaths:
    """The paths of the items of lists, one list after the other."""

    lists: ResponsePaths
    sizes: Sequence[int]
    _ends: Sequence[int] = dataclass_field(default=(), init=False)
    """The index behind each list's last item, once a path has been asked for."""

    def _find(self, index: int) -> tuple[int, int]:
        if not self._ends:
            self._ends = list(accumulate(self.sizes))
        number = bisect_right(self._ends, index)
        return number, index - (self._ends[number] - self.sizes[number])

    def path(self, index: int) -> Path:
        """Returns the list's path and the item's index in it."""
        number, item = self._find(index)
        return Path(self.lists.path(number), item, None)

    def sort_key(self, index: int) -> SortKey:
        """Returns the list's key and the item's index in it."""
        number, item = self._find(index)
        return (*self.lists.sort_key(number), item)

    def field_path(self, index: int) -> Path | None:
        """Returns the path of the list's field."""
        return self.lists.field_path(self._find(index)[0])


@dataclass(eq=False, slots=True)
class SubsetPaths:
    """The paths of some of the values, such as those that aren't null."""

    all: ResponsePaths
    indexes: Sequence[int]

    def path(self, index: int) -> Path | None:
        """Returns the path of a value, which has another index among all."""
        return self.all.path(self.indexes[index])

    def sort_key(self, index: int) -> SortKey:
        """Returns the sort key of a value."""
        return self.all.sort_key(self.indexes[index])

    def field_path(self, index: int) -> Path | None:
        """Returns the path of a value's field."""
        return self.all.field_path(self.indexes[index])


# Errors: a value that fails is null; where its type is non-null, its parent is null instead, and so on
# upwards.
#
# Of several errors that pass to one object or list, only the first in the response's order is reported: an
# executor that completes fields from top to bottom would stop there. So the same errors are reported, in the
# same order, whatever the order in which fields are completed.


@dataclass(frozen=True, slots=True)
class FieldError:
    """The error of a value, with the value's sort key."""

    error: Exception
    field: FieldPlan
    paths: ResponsePaths
    index: int
    sort_key: SortKey

    def located(self) -> GraphQLError:
        """Returns the error with its place in the document and its path in the response."""
        path = self.paths.path(self.index)
        return located_error(self.error, self.field.nodes, path.as_list() if path is not None else None)


FieldErrors = dict[int, FieldError] | None
"""The errors of values that have no result, by their index.

They pass to the parents, up to one that is nullable.
"""


def first_error(errors: Iterable[FieldError]) -> FieldError | None:
    """Returns the error of the value that comes first in the response."""
    return min(errors, key=lambda each: each.sort_key, default=None)


def merge_errors(errors: dict[int, FieldError], others: FieldErrors) -> None:
    """Adds the errors of one field of some objects to those of other fields; each object keeps its first."""
    for index, error in (others or {}).items():
        known = errors.get(index)
        if known is None or error.sort_key < known.sort_key:
            errors[index] = error


class ErrorCollector:
    """The errors of one operation, each with the path of the value that it made null."""

    __slots__ = ("_errors",)

    def __init__(self) -> None:
        self._errors: list[tuple[FieldError, SortKey]] = []

    def add(self, error: FieldError, paths: ResponsePaths | None = None, index: int = 0) -> None:
        """Adds an error and the value that it makes null, which without `paths` is all of the data."""
        self._errors.append((error, paths.sort_key(index) if paths is not None else ()))

    def first(self, limit: int | None) -> list[GraphQLError]:
        """Returns the first errors in the response's order, without those inside a value that is null."""
        nulled: set[SortKey] = set()
        errors: list[GraphQLError] = []
        for each, place in sorted(self._errors, key=lambda added: added[0].sort_key):
            if len(errors) == limit:
                break
            if not any(place[:length] in nulled for length in range(len(place) + 1)):
                nulled.add(place)
                errors.append(each.located())
        return errors
