"""Secrets in free JSON are shown by key, never by value."""

from typing import Any

import orjson
import pytest

from graphql_api.relational.redaction import redact
from graphql_api.relational.scalars import serialize_json


def shown(text: str) -> bytes:
    return orjson.dumps(serialize_json(redact(text)))


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


@pytest.mark.parametrize("depth", [300, 5000])
def test_what_is_too_deep_to_look_through_is_redacted_whole(depth: int) -> None:
    assert shown("[" * depth + '{"password": "s3cret"}' + "]" * depth) == b'"[redacted]"'


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
