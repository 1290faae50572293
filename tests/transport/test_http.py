import asyncio

import httpx
import pytest

from tests.http_client import http_client
from tests.transport.conftest import Serve, Served, until
from tests.transport.http import RESPONSE, code, post


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


async def test_a_variable_of_the_wrong_type_is_a_bad_request(client: httpx.AsyncClient) -> None:
    body = {"query": "query($n: String!) { hello(name: $n) }", "variables": {"n": 1}}
    response = await client.post("/graphql", json=body, headers={"accept": RESPONSE})
    assert (response.status_code, code(response)) == (400, "BAD_USER_INPUT")


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


async def test_a_browser_gets_the_page_and_a_program_gets_json(serve: Serve) -> None:
    served = serve(graphiql_html=b"<title>GraphiQL</title>")
    browser = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    async with http_client() as client:
        page = await client.get(served.url, headers=browser)
        answer = await client.get(served.url, params={"query": "{ hello }"})
    assert (page.headers["content-type"], page.text) == (
        "text/html; charset=utf-8",
        "<title>GraphiQL</title>",
    )
    assert answer.json() == {"data": {"hello": "hello world"}}


async def test_an_operation_that_takes_too_long_is_ended(serve: Serve) -> None:
    served = serve(settings={"operation_timeout": 0.5})
    async with http_client() as client:
        response = await client.post(served.url, json={"query": "{ slow }"})
    assert (response.status_code, code(response)) == (504, "TIMEOUT")
    assert served.world.cancelled == 1


async def test_more_operations_than_allowed_are_told_to_come_back(serve: Serve) -> None:
    served = serve(settings={"max_concurrent_operations": 1})
    async with http_client() as client:
        first = asyncio.create_task(client.post(served.url, json={"query": "{ slow(seconds: 2) }"}))
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
    async with http_client(headers={"x-forwarded-for": "203.0.113.9"}) as client:
        response = await client.post(served.url, json={"query": "{ address }"})
    assert response.json() == {"data": {"address": "127.0.0.1"}}


async def test_each_operation_has_a_context_of_its_own(client: httpx.AsyncClient, served: Served) -> None:
    await asyncio.gather(*(post(client, "{ hello }") for _ in range(5)))
    assert served.world.contexts == 5
