"""Introspection is read by graphql-core as a field of its own; all else of its operation is compiled."""

from typing import Any
from unittest.mock import Mock

import pytest
import strawberry
from graphql import get_introspection_query

from graphql_api.execution import stock_executor
from graphql_api.execution.analysis import RequestLimits
from graphql_api.execution.operations import GraphQLRequest, Operations, Result
from graphql_api.schema import schema
from tests.execution.contexts import BareContext
from tests.execution.executors import Executors, assert_same
from tests.execution.generated_documents import Request


@strawberry.type
class Query:
    @strawberry.field
    def hello(self) -> str:
        return "hello"


EVERYTHING = get_introspection_query(
    True, schema_description=True, specified_by_url=True, input_value_deprecation=True
)


@pytest.mark.parametrize(
    ("document", "variables"),
    [
        (EVERYTHING, {}),
        ("{ before: __typename __schema { queryType { name } } after: __typename }", {}),
        (
            "{ a: __schema { types { name } } ...F } fragment F on Query { a: __schema { types { kind } } }",
            {},
        ),
        (
            "query ($n: String!) { __type(name: $n) { name ...F } } fragment F on __Type { kind }",
            {"n": "User"},
        ),
        ('{ __type(name: "Nobody") { name } }', {}),
        ("query ($no: Boolean!) { __schema @skip(if: $no) { types { name } } }", {"no": True}),
        ("query ($no: Boolean!) { __schema { types { name kind @skip(if: $no) } } }", {"no": True}),
        (
            '{ __type(name: "User") { fields(includeDeprecated: true) { name type { ofType { name } } } } }',
            {},
        ),
    ],
)
async def test_both_executors_say_the_same(document: str, variables: dict[str, Any]) -> None:
    executors = Executors(schema)
    stock, compiled = await executors.both(Request(document, variables), BareContext)
    assert not stock.errors
    assert_same(stock, compiled)
    assert not executors.compiled.fallbacks


async def asked(document: str, **limits: int) -> Result:
    operations = Operations(strawberry.Schema(Query), mask=Mock(), limits=RequestLimits(**limits))
    return await operations.execute(operations.prepare(GraphQLRequest(document)), BareContext())


async def test_what_reads_too_many_fields_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock_executor._Introspection, "fields_left", 50)
    operations = Operations(strawberry.Schema(Query), mask=lambda error: error)
    request = GraphQLRequest("{ __schema { types { name fields { name } } } }")
    result = await operations.execute(operations.prepare(request), BareContext())
    assert result.data is None
    assert [error.extensions["limit"] for error in result.errors] == ["introspected fields"]  # type: ignore[index]


async def test_what_is_too_large_ends() -> None:
    result = await asked("{ hello __schema { types { name fields { name } } } }", response_size=100)
    assert result.data is None
    assert [error.extensions["limit"] for error in result.errors] == ["bytes of the response"]  # type: ignore[index]


async def test_a_condition_that_is_null_is_refused_before_anything_is_read() -> None:
    operations = Operations(schema, mask=Mock())
    text = "query ($v: Boolean = false) { viewer { roles @skip(if: $v) } }"
    operation = operations.prepare(GraphQLRequest(text, variables={"v": None}))
    result = await operations.execute(operation, BareContext())
    assert not result.executed
    assert [(error.message, error.extensions) for error in result.errors] == [
        (
            "Variable '$v' decides what is selected: it must be true or false, not null.",
            {"code": "BAD_USER_INPUT"},
        )
    ]
