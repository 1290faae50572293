"""Logs in, renews tokens, logs out, and finds the viewer behind a token. This package's front door.

`users` and `passwords` check e-mail and password, limited by `login_throttle`; `logins` stores logins,
`tokens` signs access tokens, and `service_tokens` has the tokens of programs. The result is a
`viewer.Viewer`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, assert_never

from cachetools import TTLCache

from graphql_api.identity import logins, service_tokens, users
from graphql_api.identity.errors import (
    ExpiredTokenError,
    InvalidCredentialsError,
    InvalidTokenError,
    RefreshTokenReuseError,
)
from graphql_api.identity.login_throttle import LoginThrottle
from graphql_api.identity.logins import Login
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.identity.tokens import SERVICE_PREFIX, AccessTokens, IssuedTokens, RefreshTokens, digest
from graphql_api.identity.users import roles_of
from graphql_api.identity.viewer import LoginCredential, ServiceTokenCredential, Viewer, scopes_of
from graphql_api.postgres.database import Database
from graphql_api.quotas import create_own_task
from graphql_api.settings import Settings

log = logging.getLogger(__name__)

MAX_CACHED_VIEWERS: Final = 10_000
"""Viewers that a process caches: a few MiB."""

_RECHECKS_COLLECTED = 0.005  # seconds for which logins to be rechecked are collected for one statement


class Authenticator:
    """Authenticates viewers, by password or by token. One for each process, over the primary database.

    Every check of a token reads the database, and its result is cached for `settings.identity_cache` seconds.
    So a revoked token or role, a deactivated user or an old password may be accepted for that long by another
    process.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        key: bytes,
        *,
        passwords: PasswordHasher | None = None,
    ) -> None:
        self.passwords = passwords or PasswordHasher(threads=settings.password_threads)
        self._database = database
        self._throttle = LoginThrottle(settings)
        self._access_tokens = AccessTokens(key, settings.access_token_lifetime)
        self._refresh_tokens = RefreshTokens(key)
        self._login_lifetime = timedelta(seconds=settings.login_lifetime)
        self._viewers: TTLCache[bytes, Viewer] = TTLCache(MAX_CACHED_VIEWERS, settings.identity_cache)
        """Viewers by the digest of their token, so that no token is kept in memory."""
        self._forgotten = 0
        """How often viewers were removed from these: what was read before that may not be valid any more."""
        self._to_recheck: set[str] = set()
        """Ids of the logins that the next statement will read."""
        self._rechecking: asyncio.Task[Mapping[str, Login]] | None = None
        """The task that will read them; None if there are none."""

    async def login(self, email: str, password: str, *, address: str) -> IssuedTokens:
        """Logs a user in. `address` is the client's network address, empty if unknown.

        Raises InvalidCredentialsError for a wrong password, an unknown e-mail and an inactive user, after the
        same work, so that the time doesn't show which it was; and RateLimitedError.
        """
        async with self._throttle.attempt(users.fold_email(email), address) as unfailed:
            # At most twice: another process may have upgraded the user's hash at the same time.
            for _ in range(2):
                user = await users.find(self._database, email)
                stored = user["password_hash"] if user is not None and user["active"] else None
                verified = await self.passwords.verify(password, stored, doubtful=not unfailed)
                if user is None or not verified.matches:
                    break
                login = await logins.create(
                    self._database,
                    user,
                    refresh_token=self._refresh_tokens.first(),
                    lifetime=self._login_lifetime,
                    upgraded_hash=verified.upgrade,
                )
                if login is not None:
                    return self._issue(login)
            log.info("a login from %s was refused", address or "an unknown address")
            raise InvalidCredentialsError

    async def refresh(self, refresh_token: str) -> IssuedTokens:
        """Returns new tokens for a refresh token, which can't be used again. Raises InvalidTokenError.

        For ten seconds a used token gets the same refresh token again, since the response may have been lost.
        A later use means that two parties hold it, and ends the login.
        """
        try:
            return self._issue(await logins.rotate(self._database, self._refresh_tokens, refresh_token))
        except RefreshTokenReuseError as error:
            self._forget_login(error.login_id)
            raise

    async def logout(
        self, viewer: Viewer, *, refresh_token: str | None = None, everywhere: bool = False
    ) -> None:
        """Ends the login of the refresh token, else the viewer's own; or all logins of its user.

        A login that is unknown or has ended is no error. A service token isn't ended by this.
        """
        if refresh_token is not None:
            owner = await logins.find_owner(self._database, refresh_token)
        elif isinstance(viewer.credential, LoginCredential) and viewer.user_id is not None:
            owner = (viewer.credential.login_id, viewer.user_id)
        else:
            owner = None
        if owner is None:
            return
        login_id, user_id = owner
        if everywhere:
            await logins.end_all(self._database, user_id)
            self._forget(
                lambda viewer: isinstance(viewer.credential, LoginCredential) and viewer.user_id == user_id
            )
        else:
            await logins.end(self._database, login_id)
            self._forget_login(login_id)

    def cached_viewer(self, token: str) -> Viewer | None:
        """Returns the viewer behind a token that was looked up before. Raises ExpiredTokenError."""
        try:
            viewer = self._viewers[digest(token)]  # `get` would read the clock, and look the token up, twice
        except KeyError:
            return None
        return _unexpired(viewer)

    async def authenticate(
        self, token: str, before_lookup: Callable[[], Awaitable[object]] | None = None
    ) -> Viewer:
        """Returns the viewer behind an access or a service token, from the cache or by one statement.

        Awaits `before_lookup` before the statement. Raises its errors, ExpiredTokenError, or
        InvalidTokenError for any other token that isn't valid.
        """
        if (cached := self.cached_viewer(token)) is not None:
            return cached
        key = digest(token)
        if before_lookup is not None:
            await before_lookup()
        forgotten = self._forgotten
        if token.startswith(SERVICE_PREFIX):
            viewer = await service_tokens.authenticate(self._database, ServiceTokenCredential(key))
        else:
            claims = self._access_tokens.verify(token)
            login = await logins.find(self._database, claims.login_id, claims.user_id)
            viewer = _viewer(login, claims.expires_at)
        if forgotten == self._forgotten:
            self._viewers[key] = viewer
        return viewer

    async def recheck(self, viewer: Viewer) -> Viewer:
        """Returns the viewer with their present permissions, for a connection that stays open.

        Reads the database, with one statement for all logins that are rechecked at the same time. Raises
        ExpiredTokenError if the token has expired, and InvalidTokenError if it was revoked, the user
        deactivated, or the password changed. `authenticate` in this process then knows of a change, too.
        """
        _unexpired(viewer)
        try:
            current = await self._read(viewer)
        except InvalidTokenError:
            self._forget(lambda cached: cached.credential == viewer.credential)
            raise
        if current != viewer:
            self._forget(lambda cached: cached.credential == viewer.credential)
        return current

    async def close(self) -> None:
        """Ends the threads that hash passwords and closes connections to Redis; the database stays open."""
        self.passwords.close()
        await self._throttle.close()

    async def _read(self, viewer: Viewer) -> Viewer:
        match viewer.credential:
            case None:
                return viewer
            case LoginCredential(login_id):
                assert viewer.user_id is not None  # noqa: S101 - narrows; a login is a user's
                assert viewer.expires_at is not None  # noqa: S101 - and its access tokens expire
                login = (await self._recheck_soon(login_id)).get(login_id)
                if login is None or login.user_id != viewer.user_id:
                    raise InvalidTokenError
                return _viewer(login, viewer.expires_at)
            case ServiceTokenCredential() as credential:
                return await service_tokens.authenticate(self._database, credential)
            case unknown:
                assert_never(unknown)

    async def _recheck_soon(self, login_id: str) -> Mapping[str, Login]:
        """Returns the logins that are rechecked together with this one and haven't ended, by id."""
        self._to_recheck.add(login_id)
        if self._rechecking is None:
            self._rechecking = create_own_task(self._recheck_logins(), "recheck of logins")
        return await asyncio.shield(self._rechecking)

    async def _recheck_logins(self) -> Mapping[str, Login]:
        await asyncio.sleep(_RECHECKS_COLLECTED)
        login_ids, self._to_recheck, self._rechecking = self._to_recheck, set(), None
        return await logins.find_all(self._database, login_ids)

    def _issue(self, login: Login) -> IssuedTokens:
        access, expires_at = self._access_tokens.issue(login.user_id, login.id, until=login.expires_at)
        return IssuedTokens(access, login.refresh_token, expires_at, _viewer(login, expires_at))

    def _forget_login(self, login_id: str) -> None:
        self._forget(lambda viewer: viewer.credential == LoginCredential(login_id))

    def _forget(self, matches: Callable[[Viewer], bool]) -> None:
        self._forgotten += 1
        for key in [key for key, viewer in self._viewers.items() if matches(viewer)]:
            self._viewers.pop(key, None)


def _viewer(login: Login, expires_at: datetime) -> Viewer:
    roles = roles_of(login.granted_roles)
    return Viewer(
        user_id=login.user_id,
        email=login.email,
        roles=roles,
        scopes=scopes_of(roles),
        expires_at=expires_at,
        credential=LoginCredential(login.id),
    )


def _unexpired(viewer: Viewer) -> Viewer:
    if viewer.valid_until is not None and viewer.valid_until <= datetime.now(UTC):
        raise ExpiredTokenError
    return viewer
