"""OpenTelemetry: a span for each operation and for each of its statements; fields have none.

Off unless GRAPHQL_API_TRACING is set; OpenTelemetry's own variables say where spans are sent.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from graphql_api.execution.operations import Operation
from graphql_api.postgres.database import Database, Transaction
from graphql_api.postgres.replica import ReplicaDatabase
from graphql_api.postgres.statement import Statement

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_LONGEST_SQL = 2000


@contextmanager
def _mark_failure(span: "Span") -> Iterator[None]:
    """Marks a span as failed if its block raises, with the type of the exception.

    OpenTelemetry itself would record the message, too, which may have values of rows and arguments.
    """
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - an optional dependency

    try:
        yield
    except Exception as error:
        span.set_attribute("error.type", type(error).__qualname__)
        if isinstance(error, asyncpg.PostgresError) and error.sqlstate:
            span.set_attribute("db.response.status_code", error.sqlstate)
        span.set_status(StatusCode.ERROR)
        raise


class Tracing:
    """Makes the spans of one process."""

    def __init__(self, tracer: "Tracer | None" = None) -> None:
        """Without a tracer, spans are sent as OTEL_EXPORTER_OTLP_ENDPOINT and similar variables say."""
        from opentelemetry.propagate import extract  # noqa: PLC0415 - an optional dependency

        self.tracer = tracer or _exporting_tracer()
        self._extract = extract

    @contextmanager
    def operation(self, operation: Operation) -> Iterator["Span"]:
        """Yields the span of an operation, a child of the client's own (W3C traceparent)."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        extensions = operation.request.extensions or {}
        parent = extensions.get("traceparent")
        name = operation.parsed.definition.name
        attributes = {"graphql.operation.type": operation.type.value}
        if name is not None:
            attributes["graphql.operation.name"] = name.value
        started = self.tracer.start_as_current_span(
            # The client's name for it isn't part of the span's name, since there should be few different
            # ones.
            operation.type.value,
            context=self._extract({"traceparent": parent}) if isinstance(parent, str) else None,
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        )
        with started as span, _mark_failure(span):
            yield span

    @contextmanager
    def statement(self, sql: str) -> Iterator[None]:
        """Runs the block in the span of a statement, without its arguments."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        started = self.tracer.start_as_current_span(
            sql.split(None, 1)[0].upper(),
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "postgresql", "db.query.text": sql[:_LONGEST_SQL]},
            record_exception=False,
            set_status_on_exception=False,
        )
        with started as span, _mark_failure(span):
            yield


class _TracedTransaction(Transaction):
    def __init__(self, inner: Transaction, tracing: Tracing) -> None:
        self._inner, self._tracing = inner, tracing

    async def fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        with self._tracing.statement(statement.sql):
            return await self._inner.fetch(statement, **values)


class _Traced(Database):
    """A database whose statements have spans."""

    tracing: Tracing

    async def _fetch(self, sql: str, arguments: list[Any]) -> list[asyncpg.Record]:
        with self.tracing.statement(sql):
            return await super()._fetch(sql, arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with super().transaction() as transaction:
            yield _TracedTransaction(transaction, self.tracing)


class TracedDatabase(_Traced):
    """The primary, traced."""


class TracedReplica(_Traced, ReplicaDatabase):
    """The replica, traced."""


def _exporting_tracer() -> "Tracer":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise RuntimeError(
            "GRAPHQL_API_TRACING needs more packages: pip install 'tradingbot-graphql-api[tracing]'"
        ) from None
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
    resource = Resource({SERVICE_NAME: "graphql-api"}).merge(Resource.create())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("graphql-api")
