import asyncpg
import pytest

from graphql_api.identity import roles, users
from graphql_api.identity.errors import AdministrationError
from graphql_api.identity.viewer import Role
from graphql_api.postgres.database import Database
from tests.identity.conftest import EMAIL

STRANGER = "00000000-0000-0000-0000-000000000001"


async def roles_of(database: Database) -> frozenset[Role]:
    return roles.roles_of((await users.get(database, EMAIL))["roles"])


async def test_every_user_has_the_role_user(database: Database, trader: str) -> None:
    assert await roles_of(database) == {Role.USER}


async def test_a_granted_role_comes_on_top(database: Database, trader: str) -> None:
    await roles.grant(database, trader, Role.OPERATOR)
    assert await roles_of(database) == {Role.USER, Role.OPERATOR}


async def test_a_second_grant_changes_nothing(database: Database, trader: str) -> None:
    await roles.grant(database, trader, Role.ADMIN)
    await roles.grant(database, trader, Role.ADMIN)
    assert await roles_of(database) == {Role.USER, Role.ADMIN}


async def test_a_revoked_role_is_gone_and_others_stay(database: Database, trader: str) -> None:
    await roles.grant(database, trader, Role.OPERATOR)
    await roles.grant(database, trader, Role.ADMIN)
    await roles.revoke(database, trader, Role.ADMIN)
    assert await roles_of(database) == {Role.USER, Role.OPERATOR}


async def test_a_role_that_was_not_granted_cant_be_revoked(database: Database, trader: str) -> None:
    with pytest.raises(AdministrationError, match="does not have the role admin"):
        await roles.revoke(database, trader, Role.ADMIN)


async def test_the_role_of_every_user_is_neither_granted_nor_revoked(database: Database, trader: str) -> None:
    with pytest.raises(AdministrationError, match="nothing to grant"):
        await roles.grant(database, trader, Role.USER)
    with pytest.raises(AdministrationError, match="can't be revoked"):
        await roles.revoke(database, trader, Role.USER)


async def test_a_stranger_gets_no_role(database: Database) -> None:
    with pytest.raises(AdministrationError, match="no such user"):
        await roles.grant(database, STRANGER, Role.ADMIN)


async def test_a_role_that_nobody_knows_cant_be_stored(connection: asyncpg.Connection, trader: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("INSERT INTO api_auth.user_roles VALUES ($1, 'root')", trader)


async def test_another_program_may_delete_a_user_with_roles(
    database: Database, connection: asyncpg.Connection, trader: str
) -> None:
    await roles.grant(database, trader, Role.OPERATOR)
    await connection.execute("DELETE FROM users")
    assert await connection.fetchval("SELECT count(*) FROM api_auth.user_roles") == 0
