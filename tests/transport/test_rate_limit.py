"""What an operation costs, reported and charged over every transport."""

from typing import Any

import httpx
import orjson
import pytest

from graphql_api.execution.costs import POINT
from graphql_api.gateway.gateway import FREE_SIZE, NEW_DOCUMENT
from tests.http_client import http_client
from tests.rate_limiter import unrefilled
from tests.transport.conftest import Serve, Served
from tests.transport.http import RESPONSE, post
from tests.transport.sockets import ask, connected, hear

QUERY = "{ hello }"


@pytest.fixture
def poor(serve: Serve) -> Served:
    """A server that lets everybody ask three times, and reads one document for their address."""
    return serve(rate_limiter=unrefilled(NEW_DOCUMENT + len(QUERY) + 3))


def asking(served: Served, **headers: str) -> httpx.AsyncClient:
    return http_client(base_url=f"http://{served.host}", headers=headers)


@pytest.mark.parametrize("accept", ["application/json", RESPONSE])
async def test_whoever_has_spent_their_points_is_told_when_to_come_back(poor: Served, accept: str) -> None:
    async with asking(poor, accept=accept) as client:
        answers = [await post(client, QUERY) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[3].headers["retry-after"] == "1"
    assert answers[3].json()["errors"][0]["extensions"] == {"code": "RATE_LIMITED", "retryAfter": 1}


async def test_another_viewer_is_not_concerned(poor: Served) -> None:
    async with asking(poor) as client:
        for _ in range(4):
            await post(client, QUERY)
        client.headers["authorization"] = "Bearer ada"
        assert (await post(client, QUERY)).status_code == 200


async def test_documents_are_paid_for_when_they_are_read_first(poor: Served) -> None:
    async with asking(poor, authorization="Bearer ada") as client:
        assert (await post(client, QUERY)).status_code == 200
        client.headers["authorization"] = "Bearer bob"
        assert (await post(client, QUERY)).status_code == 200
        assert (await post(client, "{ other: hello }")).status_code == 429


@pytest.mark.parametrize("query", ["{ nothing }", "{ hello"])
async def test_so_are_documents_that_are_refused(poor: Served, query: str) -> None:
    async with asking(poor, accept=RESPONSE) as client:
        assert [(await post(client, query)).status_code for _ in range(3)] == [400, 429, 429]


async def test_sockets_are_paid_for_by_the_operation(poor: Served) -> None:
    async with connected(poor) as socket:
        for number in range(3):
            await ask(socket, str(number), QUERY)
            assert [(await hear(socket))["type"], (await hear(socket))["type"]] == ["next", "complete"]
        for number, query in enumerate((QUERY, "subscription { count }")):
            await ask(socket, str(number), query)
            message = await hear(socket)
            assert message["type"] == "error"
            assert message["payload"][0]["extensions"]["code"] == "RATE_LIMITED"


async def test_streams_are_paid_for_when_they_begin(serve: Serve) -> None:
    query = "subscription { count(to: 2) }"
    served = serve(rate_limiter=unrefilled(NEW_DOCUMENT + len(query) + 3))
    async with asking(served, accept="text/event-stream") as client:
        answers = [await post(client, query) for _ in range(4)]

    assert [answer.text.count("event: next") for answer in answers] == [2, 2, 2, 1]
    assert '"code":"RATE_LIMITED"' in answers[3].text
    assert answers[3].text.endswith("event: complete\ndata: \n\n")


@pytest.mark.parametrize("how", [{"headers": {"GraphQL-Cost": "1"}}, {"extensions": {"cost": True}}])
async def test_whoever_asks_is_told_the_cost(poor: Served, how: dict[str, Any]) -> None:
    body = {"query": QUERY, "extensions": how.get("extensions")}
    async with http_client() as client:
        answer = await client.post(poor.url, json=body, headers=how.get("headers"))

    cost = answer.json()["extensions"]["cost"]
    assert cost.pop("milliseconds") >= 0
    assert cost == {"requested": 0, "remaining": 2, "rows": 0, "charged": 0}


async def test_who_doesnt_ask_is_not_told(client: httpx.AsyncClient) -> None:
    assert "extensions" not in (await post(client, QUERY)).json()


@pytest.mark.parametrize("query", [QUERY, "not even GraphQL"])
async def test_a_large_request_is_paid_for_by_its_values(serve: Serve, query: str) -> None:
    served = serve(rate_limiter=unrefilled(NEW_DOCUMENT + 1_400))
    body = {"query": query, "variables": {"unused": [1] * 2 * FREE_SIZE}}
    async with asking(served, accept=RESPONSE) as client:
        statuses = [(await client.post("/graphql", json=body)).status_code for _ in range(3)]
    assert statuses[-1] == 429
    assert statuses[0] != 429


async def test_so_is_a_large_request_in_a_url(serve: Serve) -> None:
    served = serve(rate_limiter=unrefilled(NEW_DOCUMENT + 1_400))
    parameters = {"query": QUERY, "variables": orjson.dumps({"unused": [1] * FREE_SIZE}).decode()}
    async with asking(served) as client:
        statuses = [(await client.get("/graphql", params=parameters)).status_code for _ in range(3)]
    assert statuses[0] == 200
    assert statuses[-1] == 429


async def test_what_is_refused_to_one_network_is_not_taken_from_all(serve: Serve) -> None:
    points = 10 * NEW_DOCUMENT
    served = serve(rate_limiter=unrefilled(points))
    body = {"query": QUERY, "variables": {"unused": [1] * 2 * FREE_SIZE}}
    async with http_client() as client:
        greedy = {"X-Forwarded-For": "192.0.2.1"}
        refused = [await client.post(served.url, json=body, headers=greedy) for _ in range(30)]
        assert refused[-1].status_code == 429
        other = await client.post(
            served.url, json={"query": "{ address }"}, headers={"X-Forwarded-For": "198.51.100.1"}
        )
    assert other.json() == {"data": {"address": "198.51.100.1"}}


async def test_an_operation_that_outruns_its_cost_is_charged_for_it(serve: Serve) -> None:
    served = serve(rate_limiter=unrefilled(1_000_000))
    async with asking(served) as client:
        body = {"query": "{ busy(seconds: 0.05) }", "extensions": {"cost": True}}
        first, second = [(await client.post("/graphql", json=body)).json() for _ in range(2)]
    charged = [answer["extensions"]["cost"]["charged"] for answer in (first, second)]
    assert min(charged) >= 0.05 / POINT
    cost = second["extensions"]["cost"]
    assert cost["milliseconds"] >= 50
    assert cost["remaining"] < 1_000_000 - charged[0]


async def test_no_more_is_charged_than_is_left(serve: Serve) -> None:
    served = serve(rate_limiter=unrefilled(2_000))
    async with asking(served) as client:
        body = {"query": "{ busy(seconds: 0.05) }", "extensions": {"cost": True}}
        answer = await client.post("/graphql", json=body)
    assert answer.json()["extensions"]["cost"]["remaining"] == 0
