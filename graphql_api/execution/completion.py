"""From what a field gave to what the response holds, by the field's type: a column of values at a time.

This is the specification's CompleteValue for many values at once. What may not be null and is, or can't be
completed, fails; what may be null takes failures in (see `failures`).
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from graphql import GraphQLAbstractType, GraphQLError, GraphQLObjectType, Undefined
from graphql.execution.executor import invalid_return_type_error
from graphql.pyutils import is_iterable

from graphql_api.execution.error_propagation import Failure, Failures, first
from graphql_api.execution.leaf_serializers import Leaf
from graphql_api.execution.response_paths import ItemPlaces, Places, Subset
from graphql_api.execution.row_batch import Rows, joined
from graphql_api.execution.value_types import are_awaitable, are_lists, are_present, kinds_of

if TYPE_CHECKING:
    from graphql_api.execution.executor import Run
    from graphql_api.execution.plan import Field, Selection

Column = Sequence[Any]
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
        items = joined(lists)
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
