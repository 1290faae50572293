from enum import Enum
from typing import Any

import pytest
import strawberry
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.arguments import StrawberryArgument, convert_arguments

from graphql_api.execution.inputs import InputConverter


@strawberry.enum
class Colour(Enum):
    RED = "red"


@strawberry.input
class Inner:
    number: int = 7
    maybe: strawberry.Maybe[str | None] = None


@strawberry.input
class Outer:
    text: str
    optional: str | None = strawberry.UNSET
    in_: list[int] | None = strawberry.field(name="in", default=strawberry.UNSET)
    colours: list[Colour | None] | None = None
    inner: Inner | None = None
    many: list["Outer"] = strawberry.field(default_factory=list)
    nothing: str | None = strawberry.field()


@strawberry.type
class Query:
    @strawberry.field
    def echo(
        self,
        outer: Outer | None = None,
        several: list[Outer] | None = None,
        snake_case: int = 0,
        colour: Colour | None = None,
        nested: list[list[int] | None] | None = None,
    ) -> str:
        return repr((outer, several, snake_case, colour, nested))


SCHEMA = strawberry.Schema(Query)
ARGUMENTS = [
    StrawberryArgument(name, None, StrawberryAnnotation(type_))
    for name, type_ in (
        ("outer", Outer | None),
        ("several", list[Outer] | None),
        ("snake_case", int),
        ("colour", Colour | None),
        ("nested", list[list[int] | None] | None),
    )
]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"outer": None},
        {"outer": {"text": "a"}},
        {"outer": {"text": "a", "optional": None, "in": [1, 2]}},
        {"outer": {"text": "a", "in": None, "colours": [Colour.RED, None], "nothing": "b"}},
        {"outer": {"text": "a", "inner": {}}},
        {"outer": {"text": "a", "inner": {"number": 8, "maybe": None}}},
        {"outer": {"text": "a", "inner": {"maybe": "c"}, "many": [{"text": "d"}, {"text": "e", "many": []}]}},
        {"several": [{"text": "a"}, {"text": "b", "in": []}]},
        {"several": None, "snakeCase": 3, "colour": Colour.RED},
        {"colour": None, "nested": [[1], None, []]},
    ],
)
def test_arguments_are_converted_as_strawberry_does(given: dict[str, Any]) -> None:
    theirs = convert_arguments(
        given, ARGUMENTS, scalar_registry=SCHEMA.schema_converter.scalar_registry, config=SCHEMA.config
    )

    assert InputConverter(SCHEMA._schema).for_arguments(ARGUMENTS)(given) == theirs


def test_an_input_is_a_new_object_each_time() -> None:
    convert = InputConverter(SCHEMA._schema).for_arguments(ARGUMENTS)
    given = {"outer": {"text": "a", "in": [1]}}
    first, second = convert(given)["outer"], convert(given)["outer"]

    assert first is not second
    assert first.in_ is not second.in_
