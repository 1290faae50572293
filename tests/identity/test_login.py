import asyncio
import logging

import asyncpg
import pytest

from graphql_api.identity import users
from graphql_api.identity.authenticator import Authenticator
from graphql_api.identity.errors import InvalidCredentialsError
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.identity.viewer import Role, Scope
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.settings import Settings
from tests.identity.conftest import EMAIL, KEY, OLD, PASSWORD, CountingArgon2, CountingBcrypt, log_in
from tests.lock_waits import until_waiting


async def test_the_right_password_logs_in(authenticator: Authenticator, trader: str) -> None:
    assert (await log_in(authenticator)).viewer.user_id == trader


async def test_a_user_logs_in_whatever_the_case_of_the_email(
    authenticator: Authenticator, trader: str
) -> None:
    assert (await log_in(authenticator, " TRADER@Example.com ")).viewer.user_id == trader


async def test_a_login_tells_roles_and_scopes(
    authenticator: Authenticator, database: Database, trader: str
) -> None:
    await users.grant_role(database, trader, Role.OPERATOR)
    viewer = (await log_in(authenticator)).viewer
    assert viewer.roles == {Role.USER, Role.OPERATOR}
    assert Scope.LOGS_READ in viewer.scopes


async def test_a_login_is_noted_in_the_users_row(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    assert await connection.fetchval("SELECT last_login FROM users") is None
    await log_in(authenticator)
    assert await connection.fetchval("SELECT last_login FROM users") is not None


async def test_a_refused_login_is_not(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    with pytest.raises(InvalidCredentialsError):
        await log_in(authenticator, password="wrong")
    assert await connection.fetchval("SELECT last_login FROM users") is None


async def test_every_refusal_says_the_same(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    refusals = set()
    for email, password in [
        (EMAIL, "wrong"),
        (EMAIL, ""),
        ("nobody@example.com", PASSWORD),
        ("", PASSWORD),
        ("\ud800", "\ud800"),
        ("\0", "\0"),
    ]:
        with pytest.raises(InvalidCredentialsError) as error:
            await log_in(authenticator, email, password)
        refusals.add(str(error.value))
    await connection.execute("UPDATE users SET is_active = false")
    with pytest.raises(InvalidCredentialsError) as error:
        await log_in(authenticator)
    assert refusals == {str(error.value)}


@pytest.mark.parametrize(
    ("change", "email", "password"),
    [
        ("UPDATE users SET is_active = false", EMAIL, PASSWORD),
        ("UPDATE users SET is_active = false", EMAIL, "wrong"),
        ("UPDATE users SET is_active = true", EMAIL, "wrong"),
        ("UPDATE users SET password_hash = 'unknown'", EMAIL, "wrong"),
        ("DELETE FROM users", EMAIL, PASSWORD),
        ("DELETE FROM users", "\0", PASSWORD),
    ],
)
async def test_every_refusal_costs_the_same_work(
    database: Database,
    settings: Settings,
    connection: asyncpg.Connection,
    trader: str,
    change: str,
    email: str,
    password: str,
) -> None:
    argon2 = CountingArgon2(time_cost=1, memory_cost=8, parallelism=1)
    old = CountingBcrypt(rounds=4)
    authenticator = Authenticator(database, settings, KEY, passwords=PasswordHasher(hashers=(argon2, old)))
    await connection.execute(change)
    with pytest.raises(InvalidCredentialsError):
        await log_in(authenticator, email, password)
    assert (argon2.work, old.work) == (1, 1)
    await authenticator.close()


async def test_a_stored_text_that_is_no_hash_is_refused_like_a_wrong_password(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    await connection.execute("UPDATE users SET password_hash = $1", PASSWORD)
    with pytest.raises(InvalidCredentialsError):
        await log_in(authenticator)


async def test_an_old_hash_is_upgraded(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    await connection.execute("UPDATE users SET password_hash = $1", OLD.hash(PASSWORD))
    await log_in(authenticator)
    assert (await connection.fetchval("SELECT password_hash FROM users")).startswith("$argon2id$")
    assert (await log_in(authenticator)).viewer.user_id == trader


async def test_an_upgrade_ends_no_login(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    first = await log_in(authenticator)
    stored = OLD.hash(PASSWORD)
    await connection.execute("UPDATE users SET password_hash = $1", stored)
    await connection.execute(
        "UPDATE graphql_api.token_families SET password_digest = sha256(convert_to($1, 'UTF8'))", stored
    )
    await log_in(authenticator)
    assert (await authenticator.authenticate(first.access)).user_id == trader
    assert (await authenticator.refresh(first.refresh)).viewer.user_id == trader


async def test_two_processes_that_upgrade_at_once_both_let_in(
    authenticator: Authenticator,
    address: Address,
    settings: Settings,
    passwords: PasswordHasher,
    connection: asyncpg.Connection,
    trader: str,
) -> None:
    await connection.execute("UPDATE users SET password_hash = $1", OLD.hash(PASSWORD))
    other_database = Database(address)
    other = Authenticator(other_database, settings, KEY, passwords=passwords)
    # Both have read the old hash before either can replace it.
    async with connection.transaction():
        await connection.execute("SELECT FROM users FOR UPDATE")
        logins = [asyncio.create_task(log_in(authenticator)), asyncio.create_task(log_in(other))]
        await until_waiting(address, 2)
    for tokens in await asyncio.gather(*logins):
        assert (await authenticator.authenticate(tokens.access)).user_id == trader
    await other.close()
    await other_database.close()


async def test_what_has_expired_is_swept_at_the_next_login(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    await log_in(authenticator)
    await connection.execute("UPDATE graphql_api.token_families SET expires_at = now() - interval '1 s'")
    await log_in(authenticator)
    assert await connection.fetchval("SELECT count(*) FROM graphql_api.token_families") == 1
    assert await connection.fetchval("SELECT count(*) FROM graphql_api.refresh_tokens") == 1


async def test_no_secret_is_logged_or_printed(
    authenticator: Authenticator, trader: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(InvalidCredentialsError):
        await log_in(authenticator, password="a wrong password")
    tokens = await log_in(authenticator)
    shown = caplog.text + repr(tokens) + repr(tokens.viewer)
    for secret in ("a wrong password", PASSWORD, tokens.access, tokens.refresh):
        assert secret not in shown
    assert EMAIL not in caplog.text


async def test_no_token_is_stored(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    tokens = await log_in(authenticator)
    rows = await connection.fetch("SELECT t::text FROM graphql_api.refresh_tokens t")
    rows += await connection.fetch("SELECT f::text FROM graphql_api.token_families f")
    assert rows
    assert tokens.refresh.removeprefix("gar_").encode().hex() not in str(rows)
    assert tokens.refresh not in str(rows)
