import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import jwt
import pytest

from graphql_api.identity import authenticator as authenticator_module
from graphql_api.identity import service_tokens, users
from graphql_api.identity.authenticator import Authenticator
from graphql_api.identity.errors import ExpiredTokenError, InvalidTokenError
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.identity.signing_keys import derive_key
from graphql_api.identity.tokens import IssuedTokens
from graphql_api.identity.viewer import ANONYMOUS, CLOCK_SKEW, LoginCredential, Role, Scope, Viewer
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.statement import Statement
from graphql_api.settings import Settings
from tests.identity.conftest import EMAIL, KEY, MakeUser, log_in

# What may happen to a user while their token is in time, and ends it.
ENDS = [
    "UPDATE users SET is_active = false",
    "UPDATE users SET password_hash = 'another'",
    "DELETE FROM users",
    "DELETE FROM graphql_api.token_families",
    "UPDATE graphql_api.token_families SET expires_at = now()",
]


class CountingDatabase(Database):
    """A real one, which counts the statements outside of transactions."""

    statements = 0

    async def fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        self.statements += 1
        return await super().fetch(statement, **values)


@pytest.fixture
async def counting(address: Address) -> AsyncIterator[CountingDatabase]:
    database = CountingDatabase(address)
    yield database
    await database.close()


@pytest.fixture
async def caching(counting: CountingDatabase, passwords: PasswordHasher) -> AsyncIterator[Authenticator]:
    """Trusts what it read for longer than any test takes."""
    authenticator = Authenticator(counting, Settings(identity_cache=30), KEY, passwords=passwords)
    yield authenticator
    await authenticator.close()


def changed(tokens: IssuedTokens, changes: dict[str, Any]) -> str:
    """The same access token with other claims, well signed."""
    key = derive_key(KEY, "access tokens")
    claims = jwt.decode(tokens.access, key, algorithms=["HS256"], audience="graphql-api")
    return jwt.encode(claims | changes, key, algorithm="HS256")


async def test_an_access_token_says_who_asks(authenticator: Authenticator, trader: str) -> None:
    tokens = await log_in(authenticator)
    assert await authenticator.authenticate(tokens.access) == tokens.viewer


async def test_a_viewer_is_who_they_are_in_the_database(authenticator: Authenticator, trader: str) -> None:
    viewer = await authenticator.authenticate((await log_in(authenticator)).access)
    assert (viewer.user_id, viewer.email, viewer.tenant) == (trader, EMAIL, trader)
    assert viewer.roles == {Role.USER}
    assert viewer.is_authenticated


async def test_a_granted_role_counts_for_a_token_that_is_older(
    authenticator: Authenticator, database: Database, trader: str
) -> None:
    tokens = await log_in(authenticator)
    await users.grant_role(database, trader, Role.OPERATOR)
    assert Scope.LOGS_READ in (await authenticator.authenticate(tokens.access)).scopes


async def test_a_revoked_role_counts_no_more_for_a_token_that_is_older(
    authenticator: Authenticator, database: Database, trader: str
) -> None:
    await users.grant_role(database, trader, Role.OPERATOR)
    tokens = await log_in(authenticator)
    await users.revoke_role(database, trader, Role.OPERATOR)
    assert Scope.LOGS_READ not in (await authenticator.authenticate(tokens.access)).scopes


@pytest.mark.parametrize("change", ENDS)
async def test_what_ends_a_login_ends_its_access_tokens(
    authenticator: Authenticator, connection: asyncpg.Connection, trader: str, change: str
) -> None:
    tokens = await log_in(authenticator)
    await connection.execute(change)
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(tokens.access)


async def test_an_expired_token_is_expired_not_invalid(authenticator: Authenticator, trader: str) -> None:
    with pytest.raises(ExpiredTokenError):
        await authenticator.authenticate(changed(await log_in(authenticator), {"exp": int(time.time()) - 61}))


async def test_a_token_expires_although_it_was_seen_lately(caching: Authenticator, trader: str) -> None:
    end = int(time.time()) + 2
    token = changed(await log_in(caching), {"exp": end - 60})
    assert (await caching.authenticate(token)).valid_until == datetime.fromtimestamp(end, UTC)
    await asyncio.sleep(end - time.time())
    with pytest.raises(ExpiredTokenError):
        await caching.authenticate(token)


async def test_a_refresh_token_does_not_authenticate(authenticator: Authenticator, trader: str) -> None:
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate((await log_in(authenticator)).refresh)


async def test_a_token_of_another_key_does_not_authenticate(
    authenticator: Authenticator,
    database: Database,
    settings: Settings,
    passwords: PasswordHasher,
    trader: str,
) -> None:
    other = Authenticator(database, settings, b"another key of thirty-two bytes!", passwords=passwords)
    tokens = await log_in(other)
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(tokens.access)
    await other.close()


async def test_a_token_of_one_users_login_does_not_speak_for_another(
    authenticator: Authenticator, make_user: MakeUser, trader: str
) -> None:
    other = await make_user("other@example.com")
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(changed(await log_in(authenticator), {"sub": other}))


async def test_authenticating_takes_one_statement(
    counting: CountingDatabase, caching: Authenticator, trader: str
) -> None:
    tokens = await log_in(caching)
    before = counting.statements
    await caching.authenticate(tokens.access)
    assert counting.statements - before == 1


async def test_authenticating_again_soon_takes_none(
    counting: CountingDatabase, caching: Authenticator, trader: str
) -> None:
    tokens = await log_in(caching)
    first = await caching.authenticate(tokens.access)
    before = counting.statements
    assert await caching.authenticate(tokens.access) == first
    assert counting.statements == before


async def test_a_viewer_is_read_again_after_the_time_of_the_cache(
    counting: CountingDatabase, passwords: PasswordHasher, trader: str
) -> None:
    authenticator = Authenticator(counting, Settings(identity_cache=0.01), KEY, passwords=passwords)
    token = (await log_in(authenticator)).access
    await authenticator.authenticate(token)
    await asyncio.sleep(0.02)
    before = counting.statements
    await authenticator.authenticate(token)
    assert counting.statements - before == 1


async def test_the_cache_is_bounded_and_drops_the_least_recently_used(
    counting: CountingDatabase, passwords: PasswordHasher, trader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticator_module, "MAX_CACHED_VIEWERS", 2)
    authenticator = Authenticator(counting, Settings(identity_cache=30), KEY, passwords=passwords)
    first, second, third = [(await log_in(authenticator)).access for _ in range(3)]
    for token in (first, second, first, third):
        await authenticator.authenticate(token)
    before = counting.statements
    await authenticator.authenticate(first)
    assert counting.statements == before
    await authenticator.authenticate(second)
    assert counting.statements == before + 1


async def test_a_forged_token_takes_no_statement(
    counting: CountingDatabase, caching: Authenticator, trader: str
) -> None:
    tokens = await log_in(caching)
    before = counting.statements
    with pytest.raises(InvalidTokenError):
        await caching.authenticate(tokens.access[:-2])
    assert counting.statements == before


async def test_a_refused_token_is_not_remembered_as_good(
    caching: Authenticator, connection: asyncpg.Connection, trader: str
) -> None:
    tokens = await log_in(caching)
    await connection.execute("DELETE FROM graphql_api.token_families")
    for _ in range(2):
        with pytest.raises(InvalidTokenError):
            await caching.authenticate(tokens.access)


async def test_logging_out_counts_at_once_in_this_process(caching: Authenticator, trader: str) -> None:
    tokens = await log_in(caching)
    await caching.authenticate(tokens.access)
    await caching.logout(tokens.viewer)
    with pytest.raises(InvalidTokenError):
        await caching.authenticate(tokens.access)


async def test_logging_out_everywhere_counts_at_once_in_this_process(
    caching: Authenticator, trader: str
) -> None:
    tokens, other = await log_in(caching), await log_in(caching)
    await caching.authenticate(other.access)
    await caching.logout(tokens.viewer, everywhere=True)
    with pytest.raises(InvalidTokenError):
        await caching.authenticate(other.access)


async def test_a_viewer_checked_again_is_who_they_are_now(
    caching: Authenticator, database: Database, trader: str
) -> None:
    tokens = await log_in(caching)
    viewer = await caching.authenticate(tokens.access)
    await users.grant_role(database, trader, Role.OPERATOR)
    again = await caching.recheck(viewer)
    assert again.roles == {Role.USER, Role.OPERATOR}
    assert again.expires_at == viewer.expires_at


@pytest.mark.parametrize("change", ENDS)
async def test_what_ends_a_login_shows_when_its_viewer_is_checked_again(
    caching: Authenticator, connection: asyncpg.Connection, trader: str, change: str
) -> None:
    viewer = await caching.authenticate((await log_in(caching)).access)
    await connection.execute(change)
    with pytest.raises(InvalidTokenError):
        await caching.recheck(viewer)


@pytest.mark.parametrize("change", ENDS)
async def test_a_login_seen_to_have_ended_opens_nothing_any_more(
    caching: Authenticator, connection: asyncpg.Connection, trader: str, change: str
) -> None:
    tokens = await log_in(caching)
    viewer = await caching.authenticate(tokens.access)
    await connection.execute(change)
    with pytest.raises(InvalidTokenError):
        await caching.recheck(viewer)
    with pytest.raises(InvalidTokenError):
        await caching.authenticate(tokens.access)


async def test_a_change_seen_when_a_viewer_is_checked_again_holds_for_all_their_requests(
    caching: Authenticator, database: Database, trader: str
) -> None:
    tokens = await log_in(caching)
    viewer = await caching.authenticate(tokens.access)
    await users.grant_role(database, trader, Role.OPERATOR)
    await caching.recheck(viewer)
    assert (await caching.authenticate(tokens.access)).roles == {Role.USER, Role.OPERATOR}


async def test_a_viewer_who_has_not_changed_stays_cached(
    caching: Authenticator, counting: CountingDatabase, trader: str
) -> None:
    tokens = await log_in(caching)
    await caching.recheck(await caching.authenticate(tokens.access))
    before = counting.statements
    await caching.authenticate(tokens.access)
    assert counting.statements == before


async def test_viewers_who_are_checked_again_at_the_same_time_take_one_statement(
    caching: Authenticator, counting: CountingDatabase, connection: asyncpg.Connection, trader: str
) -> None:
    viewers = [await caching.authenticate((await log_in(caching)).access) for _ in range(3)]
    ended = viewers[1].credential
    assert isinstance(ended, LoginCredential)
    await connection.execute("DELETE FROM graphql_api.token_families WHERE id = $1", ended.login_id)
    strange = replace(viewers[2], user_id=str(UUID(int=1)))
    before = counting.statements
    first, second, third, fourth = await asyncio.gather(
        *map(caching.recheck, (*viewers, strange)), return_exceptions=True
    )
    assert counting.statements == before + 1
    assert (first, third) == (viewers[0], viewers[2])
    assert isinstance(second, InvalidTokenError)
    assert isinstance(fourth, InvalidTokenError)


async def test_rechecking_an_expired_viewer_says_that_the_token_has_expired(
    authenticator: Authenticator, trader: str
) -> None:
    viewer = (await log_in(authenticator)).viewer
    over = Viewer(viewer.user_id, expires_at=datetime.now(UTC) - CLOCK_SKEW, credential=viewer.credential)
    with pytest.raises(ExpiredTokenError):
        await authenticator.recheck(over)


async def test_an_anonymous_viewer_stays_anonymous(authenticator: Authenticator) -> None:
    assert await authenticator.recheck(ANONYMOUS) is ANONYMOUS


async def test_a_service_tokens_viewer_is_checked_again_too(
    authenticator: Authenticator, database: Database
) -> None:
    made = await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=timedelta(days=1))
    viewer = await authenticator.authenticate(made.text)
    assert await authenticator.recheck(viewer) == viewer
    await service_tokens.revoke(database, made.id)
    with pytest.raises(InvalidTokenError):
        await authenticator.recheck(viewer)


class HeldDatabase(Database):
    """A real one, whose answers come only when they are let go."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.has_answered, self.may_go = asyncio.Event(), asyncio.Event()

    async def fetch(self, statement: Statement, **values: Any) -> list[asyncpg.Record]:
        rows = await super().fetch(statement, **values)
        self.has_answered.set()
        await self.may_go.wait()
        return rows


async def test_a_role_that_is_revoked_while_the_password_is_verified_is_not_granted(
    address: Address, database: Database, passwords: PasswordHasher, trader: str
) -> None:
    await users.grant_role(database, trader, Role.OPERATOR)
    held = HeldDatabase(address)
    authenticator = Authenticator(held, Settings(), KEY, passwords=passwords)
    login = asyncio.create_task(log_in(authenticator))
    await held.has_answered.wait()
    await users.revoke_role(database, trader, Role.OPERATOR)
    held.may_go.set()
    assert (await login).viewer.roles == {Role.USER}
    await authenticator.close()
    await held.close()


@pytest.mark.parametrize("everywhere", [False, True])
async def test_a_login_that_ends_while_it_is_looked_up_is_not_accepted_afterwards(
    address: Address, passwords: PasswordHasher, trader: str, everywhere: bool
) -> None:
    database = HeldDatabase(address)
    authenticator = Authenticator(database, Settings(identity_cache=30), KEY, passwords=passwords)
    database.may_go.set()
    tokens = await log_in(authenticator)
    database.may_go.clear()
    database.has_answered.clear()
    lookup = asyncio.create_task(authenticator.authenticate(tokens.access))
    await database.has_answered.wait()
    await authenticator.logout(tokens.viewer, everywhere=everywhere)
    database.may_go.set()
    assert await lookup == tokens.viewer
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(tokens.access)
    await authenticator.close()
    await database.close()
