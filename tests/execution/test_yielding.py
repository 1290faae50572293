"""Long work lets others run in between, one task at a time."""

import asyncio

import orjson
import strawberry
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.arguments import StrawberryArgument

from graphql_api.execution.columns import Rows
from graphql_api.execution.executor import (
    LARGE_RESULT,
    MAX_CALLS_AT_ONCE,
    MAX_CHARACTERS_AT_ONCE,
    MAX_CONVERSIONS_AT_ONCE,
    MAX_WORK_AT_ONCE,
    WORK_OF_A_CALL,
)
from graphql_api.execution.fields import FromColumn, FromColumns, FromLoader, Load, declared, is_any_source
from graphql_api.execution.operations import GraphQLRequest, Operations
from graphql_api.execution.yielding import YieldScheduler
from tests.execution.contexts import BareContext


def _load_length(_context: object, _arguments: object) -> Load:
    async def load(row: dict[str, str]) -> str:
        return row["name"]

    return load


converted_in_rounds = [0]
"""How many texts were converted in each iteration of the event loop."""


def _noted_length(text: str) -> int:
    converted_in_rounds[-1] += 1
    return len(text)


@strawberry.type
class Row:
    is_type_of = is_any_source
    name: str = declared("A text.", FromColumn(None))
    number: float = declared("A number.", FromColumn("name", convert=len))
    noted: int = declared("A number.", FromColumn("name", convert=_noted_length))
    loaded: int = declared("A number that is loaded.", FromLoader(_load_length, convert=len))


def _load_rows(_context: object, arguments: dict[str, int]) -> Load:
    names = (str(number).ljust(arguments["length"]) for number in range(arguments["count"]))
    return lambda _: [{"name": name} for name in names]


@strawberry.type
class TableRow:
    is_type_of = is_any_source
    a: str = declared("A text.", FromColumn(None))
    b: str = declared("A text.", FromColumn(None))
    c: str = declared("A text.", FromColumn(None))
    d: str = declared("A text.", FromColumn(None))
    both: str = declared("Two texts.", FromColumns(("a", "b"), str.__add__))


def _load_table(_context: object, arguments: dict[str, int]) -> Load:
    return lambda _: Rows([("a", "b", "c", "d")] * arguments["count"], ("a", "b", "c", "d"))


@strawberry.type
class Query:
    table: list[TableRow] = declared(
        "As many rows as asked for, which are taken apart into columns.",
        FromLoader(_load_table),
        arguments=[StrawberryArgument("count", None, StrawberryAnnotation(int))],
    )
    rows: list[Row] = declared(
        "As many rows as asked for.",
        FromLoader(_load_rows),
        arguments=[
            StrawberryArgument("count", None, StrawberryAnnotation(int)),
            StrawberryArgument("length", None, StrawberryAnnotation(int), default=0),
        ],
    )


async def test_those_who_have_paused_go_on_one_in_each_round_of_the_loop() -> None:
    scheduler = YieldScheduler()
    rounds: list[list[str]] = [[]]

    async def work(name: str) -> None:
        for _ in range(2):
            await scheduler.pause()
            rounds[-1].append(name)

    tasks = [asyncio.create_task(work(name)) for name in "abc"]
    while not all(task.done() for task in tasks):
        rounds.append([])
        await asyncio.sleep(0)
    assert [each for each in rounds if each] == [["a"], ["b"], ["c"], ["a"], ["b"], ["c"]]


async def test_who_is_cancelled_in_a_pause_holds_nobody_up() -> None:
    scheduler = YieldScheduler()
    first, second = (asyncio.create_task(scheduler.pause()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled()
    assert scheduler.pauses == 1


async def pauses_of_rows(count: int, length: int = 0) -> int:
    return await pauses_of(
        f"rows(count: {count}, length: {length}) {{ a: name b: name c: __typename number }}"
    )


async def pauses_of(field: str) -> int:
    operations = Operations(strawberry.Schema(Query), mask=lambda error: error)
    operation = operations.prepare(GraphQLRequest(f"{{ {field} }}"))
    result = await operations.execute(operation, BareContext())
    assert not result.errors
    assert all(result.data.values())
    return operations._scheduler.pauses


async def test_short_lists_are_made_without_a_pause() -> None:
    assert await pauses_of_rows(MAX_CONVERSIONS_AT_ONCE) == 0


async def test_long_texts_are_converted_with_pauses() -> None:
    assert await pauses_of_rows(MAX_CONVERSIONS_AT_ONCE, length=2_000) >= 6
    assert await pauses_of_rows(3, length=MAX_CHARACTERS_AT_ONCE) == 3 + 1  # the last before it is rendered


async def test_parts_of_an_operation_that_begin_together_convert_one_after_the_other() -> None:
    async def count_rounds() -> None:
        while True:
            converted_in_rounds.append(0)
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_rounds())
    parts = (
        f"part{length}: rows(count: 300, length: {length}) {{ noted loaded }}" for length in range(8, 18)
    )
    await pauses_of(" ".join(parts))
    counting.cancel()
    assert sum(converted_in_rounds) == 3_000
    assert max(converted_in_rounds) == MAX_CONVERSIONS_AT_ONCE


async def test_long_lists_are_made_with_pauses() -> None:
    assert await pauses_of_rows(20_000) >= 3


async def test_others_run_before_a_large_answer_is_put_together() -> None:
    length = LARGE_RESULT // 8
    assert await pauses_of(f"rows(count: 7, length: {length}) {{ name }}") == 0
    assert await pauses_of(f"rows(count: 8, length: {length}) {{ name }}") == 2


async def test_large_lists_are_rendered_with_pauses() -> None:
    assert await pauses_of(f"rows(count: 10, length: {LARGE_RESULT}) {{ name }}") == 10 + 1


async def test_columns_that_are_computed_from_others_are_made_in_pieces() -> None:
    most = MAX_CALLS_AT_ONCE
    assert await pauses_of(f"table(count: {most}) {{ a b c d both }}") == 1
    assert await pauses_of(f"table(count: {most + 1}) {{ a b c d }}") == 0
    assert await pauses_of(f"table(count: {most + 1}) {{ a b c d both }}") >= 3


async def test_many_objects_are_made_in_pieces() -> None:
    keys = "a b c d e: a f: b g: c h: d"
    most = MAX_WORK_AT_ONCE // 8
    assert await pauses_of(f"table(count: {most}) {{ {keys} }}") == 0
    assert await pauses_of(f"table(count: {most}) {{ {keys} last: a }}") == 2


async def test_columns_of_rows_are_made_without_a_pause_for_longer_than_calls() -> None:
    most = MAX_WORK_AT_ONCE // 4
    assert await pauses_of(f"table(count: {most - WORK_OF_A_CALL}) {{ a b c d }}") == 0
    assert await pauses_of(f"table(count: {most}) {{ a b c d }}") == 1
    most_calls = MAX_CALLS_AT_ONCE
    assert await pauses_of(f"rows(count: {most_calls // 2}) {{ name }}") == 0
    assert await pauses_of(f"rows(count: {most_calls}) {{ name }}") == 1
    assert await pauses_of(f"rows(count: {3 * most_calls}) {{ name }}") >= 3


async def test_loaded_values_of_many_rows_and_aliases_take_turns() -> None:
    operations = Operations(strawberry.Schema(Query), mask=lambda error: error)
    aliases = " ".join(f"a{number}: loaded" for number in range(20))
    request = GraphQLRequest(f"query($n: Int!) {{ rows(count: $n) {{ {aliases} }} }}", None, {"n": 1_000})
    result = await operations.execute(operations.prepare(request), BareContext())

    assert not result.errors
    rows = orjson.loads(result.render())["data"]["rows"]
    assert rows[10] == {f"a{number}": 2 for number in range(20)}
    # Twice for each field: when all are asked for, and when all are there.
    assert operations._scheduler.pauses >= 6
