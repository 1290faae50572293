"""`graphql-api doctor`: checks a deployment, in the order in which its faults would take effect."""

import asyncio
import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import asyncpg
import typer
from sqlalchemy import Integer, bindparam, literal_column, select, text

from graphql_api.backup.errors import BackupError
from graphql_api.cli.database import named_or_embedded, opened
from graphql_api.cli.progress import StepDisplay
from graphql_api.cli.upkeep import CHECKS, Check, ConcernError, FaultError
from graphql_api.domain.account_changes import CHANGES
from graphql_api.identity.signing_keys import SecretKeyError, derive_key, signing_key
from graphql_api.log_feed.errors import FeedError
from graphql_api.log_feed.feed import Feed
from graphql_api.log_feed.feed_schema import LOGS
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.documented_schema import MISSING, Severity, find_differences
from graphql_api.postgres.errors import DatabaseUnavailableError
from graphql_api.postgres.indexes import IndexChange
from graphql_api.postgres.migrate import (
    StandbyMigrationError,
    current_revision,
    find_damage,
    newest_revision,
    plan,
    unfit,
)
from graphql_api.postgres.pooler import is_transaction_pooled
from graphql_api.postgres.statement import compile_statement
from graphql_api.postgres.tables import DOCUMENTED
from graphql_api.postgres.type_codecs import STATEMENT_SETTINGS
from graphql_api.settings import Settings
from graphql_api.time_zones import offset_at

_OLDEST = 14
_CONNECTIONS = 5
_ROUNDS = 5
_LOST_STATEMENTS = (
    asyncpg.InvalidSQLStatementNameError.sqlstate,
    asyncpg.DuplicatePreparedStatementError.sqlstate,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    check: str
    level: str
    """ok, warn or fault."""
    text: str


def examine(*, as_json: bool) -> int:
    """Prints what each check found, and returns 1 for a fault, 2 for warnings alone if `as_json`, else 0."""
    settings = Settings()
    with named_or_embedded(settings) as address:
        findings = asyncio.run(_examine(settings, address, quiet=as_json))
    levels = {finding.level for finding in findings}
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    if "fault" in levels:
        return 1
    return 2 if as_json and "warn" in levels else 0


async def _examine(settings: Settings, address: Address, *, quiet: bool) -> list[Finding]:
    findings: list[Finding] = []
    skipped: frozenset[str] = frozenset()
    with StepDisplay("connecting"):
        address = await _detect_pooler(address)
    for name, check in {**_CHECKS, **CHECKS}.items():
        if name in skipped:
            continue
        with StepDisplay(f"checking {name}"):
            finding = await _run_check(name, check, settings, address)
        findings.append(finding)
        if not quiet:
            typer.echo(f"{finding.level:6} {name}: {finding.text}")
        if name == "database" and finding.level == "fault":
            break  # other checks would fail for the same reason
        if name == "schema" and finding.level == "fault":
            skipped = _OF_THE_REVISION
    return findings


async def _detect_pooler(address: Address) -> Address:
    """Returns the address, with `pooled` set if its connections show a pooler in transaction mode."""
    with suppress(OSError, asyncpg.PostgresError, DatabaseUnavailableError):  # the first check says it
        if await is_transaction_pooled(address):
            return replace(address, pooled=True)
    return address


async def _run_check(name: str, check: Check, settings: Settings, address: Address) -> Finding:
    try:
        return Finding(name, "ok", await check(settings, address))
    except ConcernError as error:
        return Finding(name, "warn", str(error))
    except (FaultError, BackupError, FeedError, SecretKeyError, StandbyMigrationError) as error:
        return Finding(name, "fault", str(error))
    except asyncpg.InsufficientPrivilegeError as error:
        return Finding(name, "warn", f"can't be looked at: {error}: {await _missing_privilege(address)}")
    except (OSError, asyncpg.PostgresError, DatabaseUnavailableError) as error:
        return Finding(name, "fault", f"can't connect: {error.__cause__ or error}")


async def _missing_privilege(address: Address) -> str:
    """Returns what to grant to the role. PostgreSQL's message doesn't tell it: it may be in any language."""
    connection = await address.connect_plain(application="graphql-api doctor")
    try:
        [row] = await connection.fetch(_PRIVILEGES)
    finally:
        await connection.close()
    if row["lacks_schema"]:
        return "as the owner, run what `graphql-api grants ROLE` prints"
    if row["lacks_temporary"]:
        return f"GRANT TEMPORARY ON DATABASE {row['database']} TO {row['role']}"
    return "GRANT pg_monitor TO the role of DATABASE_URL"


_PRIVILEGES = """
    SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname IN ('graphql_api', 'log_feed', 'activity')
                   AND NOT has_schema_privilege(oid, 'USAGE')) AS lacks_schema,
           NOT has_database_privilege(current_database(), 'TEMPORARY') AS lacks_temporary,
           quote_ident(current_database()) AS database, quote_ident(current_user) AS role
"""


async def _database(_: Settings, address: Address) -> str:
    connection = await address.connect_plain(application="graphql-api doctor")
    try:
        server = (await connection.fetchval("SHOW server_version")).split()[0]
    finally:
        await connection.close()
    if int(re.match(r"\d+", server)[0]) < _OLDEST:  # type: ignore[index]  # a version begins with a number
        raise FaultError(f"PostgreSQL {server} is too old: {_OLDEST} or newer is needed")
    return f"PostgreSQL {server}"


async def _pooling(settings: Settings, address: Address) -> str:
    if settings.database_url is not None:
        address = Address.parse(settings.database_url.get_secret_value())
    pooled = address.pooled or await is_transaction_pooled(address)
    prepared = settings.database_prepared_statements
    async with opened(address, pool_size=_CONNECTIONS, prepared_statements=prepared) as database:
        try:
            right = await _statements_are_answered(database)
            others = [
                f"{row['name']} = {row['setting']}"
                for row in await database.fetch(_SERVED_SETTINGS)
                if row["setting"] != STATEMENT_SETTINGS[row["name"]]
            ]
        except DatabaseUnavailableError as error:
            if error.sqlstate not in _LOST_STATEMENTS:
                raise
            right, others = False, []
    if not right:
        raise FaultError(
            "statements are mixed up by a pooler in transaction mode, which keeps no prepared statements:"
            " unset GRAPHQL_API_DATABASE_PREPARED_STATEMENTS"
        )
    if others:
        raise ConcernError(
            f"the pooler keeps the service from changing {', '.join(others)}, so some requests will fail:"
            " ALTER ROLE … SET, or RESET, for the role and the database"
        )
    ignored = f"; left out of the URL: {', '.join(address.ignored)}" if address.ignored else ""
    if not pooled:
        return f"each is to a server process of its own{ignored}"
    return f"through a pooler in transaction mode, {'' if prepared else 'un'}prepared{ignored}"


_SERVED_SETTINGS = compile_statement(
    select(literal_column("name"), literal_column("setting"))
    .select_from(text("pg_settings"))
    .where(literal_column("name").in_([literal_column(f"'{name}'") for name in STATEMENT_SETTINGS]))
)


async def _statements_are_answered(database: Database) -> bool:
    """Runs parameterised statements, many at once, as requests do. Returns whether all results are right."""
    statements = [
        compile_statement(select(literal_column(str(number)) + bindparam("n", type_=Integer)))
        for number in range(2 * _CONNECTIONS)
    ]

    async def add(number: int, n: int) -> bool:
        async with database.transaction() as transaction:
            first = await transaction.fetch(statements[number], n=n)
            second = await transaction.fetch(statements[-number], n=n)
        expected = number + n, (-number) % len(statements) + n
        return (first[0][0], second[0][0]) == expected

    rounds = [
        await asyncio.gather(*(add(number, n) for number in range(len(statements)))) for n in range(_ROUNDS)
    ]
    return all(map(all, rounds))


async def _revision(_: Settings, address: Address) -> str:
    if fault := await unfit(address):
        raise FaultError(fault)
    current, newest = await current_revision(address), newest_revision()
    return newest if current == newest else f"{current}, newer than this version, which made {newest}"


async def _documented_schema(_: Settings, address: Address) -> str:
    connection = await address.connect_plain(application="graphql-api doctor")
    try:
        differences = await find_differences(connection)
    finally:
        await connection.close()
    refused = [each for each in differences if each.severity is Severity.REFUSED]
    if {each.place for each in refused if each.difference == MISSING} >= set(DOCUMENTED):
        raise FaultError("there are none yet: run `graphql-api migrate`")
    if refused:
        raise FaultError("; ".join(map(str, refused)))
    served = [f"{each} ({each.severity.value})" for each in differences]
    return "; ".join(("served with differences", *served)) if served else "as documented"


async def _triggers(_: Settings, address: Address) -> str:
    if damage := await find_damage(address):
        raise FaultError("; ".join(damage))
    return "as migrated"


async def _indexes(_: Settings, address: Address) -> str:
    if changes := [step for step in await plan(address) if isinstance(step, IndexChange)]:
        raise FaultError(f"{'; '.join(map(str, changes))}: run `graphql-api migrate`")
    return "as declared"


async def _secret(settings: Settings, _: Address) -> str:
    signing_key(settings)
    return "set" if settings.secret_key is not None else f"kept in {settings.data_dir}"


async def _feed(settings: Settings, address: Address) -> str:
    connection = await address.connect_plain(application="graphql-api doctor")
    try:
        looks_restored = await connection.fetchval(_LOOKS_RESTORED)
    finally:
        await connection.close()
    if looks_restored:
        raise FaultError(
            "check_function_bodies and row_security are both off for this database or role, as in pg_dump's"
            " scripts: what programs write is taken for a restored dump, which ends subscriptions: RESET one"
        )
    async with opened(address) as database:
        for schema in (LOGS, CHANGES):
            await Feed(database, address, derive_key(signing_key(settings), "feed"), schema=schema).check()
    return "reads from a primary, without a pooler"


_LOOKS_RESTORED = """
    SELECT current_setting('check_function_bodies') = 'off' AND current_setting('row_security') = 'off'
"""


async def _time_zone(settings: Settings, address: Address) -> str:
    # It is no fault: the service doesn't use PostgreSQL's zones. Other programs' SQL may, and get other days.
    zone, now = settings.risk_timezone, datetime.now(UTC)
    weeks = [now + timedelta(weeks=week) for week in range(-52, 53)]
    source = f"{zone} by tzdata {version('tzdata')}"
    connection = await address.connect_plain(application="graphql-api doctor")
    try:
        rows = await connection.fetch(_OFFSETS, zone, weeks)
    except asyncpg.InvalidParameterValueError:
        return f"{source}; PostgreSQL itself has no such zone"
    finally:
        await connection.close()
    other = [moment for moment, offset in rows if offset != offset_at(zone, moment)]
    return f"{source}; PostgreSQL's own files differ, as on {min(other):%Y-%m-%d}" if other else source


_OFFSETS = """
    SELECT moment, (moment AT TIME ZONE $1) - (moment AT TIME ZONE 'UTC')
    FROM unnest($2::timestamptz[]) AS moment
"""

_CHECKS: dict[str, Check] = {
    "database": _database,
    "pooling": _pooling,
    "schema": _revision,
    "documented tables": _documented_schema,
    "triggers": _triggers,
    "indexes": _indexes,
    "secret key": _secret,
    "log feed": _feed,
    "time zone": _time_zone,
}
_OF_THE_REVISION = frozenset({"triggers", "indexes", "log feed"})
"""The checks that a migration mends."""
