from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from graphql_api.identity import service_tokens, users
from graphql_api.identity.authenticator import Authenticator
from graphql_api.identity.errors import AdministrationError, ExpiredTokenError, InvalidTokenError
from graphql_api.identity.tokens import digest
from graphql_api.identity.viewer import NO_TENANT, Role, Scope, ServiceTokenCredential
from graphql_api.postgres.database import Database
from tests.conftest import AsRole
from tests.identity.conftest import EMAIL

DAY = timedelta(days=1)


async def test_a_service_token_authenticates_with_its_scopes(
    authenticator: Authenticator, database: Database
) -> None:
    made = await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=DAY)
    viewer = await authenticator.authenticate(made.text)
    assert viewer.is_authenticated
    assert (viewer.user_id, *viewer.roles, *viewer.scopes) == (None, Scope.LOGS_READ)


async def test_without_a_scope_for_all_it_sees_no_tenants_rows(
    authenticator: Authenticator, database: Database
) -> None:
    made = await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=DAY)
    viewer = await authenticator.authenticate(made.text)
    assert (viewer.tenant, viewer.risk_tenant) == (NO_TENANT, NO_TENANT)


async def test_with_the_scope_for_all_it_sees_every_tenants(
    authenticator: Authenticator, database: Database
) -> None:
    made = await service_tokens.create(database, "robot", {Scope.GRAPH_READ_ANY}, lifetime=DAY)
    viewer = await authenticator.authenticate(made.text)
    assert (viewer.tenant, viewer.risk_tenant) == (None, NO_TENANT)


async def test_a_token_for_a_user_reads_the_users_rows(
    authenticator: Authenticator, database: Database, trader: str
) -> None:
    made = await service_tokens.create(database, "robot", {Scope.GRAPH_READ}, user_id=trader, lifetime=DAY)
    viewer = await authenticator.authenticate(made.text)
    assert (viewer.tenant, viewer.email, *viewer.roles) == (trader, EMAIL, Role.USER)


async def test_for_a_user_it_may_do_no_more_than_they(
    authenticator: Authenticator, database: Database, trader: str
) -> None:
    scopes = {Scope.GRAPH_READ, Scope.GRAPH_READ_ANY, Scope.LOGS_READ}
    await users.grant_role(database, trader, Role.OPERATOR)
    made = await service_tokens.create(database, "robot", scopes, user_id=trader, lifetime=DAY)
    assert (await authenticator.authenticate(made.text)).scopes == scopes
    await users.revoke_role(database, trader, Role.OPERATOR)
    assert (await authenticator.authenticate(made.text)).scopes == {Scope.GRAPH_READ}


async def test_it_expires(
    authenticator: Authenticator, database: Database, connection: asyncpg.Connection
) -> None:
    made = await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=DAY)
    expires_at = (await authenticator.authenticate(made.text)).expires_at
    assert expires_at is not None
    assert abs(expires_at - datetime.now(UTC) - DAY) < timedelta(hours=1)
    await connection.execute("UPDATE graphql_api.service_tokens SET expires_at = now()")
    with pytest.raises(ExpiredTokenError):
        await authenticator.authenticate(made.text)


async def test_in_a_read_only_database_its_use_is_not_noted(database: Database, as_role: AsRole) -> None:
    made = await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=DAY)
    read_only = Database(await as_role("SET default_transaction_read_only = on"))
    viewer = await service_tokens.authenticate(read_only, ServiceTokenCredential(digest(made.text)))
    await read_only.close()
    assert viewer.scopes == {Scope.LOGS_READ}
    assert (await service_tokens.list_all(database))[0]["last_used_at"] is None


async def test_one_without_a_lifetime_does_not(authenticator: Authenticator, database: Database) -> None:
    made = await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=None)
    assert (await authenticator.authenticate(made.text)).expires_at is None


async def test_it_can_be_revoked(authenticator: Authenticator, database: Database) -> None:
    made = await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=DAY)
    await service_tokens.revoke(database, made.id)
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(made.text)


async def test_it_ends_with_its_users_access(
    authenticator: Authenticator, database: Database, connection: asyncpg.Connection, trader: str
) -> None:
    made = await service_tokens.create(database, "robot", {Scope.GRAPH_READ}, user_id=trader, lifetime=DAY)
    await connection.execute("UPDATE users SET is_active = false")
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(made.text)


async def test_it_outlives_its_users_password(
    authenticator: Authenticator, database: Database, connection: asyncpg.Connection, trader: str
) -> None:
    made = await service_tokens.create(database, "robot", {Scope.GRAPH_READ}, user_id=trader, lifetime=DAY)
    await connection.execute("UPDATE users SET password_hash = 'another'")
    assert (await authenticator.authenticate(made.text)).user_id == trader


async def test_logging_out_does_not_end_it(
    authenticator: Authenticator, database: Database, trader: str
) -> None:
    made = await service_tokens.create(database, "robot", {Scope.GRAPH_READ}, user_id=trader, lifetime=DAY)
    await authenticator.logout(await authenticator.authenticate(made.text), everywhere=True)
    assert (await authenticator.authenticate(made.text)).user_id == trader


async def test_its_use_is_noted_at_most_once_a_minute(
    authenticator: Authenticator, database: Database, connection: asyncpg.Connection
) -> None:
    noted = "SELECT last_used_at FROM graphql_api.service_tokens"
    made = await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=DAY)
    assert await connection.fetchval(noted) is None
    await authenticator.authenticate(made.text)
    first = await connection.fetchval(noted)
    await authenticator.authenticate(made.text)
    assert await connection.fetchval(noted) == first
    await connection.execute("UPDATE graphql_api.service_tokens SET last_used_at = now() - interval '61 s'")
    await authenticator.authenticate(made.text)
    assert await connection.fetchval(noted) > first


async def test_a_refused_use_is_not_noted(
    authenticator: Authenticator, database: Database, connection: asyncpg.Connection
) -> None:
    made = await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=DAY)
    await service_tokens.revoke(database, made.id)
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(made.text)
    assert await connection.fetchval("SELECT last_used_at FROM graphql_api.service_tokens") is None


UNKNOWN = ["gas_" + "A" * 43, "gas_", "gas_\0", "gas_\ud800", "gas_" + "x" * 1_000_000]


@pytest.mark.parametrize("token", UNKNOWN, ids=["well-formed", "empty", "NUL", "surrogate", "huge"])
async def test_a_token_that_was_never_made_is_refused(authenticator: Authenticator, token: str) -> None:
    with pytest.raises(InvalidTokenError):
        await authenticator.authenticate(token)


async def test_its_text_is_shown_once_and_stored_nowhere(
    database: Database, connection: asyncpg.Connection
) -> None:
    made = await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=DAY)
    stored = await connection.fetchval("SELECT t::text FROM graphql_api.service_tokens t")
    listed = str([dict(row) for row in await service_tokens.list_all(database)])
    for place in (stored, listed, repr(made)):
        assert made.text not in place
        assert made.text.removeprefix("gas_") not in place


async def test_the_list_tells_what_an_administrator_needs(database: Database, trader: str) -> None:
    made = await service_tokens.create(
        database, "robot", {Scope.RISK_WRITE, Scope.GRAPH_READ}, user_id=trader, lifetime=None
    )
    await service_tokens.create(database, "watcher", {Scope.LOGS_READ}, lifetime=DAY)
    await service_tokens.revoke(database, made.id)
    first, second = await service_tokens.list_all(database)
    assert (first["id"], first["name"], first["email"]) == (made.id, "robot", EMAIL)
    assert first["scopes"] == ["graph:read", "risk:write"]
    assert first["revoked_at"] is not None
    assert (second["name"], second["user_id"], second["revoked_at"]) == ("watcher", None, None)
    assert "digest" not in first


async def test_a_scope_that_is_no_more_counts_for_nothing(
    authenticator: Authenticator, database: Database, connection: asyncpg.Connection
) -> None:
    made = await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=DAY)
    await connection.execute("UPDATE graphql_api.service_tokens SET scopes = '{everything, logs:read}'")
    assert (await authenticator.authenticate(made.text)).scopes == {Scope.LOGS_READ}


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines", "nul\0"])
async def test_a_name_is_required(database: Database, name: str) -> None:
    with pytest.raises(AdministrationError, match="a name of 1 to 100 characters"):
        await service_tokens.create(database, name, {Scope.LOGS_READ}, lifetime=DAY)


async def test_a_scope_is_required(database: Database) -> None:
    with pytest.raises(AdministrationError, match="needs a scope"):
        await service_tokens.create(database, "robot", set(), lifetime=DAY)


async def test_a_lifetime_is_positive(database: Database) -> None:
    with pytest.raises(AdministrationError, match="must be positive"):
        await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=timedelta(0))


async def test_a_stranger_gets_no_service_token(database: Database) -> None:
    with pytest.raises(AdministrationError, match="no such user"):
        await service_tokens.create(
            database, "robot", {Scope.LOGS_READ}, user_id="00000000-0000-0000-0000-000000000001", lifetime=DAY
        )


@pytest.mark.parametrize("scope", [Scope.GRAPH_READ, Scope.RISK_WRITE])
async def test_a_scope_for_ones_own_rows_needs_a_user(database: Database, scope: Scope) -> None:
    with pytest.raises(AdministrationError, match=f"without a user, {scope} would open nothing"):
        await service_tokens.create(database, "robot", {scope, Scope.LOGS_READ}, lifetime=DAY)


@pytest.mark.parametrize("scope", [Scope.LOGS_READ, Scope.GRAPH_READ_ANY, Scope.RISK_WRITE_ANY])
async def test_for_a_user_no_scope_is_taken_that_they_lack(
    database: Database, trader: str, scope: Scope
) -> None:
    with pytest.raises(AdministrationError, match=f"roles don't allow {scope}"):
        await service_tokens.create(
            database, "robot", {scope, Scope.GRAPH_READ}, user_id=trader, lifetime=DAY
        )


async def test_a_scope_to_change_every_tenants_risk_settings_needs_one_to_read_them(
    database: Database,
) -> None:
    with pytest.raises(AdministrationError, match="add graph:read"):
        await service_tokens.create(database, "robot", {Scope.RISK_WRITE_ANY}, lifetime=DAY)
    await service_tokens.create(database, "robot", {Scope.RISK_WRITE_ANY, Scope.GRAPH_READ_ANY}, lifetime=DAY)


async def test_a_scope_to_change_a_users_risk_settings_needs_one_to_read_them(
    database: Database, trader: str
) -> None:
    with pytest.raises(AdministrationError, match="add graph:read"):
        await service_tokens.create(database, "robot", {Scope.RISK_WRITE}, user_id=trader, lifetime=DAY)


async def test_for_a_user_who_may_not_log_in_none_is_made(
    database: Database, connection: asyncpg.Connection, trader: str
) -> None:
    await connection.execute("UPDATE users SET is_active = false")
    with pytest.raises(AdministrationError, match="may not log in"):
        await service_tokens.create(database, "robot", {Scope.GRAPH_READ}, user_id=trader, lifetime=DAY)


@pytest.mark.parametrize("token_id", ["00000000-0000-0000-0000-000000000001", "robot"])
async def test_what_is_not_there_cant_be_revoked(database: Database, token_id: str) -> None:
    with pytest.raises(AdministrationError):
        await service_tokens.revoke(database, token_id)


async def test_what_is_revoked_cant_be_revoked_again(database: Database) -> None:
    made = await service_tokens.create(database, "robot", {Scope.LOGS_READ}, lifetime=DAY)
    await service_tokens.revoke(database, made.id)
    with pytest.raises(AdministrationError, match="revoked already"):
        await service_tokens.revoke(database, made.id)
