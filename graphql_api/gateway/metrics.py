"""Metrics for Prometheus at /metrics: of the transports, the feed, the pool and the document cache.

Each process counts for itself. At each scrape, a collector reads the numbers of another part of the process.
"""

import time
from collections.abc import Iterable, Mapping, Sequence

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

from graphql_api.execution.operations import Operations, Result
from graphql_api.gateway.replica_reads import ReplicaReads
from graphql_api.log_feed.recorder import Recorder
from graphql_api.log_feed.stats import FeedStats
from graphql_api.postgres.database import Database
from graphql_api.postgres.vocabularies import VOCABULARIES
from graphql_api.quotas import Usage

_MOST_NAMES = 200
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class Metrics:
    """The metrics of the transports, in a registry of their own, and those of `collectors`."""

    def __init__(self, collectors: Iterable[Collector] = ()) -> None:
        self.registry = registry = CollectorRegistry()
        self.operations = Histogram(
            "graphql_operation_seconds",
            "Time to answer a query or a mutation.",
            ("transport", "kind", "outcome"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._timers: dict[tuple[str, str, str], Histogram] = {}  # a look-up by labels takes longer
        self.errors = Counter("graphql_errors", "Errors sent to clients.", ("code",), registry=registry)
        self.running = Gauge(
            "graphql_operations_running", "Queries and mutations that are running.", registry=registry
        )
        self.shed = Counter(
            "graphql_operations_shed", "Operations refused because too many were running.", registry=registry
        )
        self.by_name: dict[tuple[str, str], list[float]] = {}
        """By operation name and client: runs, seconds, CPU seconds, seconds of long statements, and rows."""
        registry.register(_NamedOperations(self.by_name))
        self.connections = Gauge(
            "graphql_connections", "Open sockets and event streams.", ("transport",), registry=registry
        )
        self.subscriptions = Gauge(
            "graphql_subscriptions", "Subscriptions that are running.", registry=registry
        )
        self.events = Counter("graphql_subscription_events", "Events sent to subscribers.", registry=registry)
        self.closes = Counter(
            "graphql_socket_closes", "Sockets that the service closed.", ("code",), registry=registry
        )
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        for collector in collectors:
            registry.register(collector)

    def observe(self, transport: str, kind: str, seconds: float, result: Result) -> None:
        """Counts an operation that has ended, and the time it took."""
        outcome = "ok" if not result.errors else "errors" if result.executed else "refused"
        key = (transport, kind, outcome)
        timer = self._timers.get(key)
        if timer is None:
            timer = self._timers[key] = self.operations.labels(*key)
        timer.observe(seconds)

    def count_operation(self, name: str, client: str, seconds: float, usage: Usage) -> None:
        """Adds what an operation has used to the sums of its name and client; after 200 names, to "other"."""
        key = (name, client)
        entry = self.by_name.get(key)
        if entry is None:
            if len(self.by_name) >= _MOST_NAMES:
                key = ("other", "other")
            entry = self.by_name.setdefault(key, [0.0] * 5)
        entry[0] += 1
        entry[1] += seconds
        entry[2] += usage.cpu
        entry[3] += usage.database
        entry[4] += usage.rows

    def count_errors(self, errors: Sequence[GraphQLError]) -> None:
        """Counts errors that are sent to a client, by their codes."""
        for error in errors:
            self.errors.labels(str((error.extensions or {}).get("code", "NONE"))).inc()


class _NamedOperations(Collector):
    """What operations have used, by the names that clients give them and by the names of clients."""

    def __init__(self, by_name: Mapping[tuple[str, str], Sequence[float]]) -> None:
        self._by_name = by_name

    def collect(self) -> Iterable[Metric]:
        """Yields the numbers as they are now."""
        labels = ("operation", "client")
        families = (
            CounterMetricFamily("graphql_named_operations", "Queries and mutations.", labels=labels),
            CounterMetricFamily("graphql_named_operation_seconds", "Time they took.", labels=labels),
            CounterMetricFamily("graphql_named_operation_cpu_seconds", "CPU time of it.", labels=labels),
            CounterMetricFamily(
                "graphql_named_operation_database_seconds", "Time of long statements.", labels=labels
            ),
            CounterMetricFamily("graphql_named_operation_rows", "Rows that were read.", labels=labels),
        )
        for key, values in list(self._by_name.items()):
            for family, value in zip(families, values, strict=True):
                family.add_metric(key, value)
        yield from families


class FeedCollector(Collector):
    """A feed of this process."""

    def __init__(self, name: str, stats: FeedStats) -> None:
        self._name = name
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        """Yields the numbers as they are now."""
        name, stats = self._name, self._stats
        yield GaugeMetricFamily(f"{name}_subscribers", "Subscribers of the feed.", stats.subscribers)
        yield GaugeMetricFamily(f"{name}_filters", "Distinct filters among them.", stats.groups)
        yield GaugeMetricFamily(
            f"{name}_catching_up", "Subscribers that read missed rows from the database.", stats.catching_up
        )
        yield GaugeMetricFamily(
            f"{name}_buffered_rows",
            "Rows kept in memory for subscribers that lag behind.",
            stats.buffered_rows,
        )
        yield GaugeMetricFamily(
            f"{name}_buffered_bytes", "Approximate size of those rows.", stats.buffered_bytes
        )
        yield GaugeMetricFamily(
            f"{name}_connected", "1 while the tail is connected to its database.", stats.connected
        )
        yield GaugeMetricFamily(
            f"{name}_lag_seconds",
            "Seconds since the tail last knew that it had read every row.",
            stats.lag(),
        )
        yield CounterMetricFamily(f"{name}_rows", "Rows that the tail has read.", stats.rows)
        yield CounterMetricFamily(f"{name}_deliveries", "Events handed to subscribers.", stats.deliveries)
        yield CounterMetricFamily(f"{name}_fetches", "Statements of the tail.", stats.fetches)
        yield CounterMetricFamily(
            f"{name}_notifications", "Notifications by the database.", stats.notifications
        )
        yield CounterMetricFamily(f"{name}_reconnects", "Connections lost and made again.", stats.reconnects)
        yield CounterMetricFamily(
            f"{name}_catch_ups",
            "Times that a subscriber began to read missed rows from the database.",
            stats.catch_ups,
        )
        yield CounterMetricFamily(
            f"{name}_catch_up_pages", "Pages of missed rows that were read.", stats.catch_up_pages
        )
        yield CounterMetricFamily(
            f"{name}_catch_up_rows", "Rows of those pages, whether they matched or not.", stats.catch_up_rows
        )
        yield CounterMetricFamily(
            f"{name}_resets",
            "Times that all subscriptions were ended, since rows might have been missed.",
            stats.resets,
        )


class RecorderCollector(Collector):
    """The recorders of this process. In a deployment, one process is active for each recording."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders = recorders

    def collect(self) -> Iterable[Metric]:
        """Yields the numbers as they are now."""
        active = GaugeMetricFamily(
            "recorder_active", "1 in the process that records; 0 in those that wait.", labels=("recording",)
        )
        age = GaugeMetricFamily(
            "recorder_poll_age_seconds", "Seconds since it polled the database.", labels=("recording",)
        )
        polls = CounterMetricFamily("recorder_polls", "Polls of the database.", labels=("recording",))
        for recorder in self._recorders:
            active.add_metric([recorder.name], recorder.is_active)
            polls.add_metric([recorder.name], recorder.polls)
            if recorder.is_active:
                age.add_metric([recorder.name], time.monotonic() - recorder.polled_at)
        yield from (active, age, polls)


class PoolCollector(Collector):
    """The pool of database connections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterable[Metric]:
        """Yields the numbers as they are now."""
        size, in_use = self._database.pool_usage()
        yield GaugeMetricFamily("database_pool_size", "Connections that the pool may open.", size)
        yield GaugeMetricFamily("database_pool_in_use", "Connections in use.", in_use)


class ReplicaCollector(Collector):
    """The replica that takes reads, if there is one."""

    def __init__(self, reads: ReplicaReads) -> None:
        self._reads = reads

    def collect(self) -> Iterable[Metric]:
        """Yields the numbers as they are now."""
        reads, replica = self._reads, self._reads.replica
        yield GaugeMetricFamily("replica_usable", "1 while the replica takes reads.", replica.is_usable())
        yield GaugeMetricFamily("replica_lag_seconds", "Seconds that the replica is behind.", replica.lag)
        yield CounterMetricFamily("replica_queries", "Queries sent to the replica.", reads.chosen)
        yield CounterMetricFamily(
            "replica_repeated_reads",
            "Reads that the replica failed at, and the primary answered.",
            replica.database.repeated,
        )


class DocumentCollector(Collector):
    """The cache of documents, and the operations that were compiled or not."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def collect(self) -> Iterable[Metric]:
        """Yields the numbers as they are now."""
        operations, documents = self._operations, self._operations.documents
        yield CounterMetricFamily("graphql_document_cache_hits", "Documents found.", documents.hits)
        yield CounterMetricFamily("graphql_document_cache_misses", "Documents read.", documents.misses)
        yield CounterMetricFamily("graphql_plans_compiled", "Plans compiled.", operations.compiled)
        fallbacks = CounterMetricFamily(
            "graphql_engine_fallbacks", "Operations run by graphql-core's executor.", labels=["reason"]
        )
        for reason, times in operations.fallbacks.items():
            fallbacks.add_metric([reason], times)
        yield fallbacks


class VocabularyCollector(Collector):
    """Words in free-text columns that no vocabulary has (`postgres.vocabularies`), counted by column."""

    def collect(self) -> Iterable[Metric]:
        """Yields the numbers as they are now."""
        unknown = CounterMetricFamily(
            "vocabulary_unknown_words",
            "Different words that were read as OTHER, up to 1,000 of a column.",
            labels=["column"],
        )
        for vocabulary in VOCABULARIES:
            unknown.add_metric([vocabulary.column], len(vocabulary.unknown))
        yield unknown
