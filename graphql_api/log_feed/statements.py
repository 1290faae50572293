"""The feed's statements. Each reads its rows and what it must know about them from one snapshot."""

from sqlalchemy import Integer, Text, all_, bindparam, cast, select, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.base import PGDialect

from graphql_api.log_feed.filter import LogFilter
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.postgres.tables import sort_key, system_logs
from graphql_api.postgres.tables.base import Timestamp, Uuid, Xid8

CHANNEL = "log_feed"

# On a standby this fails, and must: its snapshot doesn't know which transactions are open. What a commit
# wrote lies before `written`, since that is read after the snapshot was taken.
_SEEN = """
    SELECT pg_current_snapshot() AS snapshot,
           pg_current_wal_insert_lsn() AS written,
           pg_current_wal_flush_lsn() AS flushed,
           (SELECT id FROM log_feed.incarnation) AS incarnation,
           (SELECT newest FROM log_feed.deletions ORDER BY newest DESC LIMIT 1) AS deleted
"""

# Where a reader begins that wants only what comes. Ids of the future come from a dump of another cluster.
START = compile_statement(
    text(f"""
        WITH seen AS MATERIALIZED ({_SEEN})
        SELECT seen.*, (SELECT feed_xid FROM system_logs WHERE feed_xid < pg_snapshot_xmax(seen.snapshot)
                        ORDER BY feed_xid DESC LIMIT 1) AS newest
        FROM seen
    """)  # noqa: S608 - nothing but our own text
)

# The next rows after a position, of what the statement's own snapshot sees or, where `until` is given, of
# what the reader at that position had read. In this order: the rest of the half-read transaction; the
# transactions that were open before and aren't now; those that are new.
#
# The new ones are read between the open ones, not past them: a writer that has a hundred thousand rows open
# would be looked at row by row on every pull. For the same reason the half-read transaction bounds a gap too.
#
# Of the `rows` that are looked at, those that are wanted come back until they are `most` or fill `bytes`; and
# the last one, so that the position behind a page is known whatever matched.
_PULL = """
    WITH seen AS MATERIALIZED ({seen}),
    bounds AS MATERIALIZED (
        SELECT coalesce(CAST(:until_next AS xid8), pg_snapshot_xmax(snapshot)) AS until,
               coalesce(CAST(:until_running AS xid8[]), ARRAY(SELECT pg_snapshot_xip(snapshot))) AS open
        FROM seen
    ),
    gaps AS (
        SELECT xid AS above, lead(xid, 1, until) OVER (ORDER BY xid) AS below
        FROM bounds CROSS JOIN LATERAL unnest(open || CAST(:half_xid AS xid8) || CAST(:floor AS xid8)) AS xid
        WHERE xid >= CAST(:floor AS xid8) AND xid < until
    ),
    page AS (
        (SELECT true AS continued, log.* FROM system_logs log
         WHERE feed_xid = CAST(:half_xid AS xid8) AND id > CAST(:half_id AS uuid)
         ORDER BY id LIMIT CAST(:rows AS integer))
        UNION ALL
        (SELECT false, log.* FROM system_logs log
         WHERE feed_xid = ANY (ARRAY(
             SELECT xid FROM bounds CROSS JOIN LATERAL unnest(CAST(:running AS xid8[])) AS xid
             WHERE xid <> ALL (open)))
         ORDER BY feed_xid, id LIMIT CAST(:rows AS integer))
        UNION ALL
        (SELECT false, log.* FROM gaps CROSS JOIN LATERAL (
             SELECT * FROM system_logs WHERE feed_xid > above AND feed_xid < below
             ORDER BY feed_xid, id LIMIT CAST(:rows AS integer)) AS log
         ORDER BY feed_xid, id LIMIT CAST(:rows AS integer))
    ),
    looked AS (
        SELECT *, coalesce({wanted}, false) AS wanted
        FROM (SELECT * FROM page ORDER BY continued DESC, feed_xid, id LIMIT CAST(:rows AS integer)) AS looked
    ),
    counted AS (
        SELECT *, row_number() OVER place AS number, lead(feed_xid) OVER place AS following,
               count(*) FILTER (WHERE wanted) OVER (place ROWS UNBOUNDED PRECEDING) AS found,
               sum(octet_length(message) + coalesce(pg_column_size(details), 0)) FILTER (WHERE wanted)
                   OVER (place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
        FROM looked WINDOW place AS (ORDER BY continued DESC, feed_xid, id)
    )
    SELECT seen.*, log.number, log.following, log.found, log.wanted,
           log.feed_xid, log.id, log.timestamp, log.level, log.component, log.message, log.details
    FROM seen LEFT JOIN counted AS log
        ON log.following IS NULL OR (log.wanted AND log.found <= CAST(:most AS integer)
                                     AND coalesce(log.bytes_before, 0) < CAST(:bytes AS bigint))
    ORDER BY log.number
"""
_PULLS: dict[tuple[bool, ...], Statement] = {}
_NAMED = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]


def pull(wanted: LogFilter) -> Statement:
    """The next rows after a position that match."""
    if wanted.shape not in _PULLS:
        condition = wanted.where(system_logs.alias("looked")).compile(dialect=_NAMED)
        _PULLS[wanted.shape] = compile_statement(text(_PULL.format(seen=_SEEN, wanted=condition)))
    return _PULLS[wanted.shape]


_KEY = sort_key(system_logs.c.timestamp)
_COLUMNS = tuple(
    system_logs.c[n] for n in ("feed_xid", "id", "timestamp", "level", "component", "message", "details")
)
_HISTORY: dict[tuple[bool, tuple[bool, ...]], Statement] = {}


def newest(wanted: LogFilter) -> Statement:
    """The newest `rows` rows that match and that a position has read, the newest first."""
    return _history(wanted, forward=False)


def replay(wanted: LogFilter) -> Statement:
    """Of the same rows, in the order of their times, those after `after_key` and `after_id`."""
    return _history(wanted, forward=True)


def _history(wanted: LogFilter, *, forward: bool) -> Statement:
    known = _HISTORY.get((forward, wanted.shape))
    if known is not None:
        return known
    log = system_logs
    query = select(*_COLUMNS, cast(_KEY, Text).label("key")).where(
        wanted.where(log),
        log.c.feed_xid < cast(bindparam("next"), Xid8),
        log.c.feed_xid != all_(cast(bindparam("running"), ARRAY(Xid8))),
        (log.c.feed_xid != cast(bindparam("half_xid"), Xid8))
        | (log.c.id <= cast(bindparam("half_id"), Uuid)),
    )
    if forward:
        after = tuple_(cast(bindparam("after_key"), Timestamp), cast(bindparam("after_id"), Uuid))
        query = query.where(tuple_(_KEY, log.c.id) > after).order_by(_KEY, log.c.id)
    else:
        query = query.order_by(_KEY.desc(), log.c.id.desc())
    statement = compile_statement(query.limit(cast(bindparam("rows"), Integer)))
    _HISTORY[forward, wanted.shape] = statement
    return statement


# Which server, which database, and which of the timelines that failovers and restores begin.
IDENTITY = """
    SELECT pg_is_in_recovery() AS standby,
           (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
           (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
           CASE WHEN NOT pg_is_in_recovery()
                THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END AS timeline
"""

CURRENT_INCARNATION = """
    SELECT id FROM log_feed.incarnation JOIN log_feed.incarnations USING (id)
    WHERE (system_identifier, timeline, database) = ($1, $2, $3)
"""

NEW_INCARNATION = """
    WITH present AS (
        INSERT INTO log_feed.incarnation (id) VALUES ($4) ON CONFLICT (single) DO UPDATE SET id = $4)
    INSERT INTO log_feed.incarnations (id, system_identifier, timeline, database, began)
    VALUES ($4, $1, $2, $3, pg_current_wal_insert_lsn())
"""

_FUTURE = "feed_xid >= pg_snapshot_xmax(pg_current_snapshot())"
FROM_THE_FUTURE = f"SELECT EXISTS (SELECT FROM system_logs WHERE {_FUTURE})"  # noqa: S608 - our own text
RENUMBER = f"UPDATE system_logs SET feed_xid = pg_current_xact_id() WHERE {_FUTURE}"  # noqa: S608 - as above

# What is known of an earlier life, and where the one after it began.
LINEAGE = compile_statement(
    text("""
        SELECT past.system_identifier = present.system_identifier AND past.database = present.database
                   AS same,
               past.timeline = present.timeline AS same_timeline,
               (SELECT began FROM log_feed.incarnations WHERE number > past.number
                ORDER BY number LIMIT 1) AS ended
        FROM log_feed.incarnations past, log_feed.incarnations present
        WHERE past.id = CAST(:past AS bigint) AND present.id = CAST(:present AS bigint)
    """)
)

FLUSHED = compile_statement(text("SELECT pg_current_wal_flush_lsn() AS flushed"))
# A commit that waits for the disk of this server, not for those of its standbys; the message is for nobody.
FLUSH = compile_statement(
    text(
        "SELECT set_config('synchronous_commit', 'local', true),"
        " pg_logical_emit_message(true, 'log_feed', '')"
    )
)
