import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from graphql_api.identity.viewer import CLOCK_SKEW
from tests.http_client import http_client
from tests.transport.conftest import Serve, Served, until

Event = tuple[str, Any]


@asynccontextmanager
async def streamed(
    served: Served, query: str, variables: dict[str, Any] | None = None, **headers: str
) -> AsyncIterator[AsyncIterator[Event]]:
    """The events of one stream, comments included, as (event, data)."""
    async with (
        http_client() as client,
        client.stream(
            "POST",
            served.url,
            json={"query": query, "variables": variables},
            headers={"accept": "text/event-stream", **headers},
        ) as response,
    ):
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield events(response)


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    name = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(":")
        if not field and line:
            yield "comment", json.loads(value) if value else None
        elif field == "event":
            name = value.strip()
        elif field == "data":
            yield name, json.loads(value) if value.strip() else None


async def test_a_subscription_sends_each_event_and_its_end(served: Served) -> None:
    async with streamed(served, "subscription { count(to: 2) }") as stream:
        assert [event async for event in stream] == [
            ("next", {"data": {"count": "0"}}),
            ("next", {"data": {"count": "1"}}),
            ("complete", None),
        ]


async def test_progress_is_a_comment_between_the_events(served: Served) -> None:
    async with streamed(served, "subscription { resting }") as stream:
        assert [event async for event in stream] == [
            ("next", {"data": {"resting": 0}}),
            ("comment", {"cursor": "there"}),
            ("next", {"data": {"resting": 1}}),
            ("complete", None),
        ]


async def test_a_query_is_a_stream_of_one(served: Served) -> None:
    async with streamed(served, "{ hello }") as stream:
        assert [event async for event in stream] == [
            ("next", {"data": {"hello": "hello world"}}),
            ("complete", None),
        ]


async def test_a_refused_document_is_told_in_the_stream(served: Served) -> None:
    async with streamed(served, "{ nothing }") as stream:
        (name, data), end = [event async for event in stream]
    assert (name, end) == ("next", ("complete", None))
    assert data["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


@pytest.mark.parametrize(("kind", "code"), [("refused", "REFUSED"), ("broken", "INTERNAL_SERVER_ERROR")])
async def test_a_subscription_whose_source_fails_says_so(served: Served, kind: str, code: str) -> None:
    async with streamed(served, f'subscription {{ failing(kind: "{kind}") }}') as stream:
        _, (_, failure), end = [event async for event in stream]
    assert failure["errors"][0]["extensions"]["code"] == code
    assert end == ("complete", None)


@pytest.mark.parametrize(
    "query", ["subscription ($n: Int) { count(to: $n) }", "query ($n: String) { hello(name: $n) }"]
)
async def test_what_only_execution_finds_wrong_has_a_code_too(served: Served, query: str) -> None:
    async with streamed(served, query, {"n": None}) as stream:
        (_, failure), end = [event async for event in stream]
    assert [error["extensions"]["code"] for error in failure["errors"]] == ["BAD_USER_INPUT"]
    assert end == ("complete", None)


async def test_an_answer_that_is_no_json_is_told_as_an_unexpected_error(served: Served) -> None:
    async with streamed(served, "{ surrogate }") as stream:
        (_, failure), end = [event async for event in stream]
    assert [error["extensions"]["code"] for error in failure["errors"]] == ["INTERNAL_SERVER_ERROR"]
    assert end == ("complete", None)


async def test_each_event_has_a_context_of_its_own(served: Served) -> None:
    async with streamed(served, "subscription { contexts { number } }") as stream:
        numbers = [data["data"]["contexts"]["number"] async for name, data in stream if name == "next"]
    assert len(set(numbers)) == 3


async def test_a_browsers_event_source_may_ask_by_get(served: Served) -> None:
    async with http_client() as client:
        parameters = {"query": "subscription { count(to: 1) }"}
        response = await client.get(served.url, params=parameters, headers={"accept": "text/event-stream"})
    assert response.text == 'event: next\ndata: {"data":{"count":"0"}}\n\nevent: complete\ndata: \n\n'


async def test_the_token_says_who_asks(served: Served) -> None:
    async with streamed(served, "{ whoami }", authorization="Bearer ada") as stream:
        assert await anext(stream) == ("next", {"data": {"whoami": "ada"}})


async def test_a_bad_token_is_refused_before_the_stream(served: Served) -> None:
    headers = {"accept": "text/event-stream", "authorization": "Bearer forged"}
    async with http_client() as client:
        response = await client.post(served.url, json={"query": "{ hello }"}, headers=headers)
    assert response.status_code == 401
    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_hangup_ends_the_subscription(served: Served) -> None:
    async with streamed(served, "subscription { forever }") as stream:
        await anext(stream)
    await until(lambda: served.world.closed)


async def test_heartbeats_are_comments(serve: Serve) -> None:
    served = serve(settings={"heartbeat": 0.05, "drain_time": 0})
    async with streamed(served, "subscription { forever(seconds: 60) }") as stream:
        assert await anext(stream) == ("next", {"data": {"forever": 0}})
        assert await anext(stream) == ("comment", None)
        assert await anext(stream) == ("comment", None)


async def test_the_stream_says_that_the_token_has_expired_and_is_cut(served: Served) -> None:
    served.world.expires_at = datetime.now(UTC) - CLOCK_SKEW + timedelta(seconds=1.5)
    async with streamed(served, "subscription { forever }", authorization="Bearer ada") as stream:
        results = [event async for event in stream]
    assert {name for name, _ in results} == {
        "next"
    }  # without complete, which would say that there is no more
    assert results[-1][1]["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    await until(lambda: served.world.closed == 1)


async def test_the_stream_is_cut_when_the_token_is_revoked(serve: Serve) -> None:
    served = serve(settings={"identity_recheck": 0.05})
    async with streamed(served, "subscription { forever }", authorization="Bearer ada") as stream:
        await anext(stream)
        served.world.revoked.add("ada")
        assert "complete" not in [name async for name, _ in stream]


async def test_the_stream_ends_when_its_viewer_loses_the_right_to_it(serve: Serve) -> None:
    served = serve(settings={"identity_recheck": 0.05})
    async with streamed(served, "subscription { guarded }", authorization="Bearer ada") as stream:
        assert await anext(stream) == ("next", {"data": {"guarded": 1}})
        served.world.forbidden.add("ada")
        (name, refusal), end = [event async for event in stream]
    assert (name, end) == ("next", ("complete", None))
    assert refusal["errors"][0]["extensions"]["code"] == "REFUSED"


async def test_streams_beyond_the_limit_are_refused_with_503(serve: Serve) -> None:
    served = serve(settings={"max_sockets": 1, "drain_time": 0})
    async with streamed(served, "subscription { forever }") as stream, http_client() as client:
        await anext(stream)
        response = await client.post(
            served.url, json={"query": "{ hello }"}, headers={"accept": "text/event-stream"}
        )
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


async def test_a_client_that_reads_nothing_holds_up_its_source(served: Served) -> None:
    async with streamed(served, "subscription { count(to: 100000, size: 10000) }") as stream:
        await anext(stream)
        async with http_client() as client:
            assert (await client.post(served.url, json={"query": "{ hello }"})).status_code == 200
        assert served.world.closed == 0  # a gigabyte is not produced ahead of its reader


async def test_a_hangup_ends_a_source_that_never_waits(served: Served) -> None:
    async with streamed(served, "subscription { count(to: 1000000000, size: 1000) }") as stream:
        await anext(stream)
    await until(lambda: served.world.closed)


async def test_a_process_that_stops_cuts_its_streams(serve: Serve) -> None:
    served = serve(settings={"drain_time": 0.2})
    async with streamed(served, "subscription { forever(seconds: 60) }") as stream:
        assert await anext(stream) == ("next", {"data": {"forever": 0}})
        served.stop()
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(stream)
