"""What doctor reports about a server that needs maintenance, and about its backups."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from graphql_api.backup.catalog import Backup, Catalog, Kind
from graphql_api.cli.upkeep import CHECKS, ConcernError, FaultError
from graphql_api.postgres.address import Address
from graphql_api.settings import Settings
from tests.cli.test_cli import Shell
from tests.conftest import AsRole
from tests.drills import reliability
from tests.drills.servers import Server
from tests.postgres.proxy import fatal, proxy_to

pytestmark = pytest.mark.slow


def settings(address: Address, folder: Path, **values: object) -> Settings:
    return Settings(DATABASE_URL=address.dsn, data_dir=folder, **values)  # type: ignore[arg-type]


def recorded(folder: Path, age: timedelta, *, verified: bool = True) -> Catalog:
    """A catalog with a dump of some age."""
    catalog = Catalog(folder / "backups")
    moment = datetime.now(UTC) - age
    made = catalog.begin(moment)
    backup = Backup(
        id=made.stem,
        kind=Kind.DUMP,
        started_at=moment,
        finished_at=moment,
        server="db",
        version=18,
        bytes=1,
        verified_at=moment if verified else None,
    )
    catalog.finish(made, backup)
    return catalog


async def test_findings_are_told_to_monitors_as_json(lone_address: Address, tmp_path: Path) -> None:
    out, _ = await Shell(lone_address, tmp_path).run("doctor", "--json")

    findings = json.loads(out)
    assert {finding["level"] for finding in findings} == {"ok"}
    assert set(CHECKS) < {finding["check"] for finding in findings}


async def test_backups_that_are_fresh_and_proven_are_well(address: Address, tmp_path: Path) -> None:
    recorded(tmp_path, timedelta(hours=1))
    said = await CHECKS["backups"](settings(address, tmp_path, backup_method="dump"), address)

    assert said.startswith("1, up to ")


async def test_no_backup_is_a_warning_in_production(address: Address, tmp_path: Path) -> None:
    with pytest.raises(ConcernError, match="`graphql-api backup run` takes them daily"):
        await CHECKS["backups"](settings(address, tmp_path, profile="production"), address)


async def test_an_old_backup_is_a_fault(address: Address, tmp_path: Path) -> None:
    catalog = recorded(tmp_path, timedelta(hours=27))
    catalog.write_state(failed_at=datetime.now(UTC), failure="the disk is full")

    with pytest.raises(FaultError, match="the next failed: the disk is full: is `backup run` running"):
        await CHECKS["backups"](settings(address, tmp_path), address)


async def test_a_receiver_that_is_away_is_a_fault(address: Address, tmp_path: Path) -> None:
    recorded(tmp_path, timedelta(hours=1)).write_state(receiver="connection refused")

    with pytest.raises(FaultError, match="connection refused"):
        await CHECKS["backups"](settings(address, tmp_path), address)


async def test_a_receiver_that_was_killed_is_a_fault(address: Address, tmp_path: Path) -> None:
    catalog = recorded(tmp_path, timedelta(hours=1))
    catalog.write_state(checked_at=datetime(2026, 11, 1, 9, 30, tzinfo=UTC))

    with pytest.raises(FaultError, match="nothing of it is noted since 2026-11-01 09:30 UTC"):
        await CHECKS["backups"](settings(address, tmp_path), address)


async def test_a_backup_that_was_never_proven_is_a_warning(address: Address, tmp_path: Path) -> None:
    recorded(tmp_path, timedelta(hours=1), verified=False)

    with pytest.raises(ConcernError, match="`graphql-api backup verify`"):
        await CHECKS["backups"](settings(address, tmp_path, backup_method="dump"), address)


async def test_missing_privileges_are_named(
    as_role: AsRole, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    address = await as_role("")
    assert "may do all" in await CHECKS["privileges"](settings(address, tmp_path), address)
    role = address.dsn.split("//")[1].split("@")[0]
    await connection.execute(f"REVOKE UPDATE ON risk_settings FROM {role}; REVOKE ALL ON trades FROM {role}")

    with pytest.raises(FaultError, match="SELECT on trades, UPDATE on risk_settings"):
        await CHECKS["privileges"](settings(address, tmp_path), address)


async def test_missing_privileges_on_columns_are_named(
    as_role: AsRole, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    address = await as_role("")
    role = address.dsn.split("//")[1].split("@")[0]
    await connection.execute(f"""
        REVOKE SELECT, UPDATE ON users, tradelocker_accounts FROM {role};
        GRANT SELECT (id, email, created_at, is_active, subscription_status, subscription_expires)
            ON users TO {role};
        GRANT SELECT (last_login), UPDATE (last_login) ON users TO {role};
        GRANT SELECT ON tradelocker_accounts TO {role};
    """)
    with pytest.raises(
        FaultError,
        match=r"lacks UPDATE on tradelocker_accounts, SELECT \(password_hash\) on users,"
        r" UPDATE \(password_hash\) on users: as the owner",
    ):
        await CHECKS["privileges"](settings(address, tmp_path), address)


async def test_the_command_that_grants_a_role_can_be_pasted(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    await connection.execute('CREATE ROLE "a reader" LOGIN')
    reader = Address.parse(address.dsn.replace("postgres@", "a%20reader@"))
    with pytest.raises(FaultError, match="`graphql-api grants 'a reader'`"):
        await CHECKS["privileges"](settings(reader, tmp_path), reader)
    await connection.execute('DROP ROLE "a reader"')


async def test_a_role_that_lacks_the_services_own_schemas_is_told_of_grants(
    as_role: AsRole, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    address = await as_role("")
    role = address.dsn.split("//")[1].split("@")[0]
    await connection.execute(f"REVOKE ALL ON SCHEMA graphql_api, log_feed FROM {role}")
    out, _ = await Shell(address, tmp_path).run("doctor", fails=True)

    advice = "as the owner, run what `graphql-api grants ROLE` prints"
    for check in ("schema", "triggers", "indexes", "log feed"):
        (line,) = [line for line in out.splitlines() if line[7:].startswith(f"{check}: ")]
        assert line.endswith(advice), line


async def test_a_slot_that_nobody_reads_without_a_bound_is_a_warning(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    await connection.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        with pytest.raises(ConcernError, match="slot forgotten"):
            await CHECKS["replication"](settings(address, tmp_path), address)
    finally:
        await connection.execute("SELECT pg_drop_replication_slot('forgotten')")


async def test_all_that_is_found_is_named_not_the_first_alone(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    names = ("first_forgotten", "second_forgotten")
    for name in names:
        await connection.execute("SELECT pg_create_physical_replication_slot($1, true)", name)
    try:
        with pytest.raises(ConcernError, match=r"slot first_forgotten.*; .*slot second_forgotten"):
            await CHECKS["replication"](settings(address, tmp_path), address)
    finally:
        for name in names:
            await connection.execute("SELECT pg_drop_replication_slot($1)", name)


async def test_dead_rows_and_missing_statistics_are_warnings(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    await connection.execute(
        "ALTER TABLE system_logs SET (autovacuum_enabled = off);"
        "INSERT INTO system_logs (level, component, message)"
        " SELECT 'info', 'x', 'y' FROM generate_series(1, 20000);"
    )
    await connection.execute("SELECT pg_stat_force_next_flush()")
    with pytest.raises(ConcernError, match="has no statistics: ANALYZE "):
        await CHECKS["tables"](settings(address, tmp_path), address)
    await connection.execute("ANALYZE; DELETE FROM system_logs")
    await connection.execute("SELECT pg_stat_force_next_flush()")
    with pytest.raises(ConcernError, match="dead rows: VACUUM "):
        await CHECKS["tables"](settings(address, tmp_path), address)


async def test_what_doctor_tells_to_run_of_other_schemas_can_be_run(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    await connection.execute(
        """
        CREATE SCHEMA "Bots";
        CREATE TABLE "Bots"."Ticks" WITH (autovacuum_enabled = off) AS SELECT generate_series(1, 20000) AS n;
        CREATE INDEX "Ticks n" ON "Bots"."Ticks" (n);
        UPDATE pg_index SET indisvalid = false WHERE indexrelid = '"Bots"."Ticks n"'::regclass;
        """
    )
    await connection.execute("SELECT pg_stat_force_next_flush()")
    for check in ("tables", "index use"):
        with pytest.raises(ConcernError) as concern:
            await CHECKS[check](settings(address, tmp_path), address)
        statement = re.search(r"(ANALYZE|REINDEX INDEX CONCURRENTLY) [^,]+", str(concern.value))
        assert statement is not None
        await connection.execute(statement[0])
        await CHECKS[check](settings(address, tmp_path), address)


async def test_a_transaction_that_was_prepared_and_forgotten_is_a_warning(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphql_api.cli.upkeep._LONG_TRANSACTION", timedelta(0))
    quoted = f"it''s {uuid4()}"

    async def concerns() -> list[str]:
        """Those about it: other tests' transactions on the same server are named too."""
        try:
            await CHECKS["connections"](settings(address, tmp_path), address)
        except ConcernError as concern:
            return [each for each in str(concern).split("; ") if quoted in each]
        return []

    await connection.execute(f"BEGIN; TABLE users; PREPARE TRANSACTION '{quoted}'")
    (concern,) = await concerns()

    await connection.execute(concern.rsplit("or ", 1)[1])
    assert not await concerns()


async def test_a_database_that_takes_no_changes_is_a_fault(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    assert await CHECKS["changes"](settings(address, tmp_path), address) == "taken"
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(FaultError, match="default_transaction_read_only is on"):
        await CHECKS["changes"](settings(address, tmp_path), address)


async def test_a_pooler_that_keeps_settings_of_the_database_is_a_warning(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    def refuse(message: bytes) -> bytes | None:
        return fatal("08P01", "unsupported startup parameter") if b"array_nulls\0" in message else None

    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET array_nulls = off")
    async with proxy_to(address, refuse) as proxy:
        out, _ = await Shell(Address.parse(proxy.url(address)), tmp_path).run("doctor")
    assert "warn   pooling: the pooler keeps the service from changing array_nulls = off, so" in out
    out, _ = await Shell(address, tmp_path).run("doctor")
    assert "ok     pooling: each is to a server process of its own" in out


async def test_settings_that_make_every_write_look_like_a_restored_dump_are_a_fault(
    address: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET check_function_bodies = off")
    out, _ = await Shell(address, tmp_path).run("doctor")
    assert "ok     log feed" in out
    await connection.execute(f"ALTER DATABASE {name} SET row_security = off")
    out, _ = await Shell(address, tmp_path).run("doctor", fails=True)
    assert "fault  log feed: check_function_bodies and row_security are both off" in out


async def test_a_role_that_may_not_make_temporary_tables_is_told_so(
    as_role: AsRole, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    reader = await as_role("")
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")
    out, _ = await Shell(reader, tmp_path).run("doctor")
    assert f"GRANT TEMPORARY ON DATABASE {name} TO role_" in out
    assert "pg_monitor" not in re.search(r"indexes: .*", out)[0]  # type: ignore[index]


async def test_a_server_that_a_power_failure_destroys_is_a_warning_in_production(tmp_path: Path) -> None:
    server = Server()
    try:
        await server.make(migrated=False)
        for profile, expected in (("development", "taken"), ("production", "fsync is off")):
            finding = await said("changes", settings(server.address, tmp_path, profile=profile))
            assert expected in finding
        await reliability.statement(
            server, "ALTER SYSTEM SET synchronous_standby_names = 'away'", "SELECT pg_reload_conf()"
        )
        for _ in range(100):
            if "commits wait" in (finding := await said("changes", settings(server.address, tmp_path))):
                break
            await asyncio.sleep(0.05)
        assert "ALTER SYSTEM SET synchronous_standby_names = ''" in finding
    finally:
        server.remove()


async def said(check: str, given: Settings) -> str:
    """What a check returns or raises."""
    try:
        return await CHECKS[check](given, Address.parse(str(given.database_url.get_secret_value())))  # type: ignore[union-attr]
    except (ConcernError, FaultError) as error:
        return str(error)


async def test_an_empty_database_is_told_to_be_migrated_and_nothing_else(tmp_path: Path) -> None:
    server = Server()
    try:
        await server.make(migrated=False)
        shell = Shell(server.address, tmp_path)
        out, _ = await shell.run("doctor", fails=True)
        faults = [line for line in out.splitlines() if line.startswith("fault")]
        _, err = await shell.run("user", "list", fails=True)
    finally:
        server.remove()
    assert faults == [
        "fault  schema: the database is not migrated yet: run `graphql-api migrate`",
        "fault  documented tables: there are none yet: run `graphql-api migrate`",
    ]
    assert "isn't migrated" in err
    assert "run `graphql-api migrate`" in err


async def test_more_connections_than_the_server_has_are_a_warning(address: Address, tmp_path: Path) -> None:
    with pytest.raises(ConcernError, match="this service may open 4004"):
        await CHECKS["connections"](settings(address, tmp_path, workers=4, database_pool_size=1000), address)


async def test_an_open_development_profile_is_a_warning(address: Address, tmp_path: Path) -> None:
    with pytest.raises(ConcernError, match="GRAPHQL_API_PROFILE=production"):
        await CHECKS["profile"](settings(address, tmp_path, host="0.0.0.0"), address)


async def test_a_warning_alone_fails_monitors_and_no_script(lone_address: Address, tmp_path: Path) -> None:
    shell = Shell(lone_address, tmp_path)
    out, _ = await shell.run("doctor", GRAPHQL_API_HOST="0.0.0.0")
    assert "warn   profile: " in out
    assert "fault" not in out

    out, _ = await shell.run("doctor", "--json", fails=True, GRAPHQL_API_HOST="0.0.0.0")
    assert {finding["level"] for finding in json.loads(out)} == {"ok", "warn"}
