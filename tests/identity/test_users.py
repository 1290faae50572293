import asyncio

import asyncpg
import pytest

from graphql_api.identity import users
from graphql_api.identity.errors import AdministrationError
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.identity.viewer import Role
from graphql_api.postgres.database import Database
from tests.identity.conftest import CURRENT, EMAIL, PASSWORD, MakeUser

UNKNOWN_USER = "00000000-0000-0000-0000-000000000001"


async def test_a_new_user_is_active_and_has_no_granted_role(database: Database, trader: str) -> None:
    user = await users.get(database, EMAIL)
    assert (user["id"], user["active"], user["roles"]) == (trader, True, [])


async def test_a_new_user_can_be_verified(database: Database, passwords: PasswordHasher, trader: str) -> None:
    user = await users.get(database, EMAIL)
    assert (await passwords.verify(PASSWORD, user["password_hash"])).matches


async def test_an_email_is_kept_in_lower_case(make_user: MakeUser, connection: asyncpg.Connection) -> None:
    await make_user("  Trader@Example.COM ")
    assert await connection.fetchval("SELECT email FROM users") == "trader@example.com"


@pytest.mark.parametrize("written", ["TRADER@example.com", " trader@EXAMPLE.com\n", EMAIL])
async def test_a_user_is_found_in_any_case(database: Database, trader: str, written: str) -> None:
    assert (await users.get(database, written))["id"] == trader


@pytest.mark.parametrize(
    "email", ["", "nobody@example.com", "nul\0@example.com", "\ud800@example.com", "x" * 300]
)
async def test_an_unknown_or_invalid_email_finds_no_user(database: Database, trader: str, email: str) -> None:
    assert await users.find(database, email) is None


async def test_get_raises_for_an_unknown_email(database: Database) -> None:
    with pytest.raises(AdministrationError, match="no user with this e-mail"):
        await users.get(database, "nobody@example.com")


async def test_wildcards_in_an_email_are_plain_characters(database: Database, trader: str) -> None:
    assert await users.find(database, "%@example.com") is None


async def insert(connection: asyncpg.Connection, email: str) -> str:
    statement = "INSERT INTO users (email, password_hash) VALUES ($1, $2) RETURNING id"
    return str(await connection.fetchval(statement, email, CURRENT.hash(PASSWORD)))


async def test_of_two_that_differ_in_case_the_exact_one_is_found(
    database: Database, connection: asyncpg.Connection
) -> None:
    await insert(connection, "Trader@example.com")
    second = await insert(connection, "trader@example.com")
    assert (await users.get(database, "trader@example.com"))["id"] == second


async def test_two_that_differ_in_case_are_not_mistaken_for_each_other(
    database: Database, connection: asyncpg.Connection
) -> None:
    await insert(connection, "Trader@example.com")
    await insert(connection, "trader@example.com")
    assert await users.find(database, "TRADER@example.com") is None


@pytest.mark.parametrize("is_active", [True, None])
async def test_a_user_of_whom_nothing_else_is_said_is_active(
    database: Database, connection: asyncpg.Connection, trader: str, is_active: bool | None
) -> None:
    await connection.execute("UPDATE users SET is_active = $1", is_active)
    assert (await users.get(database, EMAIL))["active"]


async def test_a_deactivated_user_is_not(
    database: Database, connection: asyncpg.Connection, trader: str
) -> None:
    await connection.execute("UPDATE users SET is_active = false")
    assert not (await users.get(database, EMAIL))["active"]


@pytest.mark.parametrize(
    "email", ["", "no-at-sign", "two@at@signs", "@example.com", "a b@example.com", "x" * 260 + "@e"]
)
async def test_what_is_no_email_makes_no_user(make_user: MakeUser, email: str) -> None:
    with pytest.raises(AdministrationError, match=r"looks like name@example\.com"):
        await make_user(email)


async def test_a_short_password_makes_no_user(make_user: MakeUser, connection: asyncpg.Connection) -> None:
    with pytest.raises(AdministrationError, match="12 characters"):
        await make_user(password="eleven char")
    assert await connection.fetchval("SELECT count(*) FROM users") == 0


async def test_an_email_is_taken_in_any_case(make_user: MakeUser, connection: asyncpg.Connection) -> None:
    await insert(connection, "Trader@Example.com")
    with pytest.raises(AdministrationError, match="already"):
        await make_user("trader@example.com")


async def test_of_two_made_at_once_one_is_refused(make_user: MakeUser) -> None:
    results = await asyncio.gather(make_user(), make_user(), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["AdministrationError", "str"]


async def test_a_new_password_takes_the_old_ones_place(
    database: Database, passwords: PasswordHasher, trader: str
) -> None:
    await users.set_password(database, passwords, trader, "another long password")
    stored = (await users.get(database, EMAIL))["password_hash"]
    assert (await passwords.verify("another long password", stored)).matches
    assert not (await passwords.verify(PASSWORD, stored)).matches


async def test_setting_the_password_of_an_unknown_user_is_an_error(
    database: Database, passwords: PasswordHasher
) -> None:
    with pytest.raises(AdministrationError, match="no such user"):
        await users.set_password(database, passwords, "00000000-0000-0000-0000-000000000001", PASSWORD)


async def test_finding_a_user_uses_the_index(connection: asyncpg.Connection) -> None:
    await connection.execute("SET enable_seqscan = off")
    plan = await connection.fetch(
        "EXPLAIN SELECT id FROM users WHERE lower(email) = lower($1::varchar)", EMAIL
    )
    assert "idx_users_email_lower" in "".join(row[0] for row in plan)


async def roles_of(database: Database) -> frozenset[Role]:
    return users.roles_of((await users.get(database, EMAIL))["roles"])


async def test_every_user_has_the_role_user(database: Database, trader: str) -> None:
    assert await roles_of(database) == {Role.USER}


async def test_a_granted_role_comes_on_top(database: Database, trader: str) -> None:
    await users.grant_role(database, trader, Role.OPERATOR)
    assert await roles_of(database) == {Role.USER, Role.OPERATOR}


async def test_a_second_grant_changes_nothing(database: Database, trader: str) -> None:
    await users.grant_role(database, trader, Role.ADMIN)
    await users.grant_role(database, trader, Role.ADMIN)
    assert await roles_of(database) == {Role.USER, Role.ADMIN}


async def test_a_revoked_role_is_gone_and_others_stay(database: Database, trader: str) -> None:
    await users.grant_role(database, trader, Role.OPERATOR)
    await users.grant_role(database, trader, Role.ADMIN)
    await users.revoke_role(database, trader, Role.ADMIN)
    assert await roles_of(database) == {Role.USER, Role.OPERATOR}


async def test_a_role_that_was_not_granted_cant_be_revoked(database: Database, trader: str) -> None:
    with pytest.raises(AdministrationError, match="does not have the role admin"):
        await users.revoke_role(database, trader, Role.ADMIN)


async def test_the_role_of_every_user_is_neither_granted_nor_revoked(database: Database, trader: str) -> None:
    with pytest.raises(AdministrationError, match="nothing to grant"):
        await users.grant_role(database, trader, Role.USER)
    with pytest.raises(AdministrationError, match="can't be revoked"):
        await users.revoke_role(database, trader, Role.USER)


async def test_a_stranger_gets_no_role(database: Database) -> None:
    with pytest.raises(AdministrationError, match="no such user"):
        await users.grant_role(database, UNKNOWN_USER, Role.ADMIN)


async def test_an_unknown_role_cant_be_stored(connection: asyncpg.Connection, trader: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute("INSERT INTO graphql_api.user_roles VALUES ($1, 'root')", trader)


async def test_another_program_may_delete_a_user_with_roles(
    database: Database, connection: asyncpg.Connection, trader: str
) -> None:
    await users.grant_role(database, trader, Role.OPERATOR)
    await connection.execute("DELETE FROM users")
    assert await connection.fetchval("SELECT count(*) FROM graphql_api.user_roles") == 0


@pytest.mark.parametrize("text", ["Tim@Example.com", " tim@example.com ", "T\u0130M@example.com"])
def test_spellings_that_may_find_one_user_are_folded_alike(text: str) -> None:
    assert users.fold_email(text) == "tim@example.com"
