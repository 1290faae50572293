"""Indexes for the orders in which children are paged. The keys are those of `postgres.tables.sort_key`."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INDEXES = {
    "idx_sessions_account_page": (
        "trading_sessions (account_id, coalesce(started_at, '-infinity'::timestamp with time zone), id)"
    ),
    "idx_trades_session_page": "trades (session_id, entry_time, id)",
    "idx_trades_strategy_page": "trades (strategy_id, entry_time, id)",
    "idx_trades_page": "trades (entry_time, id)",
    "idx_strategy_performance_page": (
        "strategy_performance"
        " (strategy_id, coalesce(\"timestamp\", '-infinity'::timestamp with time zone), id)"
    ),
    "idx_risk_settings_current": (
        "risk_settings (account_id, coalesce(updated_at, '-infinity'::timestamp with time zone), id)"
    ),
    "idx_system_logs_page": (
        "system_logs (coalesce(\"timestamp\", '-infinity'::timestamp with time zone), id)"
    ),
}


def upgrade() -> None:
    for name, definition in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON {definition}")


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
