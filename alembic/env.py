"""How Alembic reaches the database: the caller's connection, or the one DATABASE_URL names."""

import asyncio

from alembic import context
from sqlalchemy import Connection, Table
from sqlalchemy.schema import SchemaItem

from graphql_api.db.migrate import connection_from_environment
from graphql_api.db.tables import metadata


def ours(item: SchemaItem, name: str | None, kind: str, reflected: bool, _: SchemaItem | None) -> bool:  # noqa: FBT001
    """Only what `db.tables` declares takes part in a comparison; other programs' tables are theirs."""
    return not (kind == "table" and isinstance(item, Table) and reflected and item.key not in metadata.tables)


def migrate(connection: Connection) -> None:
    """Run what was asked for on this connection, in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_server_default=True,
        include_schemas=True,
        include_object=ours,
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
