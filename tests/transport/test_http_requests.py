import gzip
from typing import Any

import httpx
import pytest

from tests.transport.conftest import Serve, Served
from tests.transport.http import RESPONSE, code, post


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
        b'{"query": "{ hello }", "variables": ' + b"[" * 100_000 + b"}",
        b'{"query": "{ hello }", "variables": ' + b'{"a":' * 1_000 + b"1" + b"}" * 1_000,
        b'{"query": "{ hello }", "variables": {"a": "\\ud800"}}',
        b'{"query": "{ hello }", "variables": {"a": "\xed\xa0\x80"}}',
        b'{"query": "{ hello }", "variables": {"a": "\\u0000"}}',
        b'{"query": "{ hello }", "variables": {"a": {"\\u0000": 1}}}',
        b'{"query": "{ hello }", "variables": {"a": ' + b"[" * 900 + b'"\\u0000"' + b"]" * 900 + b"}}",
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
    ],
)
async def test_only_json_is_accepted_which_no_form_can_send(
    client: httpx.AsyncClient, content_type: str
) -> None:
    headers = {"content-type": content_type}
    response = await client.post("/graphql", content=b'{"query": "{ hello }"}', headers=headers)
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


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
    async with httpx.AsyncClient() as client:
        response = await client.get(served.url, params={"query": "{ hello }"})
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


async def test_get_can_require_what_other_sites_pages_cannot_send(serve: Serve) -> None:
    served = serve(get_requests="preflight")
    async with httpx.AsyncClient() as client:
        bare = await client.get(served.url, params={"query": "{ hello }"})
        headers = {"graphql-require-preflight": "1"}
        asked = await client.get(served.url, params={"query": "{ hello }"}, headers=headers)
    assert (bare.status_code, code(bare)) == (403, "PREFLIGHT_REQUIRED")
    assert asked.json() == {"data": {"hello": "hello world"}}
