"""Stored JSON as clients get it: readable by every parser, and without secrets."""

import json
from typing import Any

import asyncpg
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphql_api.relational.scalars import serialize_json
from graphql_api.relational.stored_json import MAX_DEPTH, REDACTED, TOO_DEEP, client_json
from tests import factories
from tests.graph import Graph, operator


def shown(text: str) -> bytes:
    return orjson.dumps(serialize_json(text))


def nested(depth: int, value: str = "1") -> str:
    """JSON text of lists and objects in turn, so many levels, around a value."""
    opening = ["[" if level % 2 else '{"k": ' for level in range(depth)]
    closing = ["]" if level % 2 else "}" for level in reversed(range(depth))]
    return "".join([*opening, value, *closing])


def cut(value: Any, depth: int = MAX_DEPTH) -> Any:
    """What becomes of a document by its depth, said the plain way."""
    if isinstance(value, list | dict) and depth == 0:
        return TOO_DEEP
    if isinstance(value, list):
        return [cut(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {key: cut(item, depth - 1) for key, item in value.items()}
    return value


def test_what_is_as_deep_as_allowed_is_not_touched() -> None:
    text = nested(MAX_DEPTH)
    assert client_json(text) == text


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 200, 900])
def test_what_is_deeper_is_cut_with_a_marker(depth: int) -> None:
    text = f'{{"before": [1.50, "]["], "deep": {nested(depth)}, "after": {{"x": []}}}}'
    assert json.loads(shown(text)) == cut(json.loads(text))


def test_no_depth_is_too_deep_to_cut() -> None:
    assert TOO_DEEP in shown(nested(100_000)).decode()


def test_brackets_in_texts_are_no_depth() -> None:
    text = json.dumps({"a": "[" * 100, 'b"{"': ["{\\" * 100, '\\"[' * 100, ""]})
    assert client_json(text) == text


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='[]{}"\\/ué,: 0\n', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('[]{}"\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=30,
)


@given(values, st.lists(st.booleans(), max_size=3 * MAX_DEPTH))
def test_any_document_is_cut_at_the_same_depth(value: Any, levels: list[bool]) -> None:
    for is_list in levels:
        value = [0, value, "]"] if is_list else {'"[': 0, "k": value, "": "}"}
    assert json.loads(client_json(json.dumps(value))) == cut(value)


@pytest.mark.parametrize(
    "number",
    [
        "1" + "0" * 400,
        "-1" + "0" * 400,
        "9" * 309,
        "1" + "0" * 308 + "." + "5" * 800,
        "7" * 5000 + ".25",
        "0." + "0" * 2000 + "1",
    ],
    ids=len,
)
def test_a_number_that_parsers_refuse_is_a_string_of_its_digits(number: str) -> None:
    text = f'{{"a": 1.50, "n": [{number}], "b": {number}}}'
    assert orjson.loads(shown(text)) == {"a": 1.5, "n": [number], "b": number}


@pytest.mark.parametrize(
    "number",
    [
        "1797693134862315" + "0" * 293,
        "0." + "0" * 900 + "1",
        "12345678901234567890123456789012345678901234567890",
        "9007199254740993",
        "1" + "0" * 308,
    ],
    ids=len,
)
def test_every_other_number_keeps_its_digits(number: str) -> None:
    text = f'{{"n": {number}}}'
    assert shown(text) == text.encode()
    assert orjson.loads(shown(text))["n"] == pytest.approx(float(number))


def test_digits_in_texts_are_no_numbers() -> None:
    text = json.dumps({"9" * 400: "8" * 400})
    assert client_json(text) == text


def test_a_secret_is_redacted_beside_what_is_cut() -> None:
    text = f'{{"password": "s3cret", "n": {"9" * 400}, "deep": {nested(300)}}}'
    assert json.loads(shown(text)) == {
        "password": REDACTED,
        "n": "9" * 400,
        "deep": cut(json.loads(nested(300)), MAX_DEPTH - 1),
    }


async def test_a_page_with_such_json_is_read_by_strict_parsers(
    graph: Graph, connection: "asyncpg.Connection"
) -> None:
    for details in (nested(1500), '{"n": 1e400, "m": -1e131000}', '{"fits": 1.10}'):
        await factories.system_log(connection, details=details)
    await factories.strategy(connection, parameters=nested(1500))
    answer = await graph.as_(operator()).ask(
        "{ systemLogs { nodes { details } } strategies { nodes { parameters } } }"
    )
    found = [node["details"] for node in answer.data["systemLogs"]["nodes"]]
    assert {"n": "1" + "0" * 400, "m": "-1" + "0" * 131_000} in found
    assert {"fits": 1.1} in found
    assert [TOO_DEEP in str(each) for each in found].count(True) == 1
    assert TOO_DEEP in str(answer.data["strategies"])


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "api_key",
        "apiKey",
        "API-KEY",
        "access_token",
        "client_secret",
        "Authorization",
        "passphrase",
        "PRIVATE-KEY",
        "accesskey",
        "pwd",
        "Set-Cookie",
        "x-signature",
        "pa\u017f\u017fword",  # whatever ignoring case may find
    ],
)
def test_the_value_of_a_secret_looking_key_is_replaced(key: str) -> None:
    stored: dict[str, Any] = {"list": [{key: "s3cret", "symbol": "EURUSD"}]}
    assert orjson.loads(shown(orjson.dumps(stored).decode())) == {
        "list": [{key: "[redacted]", "symbol": "EURUSD"}]
    }


@pytest.mark.parametrize(
    "key", ["auth_header", "authHeader", "pin", "PIN_CODE", "pass", "passcode", "otp", "jwt", "Bearer"]
)
def test_short_secret_words_are_found_where_they_are_words(key: str) -> None:
    assert b"s3cret" not in shown(orjson.dumps({key: "s3cret"}).decode())


@pytest.mark.parametrize("key", ["author", "passed", "bypass", "spin", "pinned", "opinion"])
def test_words_that_only_contain_one_are_left(key: str) -> None:
    assert b"plain" in shown(orjson.dumps({key: "plain"}).decode())


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, 300, 5000])
def test_a_secret_is_not_shown_however_deep_it_is(depth: int) -> None:
    assert b"s3cret" not in shown("[" * depth + '{"password": "s3cret"}' + "]" * depth)


def test_a_key_spelt_with_escapes_is_found_too() -> None:
    assert b"s3cret" not in shown('{"pass\\u0077ord": "s3cret"}')


@pytest.mark.parametrize("slash", ["/", "\\/", "\\u002f"])
def test_urls_are_shown_without_their_passwords(slash: str) -> None:
    text = f'{{"url": ["postgresql:{slash}{slash}bot:s3cret@db.example.com:5432{slash}trading?a=b@c"]}}'
    assert orjson.loads(shown(text)) == {
        "url": ["postgresql://bot:[redacted]@db.example.com:5432/trading?a=b@c"]
    }


@pytest.mark.parametrize("url", ["https://example.com:8443/a@b", "redis://bot@host", "a://b", "1:2@3"])
def test_urls_without_one_are_left(url: str) -> None:
    assert orjson.loads(shown(orjson.dumps({"auth": "x", "url": url}).decode()))["url"] == url


def test_whole_trees_under_a_secret_key_go() -> None:
    assert shown('{"credentials": {"user": "a", "deep": ["b"]}}') == b'{"credentials":"[redacted]"}'


def test_what_has_no_secret_is_not_touched() -> None:
    text = '{"a": 1.50, "b": [null, true, "x"]}'
    assert shown(text) == text.encode()


def test_numbers_beside_a_secret_keep_every_digit() -> None:
    text = '{"token": "t", "price": 1.10000000000000000000001, "big": 123456789012345678901234567890}'
    assert shown(text) == (
        b'{"token":"[redacted]","price":1.10000000000000000000001,"big":123456789012345678901234567890}'
    )
