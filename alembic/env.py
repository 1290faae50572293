"""How Alembic reaches the database: the caller's connection, or the one DATABASE_URL names."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.schema import SchemaItem

from graphql_api.postgres.migrate import VERSION_TABLE, connection_from_environment
from graphql_api.postgres.tables import metadata
from graphql_api.postgres.tables.base import SERVICE_SCHEMA


def declared(name: str | None, kind: str, parents: MutableMapping[Any, str | None]) -> bool:
    """Only tables of `postgres.tables` take part in a comparison: others are for their owners to keep."""
    if kind == "schema":
        return name in {table.schema for table in metadata.tables.values()}
    return kind != "table" or parents["schema_qualified_table_name"] in metadata.tables


def comparable(_item: SchemaItem, _name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:  # noqa: FBT001
    """All but indexes, which `graphql-api migrate` compares and builds (`postgres.indexes`)."""
    return kind != "index"


def migrate(connection: Connection) -> None:
    """Run what was asked for on this connection, in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        version_table_schema=SERVICE_SCHEMA,
        compare_server_default=True,
        include_schemas=True,
        include_name=declared,
        include_object=comparable,
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_from_environment() -> None:
    """For the `alembic` command itself."""
    async with connection_from_environment() as connection:
        await connection.run_sync(migrate)


if (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    asyncio.run(migrate_from_environment())
