"""What clients read of an input that can't be used."""

from decimal import Decimal
from typing import Any

import pytest
import strawberry

from graphql_api.execution.errors import RequestError
from graphql_api.execution.inputs import MAX_LITERAL_ERRORS
from graphql_api.execution.operations import GraphQLRequest, Operations
from graphql_api.transport.graphql_http import parse_json
from tests.execution.contexts import BareContext
from tests.execution.executors import untouched


@strawberry.input
class Range:
    at_least: Decimal | None = None
    names: list[str] | None = None
    flag: bool | None = None
    either: list["Range"] | None = None


@strawberry.type
class Query:
    @strawberry.field
    def rows(self, first: int = 1, within: Range | None = None) -> int:
        return first if within is None else 0


SCHEMA = strawberry.Schema(Query)


@pytest.fixture(params=["compiled", "stock"])
def operations(request: pytest.FixtureRequest) -> Operations:
    return Operations(SCHEMA, mask=untouched, engine=request.param)


async def refused(operations: Operations, query: str, variables: Any = None) -> list[str]:
    try:
        operation = operations.prepare(GraphQLRequest(query, variables=variables))
    except RequestError as error:
        return [each.message for each in error.errors]
    result = await operations.execute(operation, BareContext())
    assert not result.executed
    return [error.message for error in result.errors]


ARGUMENTS = {
    'first: "1"': "Argument 'first' has invalid value: Int cannot represent non-integer value: \"1\"",
    'within: {atLeast: "x"}': "Argument 'within' has invalid value at .atLeast: ",
    "within: {either: [{}, {names: [1]}]}": "Argument 'within' has invalid value at .either[1].names[0]: ",
    "within: {nothing: 1}": "Argument 'within' has invalid value: ",
}


@pytest.mark.parametrize("arguments", ARGUMENTS)
async def test_a_literals_error_names_its_place(operations: Operations, arguments: str) -> None:
    (message,) = await refused(operations, f"{{ rows({arguments}) }}")
    assert message.startswith(ARGUMENTS[arguments])


async def test_a_default_values_error_names_its_variable(operations: Operations) -> None:
    (message,) = await refused(operations, 'query ($n: Int = "1") { rows(first: $n) }')
    assert message.startswith("Variable '$n' has invalid default value: ")


async def test_a_variables_error_names_its_place(operations: Operations) -> None:
    query = "query ($within: Range) { rows(within: $within) }"
    (message,) = await refused(operations, query, {"within": {"either": [{}, {"flag": "x"}]}})
    assert message.startswith("Variable '$within' has invalid value at .either[1].flag: ")


LONG = "7" * 5000


@pytest.mark.parametrize(
    "arguments",
    [
        f"first: {LONG}",
        f'first: "{LONG}"',
        f'within: {{atLeast: "x{LONG}"}}',
        f"within: {{x{LONG}: 1}}",
        f"within: {{flag: a{LONG}}}",
    ],
)
async def test_a_long_literal_is_not_repeated_whole(operations: Operations, arguments: str) -> None:
    (message,) = await refused(operations, f"{{ rows({arguments}) }}")
    assert len(message) < 500
    assert "sys." not in message


@pytest.mark.parametrize("value", [{"atLeast": f"x{LONG}"}, {LONG: 1}, {"names": [{LONG: LONG}]}, LONG])
async def test_a_long_value_is_not_repeated_whole(operations: Operations, value: Any) -> None:
    (message,) = await refused(operations, "query ($r: Range) { rows(within: $r) }", {"r": value})
    assert len(message) < 500


@pytest.mark.parametrize(
    ("value", "notation"), [(True, "true"), ("a", '"a"'), ([None], "[null]"), ({"b": False}, '{"b":false}')]
)
async def test_a_value_is_repeated_as_json(operations: Operations, value: Any, notation: str) -> None:
    (message,) = await refused(operations, "query ($n: Int) { rows(first: $n) }", {"n": value})
    assert message.endswith(f": {notation}")


@pytest.mark.parametrize("number", ["1" * 30, "-1.50", "1e50"])
async def test_a_number_is_repeated_as_it_was_written(operations: Operations, number: str) -> None:
    query = "query ($r: Range) { rows(within: $r) }"
    (message,) = await refused(operations, query, parse_json(f'{{"r": {number}}}'))
    assert message.endswith(f": {number}.")


async def test_null_is_called_null(operations: Operations) -> None:
    (given,) = await refused(operations, "query ($n: Int!) { rows(first: $n) }", {"n": None})
    (written,) = await refused(operations, "{ rows(within: {names: [null]}) }")
    assert given.endswith("not to be null.")
    assert written.endswith("not to be null.")


async def test_errors_of_one_literal_are_few(operations: Operations) -> None:
    fields = " ".join(f"f{number}: 1" for number in range(50))
    messages = await refused(operations, f"{{ rows(within: {{{fields}}}) }}")
    assert len(messages) == MAX_LITERAL_ERRORS


async def test_errors_of_variables_are_limited(operations: Operations) -> None:
    query = "query ($r: Range) { rows(within: $r) }"
    messages = await refused(operations, query, {"r": {f"f{number}": 1 for number in range(1000)}})
    assert len(messages) == 50
