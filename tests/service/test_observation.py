"""What operators see of single operations: the log, the plans of slow ones, sums by name, and traces."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from graphql_api.postgres.address import Address
from tests.http_client import http_client
from tests.service.conftest import Service, served_from

pytestmark = pytest.mark.slow

WAITING = """
    SELECT count(*) FROM pg_locks
    WHERE relation = 'tradelocker_accounts'::regclass AND NOT granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
QUERY = "query Mine { viewer { user { accounts { nodes { accountNumber } } } } }"


async def ask(service: Service, token: str, **headers: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", **headers}
    async with http_client() as client:
        return await client.post(service.url, json={"query": QUERY}, headers=headers)


def lines(service: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]


async def test_each_operation_has_a_line_if_that_is_wished_for(address: Address, tmp_path: Path) -> None:
    settings = {"GRAPHQL_API_LOG_OPERATIONS": "true", "GRAPHQL_API_LOG_FORMAT": "json"}
    async with served_from(address, tmp_path, **settings) as service:
        token = await service.user("trader@example.com")
        await ask(service, token, **{"x-request-id": "abc 123", "graphql-client-name": "ios"})

        line = lines(service)[-1]
        assert "long enough" not in service.log.read_text()  # the password, a variable
    assert line["level"] == "INFO"
    assert line["operation"]["id"] == "abc123"
    assert line["operation"]["operation"] == "Mine"
    assert line["operation"]["client"] == "ios"
    assert line["operation"]["type"] == "query"
    assert line["operation"]["viewer"]
    assert line["operation"]["ms"] > 0


@asynccontextmanager
async def held(address: Address, table: str) -> AsyncIterator["asyncpg.Connection"]:
    """Keeps everybody from a table for the block. Yields the connection that does."""
    connection = await address.connect_plain()
    await connection.execute(f"BEGIN; LOCK TABLE {table}")
    try:
        yield connection
    finally:
        await connection.close()


async def test_a_slow_operation_is_explained(address: Address, tmp_path: Path) -> None:
    settings = {"GRAPHQL_API_SLOW_OPERATION": "0.3", "GRAPHQL_API_LOG_FORMAT": "json"}
    async with served_from(address, tmp_path, **settings) as service:
        token = await service.user("trader@example.com")
        async with held(address, "tradelocker_accounts") as connection:
            asking = asyncio.create_task(ask(service, token, **{"x-request-id": "slow-1"}))
            while not await connection.fetchval(WAITING):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
        await asking
        while not (
            explained := [line for line in lines(service) if "tradelocker" in line.get("statement", "")]
        ):
            await asyncio.sleep(0.05)
        said = lines(service)

    slow = [line for line in said if line["message"].startswith("slow operation: ")]
    assert slow[-1]["operation"]["id"] == "slow-1"  # signing in may be slow, too
    assert "Scan" in explained[0]["plan"]
    assert explained[0]["operation"]["id"] == "slow-1"


async def test_metrics_tell_what_each_operation_and_client_used(service: Service) -> None:
    token = await service.user("trader@example.com")
    for _ in range(3):
        await ask(service, token, **{"apollographql-client-name": "web"})
    async with http_client() as client:
        text = (await client.get(service.url.replace("/graphql", "/metrics"))).text

    assert 'graphql_named_operations_total{client="web",operation="Mine"} 3.0' in text


async def test_names_are_bounded(service: Service) -> None:
    async with http_client() as client:
        for number in range(220):
            await client.post(service.url, json={"query": f"query N{number} {{ __typename }}"})
        text = (await client.get(service.url.replace("/graphql", "/metrics"))).text

    names = [line for line in text.splitlines() if line.startswith("graphql_named_operations_total{")]
    assert len(names) == 201
    assert 'graphql_named_operations_total{client="other",operation="other"} 20.0' in text


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """A collector that speaks OTLP: its URL, and the spans that it got."""
    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest.FromString(
                self.rfile.read(int(self.headers["content-length"]))
            )
            spans.extend(
                span
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    server.server_close()


async def test_operations_and_statements_are_traced(
    address: Address, tmp_path: Path, collector: tuple[str, list[Any]]
) -> None:
    url, spans = collector
    settings = {
        "GRAPHQL_API_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with served_from(address, tmp_path, **settings) as service:
        token = await service.user("trader@example.com")
        await ask(service, token, traceparent=f"00-{trace}-b7ad6b7169203331-01")
        while not any(span.trace_id.hex() == trace and span.name == "query" for span in spans):
            await asyncio.sleep(0.05)

    ours = [span for span in spans if span.trace_id.hex() == trace]
    [operation] = [span for span in ours if span.name == "query"]
    statements = [span for span in ours if span.name == "SELECT" or span.name == "WITH"]
    assert operation.parent_span_id.hex() == "b7ad6b7169203331"
    assert statements
    assert {span.parent_span_id for span in statements} == {operation.span_id}
    names = {attribute.key: attribute.value.string_value for attribute in operation.attributes}
    assert names == {"graphql.operation.type": "query", "graphql.operation.name": "Mine"}
