"""Any input, over HTTP or WebSocket, is answered, and never with an internal error."""

import json
from contextlib import suppress
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.transport.conftest import Served
from tests.transport.sockets import PROTOCOL

pytestmark = pytest.mark.slow

SEVERAL = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
# Text made of what documents are made of, so that some of it gets past the first character.
DOCUMENT = st.text() | st.lists(
    st.sampled_from(
        ["{", "}", "(", ")", "hello", "name", ":", "$a", '"x"', "1", "query", "...", "@skip", "!", "["]
    )
).map(" ".join)
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "query": DOCUMENT | VALUE,
        "operationName": VALUE,
        "variables": VALUE,
        "extensions": VALUE,
    },
)
BODY = (
    st.binary()
    | VALUE.map(lambda value: json.dumps(value).encode())
    | PARAMETERS.map(lambda value: json.dumps(value).encode())
)
HEADER = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40
).map(lambda value: value.encode("latin-1"))
ACCEPT = st.sampled_from(
    [b"*/*", b"application/json", b"application/graphql-response+json", b"text/event-stream", b"text/html"]
)


def assert_every_error_has_a_code(message: Any) -> None:
    payload = message.get("payload")
    errors = payload if message["type"] == "error" else []
    if message["type"] == "next":
        errors = payload.get("errors", [])
    assert all(error["extensions"]["code"] for error in errors)


@SEVERAL
@given(BODY, ACCEPT | HEADER, st.just(b"application/json") | HEADER, st.just(b"") | HEADER)
def test_any_post_is_answered(
    served: Served, body: bytes, accept: bytes, content_type: bytes, authorization: bytes
) -> None:
    headers = [
        (b"accept", accept),
        (b"content-type", content_type),
        (b"authorization", authorization),
    ]
    response = httpx.post(served.url, content=body, headers=headers)
    assert response.status_code < 500
    assert response.text


@SEVERAL
@given(st.binary(max_size=100), DOCUMENT, ACCEPT)
def test_any_get_is_answered(served: Served, query_string: bytes, document: str, accept: bytes) -> None:
    rest = quote_from_bytes(query_string, safe="&=%+")
    url = f"{served.url}?{urlencode({'query': document}, errors='surrogatepass')}&{rest}"
    response = httpx.get(url, headers=[(b"accept", accept)])
    assert response.status_code < 500


# Documents that are valid, with variables that may not be.
OPERATION = st.fixed_dictionaries(
    {
        "type": st.just("subscribe"),
        "id": st.sampled_from(["a", "b", "c"]),
        "payload": st.fixed_dictionaries(
            {
                "query": st.sampled_from(
                    [
                        "query ($a: String) { hello(name: $a) }",
                        "query ($a: Int!) { manyErrors(count: $a) broken refused }",
                        "subscription ($a: Int) { count(to: $a) }",
                        "subscription { failing }",
                    ]
                ),
                "variables": st.fixed_dictionaries({}, optional={"a": VALUE | st.integers(0, 3)}),
            }
        ),
    }
)
MESSAGE = OPERATION | st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["connection_init", "subscribe", "ping", "pong", "complete", "next"]) | VALUE,
        "id": st.sampled_from(["a", "b"]) | VALUE,
        "payload": PARAMETERS | VALUE,
    },
)


@SEVERAL
@given(st.booleans(), st.lists(MESSAGE.map(json.dumps) | st.text() | st.binary(), max_size=5))
def test_any_messages_are_answered_or_close_the_socket(
    served: Served, initialised: bool, messages: list[Any]
) -> None:
    with connect(served.socket_url, subprotocols=[PROTOCOL]) as socket:
        with suppress(ConnectionClosed):
            if initialised:
                socket.send('{"type": "connection_init"}')
            for message in messages:
                socket.send(message)
            socket.send('{"type": "ping", "payload": {"last": true}}')
            while (message := json.loads(socket.recv())) != {"type": "pong", "payload": {"last": True}}:
                assert_every_error_has_a_code(message)
            return
        assert 4400 <= (socket.close_code or 0) < 4500
