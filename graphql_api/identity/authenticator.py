"""Logging in, staying in, and being asked who one is."""

import logging
from datetime import UTC, datetime, timedelta
from typing import assert_never

from graphql_api.identity import login_sessions, service_tokens, users
from graphql_api.identity.errors import (
    ExpiredTokenError,
    InvalidCredentialsError,
    InvalidTokenError,
    UsedTwiceError,
)
from graphql_api.identity.login_sessions import Family
from graphql_api.identity.login_throttle import Attempts
from graphql_api.identity.passwords import Passwords
from graphql_api.identity.roles import roles_of
from graphql_api.identity.tokens import SERVICE_PREFIX, AccessTokens, RefreshTokens, Tokens, digest
from graphql_api.identity.viewer import Login, ServiceToken, Viewer, scopes_of
from graphql_api.identity.viewer_cache import ViewerCache
from graphql_api.postgres.database import Database
from graphql_api.settings import Settings

log = logging.getLogger(__name__)


class Identity:
    """Who somebody is, by password or by token. One to a process, over the primary database.

    What a token is worth is read from the database with every check, and trusted for
    `settings.identity_cache` seconds: a revoked token, role or user, or a changed password, may live on in
    another process for as long.
    """

    def __init__(
        self, database: Database, settings: Settings, key: bytes, *, passwords: Passwords | None = None
    ) -> None:
        self.passwords = passwords or Passwords(threads=settings.password_threads)
        self._database = database
        self._attempts = Attempts(settings)
        self._access = AccessTokens(key, settings.access_token_lifetime)
        self._refresh = RefreshTokens(key)
        self._lifetime = timedelta(seconds=settings.login_lifetime)
        self._seen = ViewerCache(settings.identity_cache)

    async def login(self, email: str, password: str, *, address: str) -> Tokens:
        """Tokens for whoever knows the password. `address` is the client's, empty where it isn't known.

        Raises InvalidCredentialsError, the same and after the same work for a wrong password, an unknown
        e-mail and an inactive user, and RateLimitedError.
        """
        async with self._attempts.one(email.strip().casefold(), address):
            # A second time for a user whose hash another process has just upgraded.
            for _ in range(2):
                user = await users.find(self._database, email)
                stored = user["password_hash"] if user is not None and user["active"] else None
                verified = await self.passwords.verify(password, stored)
                if user is None or not verified.matches:
                    break
                family = await login_sessions.begin(
                    self._database,
                    user,
                    refresh_token=self._refresh.first(),
                    lifetime=self._lifetime,
                    upgrade=verified.upgrade,
                )
                if family is not None:
                    return self._tokens(family)
            log.info("a login from %s was refused", address or "an unknown address")
            raise InvalidCredentialsError

    async def refresh(self, refresh_token: str) -> Tokens:
        """New tokens for a refresh token, which is used up by it. Raises InvalidTokenError.

        For ten seconds a used one gets the same refresh token again, since an answer may have been lost;
        after that its use shows that two hold it, and the login ends.
        """
        try:
            return self._tokens(await login_sessions.renew(self._database, self._refresh, refresh_token))
        except UsedTwiceError as error:
            self._forget(error.family)
            raise

    async def logout(
        self, viewer: Viewer, *, refresh_token: str | None = None, everywhere: bool = False
    ) -> None:
        """End the login that the refresh token belongs to, else the viewer's own; or all of its user's.

        What has ended already, or is unknown, is no error. Service tokens are not ended so.
        """
        if refresh_token is not None:
            owner = await login_sessions.owner(self._database, refresh_token)
        elif isinstance(viewer.credential, Login) and viewer.user_id is not None:
            owner = (viewer.credential.family, viewer.user_id)
        else:
            owner = None
        if owner is None:
            return
        family, user_id = owner
        if everywhere:
            await login_sessions.end_all(self._database, user_id)
            self._seen.drop(lambda seen: isinstance(seen.credential, Login) and seen.user_id == user_id)
        else:
            await login_sessions.end(self._database, family)
            self._forget(family)

    async def authenticate(self, token: str) -> Viewer:
        """The viewer behind an access or a service token: one statement, or none for one seen lately.

        Raises ExpiredTokenError, or InvalidTokenError for whatever else is wrong.
        """
        key = digest(token)
        viewer = self._seen.get(key)
        if viewer is not None:
            return _unexpired(viewer)
        if token.startswith(SERVICE_PREFIX):
            viewer = await service_tokens.read(self._database, ServiceToken(key))
        else:
            claims = self._access.read(token)
            family = await login_sessions.read(self._database, claims.family, claims.user_id)
            viewer = _viewer(family, claims.expires_at)
        self._seen.put(key, viewer)
        return viewer

    async def recheck(self, viewer: Viewer) -> Viewer:
        """The viewer as they are now, for whoever holds a socket open: one statement.

        Raises ExpiredTokenError once their token's time is over, and InvalidTokenError if it was revoked,
        the user deactivated, or the password changed. What has changed holds for `authenticate` at once.
        """
        _unexpired(viewer)
        try:
            current = await self._read_again(viewer)
        except InvalidTokenError:
            self._seen.drop(lambda seen: seen.credential == viewer.credential)
            raise
        if current != viewer:
            self._seen.drop(lambda seen: seen.credential == viewer.credential)
        return current

    async def close(self) -> None:
        """Let go of threads and connections; the database is its owner's to close."""
        self.passwords.close()
        await self._attempts.close()

    def _forget(self, family: str) -> None:
        self._seen.drop(lambda seen: seen.credential == Login(family))

    async def _read_again(self, viewer: Viewer) -> Viewer:
        match viewer.credential:
            case None:
                return viewer
            case Login(family):
                assert viewer.user_id is not None  # noqa: S101 - narrows; a login is a user's
                assert viewer.expires_at is not None  # noqa: S101 - and ends
                current = await login_sessions.read(self._database, family, viewer.user_id)
                return _viewer(current, viewer.expires_at)
            case ServiceToken() as credential:
                return await service_tokens.read(self._database, credential)
            case unknown:
                assert_never(unknown)

    def _tokens(self, family: Family) -> Tokens:
        access, expires_at = self._access.issue(family.user_id, family.id, until=family.until)
        return Tokens(access, family.refresh_token, expires_at, _viewer(family, expires_at))


def _viewer(family: Family, expires_at: datetime) -> Viewer:
    roles = roles_of(family.granted)
    return Viewer(
        user_id=family.user_id,
        email=family.email,
        roles=roles,
        scopes=scopes_of(roles),
        expires_at=expires_at,
        credential=Login(family.id),
    )


def _unexpired(viewer: Viewer) -> Viewer:
    if viewer.expires_at is not None and viewer.expires_at <= datetime.now(UTC):
        raise ExpiredTokenError
    return viewer
