"""Metrics of the backups: how old they are, and whether the write-ahead log is received."""

from collections.abc import Iterable
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from graphql_api.backup.catalog import Catalog, Kind
from graphql_api.backup.recovery import recoverable_until


class BackupCollector(Collector):
    """The backups of a catalog, read at each scrape."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def collect(self) -> Iterable[Metric]:
        """Yields the numbers as they are now; times are seconds since 1970."""
        backups, state = self._catalog.backups(), self._catalog.state()
        yield GaugeMetricFamily("backup_count", "Backups that are kept.", len(backups))
        yield GaugeMetricFamily(
            "backup_failed", "1 if the last one failed, or can't be verified.", bool(state.failed_at)
        )
        if not backups:
            return
        if any(backup.kind is not Kind.DUMP for backup in backups):
            received = state.is_received(datetime.now(UTC))
            yield GaugeMetricFamily(
                "backup_log_received", "1 while the write-ahead log is received.", received
            )
        verified = [backup.verified_at for backup in backups if backup.verified_at]
        newest = backups[-1]
        yield GaugeMetricFamily("backup_bytes", "Size of the newest.", newest.bytes)
        yield GaugeMetricFamily(
            "backup_finished_timestamp_seconds",
            "When the newest was finished.",
            newest.finished_at.timestamp(),
        )
        yield GaugeMetricFamily(
            "backup_reach_timestamp_seconds",
            "Up to when everything can be restored.",
            recoverable_until(self._catalog, newest).timestamp(),
        )
        if verified:
            yield GaugeMetricFamily(
                "backup_verified_timestamp_seconds",
                "When one was last restored and compared.",
                max(verified).timestamp(),
            )
