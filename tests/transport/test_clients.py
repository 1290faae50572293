"""Client libraries of other authors, as browsers and programs use them."""

from contextlib import AsyncExitStack

import pytest
from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportQueryError
from gql.transport.websockets import WebsocketsTransport

from tests.node import node_with
from tests.transport.conftest import Serve, Served
from tests.transport.scripts import AUDITS, FOLDER, said, script
from tests.transport.sockets import connected

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def node() -> str:
    """Node.js, with the packages of the lock file beside the scripts."""
    return node_with(FOLDER)


async def test_every_audit_of_graphql_over_http_passes(node: str, served: Served) -> None:
    audits = await said(node, "audits.mjs", served.url)
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len(audits) == AUDITS


SUBSCRIPTION = "subscription { count(to: 2) }"
COUNTED = [["next", {"data": {"count": "0"}}], ["next", {"data": {"count": "1"}}], ["complete"]]


async def test_graphql_ws_follows_a_subscription(node: str, served: Served) -> None:
    assert await said(node, "graphql-ws.mjs", served.socket_url, SUBSCRIPTION) == [*COUNTED, ["closed", 1000]]


RESTING = "subscription { resting }"
RESTED = [["next", {"data": {"resting": 0}}], ["next", {"data": {"resting": 1}}], ["complete"]]


async def test_graphql_ws_tells_of_progress_in_its_place(node: str, served: Served) -> None:
    first, (kind, progress), *rest = await said(node, "graphql-ws.mjs", served.socket_url, RESTING)
    assert (kind, progress["cursor"]) == ("ping", "there")
    assert [first, *rest] == [*RESTED, ["closed", 1000]]


async def test_graphql_ws_authenticates(node: str, served: Served) -> None:
    first, *_ = await said(node, "graphql-ws.mjs", served.socket_url, "{ whoami }", "Bearer ada")
    assert first == ["next", {"data": {"whoami": "ada"}}]


async def test_graphql_ws_is_told_of_a_refused_document(node: str, served: Served) -> None:
    async with script(node, "graphql-ws.mjs", served.socket_url, "{ nothing }") as output:
        kind, (error,) = await anext(output)
    assert (kind, error["extensions"]["code"]) == ("error", "GRAPHQL_VALIDATION_FAILED")


async def test_graphql_sse_follows_a_subscription(node: str, served: Served) -> None:
    assert await said(node, "graphql-sse.mjs", served.url, SUBSCRIPTION) == COUNTED


async def test_graphql_sse_passes_over_progress(node: str, served: Served) -> None:
    assert await said(node, "graphql-sse.mjs", served.url, RESTING) == RESTED


async def test_graphql_sse_authenticates(node: str, served: Served) -> None:
    first, *_ = await said(node, "graphql-sse.mjs", served.url, "{ whoami }", "Bearer ada")
    assert first == ["next", {"data": {"whoami": "ada"}}]


async def test_graphql_sse_comes_back_after_a_deploy(node: str, serve: Serve) -> None:
    first = serve(settings={"drain_time": 0})
    query = "subscription { forever(seconds: 60) }"
    async with script(node, "graphql-sse.mjs", first.url, query) as output:
        assert await anext(output) == ["next", {"data": {"forever": 0}}]
        first.stop()
        assert await anext(output) == ["reconnecting"]
        second = serve(settings={"drain_time": 0, "port": first.port})
        while (event := await anext(output)) == ["reconnecting"]:
            pass
        assert event == ["next", {"data": {"forever": 0}}]
        assert second.world.started == 1


async def test_graphql_sse_comes_back_when_there_is_room(node: str, serve: Serve) -> None:
    served = serve(settings={"max_sockets": 1})
    async with AsyncExitStack() as stack:
        async with connected(served):
            output = await stack.enter_async_context(
                script(node, "graphql-sse.mjs", served.url, SUBSCRIPTION)
            )
            assert await anext(output) == ["reconnecting"]
        while (event := await anext(output)) == ["reconnecting"]:
            pass
        assert event == COUNTED[0]


@pytest.mark.parametrize("client", ["apollo", "urql"])
async def test_queries_mutations_and_subscriptions(node: str, served: Served, client: str) -> None:
    assert await said(node, f"{client}.mjs", served.url, served.socket_url) == [
        ["query", {"whoami": "ada"}],
        ["mutation", {"write": 1}],
        ["error", {"code": "REFUSED"}],
        ["next", {"count": "0"}],
        ["next", {"count": "1"}],
        ["complete"],
    ]


async def test_gql_queries_by_http(served: Served) -> None:
    transport = AIOHTTPTransport(served.url, headers={"authorization": "Bearer ada"})
    async with Client(transport=transport, fetch_schema_from_transport=True) as session:
        assert await session.execute(gql("{ whoami }")) == {"whoami": "ada"}
        with pytest.raises(TransportQueryError, match="refused"):
            await session.execute(gql("{ refused }"))


async def test_gql_passes_over_progress(served: Served) -> None:
    transport = WebsocketsTransport(
        served.socket_url, subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL]
    )
    async with Client(transport=transport) as session:
        assert [event async for event in session.subscribe(gql(RESTING))] == [{"resting": 0}, {"resting": 1}]


async def test_gql_subscribes_by_websocket(served: Served) -> None:
    transport = WebsocketsTransport(
        served.socket_url,
        init_payload={"Authorization": "Bearer ada"},
        subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
    )
    async with Client(transport=transport) as session:
        events = [event async for event in session.subscribe(gql(SUBSCRIPTION))]
        assert events == [{"count": "0"}, {"count": "1"}]
        assert await session.execute(gql("{ whoami }")) == {"whoami": "ada"}
