"""Dumps of a database whose files can't be copied: taken, kept, proven, restored."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest

from graphql_api.backup.bucket import Bucket
from graphql_api.backup.catalog import Catalog, Kind
from graphql_api.backup.dump import restored_dump, take_dump, verify_dump
from graphql_api.backup.errors import BackupError
from graphql_api.backup.schedule import DumpSchedule, Policy, dump_verified, verify_stored_dump
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import migrate
from tests import factories
from tests.backup.test_schedule import Clock
from tests.drills.servers import Server, programs_of_debian
from tests.http_client import http_client
from tests.node import node_with
from tests.ports import free_port

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)
S3 = Path(__file__).parent / "s3"
SERVE = """
const S3rver = require('s3rver');
new S3rver({port: +process.argv[1], address: '127.0.0.1', silent: true, directory: process.argv[2],
            configureBuckets: [{name: 'backups'}]}).run();
"""


@pytest.fixture
def catalog(scratch: Path) -> Catalog:
    return Catalog(scratch / "backups")


@pytest.fixture
def address(server: Server) -> Address:
    return server.address


@pytest.fixture
async def bucket(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bucket]:
    """A bucket of a server that speaks S3."""
    node, port = node_with(S3), free_port()
    process = subprocess.Popen([node, "-e", SERVE, str(port), str(scratch / "s3")], cwd=S3)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "S3RVER",
        "AWS_SECRET_ACCESS_KEY": "S3RVER",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    async with http_client() as client:
        while True:
            try:
                await client.get(f"http://127.0.0.1:{port}/")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    yield Bucket("s3://backups/trading")
    process.terminate()
    process.wait()


async def emails(address: Address) -> set[str]:
    connection = await address.connect_plain()
    try:
        return {row["email"] for row in await connection.fetch("SELECT email FROM users")}
    finally:
        await connection.close()


async def test_a_dump_is_restored_and_compared_with_its_own_snapshot(
    address: Address, catalog: Catalog, connection: "asyncpg.Connection", scratch: Path
) -> None:
    await factories.user(connection, email="kept@example.com")
    backup = await take_dump(address, catalog)
    await factories.user(connection, email="later@example.com")

    assert backup.kind is Kind.DUMP
    assert (await verify_dump(catalog, backup)).startswith("restored and compared: ")
    async with restored_dump(catalog, backup, scratch / "new") as (restored, left_out):
        assert await emails(restored) == {"kept@example.com"}
    assert left_out == []
    assert (scratch / "new" / "data" / "PG_VERSION").exists()


async def test_a_dump_takes_longer_than_the_database_lets_others(
    address: Address, catalog: Catalog, connection: "asyncpg.Connection"
) -> None:
    await factories.user(connection)
    database = await connection.fetchval("SELECT quote_ident(current_database())")
    for limit in ("idle_in_transaction_session_timeout", "transaction_timeout"):
        if await connection.fetchval("SELECT current_setting($1, true)", limit) is not None:
            await connection.execute(f"ALTER DATABASE {database} SET {limit} = '60ms'")

    backup = await take_dump(address, catalog)

    assert (await verify_dump(catalog, backup)).startswith("restored and compared: ")


async def test_a_dump_is_compared_however_its_database_prints_values(
    address: Address, catalog: Catalog, connection: "asyncpg.Connection"
) -> None:
    await connection.execute("""
        CREATE TABLE others (bytes bytea, ratio float8, span interval, source regclass);
        INSERT INTO others VALUES ('a', 1.1::float8 / 3, '1 day 2 hours', 'trades')
    """)
    database = await connection.fetchval("SELECT quote_ident(current_database())")
    for setting in (
        *("bytea_output = escape", "extra_float_digits = -5", "IntervalStyle = iso_8601"),
        "search_path = graphql_api, public",
    ):
        await connection.execute(f"ALTER DATABASE {database} SET {setting}")

    backup = await take_dump(address, catalog)

    assert (await verify_dump(catalog, backup)).startswith("restored and compared: ")


async def test_a_dump_of_policies_and_a_tablespace_is_restored_on_another_server(
    address: Address, catalog: Catalog, connection: "asyncpg.Connection", server: Server
) -> None:
    space = server.folder / "space"
    space.mkdir()
    server.system_user.take_ownership(space)
    await connection.execute(f"CREATE TABLESPACE fast LOCATION '{space}'")
    await connection.execute("""
        CREATE ROLE bot; CREATE ROLE "The ""TO"" bot";
        ALTER TABLE trades ENABLE ROW LEVEL SECURITY;
        ALTER TABLE trades SET TABLESPACE fast;
        CREATE POLICY one ON trades AS RESTRICTIVE FOR SELECT TO bot, "The ""TO"" bot" USING (true);
        CREATE POLICY "for TO all" ON trades USING (true);
        CREATE POLICY own ON trades TO CURRENT_USER WITH CHECK (true);
    """)
    backup = await take_dump(address, catalog)

    assert (await verify_dump(catalog, backup)).startswith("restored and compared: ")


async def test_rows_that_a_dump_lacks_are_found(
    address: Address, catalog: Catalog, connection: "asyncpg.Connection"
) -> None:
    await factories.user(connection)
    first = await take_dump(address, catalog)
    await factories.user(connection)
    second = await take_dump(address, catalog)
    (catalog.path(first) / "dump").replace(catalog.path(second) / "dump")

    with pytest.raises(BackupError, match=r"public.users has 1 rows instead of 2"):
        await verify_dump(catalog, second)


async def test_a_dump_is_taken_daily_verified_and_kept_for_thirty_days(
    address: Address, catalog: Catalog
) -> None:
    clock = Clock(datetime.now(UTC))
    schedule = DumpSchedule(address, catalog, Policy(), clock=clock)
    for day in (0, 0, 1, 33):
        clock.now = datetime.now(UTC) + day * DAY + timedelta(seconds=day)
        await schedule.do_what_is_due()

    dumps = catalog.backups()
    assert catalog.state().failure == ""
    assert len(dumps) == 1  # by the server's clock all are of today, and before the retention on the last day
    assert all(backup.verified_at for backup in dumps)


async def test_dumps_are_kept_in_a_bucket(
    address: Address, catalog: Catalog, bucket: Bucket, connection: "asyncpg.Connection", scratch: Path
) -> None:
    await factories.user(connection, email="kept@example.com")
    first = await dump_verified(address, catalog, bucket=bucket)
    second = await dump_verified(address, catalog, bucket=bucket)
    elsewhere = Catalog(scratch / "another machine")
    await bucket.records(elsewhere)

    assert [backup.id for backup in elsewhere.backups()] == [first.id, second.id]
    assert not (catalog.path(first) / "dump").exists()
    await bucket.get(elsewhere, second)
    async with restored_dump(elsewhere, second, scratch / "new") as (restored, _):
        assert await emails(restored) == {"kept@example.com"}

    await bucket.remove(first)
    await bucket.records(catalog)
    assert [backup.id for backup in catalog.backups()] == [second.id]


async def test_a_dump_that_did_not_reach_its_bucket_is_put_there_later(
    address: Address, catalog: Catalog, bucket: Bucket
) -> None:
    clock = Clock(datetime.now(UTC))
    await DumpSchedule(address, catalog, Policy(), clock=clock).do_what_is_due()
    (dump,) = catalog.backups()
    assert (catalog.path(dump) / "dump").exists()

    await DumpSchedule(address, catalog, Policy(), bucket=bucket, clock=clock).do_what_is_due()

    assert [each.id for each in catalog.backups()] == [dump.id]
    assert not (catalog.path(dump) / "dump").exists()
    await bucket.get(catalog, dump)


async def test_verifying_a_dump_in_a_bucket_uploads_only_its_record(
    address: Address, catalog: Catalog, bucket: Bucket
) -> None:
    dump = await dump_verified(address, catalog, bucket=bucket, now=datetime.now(UTC) - DAY)
    steps: set[str] = set()

    await verify_stored_dump(catalog, dump, bucket=bucket, progress=lambda what, *_: steps.add(what))

    assert {step for step in steps if "loading" in step} >= {"downloading the dump", "uploading backup.json"}
    assert not steps & {"uploading dump", "uploading fingerprints.json"}
    assert not (catalog.path(dump) / "dump").exists()
    elsewhere = Catalog(catalog.folder.parent / "another machine")
    await bucket.records(elsewhere)
    verified_at = elsewhere.get(dump.id).verified_at
    assert verified_at is not None
    assert verified_at > dump.started_at + DAY / 2


async def test_a_dump_that_was_not_verified_is_verified_later(address: Address, catalog: Catalog) -> None:
    clock = Clock(datetime.now(UTC))
    dump = await take_dump(address, catalog, now=clock.now)

    await DumpSchedule(address, catalog, Policy(), clock=clock).do_what_is_due()

    (verified,) = catalog.backups()
    assert (verified.id, verified.verified_at is not None) == (dump.id, True)


async def test_a_bucket_that_cant_be_used_is_named(bucket: Bucket, catalog: Catalog) -> None:
    with pytest.raises(BackupError, match="the bucket s3://missing/x can't be used"):
        await Bucket("s3://missing/x").records(catalog)
    with pytest.raises(BackupError, match="GRAPHQL_API_BACKUP_BUCKET is no bucket"):
        Bucket("nonsense")


async def test_an_address_through_a_pooler_is_refused(catalog: Catalog) -> None:
    with pytest.raises(BackupError, match="set DATABASE_DIRECT_URL"):
        await take_dump(Address.parse("postgresql://user@ep-cool-pooler.example.test/db"), catalog)


async def test_a_database_with_uuid_ossp_is_restored_without_it(catalog: Catalog) -> None:
    """As Neon has it, and most hosts: the extension, which the server that dumps are restored into lacks."""
    programs = programs_of_debian()
    if programs is None or not list(Path("/usr/share/postgresql").glob("*/extension/uuid-ossp.control")):
        pytest.skip("there is no PostgreSQL with uuid-ossp (Debian's package postgresql)")
    server = Server(programs=programs)
    try:
        await server.make(migrated=False)
        connection = await server.address.connect_plain()
        await connection.execute('CREATE EXTENSION "uuid-ossp"')
        await connection.close()
        await migrate(server.address)
        backup = await take_dump(server.address, catalog)
        found = await verify_dump(catalog, backup)
    finally:
        server.remove()

    assert found.endswith("(without the extensions uuid-ossp, which are not installed here)")
