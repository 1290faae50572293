"""A database whose encoding isn't UTF-8."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from graphql_api.postgres.address import Address
from graphql_api.postgres.documented_schema import find_differences
from graphql_api.postgres.migrate import migrate
from tests import factories
from tests.conftest import database_of
from tests.graph import opened, settings_for, trader

TRADES = "query ($filter: TradeFilter) { trades(filter: $filter) { nodes { symbol } } }"


@pytest.fixture
async def latin(server: Address) -> AsyncIterator[Address]:
    """A migrated database in LATIN1."""
    name = f"test_{uuid4().hex}"
    admin = await server.connect_plain()
    try:
        await admin.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'"
        )
        await migrate(database_of(server, name))
        yield database_of(server, name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


async def test_characters_that_the_encoding_lacks_are_refused(latin: Address, tmp_path: Path) -> None:
    connection = await latin.connect_plain()
    try:
        (difference,) = await find_differences(connection)
        user = await factories.user(connection)
        session = await factories.session(connection, await factories.account(connection, user))
        await factories.trade(connection, session, symbol="K\u00d6LN")
    finally:
        await connection.close()
    async with opened(settings_for(latin, tmp_path)) as graph:
        own = graph.as_(trader(user))
        found = await own.ask(TRADES, {"filter": {"symbol": {"contains": "\u00d6"}}})
        refused = await own.ask(TRADES, {"filter": {"symbol": {"contains": "\u20bf"}}})

    assert str(difference).startswith("the database has the encoding LATIN1: ")
    assert found.data["trades"]["nodes"] == [{"symbol": "K\u00d6LN"}]
    assert refused.error["extensions"]["code"] == "BAD_USER_INPUT"
    assert refused.error["message"] == "a text has a character that the database's encoding lacks"
