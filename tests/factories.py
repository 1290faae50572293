"""Inserts rows as other programs do: a function for each table, with defaults that can be overridden.

Each returns the new row's id as text.
"""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any

import asyncpg

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
_numbers = count(1)


async def insert(connection: "asyncpg.Connection", table: str, **values: Any) -> str:
    """Inserts one row. Columns that are left out get the database's defaults."""
    parameters = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({parameters}) RETURNING id"
    return str(await connection.fetchval(sql, *values.values()))


async def user(connection: "asyncpg.Connection", **values: Any) -> str:
    defaults = {"email": f"user{next(_numbers)}@example.com", "password_hash": "x"}
    return await insert(connection, "users", **defaults | values)


async def account(connection: "asyncpg.Connection", user_id: str | None, **values: Any) -> str:
    defaults = {"user_id": user_id, "account_number": f"L#{next(_numbers):06}", "server": "OSP-DEMO"}
    return await insert(connection, "tradelocker_accounts", **defaults | values)


async def session(connection: "asyncpg.Connection", account_id: str | None, **values: Any) -> str:
    return await insert(
        connection, "trading_sessions", **{"account_id": account_id, "started_at": NOW} | values
    )


async def trade(connection: "asyncpg.Connection", session_id: str | None, **values: Any) -> str:
    defaults = {
        "session_id": session_id,
        "symbol": "EURUSD",
        "direction": "buy",
        "entry_price": Decimal("1.08"),
        "size": Decimal("0.1"),
        "entry_time": NOW,
        "status": "open",
    }
    return await insert(connection, "trades", **defaults | values)


async def strategy(connection: "asyncpg.Connection", **values: Any) -> str:
    return await insert(connection, "ai_strategies", **{"name": f"Strategy {next(_numbers)}"} | values)


async def performance(connection: "asyncpg.Connection", strategy_id: str, **values: Any) -> str:
    defaults = {"strategy_id": strategy_id, "timestamp": NOW, "win_rate": Decimal("0.5")}
    return await insert(connection, "strategy_performance", **defaults | values)


async def risk_settings(connection: "asyncpg.Connection", account_id: str, **values: Any) -> str:
    defaults = {"account_id": account_id, "max_daily_loss": Decimal(500), "updated_at": NOW}
    return await insert(connection, "risk_settings", **defaults | values)


async def system_log(connection: "asyncpg.Connection", **values: Any) -> str:
    defaults = {"level": "INFO", "component": "bot", "message": "hello", "timestamp": NOW}
    return await insert(connection, "system_logs", **defaults | values)
