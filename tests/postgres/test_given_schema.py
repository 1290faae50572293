"""A migrated database has everything that the owner documents, unchanged; our additions are listed here."""

import re

import asyncpg
import pytest

from tests import factories
from tests.postgres.catalog import describe, names

TABLES = {
    "ai_strategies": 8,
    "risk_settings": 7,
    "strategy_performance": 9,
    "system_logs": 6,
    "tradelocker_accounts": 7,
    "trades": 13,
    "trading_sessions": 8,
    "users": 8,
}
VIEWS = {"account_performance": 7, "active_strategies_performance": 7}
INDEXES = {
    "idx_strategy_performance_strategy",
    "idx_system_logs_level",
    "idx_system_logs_timestamp",
    "idx_trades_session",
    "idx_trades_strategy",
}

ADDED = {
    # Orders in which pages are read.
    "index idx_risk_settings_current",
    "index idx_sessions_account_page",
    "index idx_strategy_performance_page",
    "index idx_system_logs_page",
    "index idx_trades_page",
    "index idx_trades_session_page",
    "index idx_trades_strategy_page",
    # What the planner has to know of expressions.
    "statistics stats_trades_status",
    # Users are found by e-mail in any case.
    "index idx_users_email_lower",
    # The log feed.
    "trigger system_logs.log_feed_delete",
    "trigger system_logs.log_feed_insert",
    "trigger system_logs.log_feed_replica",
    "trigger system_logs.log_feed_truncate",
    # The feed of what happens on accounts.
    *(
        f"trigger {table}.activity_{event}"
        for table in ("risk_settings", "tradelocker_accounts", "trades", "trading_sessions")
        for event in ("delete", "insert", "replica", "truncate", "update")
    ),
    # All else of ours is in schemas of its own.
    "schema activity",
    "schema log_feed",  # and graphql_api
}
OUR_SCHEMAS = re.compile(r"\w+ (activity|graphql_api|log_feed)\.")


@pytest.fixture
async def given(given_connection: "asyncpg.Connection") -> set[str]:
    return await describe(given_connection)


@pytest.fixture
async def migrated(connection: "asyncpg.Connection") -> set[str]:
    return await describe(connection)


def of(relation: str, lines: set[str]) -> set[str]:
    """The catalog's lines about a table or view and its parts, without those that we have added."""
    pattern = re.compile(rf"\w+ {relation}(\.\w+)?:")
    return {line for line in lines if pattern.match(line) and not names({line}) & ADDED}


async def test_the_document_is_read_as_a_whole(given: set[str]) -> None:
    relations = {
        line.split(":")[0].removeprefix("relation ") for line in given if line.startswith("relation")
    }

    assert relations == {*TABLES, *VIEWS}
    assert {name.removeprefix("index ") for name in names(given) if name.startswith("index idx")} == INDEXES


@pytest.mark.parametrize(("relation", "columns"), sorted((TABLES | VIEWS).items()))
async def test_columns_defaults_and_constraints_are_as_documented(
    relation: str, columns: int, given: set[str], migrated: set[str]
) -> None:
    assert sum(line.startswith("column") for line in of(relation, given)) == columns
    assert of(relation, migrated) == of(relation, given)


async def test_the_indexes_are_as_documented(given: set[str], migrated: set[str]) -> None:
    documented = {line for line in given if line.startswith("index")}

    assert documented <= migrated


@pytest.mark.parametrize("relation", sorted(TABLES | VIEWS))
async def test_columns_keep_their_order_and_ours_come_last(
    relation: str, given_connection: "asyncpg.Connection", connection: "asyncpg.Connection"
) -> None:
    query = """
        SELECT attname FROM pg_attribute
        WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
    """
    documented = [row[0] for row in await given_connection.fetch(query, relation)]

    assert [row[0] for row in await connection.fetch(query, relation)][: len(documented)] == documented


async def test_nothing_is_added_but_what_is_listed_here(given: set[str], migrated: set[str]) -> None:
    added = names(migrated - given)

    assert {name for name in added if not OUR_SCHEMAS.match(name)} == ADDED


async def test_other_programs_insert_without_knowing_of_our_column(connection: "asyncpg.Connection") -> None:
    row = ("00000000-0000-4000-8000-000000000000", "INFO", "bot", "started", None)
    await connection.execute("INSERT INTO system_logs VALUES ($1, now(), $2, $3, $4, $5)", *row)

    assert await connection.fetchval("SELECT message FROM system_logs") == "started"


async def test_closing_a_trade_is_a_hot_update(connection: "asyncpg.Connection") -> None:
    """No index of ours holds what changes when a trade is closed, so that the bot pays for none of them."""
    trade = await factories.trade(connection, None, status="open")
    async with connection.transaction():
        await connection.execute(
            "UPDATE trades SET exit_price = 1, exit_time = now(), pnl = 1, status = 'closed' WHERE id = $1",
            trade,
        )
        hot = await connection.fetchval("SELECT pg_stat_get_xact_tuples_hot_updated('trades'::regclass)")

    assert hot == 1
