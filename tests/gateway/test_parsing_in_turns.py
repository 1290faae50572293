"""New documents and large requests are parsed one at a time, however many come at once."""

import asyncio

import pytest

from graphql_api.execution.operations import GraphQLRequest, Operation, Operations
from graphql_api.gateway.errors import HTTPError
from graphql_api.gateway.gateway import Gateway
from graphql_api.identity.viewer import ANONYMOUS, Viewer
from tests.execution.contexts import BareContext
from tests.transport.app import World, limited, schema


async def identify() -> Viewer:
    return ANONYMOUS


def gateway(operations: Operations, **limits: int) -> Gateway:
    return Gateway(
        operations,
        World(),
        lambda *_arguments, **_options: BareContext(),  # type: ignore[arg-type]
        limits=limited(**limits),
    )


def finding(gateway: Gateway, text: str, client: str) -> asyncio.Task[Operation]:
    return asyncio.create_task(gateway.find_operation(GraphQLRequest(text), client, identify))


async def test_networks_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    prepare = Operations.prepare

    def noting(self: Operations, request: GraphQLRequest, text: str | None = None) -> Operation:
        parsed.append(request.query)
        return prepare(self, request, text)

    monkeypatch.setattr(Operations, "prepare", noting)
    one = gateway(Operations(schema, mask=lambda error: error))
    many = [finding(one, f"{{ a{number}: hello }}", "10.0.0.1") for number in range(20)]
    await asyncio.sleep(0)
    other = finding(one, "{ other: hello }", "10.0.0.2")
    known = finding(one, "{ a0: hello }", "10.0.0.2")
    await asyncio.gather(*many, other, known)
    assert parsed.index("{ other: hello }") <= 3
    assert len(parsed) == 22


async def test_only_one_is_parsed_in_an_iteration_of_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    iteration, parsed_in = 0, list[int]()
    prepare = Operations.prepare

    def noting(self: Operations, request: GraphQLRequest, text: str | None = None) -> Operation:
        parsed_in.append(iteration)
        return prepare(self, request, text)

    monkeypatch.setattr(Operations, "prepare", noting)
    one = gateway(Operations(schema, mask=lambda error: error))
    finders = asyncio.gather(*(finding(one, f"{{ a{number}: hello }}", "10.0.0.1") for number in range(20)))
    while not finders.done():
        iteration += 1
        await asyncio.sleep(0)
    assert len(parsed_in) == len(set(parsed_in)) == 20


async def test_only_one_large_request_is_parsed_in_an_iteration_of_the_event_loop() -> None:
    iteration, parsed_in = 0, list[int]()
    one = gateway(Operations(schema, mask=lambda error: error))

    async def parse() -> None:
        await one.pay_for_size(b"[]" * 5_000, "10.0.0.1")
        parsed_in.append(iteration)

    parsers = asyncio.gather(*(parse() for _ in range(20)))
    while not parsers.done():
        iteration += 1
        await asyncio.sleep(0)
    assert len(parsed_in) == len(set(parsed_in)) == 20


async def test_no_more_wait_than_may() -> None:
    one = gateway(Operations(schema, mask=lambda error: error), max_concurrent_operations=8)
    finders = [finding(one, f"{{ a{number}: hello }}", "10.0.0.1") for number in range(7)]
    results = await asyncio.gather(*finders, return_exceptions=True)
    refused = [each for each in results if isinstance(each, HTTPError)]
    assert [error.status for error in refused] == [503, 503]


async def test_a_document_that_many_send_is_parsed_once() -> None:
    operations = Operations(schema, mask=lambda error: error)
    one = gateway(operations, max_concurrent_operations=8)
    await asyncio.gather(*(finding(one, "{ hello }", "10.0.0.1") for _ in range(20)))
    assert operations.documents.misses == 1


async def test_each_who_sends_a_document_that_breaks_a_rule_learns_why() -> None:
    one = gateway(Operations(schema, mask=lambda error: error), max_concurrent_operations=8)
    finders = [finding(one, "{ wrong }", "10.0.0.1") for _ in range(20)]
    results = await asyncio.gather(*finders, return_exceptions=True)
    assert {str(each) for each in results} == {"Cannot query field 'wrong' on type 'Query'."}
