"""What others count, as Prometheus reads it: asked for at each scrape, so that nothing is counted twice."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from graphql_api.execution.operations import Operations
from graphql_api.log_feed.stats import FeedStats
from graphql_api.postgres.database import Database


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
        yield CounterMetricFamily("log_feed_pulls", "Statements of the reader.", stats.pulls)
        yield CounterMetricFamily("log_feed_wake_ups", "Notifications of the database.", stats.wake_ups)
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
