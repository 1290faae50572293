"""One operation under way: breadth-first through its plan, all parents of a level at once."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, cast

from graphql import ExecutionResult, GraphQLResolveInfo, OperationType, located_error
from graphql.execution.values import get_argument_values
from graphql.pyutils import Path
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graphql_api.engine.completion import Completed, LeafCompletion
from graphql_api.engine.failures import Failure, Report, first
from graphql_api.engine.invocation import Invocation
from graphql_api.engine.kinds import are_awaitable, kinds_of
from graphql_api.engine.places import FieldPlaces, Places, Root
from graphql_api.engine.plan import Column, Field, Plan, Selection


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
        parents = list(parents)
        fields = selection.fields
        started = [self._read(field, parents, places) for field in fields]
        columns: list[Completed | None] = [None] * len(fields)
        deep = []
        for number, (field, values) in enumerate(zip(fields, started, strict=True)):
            if isinstance(field.completion, LeafCompletion) and not field.reader.waits:
                own = self._places(field, places)
                columns[number] = field.completion.complete_now(self, field, values, own)
            elif field.completion.waits:
                deep.append(number)
        if deep:
            finished = await self.together(
                self._finish(fields[number], started[number], places) for number in deep
            )
            for number, column in zip(deep, finished, strict=True):
                columns[number] = column
        for number, field in enumerate(fields):
            if columns[number] is None:
                columns[number] = await self._finish(field, started[number], places)
        return self._assemble(selection, len(parents), cast("list[Completed]", columns))

    async def _serially(self, selection: Selection, parents: Column, places: Places) -> Completed:
        columns = []
        for field in selection.fields:
            column = await self._finish(field, self._read(field, list(parents), places), places)
            if column[1]:
                return [None], column[1]
            columns.append(column)
        return self._assemble(selection, 1, columns)

    def _read(self, field: Field, parents: list[Any], places: Places) -> list[Any]:
        values = field.reader.read(self, field, parents, self._places(field, places))
        return self._start(values) if field.reader.waits else values

    async def _finish(self, field: Field, values: list[Any], places: Places) -> Completed:
        if field.reader.waits and are_awaitable(kinds_of(values)):
            values = await self._wait(values)
        return await field.completion.complete(self, field, values, self._places(field, places))

    def _assemble(self, selection: Selection, count: int, columns: Sequence[Completed]) -> Completed:
        objects = selection.assemble(count, [results for results, _ in columns])
        failing = [failures for _, failures in columns if failures]
        if not failing:
            return objects, None
        failures: dict[int, Failure] = {}
        for each in failing:
            for index, failure in each.items():
                met = first(failures.get(index), failure)
                assert met is not None  # noqa: S101 - narrows
                failures[index] = met
        return objects, failures

    def _places(self, field: Field, parents: Places) -> FieldPlaces:
        return FieldPlaces(parents, field.key, field.parent.name, field.position)

    # Waiting

    async def together(self, coroutines: Iterable[Coroutine[Any, Any, Completed]]) -> list[Completed]:
        """Run what may load further rows at once: none waits for another's answer."""
        mine, *others = coroutines
        tasks = self._start(others)
        return [await mine, *[await task for task in tasks]]

    async def settle(self, values: list[Any]) -> list[Any]:
        """The values, when all of them are there; an exception for each that failed."""
        return await self._wait(self._start(values))

    def _start(self, values: list[Any]) -> list[Any]:
        if not are_awaitable(kinds_of(values)):
            return values
        return [self._future(value) if hasattr(type(value), "__await__") else value for value in values]

    def _future(self, value: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.ensure_future(value)
        if future is not value:
            self._tasks.append(future)
        return future

    async def _wait(self, values: list[Any]) -> list[Any]:
        # One after the other: futures of one batch are done together, so only the first is waited for.
        settled = []
        for value in values:
            if asyncio.isfuture(value):
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
    def strawberry(self) -> Any:
        """Strawberry's own schema."""
        return self._invocation.schema._strawberry_schema  # type: ignore[attr-defined]  # noqa: SLF001

    @property
    def executor(self) -> StrawberryGraphQLCoreExecutionContext:
        """A stock executor of the same operation: for an info, and for what is too rare to do differently."""
        if self._executor is None:
            self._executor = self._invocation.stock_executor()
        return self._executor
