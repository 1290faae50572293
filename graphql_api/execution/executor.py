"""One operation under way: breadth-first through its plan, all parents of a level at once."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, NamedTuple

from graphql import ExecutionResult, GraphQLResolveInfo, OperationType, located_error
from graphql.execution.values import get_argument_values
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graphql_api.execution.completion import Completed
from graphql_api.execution.error_propagation import Failure, Report, merge
from graphql_api.execution.invocation import Invocation
from graphql_api.execution.plan import Column, Field, Plan, Selection
from graphql_api.execution.response_paths import FieldPlaces, Places, Root
from graphql_api.execution.row_batch import Rows
from graphql_api.execution.value_types import are_awaitable, are_settling, kinds_of


class _Started(NamedTuple):
    """A field whose values are asked for."""

    field: Field
    places: FieldPlaces
    values: list[Any]


class Run:
    """What one execution of a plan knows. Never shared between two."""

    def __init__(self, plan: Plan, invocation: Invocation) -> None:
        self.plan = plan
        self.context = invocation.context
        self.report = Report()
        self._invocation = invocation
        self._executor: StrawberryGraphQLCoreExecutionContext | None = None
        self._tasks: list[asyncio.Future[Any]] = []

    async def execute(self) -> ExecutionResult:
        """Run the operation. Errors of fields are in the result; only a cancellation is raised."""
        is_mutation = self.plan.operation.operation is OperationType.MUTATION
        execute = self._serially if is_mutation else self.objects
        try:
            (data,), failures = await execute(self.plan.root, [self._invocation.root_value], Root())
        except BaseException:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            raise
        finally:
            if self._executor is not None:
                # It refers to itself through these, and would keep all that was loaded until a collection.
                del self._executor.async_helpers
        if failures:
            data = None
            self.report.take(failures[0])
        return ExecutionResult(data, self.report.errors() or None)

    async def objects(self, selection: Selection, parents: Column, places: Places) -> Completed:
        """An object for each parent. All loads of the level are asked for before any is awaited."""
        columns: list[Column] = [()] * len(selection.fields)
        failures: dict[int, Failure] = {}
        started = [self._start(field, parents, places) for field in selection.branches]
        table = parents.table() if selection.is_wide and isinstance(parents, Rows) else {}
        for field, reader, completion in selection.flat:
            values = reader.read_table(table) if table else None
            if values is None:
                values = reader.read(self, field, parents, places)
            results = completion.complete_at_once(values)
            if results is None:
                results, failed = await completion.complete(self, field, values, FieldPlaces(places, field))
                merge(failures, failed)
            columns[field.position] = results
        deep = [each for each in started if each.field.completion.waits]
        if deep:
            for each, (results, failed) in zip(
                deep, await self.together(map(self._finish, deep)), strict=True
            ):
                columns[each.field.position] = results
                merge(failures, failed)
        for each in started:
            if not each.field.completion.waits:
                columns[each.field.position], failed = await self._finish(each)
                merge(failures, failed)
        return selection.assemble(len(parents), columns), failures or None

    async def _serially(self, selection: Selection, parents: Column, places: Places) -> Completed:
        columns = []
        for field in selection.fields:
            results, failed = await self._finish(self._start(field, parents, places))
            if failed:
                return [None], failed
            columns.append(results)
        return selection.assemble(len(parents), columns), None

    def _start(self, field: Field, parents: Column, places: Places) -> "_Started":
        own = FieldPlaces(places, field)
        values = field.reader.read(self, field, parents, own)
        return _Started(field, own, self._begin(values) if field.reader.waits else values)

    async def _finish(self, started: "_Started") -> Completed:
        field, places, values = started
        if field.reader.waits and are_awaitable(kinds_of(values)):
            values = await self._wait(values)
        return await field.completion.complete(self, field, values, places)

    # Waiting

    async def together(self, coroutines: Iterable[Coroutine[Any, Any, Completed]]) -> list[Completed]:
        """Run what may load further rows at once: none waits for another's answer."""
        mine, *others = coroutines
        tasks = self._begin(others)
        return [await mine, *[await task for task in tasks]]

    async def settle(self, values: list[Any]) -> list[Any]:
        """The values, when all of them are there; an exception for each that failed."""
        return await self._wait(self._begin(values))

    def _begin(self, values: list[Any]) -> list[Any]:
        if are_settling(kinds_of(values)):
            return values
        begun: dict[int, asyncio.Future[Any]] = {}  # parents of one key share what is awaited for it
        for value in values:
            if hasattr(type(value), "__await__") and id(value) not in begun:
                begun[id(value)] = future = asyncio.ensure_future(value)
                if future is not value:
                    self._tasks.append(future)
        return [begun.get(id(value), value) for value in values]

    async def _wait(self, values: list[Any]) -> list[Any]:
        # One after the other: futures of one batch are done together, so only the first is waited for.
        settled = []
        for value in values:
            if hasattr(type(value), "__await__"):
                try:
                    settled.append(await value)
                except Exception as error:  # noqa: BLE001 - becomes the field's error
                    settled.append(error)
            else:
                settled.append(value)
        return settled

    # What fields ask of the operation

    def arguments(self, field: Field) -> dict[str, Any]:
        """The coerced arguments of a field. Raises GraphQLError."""
        if not field.definition.args:
            return {}
        return get_argument_values(
            field.definition,
            field.nodes[0],
            self._invocation.variables,
            None,
            self._invocation.hide_suggestions,
        )

    def failure(self, field: Field, places: Places, index: int, error: Exception) -> Failure:
        """The failure of one of a field's values."""
        path = places.path(index)
        located = located_error(error, field.nodes, path.as_list() if path is not None else None)
        return Failure(located, places.order(index))

    def info(self, field: Field, path: Path | None) -> GraphQLResolveInfo[Any]:
        """What an ordinary resolver is told, as the stock executor tells it."""
        assert path is not None  # noqa: S101 - narrows; only the root has no path
        return self.executor.build_resolve_info(field.definition, field.nodes, field.parent, path)

    @property
    def executor(self) -> StrawberryGraphQLCoreExecutionContext:
        """A stock executor of the same operation: for an info, and for what is too rare to do differently."""
        if self._executor is None:
            self._executor = self._invocation.stock_executor()
        return self._executor
