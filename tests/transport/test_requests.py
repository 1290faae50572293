import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphql_api.execution.operations import GraphQLRequest
from graphql_api.transport.request_parsing import (
    MalformedRequestError,
    parse_json,
    read_parameters,
    read_query_string,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_json_without_nul_is_read_as_it_is(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        if "\0" in text_of(value):
            with pytest.raises(MalformedRequestError):
                parse_json(text.encode())
        else:
            assert parse_json(text.encode()) == value
            assert parse_json(text) == value


def text_of(value: Any) -> str:
    """All the text in a JSON value."""
    match value:
        case str():
            return value
        case list():
            return "".join(map(text_of, value))
        case dict():
            return "".join(key + text_of(item) for key, item in value.items())
        case _:
            return ""


@given(st.binary())
def test_no_bytes_make_reading_json_fail_in_another_way(body: bytes) -> None:
    with suppress(MalformedRequestError):
        parse_json(body)


@given(JSON)
def test_any_json_is_a_request_or_malformed(value: Any) -> None:
    with suppress(MalformedRequestError):
        assert isinstance(read_parameters(value), GraphQLRequest)


@given(st.binary(max_size=200))
def test_any_query_string_is_a_request_or_malformed(query_string: bytes) -> None:
    with suppress(MalformedRequestError):
        assert isinstance(read_query_string(b"query=%7Ba%7D&" + query_string), GraphQLRequest)


def test_the_message_names_the_parameter_and_the_rule() -> None:
    with pytest.raises(MalformedRequestError, match=r"^variables: must be an object or null$"):
        read_parameters({"query": "{ a }", "variables": 1})
