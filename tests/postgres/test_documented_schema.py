"""How differences between a database and the documented schema are reported."""

import asyncpg
import pytest

from graphql_api.postgres.address import Address
from graphql_api.postgres.documented_schema import Severity, find_differences
from graphql_api.postgres.migrate import NotOurDatabaseError, migrate
from tests.postgres.catalog import describe

HARMLESS, DEGRADED, REFUSED = Severity.HARMLESS, Severity.DEGRADED, Severity.REFUSED


async def test_the_documented_schema_does_not_differ(given_connection: "asyncpg.Connection") -> None:
    assert await find_differences(given_connection) == []


async def test_nor_does_a_migrated_database(connection: "asyncpg.Connection") -> None:
    assert await find_differences(connection) == []


@pytest.mark.parametrize(
    ("change", "severity", "said"),
    [
        ("ALTER TABLE trades ADD note text", HARMLESS, "trades.note is not documented"),
        ("ALTER TABLE trades ALTER symbol TYPE text", HARMLESS, "trades.symbol is of type text"),
        (
            "ALTER TABLE trades ALTER pnl TYPE numeric(30,10)",
            HARMLESS,
            "trades.pnl is of type numeric(30,10)",
        ),
        ("ALTER TABLE trades ALTER symbol TYPE varchar(12)", HARMLESS, "trades.symbol is of type character"),
        ("ALTER TABLE users ALTER email TYPE varchar(80)", DEGRADED, "users.email is of type character"),
        (
            "ALTER TABLE risk_settings ALTER max_daily_loss TYPE numeric(20,2)",
            DEGRADED,
            "risk_settings.max_daily_loss is of type numeric(20,2)",
        ),
        (
            "ALTER TABLE risk_settings ALTER max_open_positions TYPE smallint",
            DEGRADED,
            "risk_settings.max_open_positions is of type smallint",
        ),
        ("ALTER TABLE trades ALTER size TYPE numeric", DEGRADED, "trades.size is of type numeric"),
        ("ALTER TABLE system_logs ALTER details TYPE json", REFUSED, "system_logs.details is of type json"),
        ("ALTER TABLE trades ALTER symbol TYPE char(20)", REFUSED, "trades.symbol is of type character(20)"),
        (
            "ALTER TABLE trades DROP CONSTRAINT trades_session_id_fkey",
            HARMLESS,
            "trades.session_id has no foreign key",
        ),
        ("ALTER TABLE trades ALTER id DROP DEFAULT", HARMLESS, "trades.id has no default"),
        ("ALTER TABLE trades ALTER symbol DROP NOT NULL", DEGRADED, "trades.symbol may be null"),
        ("DROP INDEX idx_trades_session", DEGRADED, "trades has no valid index on session_id"),
        (
            "ALTER TABLE users DROP CONSTRAINT users_email_key",
            DEGRADED,
            "users may hold the same email twice",
        ),
        ("ALTER TABLE trades DROP size", REFUSED, "trades.size is missing"),
        (
            "ALTER TABLE trades ALTER size TYPE double precision",
            REFUSED,
            "trades.size is of type double precision",
        ),
        (
            "ALTER TABLE trades ALTER entry_time TYPE timestamp",
            REFUSED,
            "trades.entry_time is of type timestamp without time zone",
        ),
        ("ALTER TABLE trades DROP CONSTRAINT trades_pkey", REFUSED, "trades has no primary key on id"),
        ("ALTER TABLE risk_settings ALTER id DROP DEFAULT", REFUSED, "risk_settings.id has no default"),
        (
            "ALTER TABLE users ADD tenant text NOT NULL",
            DEGRADED,
            "users.tenant is not documented, and may not be null",
        ),
        (
            "ALTER TABLE users ADD tenant text NOT NULL DEFAULT ''",
            HARMLESS,
            "users.tenant is not documented:",
        ),
        (
            "CREATE RULE kept AS ON DELETE TO trades DO INSTEAD NOTHING",
            DEGRADED,
            "trades has the rule kept",
        ),
        (
            "CREATE TABLE old_trades () INHERITS (trades)",
            DEGRADED,
            "trades shares rows by inheritance with old_trades",
        ),
        (
            "CREATE TABLE events (LIKE system_logs); ALTER TABLE system_logs INHERIT events",
            DEGRADED,
            "system_logs shares rows by inheritance with events",
        ),
        (
            "CREATE SCHEMA core; ALTER TABLE trades SET SCHEMA core; SET search_path = public, core",
            REFUSED,
            "risk_settings, tradelocker_accounts, trades, trading_sessions are in the schemas core",
        ),
        (
            "ALTER TABLE trades ENABLE ROW LEVEL SECURITY; SET ROLE pg_read_all_data",
            DEGRADED,
            "trades has row-level security that applies to this role for SELECT",
        ),
        (
            (
                "ALTER TABLE risk_settings ENABLE ROW LEVEL SECURITY;"
                " CREATE POLICY readers ON risk_settings FOR SELECT USING (true);"
                " CREATE POLICY own ON risk_settings FOR UPDATE USING (account_id IS NOT NULL);"
                " CREATE POLICY bots ON risk_settings TO pg_monitor USING (true);"
                " SET ROLE pg_read_all_data"
            ),
            DEGRADED,
            "risk_settings has row-level security that applies to this role for INSERT, UPDATE:",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
async def test_a_difference_is_named_with_what_it_means(
    change: str, severity: Severity, said: str, given_connection: "asyncpg.Connection"
) -> None:
    await given_connection.execute(change)

    (difference,) = await find_differences(given_connection)

    assert difference.severity is severity
    assert str(difference).startswith(said)


async def test_a_domain_is_its_type(given_connection: "asyncpg.Connection") -> None:
    await given_connection.execute("""
        CREATE DOMAIN money_amount AS numeric(20,8) CHECK (value > -1e9);
        CREATE DOMAIN code AS varchar(20) COLLATE "C";
        CREATE DOMAIN ticker AS code NOT NULL;
        ALTER TABLE trades ALTER pnl TYPE money_amount, ALTER symbol TYPE ticker, ALTER symbol DROP NOT NULL;
    """)
    assert await find_differences(given_connection) == []

    await given_connection.execute("""
        CREATE DOMAIN ratio AS float8;
        ALTER TABLE trades ALTER ai_confidence TYPE ratio;
    """)
    (difference,) = await find_differences(given_connection)
    assert str(difference).startswith("trades.ai_confidence is of type double precision")


async def test_row_level_security_that_hides_nothing_from_this_role_is_no_difference(
    given_connection: "asyncpg.Connection",
) -> None:
    await given_connection.execute("""
        ALTER TABLE users ENABLE ROW LEVEL SECURITY;
        ALTER TABLE trades ENABLE ROW LEVEL SECURITY;
        CREATE POLICY all_rows ON users TO pg_read_all_data USING (true);
        CREATE POLICY all_trades ON trades FOR SELECT TO pg_read_all_data USING (true);
        SET ROLE pg_read_all_data;
    """)
    assert await find_differences(given_connection) == []

    await given_connection.execute("RESET ROLE; CREATE POLICY less ON trades AS RESTRICTIVE USING (pnl > 0)")
    await given_connection.execute("SET ROLE pg_read_all_data")
    (difference,) = await find_differences(given_connection)
    assert str(difference).startswith("trades has row-level security that applies to this role for SELECT")


async def test_a_partitioned_table_may_have_a_wider_key(given_connection: "asyncpg.Connection") -> None:
    await given_connection.execute("""
        ALTER TABLE system_logs RENAME TO before;
        CREATE TABLE system_logs (LIKE before INCLUDING DEFAULTS, PRIMARY KEY (id, timestamp))
            PARTITION BY RANGE (timestamp);
        CREATE INDEX ON system_logs (timestamp);
        CREATE INDEX ON system_logs (level);
    """)
    assert await find_differences(given_connection) == []

    await given_connection.execute("ALTER TABLE system_logs DROP CONSTRAINT system_logs_pkey1")

    assert [str(each).partition(":")[0] for each in await find_differences(given_connection)] == [
        "system_logs has no valid index on id"
    ]


async def test_a_unique_index_is_as_good_as_a_constraint(given_connection: "asyncpg.Connection") -> None:
    await given_connection.execute("ALTER TABLE users DROP CONSTRAINT users_email_key")
    await given_connection.execute("CREATE UNIQUE INDEX one_email ON users (email)")

    assert await find_differences(given_connection) == []


async def test_what_cannot_be_served_is_refused_before_anything_changes(
    empty: Address, given_connection: "asyncpg.Connection"
) -> None:
    await given_connection.execute("ALTER TABLE trades ALTER size TYPE double precision")
    before = await describe(given_connection)

    with pytest.raises(
        NotOurDatabaseError, match=r"trades\.size is of type double precision: it would be read wrong"
    ):
        await migrate(empty)
    assert await describe(given_connection) == before
