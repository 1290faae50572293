import logging

import httpx
import pytest

from tests.transport.conftest import Served


@pytest.mark.parametrize("field", ["broken", "unrepresentable"])
async def test_an_unexpected_error_is_masked_with_an_id_that_the_log_has(
    client: httpx.AsyncClient, logged: list[logging.LogRecord], field: str
) -> None:
    response = await client.post("/graphql", json={"query": f"{{ hello {field} }}"})
    error = response.json()["errors"][0]
    assert "hunter2" not in response.text
    assert (error["path"], error["extensions"]["code"]) == ([field], "INTERNAL_SERVER_ERROR")
    (record,) = logged
    assert error["extensions"]["incident"] in record.getMessage()
    assert record.exc_info is not None
    assert "hunter2" in str(record.exc_info[1])


async def test_an_error_meant_for_clients_is_not_logged(
    client: httpx.AsyncClient, logged: list[logging.LogRecord]
) -> None:
    await client.post("/graphql", json={"query": "{ refused nothing }"})
    await client.post("/graphql", json={"query": "{ refused }"})
    assert logged == []


@pytest.mark.parametrize(
    "query", ["{ manyErrors(count: 500) }", "{ " + " ".join(f"no{number}" for number in range(150)) + " }"]
)
async def test_a_response_has_a_hundred_errors_at_most(client: httpx.AsyncClient, query: str) -> None:
    response = await client.post("/graphql", json={"query": query})
    assert len(response.json()["errors"]) == 100


async def test_an_answer_that_is_no_json_is_an_unexpected_error(
    client: httpx.AsyncClient, served: Served, logged: list[logging.LogRecord]
) -> None:
    response = await client.post("/graphql", json={"query": "{ surrogate }"})
    assert response.status_code == 500
    assert response.json()["errors"][0]["extensions"]["incident"] in logged[0].getMessage()
