"""Feed schemas: what a feed reads, by entries that triggers write, and the rows that these name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CHANNEL: Final = "log_feed"
"""The notification channel of every feed's triggers."""


@dataclass(frozen=True, slots=True, eq=False)
class FeedSchema:
    """A feed's schema, and how a page of its entries finds their rows.

    A schema has the tables of `log_feed`: entries, watermarks, horizon, incarnations, incarnation,
    interruptions and resets, and the views trigger_version, due_resets and current_incarnation. Its entries
    are ordered by their columns xid and id.
    """

    name: str
    columns: Sequence[str]
    """The columns of a page's row besides xid and id."""
    selected: str
    """SQL that selects these, `missing`, and `size`, the bytes of the row, from `page` and `joins`."""
    joins: str
    """SQL that joins rows to the entries of a page, which are called `page`."""
    keys: Sequence[str] = ()
    """The columns with the values of `EventFilter.keys`, which find the filters that can match a row."""
    texts: Sequence[str] = ()
    """The columns whose texts take up memory."""
    rows: str = "rows"
    """The name of its rows in messages of errors."""
    unrecorded: str = "rows changed while no trigger recorded them"
    """What may happen to its rows that isn't recorded, so that cursors end: part of an error's message."""


LOGS = FeedSchema(
    name="log_feed",
    columns=("timestamp", "level", "component", "message", "details"),
    selected="""
        log.id IS NULL AS missing,
        octet_length(log.message) + coalesce(pg_column_size(log.details), 0) AS size,
        log.timestamp, log.level, log.component, log.message, log.details""",
    joins="""
        LEFT JOIN LATERAL (SELECT * FROM system_logs WHERE system_logs.id = page.id OFFSET 0) AS log
            ON true""",
    keys=("component",),
    texts=("message", "details"),
    rows="log lines",
    unrecorded="log lines were written while no trigger recorded them",
)
