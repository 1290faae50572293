"""Counts of a feed, for `/metrics`."""

import time
from dataclasses import dataclass


@dataclass(slots=True)
class FeedStats:
    """Totals since the process began, and gauges of the present state."""

    subscribers: int = 0
    groups: int = 0
    """Distinct filters among the subscribers."""
    catching_up: int = 0
    """Subscribers that read from the database now."""
    buffered_rows: int = 0
    buffered_bytes: int = 0
    connected: bool = False

    rows: int = 0
    """Rows that the tail has read."""
    deliveries: int = 0
    """Events handed to subscribers."""
    fetches: int = 0
    """Statements by which the tail has polled for new rows."""
    notifications: int = 0
    """Notifications that the database has sent."""
    reconnects: int = 0
    catch_ups: int = 0
    """How often a subscriber began to read from the database: it resumed, or fell behind."""
    catch_up_pages: int = 0
    """Pages that subscribers have read from the database."""
    catch_up_rows: int = 0
    """Rows of those pages, whether they matched or not."""
    resets: int = 0
    """How often all subscriptions were ended, since rows might have been missed."""
    current_at: float = 0.0
    """When the tail last knew that it had read everything, on `time.monotonic`'s clock."""

    def lag(self) -> float:
        """Seconds since the tail last knew that it had read everything; 0 without subscribers."""
        if not self.subscribers or not self.current_at:
            return 0.0
        return time.monotonic() - self.current_at
