"""Indexes for every order in which trades are paged: all of them, and a session's.

Lists of an account or a tenant are merged from their sessions' own orders, so they need none. The keys are
those of `postgres.tables.sort_key`.

What they cost the writer, at 10 million trades: for each trade, opened and closed, 0.65 instead of 0.3 ms of
CPU, and 35 to 50 instead of 9 kB of WAL just after a checkpoint, most of it images of pages; and half a
gigabyte for a million trades.

While one is built, writers wait. Where they can't, build them beforehand with CREATE INDEX CONCURRENTLY, by
the same names: what is there stays.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEYS = {
    "exit_time": "coalesce(exit_time, '-infinity'::timestamp with time zone)",
    "pnl": "coalesce(nullif(pnl, 'NaN'::numeric), '-Infinity'::numeric)",
    "size": "coalesce(nullif(size, 'NaN'::numeric), '-Infinity'::numeric)",
    "symbol": "symbol",
    "ai_confidence": "coalesce(nullif(ai_confidence, 'NaN'::numeric), '-Infinity'::numeric)",
}

INDEXES = {
    f"idx_trades_{prefix}page_{name}": f"trades ({lead}{key}, id)"
    for name, key in KEYS.items()
    for prefix, lead in (("", ""), ("session_", "session_id, "))
}


def upgrade() -> None:
    for name, definition in INDEXES.items():
        op.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {definition}")


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
