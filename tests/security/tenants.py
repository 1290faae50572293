"""A tenant whose values all differ from those of other tenants, so that a value shows whose it is."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import uuid4

import asyncpg
from sqlalchemy import Boolean, Column, DateTime, Integer, Numeric, String, Table
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from graphql_api.postgres import tables
from tests import factories

TABLES: Mapping[str, Table] = {
    "User": tables.users,
    "Account": tables.accounts,
    "Session": tables.sessions,
    "Trade": tables.trades,
    "RiskSettings": tables.risk_settings,
    "SystemLog": tables.system_logs,
    "RiskEvent": tables.risk_events,
}
"""The tables whose rows belong to a tenant, by their GraphQL types, owners first."""

WORDS: Mapping[str, str] = {"kind": "LIMITS_CHANGED", "risk_limit": "MAX_DAILY_LOSS", "author": "USER"}
"""The values of columns that hold one of a few words."""

SHARED = {"strategy_id", "account_id", "author_id", *WORDS}
"""Columns whose values are not the row's own."""

NO_LIMITS = dict.fromkeys(("max_daily_loss", "max_position_size", "max_open_positions", "risk_per_trade"))

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Tenant:
    """The rows of one tenant: one of each table."""

    rows: Mapping[str, Mapping[str, Any]]

    @classmethod
    def make(cls, tag: str, strategy: str) -> "Tenant":
        """Makes values for all columns. Texts begin with `tag`, which must not look like a hex number."""
        numbers = count(1)
        rows: dict[str, dict[str, Any]] = {}
        for type_, table in TABLES.items():
            known = {TABLES[name].name: row["id"] for name, row in rows.items()} | {"": strategy}
            rows[type_] = {column.name: _value(column, tag, next(numbers), known) for column in table.c}
        return cls(rows)

    def ids(self) -> dict[str, str]:
        """Returns the ids of the rows by type."""
        return {type_: row["id"] for type_, row in self.rows.items()}

    def markers(self) -> Iterator[tuple[str, str]]:
        """Yields each text and each id that only this tenant has, with its column."""
        for type_, table in TABLES.items():
            for column in table.c:
                value = self.rows[type_][column.name]
                if isinstance(value, str) and not (
                    column.foreign_keys or column.name in SHARED or isinstance(column.type, JSONB)
                ):
                    yield value, f"{table.name}.{column.name}"

    def shown_in(self, answer: str) -> set[str]:
        """Returns the columns whose value of this tenant is in an answer."""
        return {column for marker, column in self.markers() if marker in answer}

    @classmethod
    async def insert_pair(cls, connection: "asyncpg.Connection") -> dict[str, list[str]]:
        """Inserts two tenants, and two rows of what all tenants share. Returns the ids by type."""
        strategies = [await factories.strategy(connection, name="Twins") for _ in range(2)]
        for strategy in strategies:
            for trades_count in (10, 20):
                await factories.performance(connection, strategy, trades_count=trades_count)
        pair = [cls.make(tag, strategies[0]) for tag in ("own", "theirs")]
        for tenant in pair:
            await tenant.insert(connection)
            await factories.session(connection, tenant.ids()["Account"])
        own = {type_: [tenant.ids()[type_] for tenant in pair] for type_ in TABLES}
        return own | {"Strategy": strategies}

    async def insert(self, connection: "asyncpg.Connection") -> None:
        """Inserts the rows, a closed trade for the statistics, and the rows that recorders would add."""
        for type_, row in self.rows.items():
            await factories.insert(connection, TABLES[type_].fullname, **row)
        await factories.trade(
            connection,
            self.rows["Session"]["id"],
            strategy_id=self.rows["Trade"]["strategy_id"],
            symbol=self.rows["Trade"]["symbol"],
            exit_time=NOW,
            pnl=Decimal("7331.12345678"),
            status="closed",
        )
        await connection.execute(
            "INSERT INTO graphql_api.account_logs VALUES ($1, $2, $3)",
            self.rows["Account"]["id"],
            self.rows["SystemLog"]["timestamp"],
            self.rows["SystemLog"]["id"],
        )
        for kind, type_ in (("LOG", "SystemLog"), ("RISK", "RiskEvent")):
            await connection.execute(
                "INSERT INTO activity.entries (xid, id, kind, change, row_id, account_id)"
                " VALUES (pg_current_xact_id(), gen_random_uuid(), $1, 'ADDED', $2, $3)",
                kind,
                self.rows[type_]["id"],
                self.rows["Account"]["id"],
            )


def _value(column: Column[Any], tag: str, number: int, known: Mapping[str, str]) -> Any:
    """Returns a value that no other column and no other tenant has; for a foreign key, the parent's id."""
    for key in column.foreign_keys:
        return known[key.column.table.name]
    if column.name in WORDS:
        return WORDS[column.name]
    if column.name == "account_id":
        return known[tables.accounts.name]
    match column.type:
        case ARRAY():
            return None
        case UUID():
            return str(uuid4()) if column.primary_key else known[""]
        case String():
            return f"{tag}{number}{column.name}"[: column.type.length or 100]
        case Numeric():
            return Decimal(number).scaleb(-4)
        case DateTime():
            return NOW + timedelta(seconds=number)
        case Integer():
            return 7000 + number
        case Boolean():
            return True
        case JSONB():
            return json.dumps({"account_id": known[tables.accounts.name], **NO_LIMITS})
    raise TypeError(column.type)
