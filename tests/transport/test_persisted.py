"""Documents named by their hash, over every transport."""

import json
from typing import Any

import pytest

from graphql_api.execution.persisted_documents import AutomaticDocuments, hash_of
from graphql_api.gateway.gateway import NEW_DOCUMENT
from tests.http_client import http_client
from tests.rate_limiter import unrefilled
from tests.transport.conftest import Serve, Served
from tests.transport.http import RESPONSE, code
from tests.transport.sockets import connected, hear, say

QUERY = "query ($name: String!) { hello(name: $name) }"
COUNT = "subscription { count(to: 1) }"


def persisted(text: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": hash_of(text)}}


def body(text: str, *, with_text: bool = False) -> dict[str, Any]:
    return {"extensions": persisted(text), "variables": {"name": "Ada"}} | (
        {"query": text} if with_text else {}
    )


async def test_a_name_of_a_document_that_was_not_parsed_is_paid_for(serve: Serve) -> None:
    texts = [f'query Q{number} {{ hello(name: "Ada") }}' for number in range(3)]
    kept = AutomaticDocuments(10_000)
    for text in texts:
        kept.store(hash_of(text), text)
    served = serve(persisted=kept, rate_limiter=unrefilled(2 * NEW_DOCUMENT + 200))
    async with http_client() as client:
        names = [*texts[:2], texts[0], texts[2]]
        answers = [await client.post(served.url, json={"extensions": persisted(name)}) for name in names]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]


@pytest.fixture
def keeping(serve: Serve) -> Served:
    return serve(persisted=AutomaticDocuments(10_000))


@pytest.mark.parametrize(("accept", "status"), [("application/json", 200), (RESPONSE, 400)])
async def test_a_client_learns_to_send_the_text_once(keeping: Served, accept: str, status: int) -> None:
    async with http_client(headers={"accept": accept}) as client:
        unknown = await client.post(keeping.url, json=body(QUERY))
        first = await client.post(keeping.url, json=body(QUERY, with_text=True))
        second = await client.post(keeping.url, json=body(QUERY))

    assert (unknown.status_code, code(unknown)) == (status, "PERSISTED_QUERY_NOT_FOUND")
    assert unknown.json()["errors"][0]["message"] == "PersistedQueryNotFound"
    assert first.json() == second.json() == {"data": {"hello": "hello Ada"}}


async def test_a_name_fits_into_an_address(keeping: Served) -> None:
    parameters = {"extensions": json.dumps(persisted(QUERY)), "variables": '{"name": "Ada"}'}
    async with http_client() as client:
        await client.post(keeping.url, json=body(QUERY, with_text=True))
        answer = await client.get(keeping.url, params=parameters)

    assert answer.json() == {"data": {"hello": "hello Ada"}}


async def test_a_mutation_is_refused_by_get_under_its_name_too(keeping: Served) -> None:
    mutation = "mutation { write }"
    async with http_client() as client:
        await client.post(keeping.url, json=body(mutation, with_text=True))
        answer = await client.get(keeping.url, params={"extensions": json.dumps(persisted(mutation))})

    assert answer.status_code == 405
    assert keeping.world.started == 1


async def test_a_socket_takes_names(keeping: Served) -> None:
    async with connected(keeping) as socket:
        for identifier, text in (("1", False), ("2", True), ("3", False)):
            await say(socket, id=identifier, type="subscribe", payload=body(COUNT, with_text=text))
            answer = await hear(socket)
            if identifier == "1":
                assert answer["payload"][0]["extensions"]["code"] == "PERSISTED_QUERY_NOT_FOUND"
            else:
                assert answer["payload"] == {"data": {"count": "0"}}
                assert (await hear(socket))["type"] == "complete"


async def test_a_stream_takes_names(keeping: Served) -> None:
    async with http_client(headers={"accept": "text/event-stream"}) as client:
        await client.post(keeping.url, json=body(COUNT, with_text=True))
        answer = await client.post(keeping.url, json=body(COUNT))

    assert '{"data":{"count":"0"}}' in answer.text


@pytest.mark.parametrize(
    "given", [{}, {"query": ""}, {"extensions": {}}, {"query": "", "extensions": persisted("")}]
)
async def test_a_request_without_text_or_name_is_malformed(keeping: Served, given: dict[str, Any]) -> None:
    async with http_client() as client:
        answer = await client.post(keeping.url, json=given)

    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
