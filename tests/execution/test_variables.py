"""Variables are coerced as graphql-core does it, and wrong ones are refused."""

from typing import Any

import pytest
from graphql import OperationDefinitionNode, build_schema, parse
from graphql.execution.values import VariableValues, get_variable_values

from graphql_api.execution.analysis import analyze
from graphql_api.execution.errors import RequestError
from graphql_api.execution.inputs import (
    MAX_REUSED_CHARACTERS,
    MAX_REUSED_VALUES,
    Variables,
    check_reuse,
    check_value_count,
)

SCHEMA = build_schema("""
    enum Side { BUY SELL }
    input Range { from: Int! to: Int = 9 inner: Range }
    input Only @oneOf { a: Int b: String }
    type Query {
      f(i: Int, x: Float, s: String, id: ID, b: Boolean): Int
      g(side: Side, many: [[Int!]], range: Range, only: Only): Int
    }
""")
ALL = """
    $i: Int, $x: Float, $s: String, $id: ID, $b: Boolean, $side: Side,
    $many: [[Int!]], $range: Range, $only: Only
"""


def coerced(declared: str, given: dict[str, Any] | None) -> tuple[Any, Any]:
    """What we make of it, twice in one document, and what graphql-core makes of it."""
    ast = parse(f"query ({declared}) {{ f }}")
    definition = ast.definitions[0]
    assert isinstance(definition, OperationDefinitionNode)
    variables = Variables(SCHEMA, definition)
    first, again = (variables.coerce(given or {}) for _ in range(2))
    assert type(first) is type(again)
    return again, get_variable_values(SCHEMA, definition.variable_definitions or (), given or {})


@pytest.mark.parametrize(
    ("declared", "given"),
    [
        (ALL, None),
        (ALL, {}),
        (ALL, {"i": 1, "x": 1, "s": "text", "id": 7, "b": False, "side": "SELL"}),
        (ALL, {"i": None, "x": None, "s": None, "id": None, "b": None, "side": None, "many": None}),
        (ALL, {"many": [[1, 2], None, []], "range": {"from": 1, "inner": {"from": 2, "to": None}}}),
        (ALL, {"many": 3, "range": None, "only": {"b": "text"}, "unknown": 1}),
        ("$i: Int = 5, $s: String", {"s": "text"}),
        ("$i: Int = 5", {"i": None}),
        ("$i: Int! = 5, $side: Side! = BUY, $range: Range = {from: 3}", {"side": "SELL"}),
    ],
)
def test_right_values_are_graphql_cores(declared: str, given: dict[str, Any] | None) -> None:
    ours, theirs = coerced(declared, given)
    assert isinstance(ours, VariableValues)
    assert ours.coerced == theirs.coerced
    assert list(ours.coerced) == list(theirs.coerced)
    assert {name: (str(each.signature.type), each.value) for name, each in ours.sources.items()} == {
        name: (str(each.signature.type), each.value) for name, each in theirs.sources.items()
    }


@pytest.mark.parametrize(
    ("declared", "given"),
    [
        ("$i: Int!", None),
        ("$i: Int!", {"i": None}),
        ("$i: Int", {"i": "1"}),
        ("$i: Int", {"i": 2**31}),
        ("$i: Int, $side: Side", {"i": 1, "side": "HOLD"}),
        ("$many: [[Int!]]", {"many": [[None]]}),
        ("$range: Range!", {"range": {"to": 1}}),
        ("$range: Range", {"range": {"from": 1, "until": 2}}),
        ("$only: Only", {"only": {"a": 1, "b": "text"}}),
        ("$q: Query", {"q": {}}),
    ],
)
def test_wrong_values_are_told_of(declared: str, given: dict[str, Any] | None) -> None:
    ours, theirs = coerced(declared, given)
    assert isinstance(ours, list)
    assert len(ours) == len(theirs)
    assert all(error.message.startswith("Variable '$") for error in ours)


def definition() -> OperationDefinitionNode:
    (parsed,) = parse("{ f }").definitions
    assert isinstance(parsed, OperationDefinitionNode)
    return parsed


def excess(variables: dict[str, Any], most: int) -> str:
    with pytest.raises(RequestError) as refusal:
        check_value_count(variables, most, definition())
    (error,) = refusal.value.errors
    assert error.locations
    return error.message


@pytest.mark.parametrize(
    ("variables", "values"),
    [({}, 0), ({"a": 1, "b": None}, 2), ({"a": [1, 2, 3]}, 4), ({"a": {"b": {"c": [{}, {"d": "text"}]}}}, 6)],
)
def test_values_are_counted_at_all_levels(variables: dict[str, Any], values: int) -> None:
    check_value_count(variables, values, definition())
    if values:
        assert excess(variables, values - 1) == f"values in variables: more than the limit of {values - 1}"


def test_variables_have_only_so_many_levels() -> None:
    variables: dict[str, Any] = {}
    for _ in range(100):
        variables = {"a": variables}
    assert excess(variables, 10_000) == "levels of variables: more than the limit of 100"
    check_value_count(variables["a"], 10_000, definition())


def reuse(text: str, given: dict[str, Any]) -> None:
    """Check an operation whose variables may be used more than once."""
    ((definition, analysis),) = analyze(parse(text), SCHEMA, {})
    check_reuse(given, analysis.reused, definition)


TWICE = "query ($s: String) { a: f(s: $s) b: f(s: $s) }"
SPREAD = "query ($s: String) { ...A ...B } fragment A on Query { ...B ...B } fragment B on Query { f(s: $s) }"
IN_A_VALUE = "query ($s: Int) { g(many: [[$s, $s], [$s]], range: {from: $s}) }"


@pytest.mark.parametrize(("text", "uses"), [(TWICE, 2), (SPREAD, 3), (IN_A_VALUE, 4)])
def test_a_variable_counts_as_often_as_it_is_used(text: str, uses: int) -> None:
    fits = "x" * (MAX_REUSED_CHARACTERS // uses)
    reuse(text, {"s": fits})
    with pytest.raises(RequestError) as refusal:
        reuse(text, {"s": fits + "x"})
    (error,) = refusal.value.errors
    assert error.extensions == {
        "code": "LIMIT_EXCEEDED",
        "limit": "characters of variables, as often as they are used",
        "maximum": MAX_REUSED_CHARACTERS,
        "actual": uses * (len(fits) + 1),
    }


def test_a_variable_that_is_used_once_may_be_as_large_as_a_request() -> None:
    reuse("query ($s: String) { f(s: $s) }", {"s": "x" * (MAX_REUSED_CHARACTERS + 1)})


def test_so_do_the_values_in_it() -> None:
    text = "query ($l: [[Int!]]) { a: g(many: $l) b: g(many: $l) }"
    reuse(text, {"l": [[1] * (MAX_REUSED_VALUES // 2 - 2)]})
    with pytest.raises(RequestError, match="values of variables, as often as they are used: 10002"):
        reuse(text, {"l": [[1] * (MAX_REUSED_VALUES // 2 - 1)]})


def test_a_default_counts_where_no_value_is_given() -> None:
    text = 'query ($s: String = "%s") { a: f(s: $s) b: f(s: $s) }' % ("x" * (MAX_REUSED_CHARACTERS // 2 + 1))
    reuse(text, {"s": "x"})
    with pytest.raises(RequestError, match="characters of variables, as often as they are used"):
        reuse(text, {})
