"""The database with the platform's tables alone, as docs/database-schema.md has them."""

import re
from pathlib import Path

import asyncpg

TABLES = (
    "ai_strategies",
    "risk_settings",
    "strategy_performance",
    "system_logs",
    "tradelocker_accounts",
    "trades",
    "trading_sessions",
    "users",
)
DOCUMENT = Path(__file__).parents[2] / "docs" / "database-schema.md"

# Where PostgreSQL has no extension "uuid-ossp", as the document supposes.
_UUIDS = "CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'"


def statements() -> list[str]:
    """Returns the document's SQL statements."""
    blocks = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return [statement.strip() for block in blocks for statement in block.split(";") if statement.strip()]


async def make_given(connection: "asyncpg.Connection") -> None:
    """Creates the documented tables."""
    await connection.execute(_UUIDS)
    for statement in statements():
        await connection.execute(statement)


async def fill(connection: "asyncpg.Connection") -> None:
    """Inserts a row into every given table, by plain SQL as other programs do."""
    await connection.execute("""
        WITH u AS (INSERT INTO users (email, password_hash) VALUES ('a@example.com', 'x') RETURNING id),
        a AS (
            INSERT INTO tradelocker_accounts (user_id, account_number, server)
            SELECT id, '1', 'demo' FROM u RETURNING id
        ),
        s AS (
            INSERT INTO trading_sessions (account_id, initial_balance)
            SELECT id, 100.5 FROM a RETURNING id
        ),
        g AS (INSERT INTO ai_strategies (name, parameters) VALUES ('breakout', '{"a": 1}') RETURNING id),
        p AS (INSERT INTO strategy_performance (strategy_id, win_rate) SELECT id, 0.5 FROM g),
        r AS (INSERT INTO risk_settings (account_id, risk_per_trade) SELECT id, 0.01 FROM a),
        t AS (
            INSERT INTO trades
                (session_id, symbol, direction, entry_price, size, entry_time, status, strategy_id)
            SELECT s.id, 'EURUSD', 'BUY', 1.1, 0.2, now(), 'OPEN', g.id FROM s, g
        )
        INSERT INTO system_logs (level, component, message) VALUES ('INFO', 'bot', 'started')
    """)


async def rows(connection: "asyncpg.Connection") -> dict[str, list[str]]:
    """Returns the rows of every given table."""
    return {
        table: [row[0] for row in await connection.fetch(f"SELECT to_jsonb(t) FROM {table} t")]
        for table in TABLES
    }
