"""What Prometheus reads at /metrics. Each process counts for itself."""

from collections.abc import Iterable, Sequence

from graphql import GraphQLError
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from graphql_api.execution.operations import Operations
from graphql_api.execution.results import Result
from graphql_api.log_feed.stats import FeedStats
from graphql_api.postgres.database import Database

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class Metrics:
    """The transports' own numbers, in a registry of their own, and whatever else is given to it."""

    def __init__(self, collectors: Iterable[Collector] = ()) -> None:
        self.registry = registry = CollectorRegistry()
        self.operations = Histogram(
            "graphql_operation_seconds",
            "Time to answer an operation; for subscriptions, to answer one event.",
            ("transport", "kind", "outcome"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._timers: dict[tuple[str, str, str], Histogram] = {}  # finding one by its labels takes longer
        self.errors = Counter(
            "graphql_errors", "Errors that clients were told.", ("code",), registry=registry
        )
        self.running = Gauge(
            "graphql_operations_running", "Queries and mutations under way.", registry=registry
        )
        self.shed = Counter("graphql_operations_shed", "Operations told to come back.", registry=registry)
        self.connections = Gauge(
            "graphql_connections", "Open sockets and event streams.", ("transport",), registry=registry
        )
        self.subscriptions = Gauge("graphql_subscriptions", "Subscriptions under way.", registry=registry)
        self.events = Counter("graphql_subscription_events", "Events sent to subscribers.", registry=registry)
        self.closes = Counter(
            "graphql_socket_closes", "Sockets that we closed.", ("code",), registry=registry
        )
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        for collector in collectors:
            registry.register(collector)

    def observe(self, transport: str, kind: str, seconds: float, result: Result) -> None:
        """Count an operation that was answered."""
        outcome = "ok"
        if result.errors:
            outcome = "errors" if result.executed else "refused"
            self.count_errors(result.errors)
        key = (transport, kind, outcome)
        timer = self._timers.get(key)
        if timer is None:
            timer = self._timers[key] = self.operations.labels(*key)
        timer.observe(seconds)

    def count_errors(self, errors: Sequence[GraphQLError]) -> None:
        """Count errors by their codes."""
        for error in errors:
            self.errors.labels(str((error.extensions or {}).get("code", "NONE"))).inc()


class FeedCollector(Collector):
    """The log feed of this process."""

    def __init__(self, stats: FeedStats) -> None:
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        """The numbers as they are now."""
        stats = self._stats
        yield GaugeMetricFamily("log_feed_subscribers", "Subscribers of the feed.", stats.subscribers)
        yield GaugeMetricFamily("log_feed_filters", "Distinct filters among them.", stats.groups)
        yield GaugeMetricFamily(
            "log_feed_catching_up", "Subscribers that are served from the database.", stats.catching_up
        )
        yield GaugeMetricFamily("log_feed_buffered_rows", "Rows kept for the late.", stats.buffered_rows)
        yield GaugeMetricFamily("log_feed_buffered_bytes", "About what they take.", stats.buffered_bytes)
        yield GaugeMetricFamily("log_feed_connected", "Whether the reader has its database.", stats.connected)
        yield GaugeMetricFamily(
            "log_feed_lag_seconds", "Since the reader last knew that it had read everything.", stats.lag()
        )
        yield CounterMetricFamily("log_feed_rows", "Rows that the reader has read.", stats.rows)
        yield CounterMetricFamily("log_feed_deliveries", "Events handed to subscribers.", stats.deliveries)
        yield CounterMetricFamily("log_feed_pulls", "Statements of the reader.", stats.fetches)
        yield CounterMetricFamily("log_feed_wake_ups", "Notifications of the database.", stats.notifications)
        yield CounterMetricFamily("log_feed_reconnects", "Connections lost and made anew.", stats.reconnects)
        yield CounterMetricFamily(
            "log_feed_catch_ups", "How often a subscriber began to read from the database.", stats.catch_ups
        )
        yield CounterMetricFamily(
            "log_feed_catch_up_pages", "Pages that they have read there.", stats.catch_up_pages
        )
        yield CounterMetricFamily(
            "log_feed_catch_up_rows", "Rows of those pages, matching or not.", stats.catch_up_rows
        )
        yield CounterMetricFamily(
            "log_feed_resets", "How often continuity could not be proved, and all were ended.", stats.resets
        )


class PoolCollector(Collector):
    """The pool of database connections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterable[Metric]:
        """The numbers as they are now."""
        size, in_use = self._database.pool_usage()
        yield GaugeMetricFamily("database_pool_size", "Connections there may be.", size)
        yield GaugeMetricFamily("database_pool_in_use", "Connections in use.", in_use)


class DocumentCollector(Collector):
    """The cache of documents, and which of their operations were not compiled."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def collect(self) -> Iterable[Metric]:
        """The numbers as they are now."""
        documents, plans = self._operations.documents, self._operations.plans
        yield CounterMetricFamily("graphql_document_cache_hits", "Documents found.", documents.hits)
        yield CounterMetricFamily("graphql_document_cache_misses", "Documents read.", documents.misses)
        if plans is None:
            return
        yield CounterMetricFamily("graphql_plans_compiled", "Plans compiled.", plans.compiled)
        fallbacks = CounterMetricFamily(
            "graphql_engine_fallbacks", "Operations left to the stock executor.", labels=["reason"]
        )
        for reason, times in plans.fallbacks.items():
            fallbacks.add_metric([reason], times)
        yield fallbacks
