"""A user with an account and a session of it, for tests that need no other rows."""

from decimal import Decimal

import asyncpg
import pytest

from tests import factories


@pytest.fixture
async def user(connection: "asyncpg.Connection") -> str:
    return await factories.user(connection)


@pytest.fixture
async def account(connection: "asyncpg.Connection", user: str) -> str:
    return await factories.account(connection, user)


@pytest.fixture
async def session(connection: "asyncpg.Connection", account: str) -> str:
    return await factories.session(connection, account, initial_balance=Decimal(1000))


async def cut_recorders(connection: "asyncpg.Connection") -> None:
    """Ends the connections of this database's recorders."""
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'graphql-api recorder' AND datname = current_database()"
    )
