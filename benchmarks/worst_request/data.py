"""The data set: a tenant whose lists are all full, and others; texts and JSON as long as they occur."""

from typing import Any, NamedTuple

from benchmarks.postgres import Server
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import migrate

DATABASE = "worst_request"
TENANT = "tenant@worst.example"
OPERATOR = "operator@worst.example"
NEIGHBOUR = "neighbour@worst.example"
PASSWORD = "a password for benchmarks"
TRADERS_COMPONENT = "trading bot"
"""Whose lines of the log traders may read."""

_FILL = """
INSERT INTO users (email, password_hash, is_active, subscription_status)
SELECT email, $1, true, 'active' FROM unnest($2::text[]) email;
INSERT INTO graphql_api.user_roles (user_id, role) SELECT id, 'operator' FROM users WHERE email = $3;
INSERT INTO tradelocker_accounts (user_id, account_number, server, api_key, last_sync)
SELECT id, 'L#' || n, 'MERIDIAN-LIVE', 'key', now()
FROM users, generate_series(1, CASE email WHEN $4 THEN 20 ELSE 2 END) n;
INSERT INTO risk_settings (account_id, max_daily_loss, max_position_size, max_open_positions, risk_per_trade)
SELECT id, 1000, 2, 5, 0.01 FROM tradelocker_accounts;
INSERT INTO trading_sessions
    (account_id, started_at, ended_at, initial_balance, final_balance, pnl, trades_count)
SELECT id, '2026-01-01'::timestamptz + n * interval '1 day',
    '2026-01-01'::timestamptz + n * interval '1 day 8 hours', 10000, 10000 + n, n, 25
FROM tradelocker_accounts, generate_series(1, 100) n;
INSERT INTO ai_strategies (name, description, parameters, created_at, updated_at, performance_score)
SELECT 'strategy ' || n, repeat('Trades the break-out of the first hour - when the volume allows it. ', 8),
    jsonb_build_object('api_key', 'secret', 'lookback', n, 'levels', (
        SELECT jsonb_agg(jsonb_build_object('price', m + 0.5, 'weight', m, 'label', 'level ' || m))
        FROM generate_series(1, 30) m)),
    now(), now(), 0.5 + n / 1000.0
FROM generate_series(1, 100) n;
INSERT INTO strategy_performance
    (strategy_id, timestamp, win_rate, profit_factor, sharpe_ratio, trades_count, period_start, period_end)
SELECT id, now() - n * interval '1 day', 0.5, 1.2345, 0.9876, n, now() - n * interval '2 day', now()
FROM ai_strategies, generate_series(1, 100) n;
INSERT INTO trades (session_id, symbol, direction, entry_price, exit_price, size, entry_time, exit_time, pnl,
    status, strategy_id, ai_confidence)
SELECT session.id, (ARRAY['EURUSD', 'GBPUSD', 'XAUUSD', 'BTCUSD', 'NAS100'])[1 + n % 5],
    (ARRAY['buy', 'sell', 'long', 'Sell'])[1 + n % 4], 1.1 + n / 1000.0, 1.2 + n / 999.0, 0.1 * n,
    started_at + n * interval '10 minutes 1 microsecond',
    started_at + n * interval '11 minutes 7 microseconds',
    (n % 7) - 3 + n / 997.0, (ARRAY['closed', 'Filled', 'CLOSED', 'open'])[1 + n % 4],
    strategies.ids[1 + n % 100], 0.5
FROM trading_sessions session, generate_series(1, 25) n,
    (SELECT array_agg(id) ids FROM ai_strategies) strategies;
INSERT INTO system_logs (timestamp, level, component, message, details)
SELECT now() - n * interval '1 minute', (ARRAY['INFO', 'warn', 'ERROR', 'debug'])[1 + n % 4],
    'component ' || n % 20, repeat('Something of note has happened - once more. ', 5),
    jsonb_build_object('password', 'secret', 'number', n + 0.25, 'trace', (
        SELECT jsonb_agg(jsonb_build_object('file', 'engine.py', 'line', m, 'took', m / 7.0))
        FROM generate_series(1, 20) m))
FROM generate_series(1, 20000) n;
"""
_USER_ROLES = """
SELECT relnamespace::regnamespace || '.' || relname FROM pg_class
WHERE relname = 'user_roles' AND relkind = 'r'
"""
"""Former builds have it in another schema."""
_FILL_OURS = """
INSERT INTO system_logs (timestamp, level, component, message, details)
SELECT now() - interval '30 days' - n * interval '1 minute', 'INFO', $1, 'A position was opened - ' || n,
    jsonb_build_object('account_id', account.id, 'number', n)
FROM tradelocker_accounts account, generate_series(1, 100) n;
INSERT INTO graphql_api.account_logs (account_id, at, id)
SELECT (details->>'account_id')::uuid, timestamp, id FROM system_logs WHERE component = $1;
INSERT INTO graphql_api.risk_events (account_id, at, kind, author, limits_before, limits_after)
SELECT id, now() - n * interval '1 hour', 'LIMITS_CHANGED', 'PROGRAM',
    jsonb_build_object('max_daily_loss', n, 'max_position_size', 2, 'max_open_positions', 5,
        'risk_per_trade', 0.01),
    jsonb_build_object('max_daily_loss', n + 1, 'max_position_size', 2, 'max_open_positions', 5,
        'risk_per_trade', 0.01)
FROM tradelocker_accounts, generate_series(1, 100) n
"""
"""What no former build has a table for."""
_IDS = {
    "Account": "SELECT id FROM tradelocker_accounts",
    "Session": "SELECT id FROM trading_sessions LIMIT 1000",
    "Trade": "SELECT id FROM trades LIMIT 1000",
    "Strategy": "SELECT id FROM ai_strategies",
    "User": "SELECT id FROM users",
    "SystemLog": "SELECT id FROM system_logs LIMIT 1000",
    "StrategyPerformance": "SELECT id FROM strategy_performance LIMIT 1000",
    "RiskSettings": "SELECT id FROM risk_settings",
}


class Data(NamedTuple):
    """Where the data set is, and ids of its rows by type."""

    address: Address
    ids: dict[str, list[str]]


async def prepare(server: Server) -> Data:
    """Puts the data set into a fresh, migrated database."""
    address = await server.create(DATABASE)
    await migrate(address)
    async with server.connection(DATABASE) as connection:
        ids = await fill(server, DATABASE)
        for statement in _FILL_OURS.split(";\n"):
            await connection.execute(statement, *([TRADERS_COMPONENT] if "$1" in statement else []))
        await connection.execute("VACUUM (ANALYZE)")
    return Data(address, ids)


async def fill(server: Server, database: str) -> dict[str, list[str]]:
    """Puts the data set into a migrated database, which any build may have migrated; returns ids by type."""
    passwords = PasswordHasher(threads=1)
    hashed = await passwords.hash(PASSWORD)
    passwords.close()
    emails = [TENANT, OPERATOR, NEIGHBOUR, *(f"other-{n}@worst.example" for n in range(10))]
    values: dict[str, list[Any]] = {"$1": [hashed], "$2": [emails], "$3": [OPERATOR], "$4": [TENANT]}
    async with server.connection(database) as connection:
        fill = _FILL.replace("graphql_api.user_roles", await connection.fetchval(_USER_ROLES))
        for statement in fill.split(";\n"):
            used = [name for name in values if name in statement]
            for place, name in enumerate(used, 1):
                statement = statement.replace(name, f"${place}")  # noqa: PLW2901 - its own numbering
            if statement.strip():
                await connection.execute(statement, *(values[name][0] for name in used))
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
        return {
            name: [str(row["id"]) for row in await connection.fetch(query)] for name, query in _IDS.items()
        }
