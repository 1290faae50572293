"""Which transaction wrote a line is recorded beside the table, however the line was written."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlsplit

import asyncpg
import pytest

from graphql_api.log_feed import Feed, LogFilter
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.migrate import migrate
from tests.conftest import database_of
from tests.log_feed.conftest import KEY, messages, nothing_more, write

EVERYTHING = LogFilter()
LINE = "('info', 'test', 'a line')"


async def recorded(connection: "asyncpg.Connection") -> list[str]:
    """The messages of the lines that have an entry, once for each."""
    rows = await connection.fetch("SELECT message FROM log_feed.entries JOIN system_logs USING (id)")
    return [row["message"] for row in rows]


INSERT = f"INSERT INTO system_logs (level, component, message) VALUES {LINE}, {LINE}, {LINE}"
SELECT = (
    "INSERT INTO system_logs SELECT gen_random_uuid(), now(), 'info', 'test', 'a line'"
    " FROM generate_series(1, 3)"
)
WITH = f"""
    WITH two AS (INSERT INTO system_logs (level, component, message) VALUES {LINE}, {LINE})
    INSERT INTO system_logs (level, component, message) VALUES {LINE}
"""
MERGE = """
    MERGE INTO system_logs USING generate_series(1, 3) n ON false
    WHEN NOT MATCHED THEN INSERT (level, component, message) VALUES ('info', 'test', 'a line')
"""
REPLICA = f"SET session_replication_role = replica; {INSERT}"
ENABLED_AGAIN = f"""
    ALTER TABLE system_logs DISABLE TRIGGER ALL; ALTER TABLE system_logs ENABLE TRIGGER ALL; {INSERT}
"""


@pytest.mark.parametrize("statement", [INSERT, SELECT, WITH, MERGE, REPLICA, ENABLED_AGAIN])
async def test_every_way_of_inserting_records_each_line_once(
    connection: "asyncpg.Connection", statement: str
) -> None:
    await connection.execute(statement)
    assert await recorded(connection) == ["a line"] * 3


async def test_copy_records_each_line_once(connection: "asyncpg.Connection") -> None:
    await connection.copy_records_to_table(
        "system_logs", records=[("info", "test", "a line")] * 1000, columns=("level", "component", "message")
    )
    assert await recorded(connection) == ["a line"] * 1000


async def test_an_upsert_records_a_line_that_is_new(connection: "asyncpg.Connection") -> None:
    upsert = """
        INSERT INTO system_logs (id, level, component, message) VALUES ($1, 'info', 'test', $2)
        ON CONFLICT (id) DO UPDATE SET message = excluded.message
    """
    line = await connection.fetchval("SELECT gen_random_uuid()")
    await connection.execute(upsert, line, "first")
    await connection.execute(upsert, line, "again")
    assert await recorded(connection) == ["again"]


async def test_a_line_that_is_rolled_back_leaves_nothing(connection: "asyncpg.Connection") -> None:
    transaction = connection.transaction()
    await transaction.start()
    await write(connection, "never")
    await transaction.rollback()
    assert await connection.fetchval("SELECT count(*) FROM log_feed.entries") == 0


async def test_programs_that_know_the_documented_columns_go_on(connection: "asyncpg.Connection") -> None:
    """COPY without a column list, INSERT by position, and a prepared SELECT * across the migration."""
    await connection.execute(
        "INSERT INTO system_logs VALUES (gen_random_uuid(), now(), 'info', 'test', 'm', '{}')"
    )
    whole = await connection.fetchrow("SELECT * FROM system_logs")
    assert whole is not None
    assert list(whole.keys()) == ["id", "timestamp", "level", "component", "message", "details"]
    await connection.execute("DELETE FROM system_logs")
    await connection.copy_records_to_table("system_logs", records=[tuple(whole.values())])
    assert await connection.fetchrow("SELECT * FROM system_logs") == whole


async def test_a_session_notifies_no_more_than_a_hundred_times_a_second(
    connection: "asyncpg.Connection", address: Address
) -> None:
    listener = await address.connect_plain()
    notifications: list[object] = []
    await listener.add_listener("log_feed", lambda *arguments: notifications.append(arguments))
    began = await connection.fetchval("SELECT clock_timestamp()")
    await write(connection, *["a line"] * 300)
    took = (await connection.fetchval("SELECT clock_timestamp()") - began).total_seconds()
    await listener.fetchval("SELECT 1")  # after it, everything that was sent has come
    assert 0 < len(notifications) <= took * 100 + 2
    await listener.close()


@pytest.fixture
async def replica(server: Address, address: Address) -> AsyncIterator[Address]:
    """A database that gets the log lines of another one by logical replication."""
    parts = urlsplit(address.dsn)
    name, where = parts.path.removeprefix("/"), dict(parse_qsl(parts.query))
    admin = await server.connect_plain()
    await admin.execute(f"CREATE DATABASE {name}_replica")
    publisher = await address.connect_plain()
    replica = database_of(server, f"{name}_replica")
    await migrate(replica)
    subscriber = await replica.connect_plain()
    try:
        await write(publisher, "copied at first")
        await publisher.execute("CREATE PUBLICATION logs FOR TABLE system_logs")
        # In one cluster, CREATE SUBSCRIPTION would wait for itself to make the slot.
        await publisher.execute(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")
        await subscriber.execute(
            f"CREATE SUBSCRIPTION logs CONNECTION 'host={where['host']} port={where['port']} user=postgres"
            f" dbname={name}' PUBLICATION logs WITH (create_slot = false, slot_name = '{name}')"
        )
        while await subscriber.fetchval("SELECT bool_or(srsubstate <> 'r') FROM pg_subscription_rel"):
            await asyncio.sleep(0.02)
        yield replica
        await subscriber.execute("ALTER SUBSCRIPTION logs DISABLE")
        await subscriber.execute("ALTER SUBSCRIPTION logs SET (slot_name = NONE)")
        await subscriber.execute("DROP SUBSCRIPTION logs")
        while await publisher.fetchval("SELECT active FROM pg_replication_slots WHERE slot_name = $1", name):
            await asyncio.sleep(0.02)
        await publisher.execute("SELECT pg_drop_replication_slot($1)", name)
    finally:
        for connection in (subscriber, publisher):
            await connection.close()
        await admin.execute(f"DROP DATABASE {name}_replica WITH (FORCE)")
        await admin.close()


async def test_replicated_lines_are_recorded(connection: "asyncpg.Connection", replica: Address) -> None:
    database = Database(replica)
    feed = Feed(database, replica, KEY)
    async with await feed.subscribe(EVERYTHING, backfill=1) as subscription:
        await write(connection, "1", "2")
        assert await messages(subscription, 3) == ["copied at first", "1", "2"]
        async with connection.transaction():
            await write(connection, "draft")
            await connection.execute("DELETE FROM system_logs WHERE message = 'draft'")
            await write(connection, "final")
        assert await messages(subscription, 1) == ["final"]
        await nothing_more(subscription)
    await feed.close()
    await database.close()
    subscriber = await replica.connect_plain()
    assert sorted(await recorded(subscriber)) == ["1", "2", "final"]
    await subscriber.close()
