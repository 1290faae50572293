"""Runs a plan breadth-first: all parents of a level at once."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import partial
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

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
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.types.field import StrawberryField

from graphql_api.execution.columns import (
    Rows,
    are_awaitable,
    are_lists,
    are_present,
    are_settling,
    concatenated,
    kinds_of,
)
from graphql_api.execution.fields import Check, FromKey, FromLoader, Load
from graphql_api.execution.inputs import Convert
from graphql_api.execution.invocation import Invocation
from graphql_api.execution.leaf_serializers import Leaf
from graphql_api.execution.projection import Lookahead, Projection

Order = tuple[int, ...]
"""Where a field stands when the response is read from top to bottom."""


class Places(Protocol):
    """The places of a list of values."""

    def path(self, index: int) -> Path | None:
        """The path of a value; None for the root."""

    def order(self, index: int) -> Order:
        """Its place from top to bottom."""

    def field_path(self, index: int) -> Path | None:
        """The path of the field whose value it is, or is an item of."""


@dataclass(eq=False, slots=True)
class Root:
    """The one place above all fields."""

    def path(self, _index: int) -> None:
        """Empty."""

    def order(self, _index: int) -> Order:
        """Before all others."""
        return ()

    def field_path(self, _index: int) -> None:
        """No field leads here."""


@dataclass(eq=False, slots=True)
class FieldPlaces:
    """One field of each parent."""

    parents: Places
    field: "Field"

    def path(self, index: int) -> Path:
        """The parent's, and the field's key."""
        return Path(self.parents.path(index), self.field.key, self.field.parent.name)

    def order(self, index: int) -> Order:
        """The parent's, and the field's number."""
        return (*self.parents.order(index), self.field.position)

    def field_path(self, index: int) -> Path:
        """Its own path."""
        return self.path(index)


@dataclass(eq=False, slots=True)
class ItemPlaces:
    """The items of lists, one list after the other."""

    lists: Places
    sizes: Sequence[int]

    def _find(self, index: int) -> tuple[int, int]:
        for number, end in enumerate(accumulate(self.sizes)):
            if index < end:
                return number, index - (end - self.sizes[number])
        raise IndexError(index)

    def path(self, index: int) -> Path:
        """The list's, and the item's number in it."""
        number, item = self._find(index)
        return Path(self.lists.path(number), item, None)

    def order(self, index: int) -> Order:
        """The list's, and the item's number in it."""
        number, item = self._find(index)
        return (*self.lists.order(number), item)

    def field_path(self, index: int) -> Path | None:
        """The list's field."""
        return self.lists.field_path(self._find(index)[0])


@dataclass(eq=False, slots=True)
class Subset:
    """Some of the places, such as those that aren't null."""

    places: Places
    indexes: Sequence[int]

    def path(self, index: int) -> Path | None:
        """As in the whole."""
        return self.places.path(self.indexes[index])

    def order(self, index: int) -> Order:
        """As in the whole."""
        return self.places.order(self.indexes[index])

    def field_path(self, index: int) -> Path | None:
        """As in the whole."""
        return self.places.field_path(self.indexes[index])


@dataclass(frozen=True, slots=True)
class Failure:
    """A field that could not be completed, with its error located."""

    error: GraphQLError
    order: Order


Failures = dict[int, Failure] | None
"""Failures on their way up, by the number of the value that they leave without a result."""


def first(*failures: Failure | None) -> Failure | None:
    """The one that is met first from top to bottom."""
    return min((each for each in failures if each is not None), key=lambda each: each.order, default=None)


def merge(failures: dict[int, Failure], failed: Failures) -> None:
    """Add the failures of one field of some objects to those of their other fields."""
    for index, failure in (failed or {}).items():
        known = failures.get(index)
        if known is None or failure.order < known.order:
            failures[index] = failure


class Report:
    """The errors of one operation."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken: list[tuple[Failure, tuple[str | int, ...]]] = []

    def take(self, failure: Failure, places: Places | None = None, index: int = 0) -> None:
        """Let a failure end here: this place is null. Without a place it is all of the data."""
        path = places.path(index) if places is not None else None
        self._taken.append((failure, tuple(path.as_list()) if path is not None else ()))

    def errors(self) -> list[GraphQLError]:
        """What a reader from top to bottom would have met: nothing below what was null by then."""
        nulled: set[tuple[str | int, ...]] = set()
        errors: list[GraphQLError] = []
        for failure, path in sorted(self._taken, key=lambda taken: taken[0].order):
            if not any(path[:length] in nulled for length in range(len(path) + 1)):
                nulled.add(path)
                errors.append(failure.error)
        return errors


Column = Sequence[Any]


@dataclass(eq=False, slots=True)
class Field:
    """One response key of a selection: the field behind it, and how its values are read and completed."""

    position: int
    key: str
    parent: GraphQLObjectType
    definition: GraphQLField
    details: FieldDetailsList
    nodes: list[FieldNode]
    reader: "Reader"
    completion: "Completion"
    lookahead: Lookahead | None = None
    """What is selected below it, for a source that looks ahead."""

    @property
    def name(self) -> str:
        """The field's name in the schema."""
        return self.nodes[0].name.value


@dataclass(eq=False, slots=True)
class Selection:
    """What is asked of one object type at one place of the operation."""

    type: GraphQLObjectType
    fields: tuple[Field, ...]
    flat: "tuple[tuple[Field, PlainReader, LeafCompletion], ...]"
    """Those that are read from the parent alone and have nothing below them."""
    branches: tuple[Field, ...]
    """All others."""
    is_wide: bool
    """Whether it takes so many columns that all of the rows' are worth taking apart."""
    assemble: Callable[[int, Sequence[Column]], list[dict[str, Any]]]
    """From a column of completed values for each field, all of the given length, to the objects."""
    waits: bool
    """Whether running it may have to wait for something to be loaded."""


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """One operation, for one outcome of its conditions (@skip and @include)."""

    operation: OperationDefinitionNode
    root: Selection
    projection: Projection


class Reader(Protocol):
    """Projection one field."""

    waits: bool
    """Whether its values may be something to await."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """What it reads of a parent that is a row; None where that isn't known."""

    def read(self, run: "Run", field: "Field", parents: Sequence[Any], places: Places) -> list[Any]:
        """A value for each parent. `places` are those of the field."""


def attempt(function: Callable[[Any], Any], parents: Iterable[Any]) -> list[Any]:
    """Call once for each parent; whatever is raised for one stands in its place."""
    values = []
    for parent in parents:
        try:
            values.append(function(parent))
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            values.append(error)
    return values


@dataclass(frozen=True, slots=True)
class PlainReader:
    """What a function of the parent alone gives: columns of its row, or a computation from it."""

    function: Callable[[Any], Any]
    columns: tuple[str, ...] | None = None
    """What it reads of a row; None where that isn't known."""
    compute: Callable[..., Any] | None = None
    """What it makes of these columns; None where it is one of them, as it stands."""
    waits = False

    def read(self, _run: "Run", _field: "Field", parents: Sequence[Any], _places: Places) -> list[Any]:
        """Call it for each parent."""
        try:
            return list(map(self.function, parents))
        except Exception:  # noqa: BLE001 - found again, at the parent that it is about
            return attempt(self.function, parents)

    def read_table(self, table: Mapping[str, Sequence[Any]]) -> Sequence[Any] | None:
        """The same for rows that were taken apart into columns; None if it takes whole rows, or fails."""
        if not self.columns:
            return None
        try:
            columns = [table[name] for name in self.columns]
            return columns[0] if self.compute is None else list(map(self.compute, *columns))
        except Exception:  # noqa: BLE001 - found again, row by row
            return None


@dataclass(frozen=True, slots=True)
class LoadingReader:
    """A declared load: every parent is asked for before anything is awaited."""

    source: FromLoader | FromKey
    check: Check | None
    convert: Convert
    arguments: Mapping[str, Any] | None
    """Those of a field whose arguments name no variable: the same for every request."""
    columns: tuple[str, ...] | None
    """What it reads of a row; None where that isn't known."""
    waits = True

    def read(self, run: "Run", field: "Field", parents: Sequence[Any], _places: Places) -> list[Any]:
        """Prepare once, then ask for each parent, or for each key that is none of another's."""
        try:
            if self.check is not None:
                self.check(run.context)
            arguments = self.arguments
            if arguments is None:
                arguments = self.convert(run.arguments(field))
            if self.source.looks_ahead:
                load = self.source.prepare(run.context, arguments, field.lookahead)
            else:
                load = self.source.prepare(run.context, arguments)
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            return [error] * len(parents)
        if isinstance(self.source, FromLoader):
            return attempt(load, parents)
        key_of = itemgetter(self.source.column)
        try:
            keys = list(map(key_of, parents))
            reference = self.source.reference
            if reference is not None and isinstance(parents, Rows) and reference in parents.joined:
                return parents.joined[reference].of(keys)
            different = dict.fromkeys(keys)
        except Exception:  # noqa: BLE001 - found again, at the parent that it is about
            return attempt(partial(_load_one, key_of, load), parents)
        different.pop(None, None)
        loads = dict(zip(different, attempt(load, different), strict=True))
        return list(map(loads.get, keys))


def _load_one(key_of: Callable[[Any], Any], load: Load, parent: Any) -> Any:
    key = key_of(parent)
    return None if key is None else load(key)


@dataclass(frozen=True, slots=True)
class AttributeReader:
    """An attribute of the parent, as Strawberry reads fields without a resolver."""

    declaration: StrawberryField
    waits = True
    columns = None

    def read(self, _run: "Run", _field: "Field", parents: Sequence[Any], _places: Places) -> list[Any]:
        """Ask each parent."""
        return attempt(lambda parent: self.declaration.get_result(parent, None, [], {}), parents)


@dataclass(frozen=True, slots=True)
class MethodReader:
    """A Strawberry field's own resolver, called once for each parent."""

    declaration: StrawberryField
    convert: Convert
    check: Check | None
    make_info: Callable[..., Any]
    """The schema's own class of `info`."""
    waits = True
    columns = None

    def read(self, run: "Run", field: "Field", parents: Sequence[Any], places: Places) -> list[Any]:
        """Call it with what it asks for: its parent, an `info`, its arguments."""
        try:
            if self.check is not None:
                self.check(run.context)
            given = run.arguments(field)
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            return [error] * len(parents)
        resolver = self.declaration.base_resolver
        assert resolver is not None  # noqa: S101 - narrows

        def call(number: int) -> Any:
            parent = parents[number]
            info = self.make_info(_raw_info=run.info(field, places.path(number)), _field=self.declaration)
            arguments = self.convert(given)
            for parameter, value in (
                (resolver.parent_parameter, parent),
                (resolver.root_parameter, parent),
                (resolver.info_parameter, info),
            ):
                if parameter is not None:
                    arguments[parameter.name] = value
            own = [parent] if resolver.self_parameter else []
            return self.declaration.get_result(parent, info, own, arguments)

        return attempt(call, range(len(parents)))


@dataclass(frozen=True, slots=True)
class ResolverReader:
    """Any other resolver, called as the stock executor calls it."""

    resolve: Callable[..., Any]
    check: Check | None = None
    waits = True
    columns = None

    def read(self, run: "Run", field: "Field", parents: Sequence[Any], places: Places) -> list[Any]:
        """Call it once for each parent, with an `info` of its own."""
        try:
            if self.check is not None:
                self.check(run.context)
            arguments = run.arguments(field)
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            return [error] * len(parents)

        def call(number: int) -> Any:
            return self.resolve(parents[number], run.info(field, places.path(number)), **arguments)

        return attempt(call, range(len(parents)))


Completed = tuple[Column, Failures]
"""A result for each value, and the failures that left some without."""


Step = Callable[["Run", "Field", Column, Places], Awaitable[Completed]]


@dataclass(eq=False, slots=True)
class Completion:
    """Completes the values of one type. `waits`: whether it may have to wait for something to be loaded."""

    nullable: bool
    waits: bool = dataclass_field(default=False, init=False)

    async def complete(self, run: "Run", field: "Field", values: Column, places: Places) -> Completed:
        """A result for each value, null or failed where it has to be."""
        results, failures = await self.sift(run, field, values, places, self.complete_present)
        return self.protect(run, places, results, failures) if failures else (results, None)

    def complete_at_once(self, values: Column) -> Column | None:
        """A result for each value, if that takes no waiting and no care."""
        return None

    async def complete_present(self, run: "Run", field: "Field", values: Column, places: Places) -> Completed:
        """Complete values of which none is null or an error."""
        raise NotImplementedError

    async def sift(self, run: "Run", field: "Field", values: Column, places: Places, step: Step) -> Completed:
        """Take a step with the values that are neither null nor an error, if there are any."""
        if not values:
            return [], None
        if are_present(kinds_of(values)):
            return await step(run, field, values, places)
        failures = {}
        present = []
        for index, value in enumerate(values):
            if isinstance(value, Exception):
                failures[index] = run.failure(field, places, index, value)
            elif value is not None and value is not Undefined:
                present.append(index)
            elif not self.nullable:
                failures[index] = run.failure(field, places, index, must_not_be_null(field))
        results: list[Any] = [None] * len(values)
        if present:
            sound = values.only(present) if isinstance(values, Rows) else [values[each] for each in present]
            part, failed = await step(run, field, sound, Subset(places, present))
            spread(part, failed, present, results, failures)
        return results, failures

    def protect(self, run: "Run", places: Places, results: Column, failures: dict[int, Failure]) -> Completed:
        """Take failures in if this type may be null; else let them go on upwards."""
        if not self.nullable:
            return results, failures
        results = list(results)
        for index, failure in failures.items():
            run.report.take(failure, places, index)
            results[index] = None
        return results, None


def spread(
    part: Column, failed: Failures, indexes: Sequence[int], results: list[Any], failures: dict[int, Failure]
) -> None:
    """Put the results of some values in their places among those of all."""
    for index, result in zip(indexes, part, strict=True):
        results[index] = result
    for number, failure in (failed or {}).items():
        failures[indexes[number]] = failure


def must_not_be_null(field: "Field") -> Exception:
    """The error of a null where the type allows none."""
    return TypeError(f"Cannot return null for non-nullable field {field.parent}.{field.name}.")


@dataclass(eq=False, slots=True)
class LeafCompletion(Completion):
    """A scalar or an enum."""

    leaf: Leaf

    def complete_at_once(self, values: Column) -> Column | None:
        """A result for each value, unless one of them needs care."""
        return self.leaf.complete_all(values)

    async def complete(self, run: "Run", field: "Field", values: Column, places: Places) -> Completed:
        """A result for each value, one by one if need be."""
        quick = self.complete_at_once(values)
        if quick is not None:
            return quick, None
        results: list[Any] = []
        failures: dict[int, Failure] = {}
        for index, value in enumerate(values):
            result = None
            try:
                if isinstance(value, Exception):
                    raise value  # noqa: TRY301 - what a resolver returns counts as what it raises
                if value is not None and value is not Undefined:
                    result = self.leaf.complete(value)
                if result is None and not self.nullable:
                    raise must_not_be_null(field)  # noqa: TRY301
            except Exception as error:  # noqa: BLE001 - becomes the field's error
                failures[index] = run.failure(field, places, index, error)
            results.append(result)
        return self.protect(run, places, results, failures) if failures else (results, None)


@dataclass(eq=False, slots=True)
class ListCompletion(Completion):
    """A list."""

    item: Completion

    def __post_init__(self) -> None:
        self.waits = self.item.waits

    async def complete_present(self, run: "Run", field: "Field", values: Column, places: Places) -> Completed:
        """Complete the items of all lists together, and hand each list its own."""
        lists, broken = await self._items(field, values)
        sizes = list(map(len, lists))
        items = concatenated(lists)
        if are_awaitable(kinds_of(items)):
            items = await run.settle(list(items))
        part, failed = await self.item.complete(run, field, items, ItemPlaces(places, sizes))
        results = [part[start:end] for start, end in pairwise(accumulate(sizes, initial=0))]
        if not failed and not broken:
            return results, None
        failures: dict[int, Failure] = {}
        start = 0
        for index, size in enumerate(sizes):
            inside = [failed[item] for item in range(start, start + size) if item in failed] if failed else []
            if index in broken:
                failure = run.failure(field, places, index, broken[index])
                # Its items came first, as far as there were any.
                inside.append(Failure(failure.error, (*failure.order, size)))
            met = first(*inside)
            if met is not None:
                failures[index] = met
            start += size
        return results, failures

    async def _items(
        self, field: "Field", values: Column
    ) -> tuple[Sequence[Sequence[Any]], dict[int, Exception]]:
        """The items of each value, and the errors of those that are no list or broke off."""
        if are_lists(kinds_of(values)):
            return values, {}
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


TypeTest = Callable[[Any, Any], Any]


@dataclass(eq=False, slots=True)
class ObjectCompletion(Completion):
    """An object of one type."""

    selection: "Selection"
    is_type_of: TypeTest | None
    """The type's own test, unless it says yes to everything."""

    def __post_init__(self) -> None:
        self.waits = self.selection.waits or self.is_type_of is not None

    async def complete_present(self, run: "Run", field: "Field", values: Column, places: Places) -> Completed:
        """Run the selection for all objects together."""
        if self.is_type_of is None:
            return await run.objects(self.selection, values, places)
        answers = await ask(run, field, values, places, self.is_type_of)
        type_ = self.selection.type
        tested = [
            answer
            if isinstance(answer, Exception)
            else value
            if answer
            else invalid_return_type_error(type_, value, field.details)
            for answer, value in zip(answers, values, strict=True)
        ]
        return await self.sift(run, field, tested, places, self._select)

    async def _select(self, run: "Run", _: "Field", values: Column, places: Places) -> Completed:
        return await run.objects(self.selection, values, places)


@dataclass(eq=False, slots=True)
class AbstractCompletion(Completion):
    """An interface or a union: each value says which type it is of."""

    type: GraphQLAbstractType
    of_type: Callable[[GraphQLObjectType], ObjectCompletion]
    """What is asked of one of its types; compiled when the first value of that type comes by."""

    def __post_init__(self) -> None:
        self.waits = True

    async def complete_present(self, run: "Run", field: "Field", values: Column, places: Places) -> Completed:
        """Tell the values apart by type, and complete those of each type together."""
        resolve = self.type.resolve_type or run.executor.type_resolver
        names = await ask(run, field, values, places, lambda value, info: resolve(value, info, self.type))
        info = run.info(field, places.field_path(0))
        members: defaultdict[GraphQLObjectType, list[int]] = defaultdict(list)
        failures: dict[int, Failure] = {}
        for index, name in enumerate(names):
            try:
                if isinstance(name, Exception):
                    raise name  # noqa: TRY301
                type_ = run.executor.ensure_valid_runtime_type(
                    name, self.type, field.details, info, values[index]
                )
                members[type_].append(index)
            except Exception as error:  # noqa: BLE001 - becomes the field's error
                failures[index] = run.failure(field, places, index, error)
        if not members:
            return [None] * len(values), failures
        parts = await run.together(
            self.of_type(type_).complete_present(
                run, field, [values[index] for index in indexes], Subset(places, indexes)
            )
            for type_, indexes in members.items()
        )
        results: list[Any] = [None] * len(values)
        for indexes, (part, failed) in zip(members.values(), parts, strict=True):
            spread(part, failed, indexes, results, failures)
        return results, failures


async def ask(run: "Run", field: "Field", values: Column, places: Places, question: TypeTest) -> list[Any]:
    """The answer for each value, or the error it led to."""
    answers: list[Any] = []
    for index, value in enumerate(values):
        try:
            answers.append(question(value, run.info(field, places.field_path(index))))
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            answers.append(error)
    return await run.settle(answers) if are_awaitable(kinds_of(answers)) else answers


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
