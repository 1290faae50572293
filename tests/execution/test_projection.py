"""What is known of an operation before it runs, and that wrong declarations end the start."""

from dataclasses import dataclass
from typing import Any

import pytest
import strawberry

from graphql_api.execution.fields import FromColumn, FromColumns, FromKey, FromLoader, Source, declared
from graphql_api.execution.operations import GraphQLRequest, Operations
from graphql_api.execution.projection import Lookahead, Projection, Reference
from tests.execution.contexts import BareContext
from tests.execution.executors import untouched


@dataclass(frozen=True)
class Table:
    """A row source."""

    name: str
    column_names: frozenset[str]


SHELVES = Table("shelves", frozenset({"id", "room"}))
BOOKS = Table("books", frozenset({"id", "title", "pages", "shelf_id"}))
ON_SHELF = Reference("shelf_id", SHELVES)
COUNT = FromLoader(lambda _, __: lambda _: 3)
seen: list[Lookahead | None] = []


def look_ahead(_projection: Projection, _arguments: Any, lookahead: Lookahead | None) -> None:
    seen.append(lookahead)


def load_books(_context: Any, _parsed: None) -> Any:
    return lambda _: {"id": "1", "title": "Emma", "pages": 5, "shelf_id": "7"}


def load_shelf(_context: Any, _arguments: Any) -> Any:
    return lambda _: {"room": "hall"}


@strawberry.type
class Shelf:
    row_source = SHELVES
    room: str | None = declared("", FromColumn(None))


@strawberry.type
class Book:
    row_source = BOOKS
    title: str | None = declared("", FromColumn(None))
    leaves: int | None = declared("", FromColumns(("pages",), lambda pages: pages // 2))
    shelf: Shelf | None = declared("", FromKey("shelf_id", load_shelf, reference=ON_SHELF))
    count: int | None = declared("", COUNT)


BOOK = FromLoader(load_books, look_ahead)


@strawberry.type
class Query:
    book: Book | None = declared("", BOOK)


SCHEMA = strawberry.Schema(Query)


async def run(query: str, engine: Any = "compiled") -> BareContext:
    operations, context = Operations(SCHEMA, mask=untouched, engine=engine), BareContext()
    result = await operations.execute(operations.prepare(GraphQLRequest(query)), context)
    assert not result.errors
    return context


async def test_an_operation_reads_what_it_selects_wherever_that_is() -> None:
    context = await run("{ book { title } ...F } fragment F on Query { b: book { leaves } }")
    assert context.projection.columns(BOOKS) == frozenset({"title", "pages"})
    assert context.projection.columns(SHELVES) is None


async def test_the_foreign_keys_that_are_followed_are_known() -> None:
    context = await run("{ book { shelf { room } } }")
    assert context.projection.columns(BOOKS) == frozenset({"shelf_id"})
    assert context.projection.references(BOOKS) == [ON_SHELF]
    assert context.projection.columns(SHELVES) == frozenset({"room"})


async def test_a_source_may_look_ahead_at_what_is_selected_below_it() -> None:
    seen.clear()
    await run("{ book { title } other: book { title count n: count shelf { __typename } } }")
    first, second = seen
    assert first is not None
    assert second is not None
    assert (first.selects(COUNT), second.selects(COUNT)) == (False, True)
    assert first.selects(FromColumn(None))
    assert not second.selects(COUNT, COUNT)


async def test_constant_arguments_are_parsed_once_for_all_requests() -> None:
    seen.clear()
    operations = Operations(SCHEMA, mask=untouched)
    for _ in range(2):
        request = GraphQLRequest("{ book { title } }")
        result = await operations.execute(operations.prepare(request), BareContext())
        assert result.data["book"]["title"] == "Emma"
    assert len(seen) == 1


async def test_the_stock_executor_knows_nothing_of_what_is_below() -> None:
    seen.clear()
    context = await run("{ book { count } }", "stock")
    assert seen == [None]
    assert context.projection.columns(BOOKS) is None


@pytest.mark.parametrize(
    "source",
    [
        FromColumn("colour"),
        FromColumn(None),
        FromColumns(("title", "colour"), lambda *_: None),
        FromKey("colour", lambda _, __: lambda _: None),
    ],
)
def test_a_field_of_a_column_that_its_rows_do_not_have_ends_the_start(source: Source) -> None:
    @strawberry.type
    class Page:
        row_source = BOOKS
        colour: str | None = declared("", source)

    @strawberry.type(name="Query")
    class Pages:
        page: Page | None = None

    with pytest.raises(ValueError, match=r"Page\.colour: its rows have no column colour"):
        Operations(strawberry.Schema(Pages), mask=untouched)
