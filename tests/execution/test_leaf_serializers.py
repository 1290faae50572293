"""A scalar's null text: a stored NaN, say, is null in a response."""

from collections import defaultdict
from typing import Any

import pytest
from graphql import GraphQLScalarType

from graphql_api.execution.leaf_serializers import LeafSerializer, leaf_serializer, pass_through


@pass_through(str, null_text="NaN")
def serialize(value: Any) -> str:
    return str(value)


NUMBER = GraphQLScalarType("Number", coerce_output_value=serialize)


def serializer(*, nullable: bool, convert: Any = None) -> LeafSerializer:
    return leaf_serializer(NUMBER, convert, nullable=nullable)


@pytest.mark.parametrize(
    ("values", "results"),
    [
        (["1.5", "NaN", "2"], ["1.5", None, "2"]),
        (["NaN", None], [None, None]),
        (["N", "aN"], ["N", "aN"]),
        (["NaN", 2], [None, "2"]),
    ],
)
def test_the_null_text_of_a_column_is_null(values: list[Any], results: list[Any]) -> None:
    serialized = serializer(nullable=True).serialize_column(values, defaultdict(dict))

    assert serialized is not None
    assert serialized[0] == results


@pytest.mark.parametrize("values", [["1", "NaN"], ["NaN", 2]])
def test_where_no_null_may_be_each_value_is_completed_by_itself(values: list[Any]) -> None:
    assert serializer(nullable=False).serialize_column(values, defaultdict(dict)) is None


def test_a_column_without_the_null_text_is_passed_through_as_it_is() -> None:
    values = ["1.5", "2"]
    serialized = serializer(nullable=False).serialize_column(values, defaultdict(dict))

    assert serialized is not None
    assert serialized[0] is values


def test_what_a_value_is_converted_to_may_be_the_null_text() -> None:
    assert serializer(nullable=True, convert=str.strip).serialize(" 1 ") == "1"
    assert serializer(nullable=True, convert=str.strip).serialize(" NaN ") is None
