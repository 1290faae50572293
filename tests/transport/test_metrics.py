from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.http_client import http_client
from tests.transport.conftest import Serve, Served, until
from tests.transport.sockets import ask, close_of, connected, hear


async def sample(served: Served, name: str, **labels: str) -> float:
    async with http_client() as client:
        text = (await client.get(f"http://{served.host}/metrics")).text
    for family in text_string_to_metric_families(text):
        for found in family.samples:
            if found.name == name and labels.items() <= found.labels.items():
                return found.value
    return 0


async def test_operations_are_timed_by_kind_and_outcome(serve: Serve) -> None:
    served = serve()
    async with http_client() as client:
        for query in ("{ hello }", "{ hello }", "mutation { write }", "{ refused }", "{ nothing }"):
            await client.post(served.url, json={"query": query})
        client.headers["accept"] = "text/event-stream"
        await client.post(served.url, json={"query": "{ hello }"})
    assert await sample(served, "graphql_operation_seconds_count", transport="sse", kind="query") == 1
    for kind, outcome, count in [
        ("query", "ok", 2),
        ("mutation", "ok", 1),
        ("query", "errors", 1),
        ("unknown", "refused", 1),
    ]:
        name = "graphql_operation_seconds_count"
        assert await sample(served, name, transport="http", kind=kind, outcome=outcome) == count


async def test_errors_are_counted_by_code(serve: Serve) -> None:
    served = serve()
    async with http_client() as client:
        await client.post(served.url, json={"query": "{ refused again: refused }"})
        await client.post(served.url, content=b"")
    assert await sample(served, "graphql_errors_total", code="REFUSED") == 2
    assert await sample(served, "graphql_errors_total", code="UNSUPPORTED_MEDIA_TYPE") == 1


@pytest.mark.parametrize(
    ("query", "variables", "code"),
    [
        ("{ refused }", None, "REFUSED"),
        ("query ($size: Int!) { text(size: $size) }", {"size": None}, "BAD_USER_INPUT"),
        ("subscription { wrong { field } }", None, "REFUSED"),
        ("{ nothing }", None, "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_an_error_is_counted_once_over_every_transport(
    serve: Serve, query: str, variables: dict[str, Any] | None, code: str
) -> None:
    served = serve()
    async with connected(served) as socket:
        await ask(socket, "a", query, variables=variables)
        await hear(socket)
        assert await sample(served, "graphql_errors_total", code=code) == 1
    async with http_client(headers={"accept": "text/event-stream"}) as client:
        await client.post(served.url, json={"query": query, "variables": variables})
    assert await sample(served, "graphql_errors_total", code=code) == 2


async def test_sockets_subscriptions_and_events_are_counted(serve: Serve) -> None:
    served = serve()
    async with connected(served) as socket:
        await ask(socket, "a", "subscription { forever(seconds: 60) }")
        await hear(socket)
        assert await sample(served, "graphql_connections", transport="websocket") == 1
        assert await sample(served, "graphql_subscriptions") == 1
        assert await sample(served, "graphql_subscription_events_total") == 1
    await until(lambda: served.world.closed)
    await until(lambda: not served.server.server_state.tasks)
    assert await sample(served, "graphql_connections", transport="websocket") == 0
    assert await sample(served, "graphql_subscriptions") == 0


@pytest.mark.parametrize(("message", "code"), [("nonsense", 4400), ("x" * 2000, 1009)])
async def test_closes_are_counted_by_code(serve: Serve, message: str, code: int) -> None:
    served = serve(settings={"max_message_size": 1000})
    async with connected(served) as socket:
        await socket.send(message)
        assert (await close_of(socket))[0] == code
    await until(lambda: not served.server.server_state.tasks)
    assert await sample(served, "graphql_socket_closes_total", code=str(code)) == 1


class Pool:
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("database_connections", "Connections in use.", value=7)


async def test_the_numbers_of_others_are_shown(serve: Serve) -> None:
    assert await sample(serve(collectors=[Pool()]), "database_connections") == 7
