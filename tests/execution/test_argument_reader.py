"""Compiled arguments equal those that graphql-core coerces, or are left to graphql-core."""

from typing import Any

import pytest
from graphql import FieldNode, GraphQLError, OperationDefinitionNode, build_schema, parse
from graphql.execution.values import VariableValues, get_argument_values, get_variable_values

from graphql_api.execution.inputs import ArgumentReader

SCHEMA = build_schema("""
  enum Colour { RED GREEN }
  input Range { from: Int = 1, to: Int, step: Int! = 2 }
  input Filter {
    text: String, colours: [Colour!], range: Range, not: Filter, all: [Filter], needed: Int! = 0
  }
  input Choice @oneOf { a: Int, b: Int }
  type Query {
    f(
      first: Int = 25, after: String, filter: Filter, colour: Colour! = GREEN
      numbers: [[Int]], choice: Choice
    ): Int
    needs(id: ID!, filter: Filter!): Int
  }
""")
VARIABLES = (
    "$n: Int, $m: Int!, $d: Int = 7, $t: String, $c: Colour, $cs: [Colour!], $f: Filter, $ff: Filter!,"
    " $r: Range, $id: ID, $is: [Int], $a: Int!"
)
GIVEN: list[dict[str, Any]] = [
    {"m": 1, "ff": {}, "a": 1},
    {"m": 2, "ff": {"text": "x"}, "a": 1, "n": 3, "d": 4, "t": "text", "c": "RED", "cs": ["RED"], "f": {}},
    {"m": 2, "ff": {"range": {"to": 5}}, "a": 1, "f": {"all": [{"text": "y"}, None]}, "r": {"from": 3}},
    {"m": 2, "ff": {}, "a": 1, "n": None, "d": None, "t": None, "c": None, "cs": None, "f": None, "r": None},
    {"m": 2, "ff": {}, "a": 1, "id": "a", "is": [1, None, 3], "cs": "RED", "f": {"not": {"not": {}}}},
]
FIELDS = [
    "f",
    "f(first: 3, after: null, colour: RED)",
    "f(first: $n)",
    "f(first: $m, after: $t, filter: {text: $t}, colour: $c)",
    "f(first: $d, filter: $f)",
    "f(filter: $ff, colour: RED)",
    'f(filter: {text: "x", range: {from: $n, to: $m, step: $d}, colours: [RED, $c]})',
    "f(filter: {colours: $cs, range: $r, needed: $n})",
    "f(filter: {colours: RED, all: {text: $t}})",
    "f(filter: {all: [{text: $t}, $f, null, {not: {range: {step: 3}}}], not: {needed: $m}})",
    "f(numbers: [[1, $n], $is, null, [$d]])",
    "f(numbers: $is)",
    "f(choice: {a: $a})",
    "f(choice: {b: 1})",
    "needs(id: $id, filter: {})",
    'needs(id: "x", filter: $f)',
    "needs(id: 5, filter: {text: $t})",
    "needs(filter: {})",
    'f(first: "x")',
    "f(filter: {unknown: $n})",
    "f(filter: {range: {step: $n}})",
]


def decided(field: str, given: dict[str, Any]) -> bool:
    """Whether the field's arguments are read at once; they must be graphql-core's then."""
    (operation,) = parse(f"query ({VARIABLES}) {{ {field} }}").definitions
    assert isinstance(operation, OperationDefinitionNode)
    variables = get_variable_values(SCHEMA, operation.variable_definitions or (), given)
    assert isinstance(variables, VariableValues), variables
    node = operation.selection_set.selections[0]
    assert isinstance(node, FieldNode)
    assert SCHEMA.query_type is not None
    definition = SCHEMA.query_type.fields[node.name.value]
    reader = ArgumentReader(definition, node, dict)
    read = [reader.read(variables.coerced) for _ in range(2)]
    try:
        expected = get_argument_values(definition, node, variables)
    except GraphQLError:
        assert read == [None, None]
        return False
    assert all(values in (None, expected) for values in read)
    return read == [expected, expected]


@pytest.mark.parametrize("field", FIELDS)
def test_arguments_are_what_graphql_core_makes_of_them(field: str) -> None:
    for given in GIVEN:
        decided(field, given)


@pytest.mark.parametrize("field", FIELDS[:10])
def test_valid_arguments_are_read_at_once(field: str) -> None:
    assert decided(field, GIVEN[1])


def test_what_is_constant_is_converted_once() -> None:
    converted = []

    def convert(values: dict[str, Any]) -> dict[str, Any]:
        converted.append(set(values))
        return values

    (operation,) = parse('query ($n: Int) { f(first: $n, after: "x", filter: {text: "y"}) }').definitions
    assert isinstance(operation, OperationDefinitionNode)
    assert SCHEMA.query_type is not None
    node = operation.selection_set.selections[0]
    assert isinstance(node, FieldNode)
    reader = ArgumentReader(SCHEMA.query_type.fields["f"], node, convert)
    for number in (1, 2):
        assert (reader.read({"n": number}) or {})["first"] == number

    assert converted == [{"after", "filter", "colour"}, {"first"}, {"first"}]
