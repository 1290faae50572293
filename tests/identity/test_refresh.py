import asyncio
import logging

import asyncpg
import pytest

from graphql_api.identity import users
from graphql_api.identity.authenticator import Authenticator
from graphql_api.identity.errors import InvalidTokenError
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.identity.tokens import RefreshTokens
from graphql_api.identity.viewer import ANONYMOUS, Role
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.settings import Settings
from tests.identity.conftest import KEY, MakeUser, log_in

LONG_AGO = "UPDATE graphql_api.refresh_tokens SET used_at = used_at - interval '11 s'"


async def test_a_refresh_token_gives_new_tokens(authenticator: Authenticator, trader: str) -> None:
    first = await log_in(authenticator)
    second = await authenticator.refresh(first.refresh)
    assert second.access != first.access
    assert second.refresh != first.refresh
    assert (await authenticator.authenticate(second.access)).user_id == trader


async def test_tokens_can_be_renewed_again_and_again(authenticator: Authenticator, trader: str) -> None:
    tokens = await log_in(authenticator)
    for _ in range(5):
        tokens = await authenticator.refresh(tokens.refresh)
    assert tokens.viewer.user_id == trader


async def test_a_renewal_reads_the_roles_again(
    authenticator: Authenticator, database: Database, trader: str
) -> None:
    tokens = await log_in(authenticator)
    await users.grant_role(database, trader, Role.OPERATOR)
    assert Role.OPERATOR in (await authenticator.refresh(tokens.refresh)).viewer.roles


async def test_a_renewal_does_not_make_a_login_last_longer(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    ends = "SELECT expires_at FROM graphql_api.token_families"
    tokens = await log_in(authenticator)
    before = await connection.fetchval(ends)
    await authenticator.refresh(tokens.refresh)
    assert await connection.fetchval(ends) == before


async def test_a_lost_answer_is_given_again(authenticator: Authenticator, trader: str) -> None:
    tokens = await log_in(authenticator)
    lost = await authenticator.refresh(tokens.refresh)
    again = await authenticator.refresh(tokens.refresh)
    assert again.refresh == lost.refresh
    assert (await authenticator.refresh(again.refresh)).viewer.user_id == trader


async def test_two_renewals_at_once_get_the_same_successor(
    authenticator: Authenticator,
    address: Address,
    settings: Settings,
    passwords: PasswordHasher,
    connection: asyncpg.Connection,
    trader: str,
) -> None:
    other_database = Database(address)
    other = Authenticator(other_database, settings, KEY, passwords=passwords)
    tokens = await log_in(authenticator)
    renewals = [one.refresh(tokens.refresh) for one in (authenticator, other) for _ in range(4)]
    assert len({renewed.refresh for renewed in await asyncio.gather(*renewals)}) == 1
    assert await connection.fetchval("SELECT count(*) FROM graphql_api.refresh_tokens") == 2
    await other.close()
    await other_database.close()


async def test_a_used_token_ends_the_whole_login_after_the_grace(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    stolen = await log_in(authenticator)
    current = await authenticator.refresh(stolen.refresh)
    await connection.execute(LONG_AGO)
    with pytest.raises(InvalidTokenError):
        await authenticator.refresh(stolen.refresh)
    with pytest.raises(InvalidTokenError):
        await authenticator.refresh(current.refresh)
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(current.access)


async def test_it_ends_at_once_where_it_is_noticed(
    database: Database, passwords: PasswordHasher, connection: asyncpg.Connection, trader: str
) -> None:
    authenticator = Authenticator(database, Settings(identity_cache=30), KEY, passwords=passwords)
    stolen = await log_in(authenticator)
    current = await authenticator.refresh(stolen.refresh)
    assert (await authenticator.authenticate(current.access)).user_id == trader
    await connection.execute(LONG_AGO)
    with pytest.raises(InvalidTokenError):
        await authenticator.refresh(stolen.refresh)
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(current.access)


async def test_a_token_reused_within_the_grace_period_is_noticed_later(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    stolen = await log_in(authenticator)
    owners = await authenticator.refresh(stolen.refresh)
    thiefs = await authenticator.refresh(stolen.refresh)
    await authenticator.refresh(thiefs.refresh)
    await connection.execute(LONG_AGO)
    with pytest.raises(InvalidTokenError):
        await authenticator.refresh(owners.refresh)
    assert await connection.fetchval("SELECT count(*) FROM graphql_api.token_families") == 0


async def test_a_second_use_leaves_other_logins_alone(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    other = await log_in(authenticator)
    stolen = await log_in(authenticator)
    await authenticator.refresh(stolen.refresh)
    await connection.execute(LONG_AGO)
    with pytest.raises(InvalidTokenError):
        await authenticator.refresh(stolen.refresh)
    assert (await authenticator.refresh(other.refresh)).viewer.user_id == trader


async def test_a_second_use_is_logged_without_the_token(
    authenticator: Authenticator,
    connection: asyncpg.Connection,
    trader: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    tokens = await log_in(authenticator)
    await authenticator.refresh(tokens.refresh)
    await connection.execute(LONG_AGO)
    with pytest.raises(InvalidTokenError):
        await authenticator.refresh(tokens.refresh)
    assert f"a refresh token of user {trader} was used twice" in caplog.text
    assert tokens.refresh not in caplog.text


@pytest.mark.parametrize(
    "token",
    ["", "gar_", "\ud800", "\0", "x" * 1_000_000, RefreshTokens(KEY).first()],
    ids=["empty", "bare", "surrogate", "NUL", "huge", "well-formed"],
)
async def test_a_token_that_was_never_given_renews_nothing(
    authenticator: Authenticator, trader: str, token: str
) -> None:
    with pytest.raises(InvalidTokenError):
        await authenticator.refresh(token)


async def test_an_access_token_renews_nothing(authenticator: Authenticator, trader: str) -> None:
    tokens = await log_in(authenticator)
    with pytest.raises(InvalidTokenError):
        await authenticator.refresh(tokens.access)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET is_active = false",
        "UPDATE users SET password_hash = 'another'",
        "UPDATE graphql_api.token_families SET expires_at = now()",
        "DELETE FROM users",
    ],
)
async def test_a_login_that_has_ended_is_not_renewed(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str, change: str
) -> None:
    tokens = await log_in(authenticator)
    await connection.execute(change)
    with pytest.raises(InvalidTokenError):
        await authenticator.refresh(tokens.refresh)


async def test_logging_out_ends_the_viewers_login(authenticator: Authenticator, trader: str) -> None:
    tokens = await log_in(authenticator)
    await authenticator.logout(tokens.viewer)
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(tokens.access)
    with pytest.raises(InvalidTokenError):
        await authenticator.refresh(tokens.refresh)


async def test_logging_out_leaves_other_logins_alone(authenticator: Authenticator, trader: str) -> None:
    tokens, other = await log_in(authenticator), await log_in(authenticator)
    await authenticator.logout(tokens.viewer)
    assert (await authenticator.authenticate(other.access)).user_id == trader


async def test_a_refresh_token_is_enough_to_log_out(authenticator: Authenticator, trader: str) -> None:
    tokens = await log_in(authenticator)
    await authenticator.logout(ANONYMOUS, refresh_token=tokens.refresh)
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(tokens.access)


async def test_a_used_refresh_token_is_too(authenticator: Authenticator, trader: str) -> None:
    tokens = await log_in(authenticator)
    current = await authenticator.refresh(tokens.refresh)
    await authenticator.logout(ANONYMOUS, refresh_token=tokens.refresh)
    with pytest.raises(InvalidTokenError):
        await authenticator.refresh(current.refresh)


async def test_logging_out_everywhere_ends_every_login_of_the_user(
    authenticator: Authenticator, trader: str
) -> None:
    tokens, other = await log_in(authenticator), await log_in(authenticator)
    await authenticator.logout(tokens.viewer, everywhere=True)
    for ended in (tokens, other):
        with pytest.raises(InvalidTokenError):
            await authenticator.authenticate(ended.access)


async def test_logging_out_everywhere_ends_no_login_of_others(
    authenticator: Authenticator, make_user: MakeUser, trader: str
) -> None:
    await make_user("other@example.com")
    other = await log_in(authenticator, "other@example.com")
    await authenticator.logout((await log_in(authenticator)).viewer, everywhere=True)
    assert (await authenticator.authenticate(other.access)).email == "other@example.com"


async def test_logging_out_again_is_no_error(authenticator: Authenticator, trader: str) -> None:
    tokens = await log_in(authenticator)
    await authenticator.logout(tokens.viewer)
    await authenticator.logout(tokens.viewer)
    await authenticator.logout(ANONYMOUS, refresh_token=tokens.refresh)


async def test_an_anonymous_logout_has_no_effect(authenticator: Authenticator, trader: str) -> None:
    tokens = await log_in(authenticator)
    await authenticator.logout(ANONYMOUS, everywhere=True)
    assert (await authenticator.authenticate(tokens.access)).user_id == trader


async def test_a_renewal_and_a_logout_at_once_end_in_no_login(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    for _ in range(5):
        tokens = await log_in(authenticator)
        await asyncio.gather(
            authenticator.refresh(tokens.refresh), authenticator.logout(tokens.viewer), return_exceptions=True
        )
        assert await connection.fetchval("SELECT count(*) FROM graphql_api.token_families") == 0
        assert await connection.fetchval("SELECT count(*) FROM graphql_api.refresh_tokens") == 0
