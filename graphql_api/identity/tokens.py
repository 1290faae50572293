"""Makes and verifies tokens: signed access tokens, and random ones that are stored as digests."""

import hashlib
import hmac
import logging
import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import jwt

from graphql_api.identity.errors import ExpiredTokenError, InvalidTokenError
from graphql_api.identity.signing_keys import derive_key
from graphql_api.identity.viewer import CLOCK_SKEW, Viewer

log = logging.getLogger(__name__)

REFRESH_PREFIX: Final = "gar_"
SERVICE_PREFIX: Final = "gas_"
"""Prefixes of tokens: they show the kind, and let secret scanners find tokens in commits and logs."""

_ALGORITHM: Final = "HS256"
_ISSUER: Final = "graphql-api"  # and the audience: these tokens are for this service alone
_CLAIMS: Final = ("iss", "aud", "sub", "sid", "jti", "iat", "exp")
_MAX_LENGTH: Final = 2048


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """What a login or a refresh returns."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_at: datetime
    """When the access token expires, in UTC."""
    viewer: Viewer


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of an access token."""

    user_id: str
    login_id: str
    expires_at: datetime


class AccessTokens:
    """Signs and verifies access tokens: JSON Web Tokens with HMAC-SHA256, the only algorithm accepted."""

    def __init__(self, key: bytes, lifetime: int) -> None:
        self._key = derive_key(key, "access tokens")
        self._lifetime = lifetime
        self._jwt = jwt.PyJWT({"require": list(_CLAIMS), "strict_aud": True})

    def issue(self, user_id: str, login_id: str, *, until: datetime) -> tuple[str, datetime]:
        """Returns a new token, and when it expires: after its lifetime, but not later than `until`."""
        now = int(time.time())
        expires_at = min(now + self._lifetime, int(until.timestamp()))
        claims = {
            "iss": _ISSUER,
            "aud": _ISSUER,
            "sub": user_id,
            "sid": login_id,
            "jti": secrets.token_urlsafe(12),
            "iat": now,
            "exp": expires_at,
        }
        token = self._jwt.encode(claims, self._key, algorithm=_ALGORITHM)
        return token, datetime.fromtimestamp(expires_at, UTC)

    def verify(self, token: str) -> Claims:
        """Returns the claims of a token. Raises ExpiredTokenError, or else InvalidTokenError.

        Allows for clocks that differ by up to CLOCK_SKEW.
        """
        if len(token) > _MAX_LENGTH:
            raise InvalidTokenError
        try:
            claims = self._jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=_ISSUER,
                issuer=_ISSUER,
                leeway=CLOCK_SKEW,
            )
            return Claims(
                user_id=str(UUID(claims["sub"])),
                login_id=str(UUID(claims["sid"])),
                expires_at=datetime.fromtimestamp(int(claims["exp"]), UTC),
            )
        except jwt.ExpiredSignatureError:
            raise ExpiredTokenError from None
        except jwt.ImmatureSignatureError:  # checked after the signature, so another of our hosts issued it
            log.warning("refused an access token from the future: the clocks of the hosts differ too much")
            raise InvalidTokenError from None
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, OverflowError):
            raise InvalidTokenError from None


class RefreshTokens:
    """Makes refresh tokens.

    Each is derived from the one before, so that a client that lost a response gets the same token again,
    although only digests are stored.
    """

    def __init__(self, key: bytes) -> None:
        self._key = derive_key(key, "refresh tokens")

    def first(self) -> str:
        """Returns the first refresh token of a login, at random."""
        return random_token(REFRESH_PREFIX)

    def successor(self, token: str) -> str:
        """Returns the token that replaces this one."""
        return _text(REFRESH_PREFIX, hmac.digest(self._key, _bytes(token), hashlib.sha256))


def random_token(prefix: str) -> str:
    """Returns a token of 256 random bits."""
    return _text(prefix, secrets.token_bytes(32))


def digest(token: str) -> bytes:
    """Returns the SHA-256 by which a token is stored and looked up. A random token needs no salt."""
    return hashlib.sha256(_bytes(token)).digest()


def _text(prefix: str, secret: bytes) -> str:
    return prefix + urlsafe_b64encode(secret).rstrip(b"=").decode()


def _bytes(token: str) -> bytes:
    """Encodes any text: JSON can carry a lone surrogate, which strict UTF-8 refuses."""
    return token.encode("utf-8", "surrogatepass")
