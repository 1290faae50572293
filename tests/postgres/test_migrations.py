"""The revisions: one line of them, each of which can be taken back, and the tables they make."""

import re
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, Table, inspect
from sqlalchemy.dialects import postgresql

from graphql_api.postgres import indexes
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import config_for, connection_to, migrate
from graphql_api.postgres.tables import metadata, views
from graphql_api.postgres.tables.indexes import OPERATOR_INDEXES
from graphql_api.postgres.vocabularies import trade_status_sql
from tests.postgres.catalog import describe
from tests.postgres.given import fill, rows

SCRIPTS = ScriptDirectory.from_config(config_for())
REVISIONS = tuple(reversed(list(SCRIPTS.walk_revisions())))

# What SQLAlchemy can declare; the rest is in the revisions alone.
DECLARABLE = re.compile(r"(column|constraint|index) ")


async def downgrade(address: Address, revision: str) -> None:
    def run(connection: Connection) -> None:
        command.downgrade(config_for(connection), revision)

    async with connection_to(address) as connection:
        await connection.run_sync(run)


def without_added_indexes(lines: set[str]) -> set[str]:
    """What revisions made; `migrate` builds indexes besides, at the newest of them."""
    added = re.compile(rf"(index|statistics) ({'|'.join(each.name for each in indexes.declared())}):")
    return {line for line in lines if not added.match(line)}


def test_there_is_one_line_of_revisions() -> None:
    assert len(SCRIPTS.get_heads()) == len(SCRIPTS.get_bases()) == 1


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.revision)
def test_a_revisions_file_is_named_by_date_and_number_and_says_what_it_is_for(revision: Script) -> None:
    assert re.fullmatch(rf"\d{{4}}_\d\d_\d\d_{revision.revision}_\w+\.py", Path(revision.path).name)
    assert revision.doc.endswith(".")


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.revision)
async def test_a_revision_goes_up_down_and_up_again(
    revision: Script, empty: Address, empty_connection: "asyncpg.Connection"
) -> None:
    below = revision.down_revision
    if isinstance(below, str):
        await migrate(empty, below)
    before = await describe(empty_connection)

    await migrate(empty, revision.revision)
    after = await describe(empty_connection)
    await downgrade(empty, "-1")
    assert without_added_indexes(await describe(empty_connection)) == before
    await migrate(empty, revision.revision)

    assert await describe(empty_connection) == after != before


async def test_rows_that_were_there_stay_as_they_are_up_and_down(
    empty: Address, empty_connection: "asyncpg.Connection"
) -> None:
    await migrate(empty, REVISIONS[0].revision)
    await fill(empty_connection)
    before = await rows(empty_connection)

    await migrate(empty)
    assert await rows(empty_connection) == before
    await downgrade(empty, REVISIONS[0].revision)

    assert await rows(empty_connection) == before


async def test_alembic_finds_nothing_to_add(address: Address) -> None:
    def check(connection: Connection) -> None:
        command.check(config_for(connection))

    async with connection_to(address) as connection:
        await connection.run_sync(check)


@pytest.fixture
async def declared(empty: Address, empty_connection: "asyncpg.Connection") -> set[str]:
    """What `postgres.tables` alone makes."""
    await empty_connection.execute(
        "CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'"
    )
    for schema in {table.schema for table in metadata.tables.values() if table.schema}:
        await empty_connection.execute(f"CREATE SCHEMA {schema}")
    async with connection_to(empty) as connection:
        await connection.run_sync(metadata.create_all)
    optional = re.compile(rf"index ({'|'.join(str(index.name) for index in OPERATOR_INDEXES)}):")
    lines = await describe(empty_connection)
    return {line for line in lines if DECLARABLE.match(line) and not optional.match(line)}


async def test_the_declared_tables_are_those_that_the_revisions_make(
    declared: set[str], connection: "asyncpg.Connection"
) -> None:
    tables = "|".join(re.escape(name) for name in metadata.tables)
    of_declared = re.compile(rf"(column|constraint) ({tables})\.\w+:|index .* ON (public\.)?({tables}) ")
    migrated = {line for line in await describe(connection) if of_declared.match(line)}

    assert migrated == declared


async def test_the_planner_knows_the_expression_that_a_filter_by_status_compares(
    empty: Address, empty_connection: "asyncpg.Connection"
) -> None:
    await migrate(empty)
    trades, dialect = metadata.tables["trades"].c, postgresql.dialect()  # type: ignore[no-untyped-call]
    compared = trade_status_sql(trades.status, trades.exit_time).compile(dialect=dialect)
    await empty_connection.execute(f"CREATE STATISTICS compared ON ({compared}) FROM trades")
    expressions = await empty_connection.fetch(
        "SELECT pg_get_statisticsobjdef_expressions(oid) FROM pg_statistic_ext"
        " WHERE stxname IN ('compared', 'stats_trades_status')"
    )

    assert len(expressions) == 1 + 1
    assert expressions[0] == expressions[1]


@pytest.mark.parametrize("view", views.tables.values(), ids=lambda view: view.name)
async def test_the_declared_views_have_the_columns_of_the_real_ones(view: Table, address: Address) -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]

    def reflect(connection: Connection) -> list[tuple[str, str]]:
        columns = inspect(connection).get_columns(view.name)
        return [(column["name"], column["type"].compile(dialect)) for column in columns]

    async with connection_to(address) as connection:
        real = await connection.run_sync(reflect)

    assert [(column.name, column.type.compile(dialect)) for column in view.columns] == real
