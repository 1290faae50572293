import asyncio
import gzip
from typing import Any

import httpx
import pytest

from tests.web.conftest import Serve, Served, until

RESPONSE = "application/graphql-response+json"


async def post(client: httpx.AsyncClient, query: str, **parameters: Any) -> httpx.Response:
    return await client.post("/graphql", json={"query": query, **parameters})


def code(response: httpx.Response) -> str:
    return str(response.json()["errors"][0]["extensions"]["code"])


async def test_a_query_is_answered(client: httpx.AsyncClient) -> None:
    response = await post(client, "{ hello }")
    assert (response.status_code, response.json()) == (200, {"data": {"hello": "hello world"}})


async def test_variables_and_operation_name_are_used(client: httpx.AsyncClient) -> None:
    response = await post(
        client,
        "query A($name: String!) { hello(name: $name) } query B { whoami }",
        operationName="A",
        variables={"name": "Ada"},
    )
    assert response.json() == {"data": {"hello": "hello Ada"}}


async def test_several_operations_need_a_name(client: httpx.AsyncClient) -> None:
    response = await post(client, "query A { hello } query B { whoami }")
    assert code(response) == "OPERATION_RESOLUTION_FAILURE"


async def test_an_unknown_operation_name_is_refused(client: httpx.AsyncClient) -> None:
    response = await post(client, "query A { hello }", operationName="B")
    assert code(response) == "OPERATION_RESOLUTION_FAILURE"


async def test_answers_are_not_to_be_stored(client: httpx.AsyncClient) -> None:
    response = await post(client, "{ hello }")
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("accept", "content_type", "status"),
    [
        (None, "application/json", 200),
        ("*/*", "application/json", 200),
        ("application/json", "application/json", 200),
        (RESPONSE, RESPONSE, 400),
        (f"{RESPONSE}, application/json;q=0.9", RESPONSE, 400),
        (f"{RESPONSE};q=0.5, application/json;q=0.9", "application/json", 200),
    ],
)
async def test_accept_decides_the_media_type_and_the_status_of_a_refused_document(
    client: httpx.AsyncClient, accept: str | None, content_type: str, status: int
) -> None:
    request = client.build_request("POST", "/graphql", json={"query": "{ nothing }"})
    del request.headers["accept"]
    if accept is not None:
        request.headers["accept"] = accept
    response = await client.send(request)
    assert response.status_code == status
    assert response.headers["content-type"] == f"{content_type}; charset=utf-8"
    assert "data" not in response.json()


async def test_a_client_that_accepts_nothing_of_ours_is_told(client: httpx.AsyncClient) -> None:
    response = await client.post("/graphql", json={"query": "{ hello }"}, headers={"accept": "image/png"})
    assert (response.status_code, code(response)) == (406, "NOT_ACCEPTABLE")


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


async def test_a_variable_of_the_wrong_type_is_a_bad_request(client: httpx.AsyncClient) -> None:
    body = {"query": "query($n: String!) { hello(name: $n) }", "variables": {"n": 1}}
    response = await client.post("/graphql", json=body, headers={"accept": RESPONSE})
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")


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


async def test_nobody_asks_without_a_token(client: httpx.AsyncClient) -> None:
    assert (await post(client, "{ whoami }")).json() == {"data": {"whoami": None}}


async def test_the_token_says_who_asks(client: httpx.AsyncClient) -> None:
    client.headers["authorization"] = "bearer ada"
    assert (await post(client, "{ whoami }")).json() == {"data": {"whoami": "ada"}}


@pytest.mark.parametrize("authorization", ["Bearer forged", "Bearer", "Basic YTpi", "forged", "Bearer \xe9"])
async def test_an_authorization_that_does_not_count_is_refused(
    client: httpx.AsyncClient, served: Served, authorization: str
) -> None:
    served.world.revoked.add("\xe9")
    headers = {b"authorization": authorization.encode("latin-1")}
    response = await client.post("/graphql", json={"query": "{ hello }"}, headers=headers)
    assert (response.status_code, code(response)) == (401, "UNAUTHENTICATED")
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_an_error_meant_for_the_client_keeps_its_place_and_code(client: httpx.AsyncClient) -> None:
    response = await post(client, "{ refused hello }")
    assert response.status_code == 200
    assert response.json() == {
        "data": {"refused": None, "hello": "hello world"},
        "errors": [
            {
                "message": "refused",
                "locations": [{"line": 1, "column": 3}],
                "path": ["refused"],
                "extensions": {"code": "REFUSED"},
            }
        ],
    }


async def test_a_resolver_that_was_cancelled_by_another_is_answered(client: httpx.AsyncClient) -> None:
    response = await post(client, "{ cancelled }")
    assert (response.status_code, code(response)) == (500, "INTERNAL_SERVER_ERROR")


async def test_an_outage_is_503_and_says_when_to_come_back(client: httpx.AsyncClient) -> None:
    response = await post(client, "{ unavailable }")
    assert (response.status_code, code(response)) == (503, "SERVICE_UNAVAILABLE")
    assert response.headers["retry-after"] == "1"


async def test_what_could_be_answered_in_an_outage_is_answered(client: httpx.AsyncClient) -> None:
    response = await post(client, "{ hello unavailable }")
    assert (response.status_code, response.json()["data"]["hello"]) == (200, "hello world")


async def test_an_outage_while_the_token_is_checked_is_503(client: httpx.AsyncClient, served: Served) -> None:
    served.world.down = True
    client.headers["authorization"] = "Bearer ada"
    response = await post(client, "{ whoami }")
    assert (response.status_code, code(response)) == (503, "SERVICE_UNAVAILABLE")


async def test_subscriptions_need_another_transport(client: httpx.AsyncClient) -> None:
    response = await post(client, "subscription { count }")
    assert (response.status_code, code(response)) == (400, "SUBSCRIPTION_NOT_SUPPORTED")


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


async def test_a_browser_gets_the_page_and_a_program_gets_json(serve: Serve) -> None:
    served = serve(graphiql=b"<title>GraphiQL</title>")
    browser = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    async with httpx.AsyncClient() as client:
        page = await client.get(served.url, headers=browser)
        answer = await client.get(served.url, params={"query": "{ hello }"})
    assert (page.headers["content-type"], page.text) == (
        "text/html; charset=utf-8",
        "<title>GraphiQL</title>",
    )
    assert answer.json() == {"data": {"hello": "hello world"}}


async def test_an_operation_that_takes_too_long_is_ended(serve: Serve) -> None:
    served = serve(settings={"operation_timeout": 0.05})
    async with httpx.AsyncClient() as client:
        response = await client.post(served.url, json={"query": "{ slow }"})
    assert (response.status_code, code(response)) == (504, "TIMEOUT")
    assert served.world.cancelled == 1


async def test_more_operations_than_allowed_are_told_to_come_back(serve: Serve) -> None:
    served = serve(settings={"max_concurrent_operations": 1})
    async with httpx.AsyncClient() as client:
        first = asyncio.create_task(client.post(served.url, json={"query": "{ slow(seconds: 0.5) }"}))
        await until(lambda: served.world.started)
        second = await client.post(served.url, json={"query": "{ hello }"})
        assert (second.status_code, code(second)) == (503, "SERVICE_UNAVAILABLE")
        assert second.headers["retry-after"] == "1"
        assert (await first).json() == {"data": {"slow": "done"}}
        assert (await client.post(served.url, json={"query": "{ hello }"})).status_code == 200


async def test_a_hangup_ends_a_query(client: httpx.AsyncClient, served: Served) -> None:
    asking = asyncio.create_task(post(client, "{ slow }"))
    await until(lambda: served.world.started)
    asking.cancel()
    await until(lambda: served.world.cancelled)


async def test_a_hangup_leaves_a_mutation_to_its_end(client: httpx.AsyncClient, served: Served) -> None:
    asking = asyncio.create_task(post(client, "mutation { write(seconds: 0.3) }"))
    await until(lambda: served.world.started)
    asking.cancel()
    await until(lambda: served.world.finished)


async def test_the_callers_address_comes_from_a_trusted_proxy(client: httpx.AsyncClient) -> None:
    client.headers["x-forwarded-for"] = "203.0.113.9"
    assert (await post(client, "{ address }")).json() == {"data": {"address": "203.0.113.9"}}


async def test_nobody_else_is_believed_about_addresses(serve: Serve) -> None:
    served = serve(settings={"trusted_proxies": ("10.0.0.0/8",)})
    async with httpx.AsyncClient(headers={"x-forwarded-for": "203.0.113.9"}) as client:
        response = await client.post(served.url, json={"query": "{ address }"})
    assert response.json() == {"data": {"address": "127.0.0.1"}}


async def test_each_operation_has_a_context_of_its_own(client: httpx.AsyncClient, served: Served) -> None:
    await asyncio.gather(*(post(client, "{ hello }") for _ in range(5)))
    assert served.world.contexts == 5
