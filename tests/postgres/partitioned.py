"""The documented tables, with `trades` and `system_logs` partitioned by time, as on a large platform."""

import asyncpg

from tests.postgres.given import make_given

PARTITIONED = """
ALTER TABLE trades RENAME TO trades_before;
CREATE TABLE trades (LIKE trades_before INCLUDING DEFAULTS, PRIMARY KEY (id, entry_time))
    PARTITION BY RANGE (entry_time);
DROP TABLE trades_before;
ALTER TABLE trades ADD CONSTRAINT trades_session_id_fkey
    FOREIGN KEY (session_id) REFERENCES trading_sessions (id);
CREATE TABLE trades_before_2026_11_15 PARTITION OF trades FOR VALUES FROM (MINVALUE) TO ('2026-11-15');
CREATE TABLE trades_until_2026_12 PARTITION OF trades FOR VALUES FROM ('2026-11-15') TO ('2026-12-01');
CREATE TABLE trades_later PARTITION OF trades DEFAULT;
CREATE INDEX idx_trades_session ON trades (session_id);
CREATE INDEX idx_trades_strategy ON trades (strategy_id);

ALTER TABLE system_logs RENAME TO system_logs_before;
CREATE TABLE system_logs (LIKE system_logs_before INCLUDING DEFAULTS, PRIMARY KEY (id, timestamp))
    PARTITION BY RANGE (timestamp);
CREATE TABLE system_logs_before_2026_11_20
    PARTITION OF system_logs FOR VALUES FROM (MINVALUE) TO ('2026-11-20 12:00');
CREATE TABLE system_logs_later PARTITION OF system_logs DEFAULT;
DROP TABLE system_logs_before;
CREATE INDEX idx_system_logs_timestamp ON system_logs (timestamp);
CREATE INDEX idx_system_logs_level ON system_logs (level);
"""


async def make_partitioned(connection: "asyncpg.Connection") -> None:
    """Creates the documented tables, and partitions the two that grow without limit."""
    await make_given(connection)
    await connection.execute(PARTITIONED)
