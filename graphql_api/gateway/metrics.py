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
from prometheus_client.registry import Collector

from graphql_api.execution.results import Result

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

    def answered(self, transport: str, kind: str, seconds: float, result: Result) -> None:
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
