"""Trims a feed: removes entries past the retention.

Entries have no timestamp. From time to time a watermark records a transaction id below which all transactions
had ended by then. Entries below a watermark that is older than the retention are deleted, and cursors that
have not read them expire.
"""

import asyncio
import functools
from datetime import timedelta

from sqlalchemy import text

from graphql_api.log_feed.feed_schema import LOGS, FeedSchema
from graphql_api.postgres.database import Database
from graphql_api.postgres.statement import Statement, compile_statement

_NOTE = """
        INSERT INTO {schema}.watermarks (xid) SELECT pg_snapshot_xmin(pg_current_snapshot())
        WHERE NOT EXISTS (SELECT FROM {schema}.watermarks
                          WHERE noted_at > now() - make_interval(secs => CAST(:interval AS float8)))
        ON CONFLICT DO NOTHING
        RETURNING 1 AS noted
"""

# Deletes a few entries at a time, and in each schema by one process at a time. The horizon rises in the same
# transaction in which the entries are deleted, so that readers see both or neither. It never falls: a process
# that gets the lock may still see a batch that others have deleted since its statement began.
_TRIM = """
        WITH lock AS MATERIALIZED (
            SELECT pg_try_advisory_xact_lock(781358536, hashtext('{schema}')) AS acquired
        ),
        bound AS MATERIALIZED (
            SELECT xid FROM lock CROSS JOIN {schema}.watermarks
            WHERE acquired AND noted_at < now() - make_interval(secs => CAST(:retention AS float8))
            ORDER BY xid DESC LIMIT 1
        ),
        lower_watermarks AS (
            DELETE FROM {schema}.watermarks USING bound WHERE watermarks.xid < bound.xid
        ),
        batch AS MATERIALIZED (
            SELECT entries.xid, id FROM bound JOIN {schema}.entries ON entries.xid < bound.xid
            ORDER BY entries.xid, id LIMIT CAST(:rows AS integer)
        ),
        horizon AS (
            INSERT INTO {schema}.horizon AS horizon (xid) SELECT xid FROM batch ORDER BY xid DESC LIMIT 1
            ON CONFLICT (single) DO UPDATE SET xid = greatest(horizon.xid, excluded.xid)
        ),
        removed AS (
            DELETE FROM {schema}.entries USING batch
            WHERE (entries.xid, entries.id) = (batch.xid, batch.id)
            RETURNING 1
        )
        SELECT acquired, (SELECT count(*) FROM removed) AS removed FROM lock
"""

_LOCKED_INTERVAL = 1.0
"""Seconds after which a schema that another process trims is tried again."""


@functools.cache
def _statements(schema: FeedSchema) -> tuple[Statement, Statement]:
    note, trim = (template.format(schema=schema.name) for template in (_NOTE, _TRIM))
    return compile_statement(text(note)), compile_statement(text(trim))


async def trim_entries(
    database: Database,
    retention: timedelta,
    schema: FeedSchema = LOGS,
    *,
    interval: timedelta = timedelta(hours=1),
    rows: int = 5000,
) -> int:
    """Records a watermark unless one is younger than `interval`, and deletes entries past the retention.

    Returns how many entries were removed, in batches of `rows`. Waits while another process trims. Raises as
    `Database.change` does.
    """
    note, trim = _statements(schema)
    await database.change(note, interval=interval.total_seconds())
    removed: int = 0
    while True:
        [batch] = await database.change(trim, retention=retention.total_seconds(), rows=rows)
        removed += batch["removed"]
        if not batch["acquired"]:
            await asyncio.sleep(_LOCKED_INTERVAL)
        elif batch["removed"] < rows:
            return removed
