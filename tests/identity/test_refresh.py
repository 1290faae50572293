import asyncio
import logging

import asyncpg
import pytest

from graphql_api.identity import roles
from graphql_api.identity.authenticator import Identity
from graphql_api.identity.errors import InvalidTokenError
from graphql_api.identity.passwords import Passwords
from graphql_api.identity.tokens import RefreshTokens
from graphql_api.identity.viewer import ANONYMOUS, Role
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.settings import Settings
from tests.identity.conftest import KEY, MakeUser, log_in

LONG_AGO = "UPDATE api_auth.refresh_tokens SET used_at = used_at - interval '11 s'"


async def test_a_refresh_token_gives_new_tokens(identity: Identity, trader: str) -> None:
    first = await log_in(identity)
    second = await identity.refresh(first.refresh)
    assert second.access != first.access
    assert second.refresh != first.refresh
    assert (await identity.authenticate(second.access)).user_id == trader


async def test_tokens_can_be_renewed_again_and_again(identity: Identity, trader: str) -> None:
    tokens = await log_in(identity)
    for _ in range(5):
        tokens = await identity.refresh(tokens.refresh)
    assert tokens.viewer.user_id == trader


async def test_a_renewal_reads_the_roles_again(identity: Identity, database: Database, trader: str) -> None:
    tokens = await log_in(identity)
    await roles.grant(database, trader, Role.OPERATOR)
    assert Role.OPERATOR in (await identity.refresh(tokens.refresh)).viewer.roles


async def test_a_renewal_does_not_make_a_login_last_longer(
    identity: Identity, connection: asyncpg.Connection, trader: str
) -> None:
    ends = "SELECT expires_at FROM api_auth.token_families"
    tokens = await log_in(identity)
    before = await connection.fetchval(ends)
    await identity.refresh(tokens.refresh)
    assert await connection.fetchval(ends) == before


async def test_a_lost_answer_is_given_again(identity: Identity, trader: str) -> None:
    tokens = await log_in(identity)
    lost = await identity.refresh(tokens.refresh)
    again = await identity.refresh(tokens.refresh)
    assert again.refresh == lost.refresh
    assert (await identity.refresh(again.refresh)).viewer.user_id == trader


async def test_two_renewals_at_once_get_the_same_successor(
    identity: Identity,
    address: Address,
    settings: Settings,
    passwords: Passwords,
    connection: asyncpg.Connection,
    trader: str,
) -> None:
    other_database = Database(address)
    other = Identity(other_database, settings, KEY, passwords=passwords)
    tokens = await log_in(identity)
    renewals = [one.refresh(tokens.refresh) for one in (identity, other) for _ in range(4)]
    assert len({renewed.refresh for renewed in await asyncio.gather(*renewals)}) == 1
    assert await connection.fetchval("SELECT count(*) FROM api_auth.refresh_tokens") == 2
    await other.close()
    await other_database.close()


async def test_a_used_token_ends_the_whole_login_after_the_grace(
    identity: Identity, connection: asyncpg.Connection, trader: str
) -> None:
    stolen = await log_in(identity)
    current = await identity.refresh(stolen.refresh)
    await connection.execute(LONG_AGO)
    with pytest.raises(InvalidTokenError):
        await identity.refresh(stolen.refresh)
    with pytest.raises(InvalidTokenError):
        await identity.refresh(current.refresh)
    with pytest.raises(InvalidTokenError):
        await identity.authenticate(current.access)


async def test_it_ends_at_once_where_it_is_noticed(
    database: Database, passwords: Passwords, connection: asyncpg.Connection, trader: str
) -> None:
    identity = Identity(database, Settings(identity_cache=30), KEY, passwords=passwords)
    stolen = await log_in(identity)
    current = await identity.refresh(stolen.refresh)
    assert (await identity.authenticate(current.access)).user_id == trader
    await connection.execute(LONG_AGO)
    with pytest.raises(InvalidTokenError):
        await identity.refresh(stolen.refresh)
    with pytest.raises(InvalidTokenError):
        await identity.authenticate(current.access)


async def test_whoever_shared_an_answer_within_the_grace_is_noticed_later(
    identity: Identity, connection: asyncpg.Connection, trader: str
) -> None:
    stolen = await log_in(identity)
    owners = await identity.refresh(stolen.refresh)
    thiefs = await identity.refresh(stolen.refresh)
    await identity.refresh(thiefs.refresh)
    await connection.execute(LONG_AGO)
    with pytest.raises(InvalidTokenError):
        await identity.refresh(owners.refresh)
    assert await connection.fetchval("SELECT count(*) FROM api_auth.token_families") == 0


async def test_a_second_use_leaves_other_logins_alone(
    identity: Identity, connection: asyncpg.Connection, trader: str
) -> None:
    other = await log_in(identity)
    stolen = await log_in(identity)
    await identity.refresh(stolen.refresh)
    await connection.execute(LONG_AGO)
    with pytest.raises(InvalidTokenError):
        await identity.refresh(stolen.refresh)
    assert (await identity.refresh(other.refresh)).viewer.user_id == trader


async def test_a_second_use_is_logged_without_the_token(
    identity: Identity, connection: asyncpg.Connection, trader: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    tokens = await log_in(identity)
    await identity.refresh(tokens.refresh)
    await connection.execute(LONG_AGO)
    with pytest.raises(InvalidTokenError):
        await identity.refresh(tokens.refresh)
    assert f"a refresh token of user {trader} was used twice" in caplog.text
    assert tokens.refresh not in caplog.text


@pytest.mark.parametrize(
    "token",
    ["", "gar_", "\ud800", "\0", "x" * 1_000_000, RefreshTokens(KEY).first()],
    ids=["empty", "bare", "surrogate", "NUL", "huge", "well-formed"],
)
async def test_a_token_that_was_never_given_renews_nothing(
    identity: Identity, trader: str, token: str
) -> None:
    with pytest.raises(InvalidTokenError):
        await identity.refresh(token)


async def test_an_access_token_renews_nothing(identity: Identity, trader: str) -> None:
    tokens = await log_in(identity)
    with pytest.raises(InvalidTokenError):
        await identity.refresh(tokens.access)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET is_active = false",
        "UPDATE users SET password_hash = 'another'",
        "UPDATE api_auth.token_families SET expires_at = now()",
        "DELETE FROM users",
    ],
)
async def test_a_login_that_has_ended_is_not_renewed(
    identity: Identity, connection: asyncpg.Connection, trader: str, change: str
) -> None:
    tokens = await log_in(identity)
    await connection.execute(change)
    with pytest.raises(InvalidTokenError):
        await identity.refresh(tokens.refresh)


async def test_logging_out_ends_the_viewers_login(identity: Identity, trader: str) -> None:
    tokens = await log_in(identity)
    await identity.logout(tokens.viewer)
    with pytest.raises(InvalidTokenError):
        await identity.authenticate(tokens.access)
    with pytest.raises(InvalidTokenError):
        await identity.refresh(tokens.refresh)


async def test_logging_out_leaves_other_logins_alone(identity: Identity, trader: str) -> None:
    tokens, other = await log_in(identity), await log_in(identity)
    await identity.logout(tokens.viewer)
    assert (await identity.authenticate(other.access)).user_id == trader


async def test_a_refresh_token_is_enough_to_log_out(identity: Identity, trader: str) -> None:
    tokens = await log_in(identity)
    await identity.logout(ANONYMOUS, refresh_token=tokens.refresh)
    with pytest.raises(InvalidTokenError):
        await identity.authenticate(tokens.access)


async def test_a_used_refresh_token_is_too(identity: Identity, trader: str) -> None:
    tokens = await log_in(identity)
    current = await identity.refresh(tokens.refresh)
    await identity.logout(ANONYMOUS, refresh_token=tokens.refresh)
    with pytest.raises(InvalidTokenError):
        await identity.refresh(current.refresh)


async def test_logging_out_everywhere_ends_every_login_of_the_user(identity: Identity, trader: str) -> None:
    tokens, other = await log_in(identity), await log_in(identity)
    await identity.logout(tokens.viewer, everywhere=True)
    for ended in (tokens, other):
        with pytest.raises(InvalidTokenError):
            await identity.authenticate(ended.access)


async def test_logging_out_everywhere_ends_no_login_of_others(
    identity: Identity, make_user: MakeUser, trader: str
) -> None:
    await make_user("other@example.com")
    other = await log_in(identity, "other@example.com")
    await identity.logout((await log_in(identity)).viewer, everywhere=True)
    assert (await identity.authenticate(other.access)).email == "other@example.com"


async def test_logging_out_again_is_no_error(identity: Identity, trader: str) -> None:
    tokens = await log_in(identity)
    await identity.logout(tokens.viewer)
    await identity.logout(tokens.viewer)
    await identity.logout(ANONYMOUS, refresh_token=tokens.refresh)


async def test_nobody_can_log_out_to_no_effect(identity: Identity, trader: str) -> None:
    tokens = await log_in(identity)
    await identity.logout(ANONYMOUS, everywhere=True)
    assert (await identity.authenticate(tokens.access)).user_id == trader


async def test_a_renewal_and_a_logout_at_once_end_in_no_login(
    identity: Identity, connection: asyncpg.Connection, trader: str
) -> None:
    for _ in range(5):
        tokens = await log_in(identity)
        await asyncio.gather(
            identity.refresh(tokens.refresh), identity.logout(tokens.viewer), return_exceptions=True
        )
        assert await connection.fetchval("SELECT count(*) FROM api_auth.token_families") == 0
        assert await connection.fetchval("SELECT count(*) FROM api_auth.refresh_tokens") == 0
