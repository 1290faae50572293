import gzip
import json
from contextlib import suppress
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphql_api.execution.inputs import ExactFloat, dump_json
from graphql_api.execution.operations import GraphQLRequest
from graphql_api.gateway.errors import HTTPError
from graphql_api.transport.graphql_http import (
    MalformedRequestError,
    Media,
    combined_headers,
    negotiate,
    parse_json,
    parse_parameters,
    parse_query_string,
)
from tests import factories
from tests.graph import Graph, trader
from tests.http_client import http_client
from tests.transport.conftest import Serve, Served
from tests.transport.http import RESPONSE, code, post

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"1",
        b'"{ hello }"',
        b"[]",
        b'[{"query": "{ hello }"}]',
        b"{}",
        b'{"query": null}',
        b'{"query": ""}',
        b'{"query": "{ hello }", "variables": "{}"}',
        b'{"query": "{ hello }", "variables": {"a": NaN}}',
        b'{"query": "{ hello }", "variables": {"a": ' + b"9" * 5000 + b"}}",
        b'{"query": "{ hello }", "variables": ' + b"[" * 10_000 + b"}",
        b'{"query": "{ hello }", "variables": {"a": "\\ud800"}}',
        b'{"query": "{ hello }", "variables": {"a": "\xed\xa0\x80"}}',
        b'{"query": "{ hello }", "variables": {"a": "\\u0000"}}',
        b'{"query": "{ hello }", "variables": {"a": {"\\u0000": 1}}}',
        b'{"query": "{ hello }", "variables": {"a": ' + b"[" * 150 + b'"\\u0000"' + b"]" * 150 + b"}}",
        b'{"query": "{ hello \\u0000}"}',
        b'{"query": "\xff"}',
        b"query { hello }",
        b'{"query": "{ hello }"',
    ],
    ids=lambda body: repr(body[:44]),
)
async def test_a_malformed_request_is_the_clients_mistake(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("parameter", ["variables", "extensions"])
async def test_json_that_is_nested_too_deep_exceeds_a_limit(
    client: httpx.AsyncClient, parameter: str
) -> None:
    body = b'{"query": "{ hello }", "%b": {"a": ' % parameter.encode() + b"[" * 199 + b"]" * 199 + b"}}"
    response = await client.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, code(response)) == (400, "LIMIT_EXCEEDED")


@pytest.mark.parametrize("value", [b"1.5", b"[]", b'"a"', b"{}"])
async def test_json_of_too_many_values_exceeds_a_limit(client: httpx.AsyncClient, value: bytes) -> None:
    body = b'{"query": "{ hello }", "variables": {"a": [' + b",".join([value] * 25_000) + b"]}}"
    response = await client.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, code(response)) == (400, "LIMIT_EXCEEDED")


async def test_commas_in_a_text_are_no_values(client: httpx.AsyncClient) -> None:
    variables = {"name": "," * 25_000}
    body = {"query": "query ($name: String!) { hello(name: $name) }", "variables": variables}
    assert (await client.post("/graphql", json=body)).json()["data"] == {"hello": "hello " + "," * 25_000}


@pytest.mark.parametrize(
    "document",
    [
        "{" * 5_000,
        "{ hello }" * 5_000,
        "query($a: String = " + "[" * 1_900 + ") { hello }",
        '{ hello(name: "\\u0000") }',
        '{ hello(name: "\\u{0}") }',
        '{ hello(name: "\\uD800") }',
        '{ hello(name: "a\nb") }',
        "{ hello(name: " + "9" * 10_000 + ") }",
        "fragment A on Query { ...B } fragment B on Query { ...A } { ...A }",
        "subscription { count other: count }",
        "{ __schema { directives { name } } @skip }",
    ],
    ids=lambda document: document[:30],
)
async def test_a_broken_document_is_the_clients_mistake(client: httpx.AsyncClient, document: str) -> None:
    response = await client.post("/graphql", json={"query": document}, headers={"accept": RESPONSE})
    assert response.status_code == 400
    assert code(response) in ("GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "LIMIT_EXCEEDED")


async def test_a_backslash_before_u0000_is_not_nul(client: httpx.AsyncClient) -> None:
    response = await post(client, "query($n: String!) { hello(name: $n) }", variables={"n": "\\u0000"})
    assert response.json() == {"data": {"hello": "hello \\u0000"}}


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=latin1",
        'application/json; profile="a;charset=utf-8"; charset=utf-16',
        "application/jsonp",
        "application/json, text/plain",
    ],
)
async def test_only_json_is_accepted_which_no_form_can_send(
    client: httpx.AsyncClient, content_type: str
) -> None:
    headers = {"content-type": content_type}
    response = await client.post("/graphql", content=b'{"query": "{ hello }"}', headers=headers)
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json;",
        "application/json; charset=utf-8;",
        "application/json;charset=UTF-8 ; odata.metadata=minimal",
        'application/json; charset="utf-8"; profile="https://example.com/?a=b;charset=latin1"',
        "application/json; Charset=utf8",
        "application/json; charset=us-ascii",
        "application/json; odata=verbose",
    ],
)
async def test_a_content_type_may_have_parameters(client: httpx.AsyncClient, content_type: str) -> None:
    headers = {"content-type": content_type}
    response = await client.post("/graphql", content=b'{"query": "{ hello }"}', headers=headers)
    assert response.json() == {"data": {"hello": "hello world"}}


async def test_a_byte_order_mark_before_json_is_no_part_of_it(client: httpx.AsyncClient) -> None:
    body = b'\xef\xbb\xbf{"query": "{ hello }"}'
    response = await client.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert response.json() == {"data": {"hello": "hello world"}}


@pytest.mark.parametrize("encoding", ["identity", "IDENTITY", "identity, Identity", "identity,"])
async def test_a_body_may_be_encoded_as_itself(client: httpx.AsyncClient, encoding: str) -> None:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    response = await client.post("/graphql", content=b'{"query": "{ hello }"}', headers=headers)
    assert response.json() == {"data": {"hello": "hello world"}}


@pytest.mark.parametrize("encoding", ["gzip", "identity, gzip", "br"])
async def test_another_encoding_is_refused(client: httpx.AsyncClient, encoding: str) -> None:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    response = await client.post("/graphql", content=b'{"query": "{ hello }"}', headers=headers)
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert response.headers["accept-encoding"] == "identity"


async def test_a_compressed_body_is_refused_unopened(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/graphql",
        content=gzip.compress(b" " * 10_000_000),
        headers={"content-type": "application/json", "content-encoding": "gzip"},
    )
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_body_of_a_declared_size_over_the_limit_is_refused(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    response = await client.post("/graphql", content=b" " * (1024 * 1024 + 1), headers=headers)
    assert (response.status_code, code(response)) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_body_that_turns_out_too_large_is_refused(client: httpx.AsyncClient) -> None:
    async def chunks() -> Any:
        for _ in range(1100):
            yield b" " * 1024

    response = await client.post("/graphql", content=chunks(), headers={"content-type": "application/json"})
    assert (response.status_code, code(response)) == (413, "PAYLOAD_TOO_LARGE")


async def test_a_body_of_just_the_limit_is_read(client: httpx.AsyncClient) -> None:
    body = b'{"query": "{ hello }"}'
    body += b" " * (1024 * 1024 - len(body))
    response = await client.post("/graphql", content=body, headers={"content-type": "application/json"})
    assert response.json() == {"data": {"hello": "hello world"}}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
async def test_other_methods_are_not_allowed(client: httpx.AsyncClient, method: str) -> None:
    response = await client.request(method, "/graphql")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


async def test_a_query_may_come_by_get(client: httpx.AsyncClient) -> None:
    parameters = {"query": "query A($n: String!) { hello(name: $n) }", "variables": '{"n": "Ada"}'}
    response = await client.get("/graphql", params=parameters)
    assert response.json() == {"data": {"hello": "hello Ada"}}


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_mutation_may_not_come_by_get(client: httpx.AsyncClient, served: Served, accept: str) -> None:
    response = await client.get(
        "/graphql", params={"query": "mutation { write }"}, headers={"accept": accept}
    )
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert served.world.started == 0


@pytest.mark.parametrize(
    "query_string",
    [
        "",
        "query=",
        "query=%FF",
        "query={hello}&variables=[",
        "query={hello}&variables=1",
        "a&" * 100,
        "query=%7Bhello%7D&extensions=[]",
    ],
)
async def test_a_malformed_query_string_is_the_clients_mistake(
    client: httpx.AsyncClient, query_string: str
) -> None:
    response = await client.get(f"/graphql?{query_string}")
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")


async def test_get_can_be_off(serve: Serve) -> None:
    served = serve(get_requests="off")
    async with http_client() as client:
        response = await client.get(served.url, params={"query": "{ hello }"})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


async def test_get_can_require_what_other_sites_pages_cannot_send(serve: Serve) -> None:
    served = serve(get_requests="preflight")
    async with http_client() as client:
        bare = await client.get(served.url, params={"query": "{ hello }"})
        headers = {"graphql-require-preflight": "1"}
        asked = await client.get(served.url, params={"query": "{ hello }"}, headers=headers)
    assert (bare.status_code, code(bare)) == (403, "PREFLIGHT_REQUIRED")
    assert asked.json() == {"data": {"hello": "hello world"}}


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", Media.JSON),
        ("*/*", Media.JSON),
        ("application/*", Media.JSON),
        ("application/json; charset=utf-8", Media.JSON),
        ("APPLICATION/JSON", Media.JSON),
        ("application/graphql-response+json", Media.RESPONSE),
        ("text/event-stream", Media.EVENTS),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Media.HTML),
        ("application/xml, application/json;q=0.1", Media.JSON),
        ("application/json, application/graphql-response+json", Media.JSON),
        ("application/json;q=0.9, application/graphql-response+json", Media.RESPONSE),
        ("application/json;q=0, text/event-stream;q=0.1", Media.EVENTS),
        ("application/json;q=much, text/event-stream;q=0.1", Media.EVENTS),
        ("application/json;q=nan, text/event-stream;q=0.1", Media.EVENTS),
        ("application/json;q=0, */*", Media.RESPONSE),
        ("*/*, text/event-stream;q=0, application/json;q=0.5", Media.JSON),
    ],
)
def test_the_best_of_our_media_types_that_the_client_accepts(accept: str, media: Media) -> None:
    assert negotiate(accept) is media


@pytest.mark.parametrize(
    "accept", ["application/json;q=0", "text/*, text/event-stream;q=0", "image/png", ";;,,=;q"]
)
def test_a_client_that_accepts_none_of_our_media_types_is_refused(accept: str) -> None:
    with pytest.raises(HTTPError, match=r"^Accept: we offer"):
        negotiate(accept)


async def test_accept_may_come_in_several_lines(client: httpx.AsyncClient) -> None:
    headers = [("accept", "image/png"), ("accept", RESPONSE), ("accept", "*/*;q=0.1")]
    response = await client.post("/graphql", json={"query": "{ hello }"}, headers=headers)
    assert response.headers["content-type"] == f"{RESPONSE}; charset=utf-8"


def test_a_header_may_come_thousands_of_times() -> None:
    lines = [(b"x", b"%d" % (number % 3_000)) for number in range(6_000)]
    values = combined_headers([*lines, (b"host", b"a")])
    assert values == {b"x": b", ".join(value for _, value in lines[:3_000]), b"host": b"a"}


async def test_an_endless_content_type_is_none(client: httpx.AsyncClient) -> None:
    content_type = 'application/json; charset="utf-8' + ";" * 8_000
    answer = await client.post("/graphql", content=b"{}", headers={"content-type": content_type})
    assert (answer.status_code, code(answer)) == (415, "UNSUPPORTED_MEDIA_TYPE")


def test_of_an_endless_accept_header_the_beginning_counts() -> None:
    assert negotiate("application/graphql-response+json" + ",x/y" * 8_000) is Media.RESPONSE
    assert negotiate("application/json" + ";" * 30_000) is Media.JSON
    with pytest.raises(HTTPError, match=r"^Accept: we offer"):
        negotiate("x/y," * 8_000 + "application/json")


async def test_a_header_that_comes_twice_and_is_the_same_is_one(client: httpx.AsyncClient) -> None:
    headers = [("content-type", "application/json")] * 2 + [("authorization", "Bearer ada")] * 2
    response = await client.post("/graphql", content=b'{"query": "{ whoami }"}', headers=headers)
    assert response.json() == {"data": {"whoami": "ada"}}


@pytest.mark.parametrize("name", ["Authorization", "Content-Type", "Idempotency-Key", "Origin"])
async def test_a_header_that_comes_twice_and_differs_is_refused_where_it_is_no_list(
    client: httpx.AsyncClient, name: str
) -> None:
    headers = [(name, "a"), (name, "b")]
    response = await client.post("/graphql", content=b'{"query": "{ whoami }"}', headers=headers)
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")
    assert response.json()["errors"][0]["message"] == f"{name}: was sent twice, and differs"


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
        assert isinstance(parse_parameters(value), GraphQLRequest)


@given(st.binary(max_size=200))
def test_any_query_string_is_a_request_or_malformed(query_string: bytes) -> None:
    with suppress(MalformedRequestError):
        assert isinstance(parse_query_string(b"query=%7Ba%7D&" + query_string), GraphQLRequest)


def test_the_message_names_the_parameter_and_the_rule() -> None:
    with pytest.raises(MalformedRequestError, match=r"^variables: must be an object or null$"):
        parse_parameters({"query": "{ a }", "variables": 1})


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0.10000000000000000001", "0.10000000000000000001"),
        ("1e-7", "1e-7"),
        ("1E+3", "1E+3"),
        ("-0.50", "-0.50"),
        ("9" * 30, "9" * 30),
        ("9" * 10_000 + ".5", "9" * 10_000 + ".5"),
    ],
)
def test_a_number_keeps_its_digits(number: str, text: str) -> None:
    with suppress(MalformedRequestError):  # of thousands of digits, beyond a double
        value = parse_json(f'{{"a": [{number}], "b": 1}}')
        assert str(value["a"][0]) == text
        assert isinstance(value["a"][0], ExactFloat | int)
        assert value["b"] == 1


@pytest.mark.parametrize(
    "number", ["18446744073709551615", "18446744073709551616", "-1e5", "1.10", "9" * 300]
)
def test_json_of_a_request_can_be_written_again(number: str) -> None:
    text = f'{{"b":[{number},0.5],"a":"x"}}'
    assert dump_json(parse_json(text)).decode() == text
    assert dump_json(parse_json(text), sort_keys=True).decode() == f'{{"a":"x","b":[{number},0.5]}}'


async def test_a_json_number_is_an_exact_decimal(graph: Graph, connection: "asyncpg.Connection") -> None:
    query = "query ($pnl: Decimal!) { trades(filter: {pnl: {gte: $pnl}}) { totalCount } }"
    user = await factories.user(connection)
    for number in ("0.1", "1e-7", "12345678901234567890.5"):
        variables = parse_json(f'{{"pnl": {number}}}')
        assert (await graph.as_(trader(user)).ask(query, variables)).data == {"trades": {"totalCount": 0}}
