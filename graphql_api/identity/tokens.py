"""Tokens: access tokens that say who they are for, and opaque ones that are only known by their digest."""

import hashlib
import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import jwt

from graphql_api.identity.errors import ExpiredTokenError, InvalidTokenError
from graphql_api.identity.signing_keys import derive
from graphql_api.identity.viewer import Viewer

REFRESH_PREFIX: Final = "gar_"
SERVICE_PREFIX: Final = "gas_"
"""Prefixes tell kinds apart, and let scanners find tokens in places where they should not be."""

_ALGORITHM: Final = "HS256"
_NAME: Final = "graphql-api"  # both issuer and audience: what we issue is for us alone
_CLAIMS: Final = ("iss", "aud", "sub", "sid", "jti", "iat", "exp")
_LONGEST: Final = 2048


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login or a renewal gives."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_at: datetime
    """When the access token ends, in UTC."""
    viewer: Viewer


@dataclass(frozen=True, slots=True)
class Claims:
    """What an access token says."""

    user_id: str
    family: str
    expires_at: datetime


class AccessTokens:
    """Signs and reads access tokens: JSON Web Tokens under HMAC-SHA256, and nothing else."""

    def __init__(self, key: bytes, lifetime: int) -> None:
        self._key = derive(key, "access tokens")
        self._lifetime = lifetime
        self._jwt = jwt.PyJWT({"require": list(_CLAIMS), "strict_aud": True})

    def issue(self, user_id: str, family: str, *, until: datetime) -> tuple[str, datetime]:
        """A token and its end: after its lifetime, and not after `until`."""
        now = int(time.time())
        expires_at = min(now + self._lifetime, int(until.timestamp()))
        claims = {
            "iss": _NAME,
            "aud": _NAME,
            "sub": user_id,
            "sid": family,
            "jti": secrets.token_urlsafe(12),
            "iat": now,
            "exp": expires_at,
        }
        token = self._jwt.encode(claims, self._key, algorithm=_ALGORITHM)
        return token, datetime.fromtimestamp(expires_at, UTC)

    def read(self, token: str) -> Claims:
        """What a token of ours says. Raises ExpiredTokenError, or InvalidTokenError for any other flaw."""
        if len(token) > _LONGEST:
            raise InvalidTokenError
        try:
            claims = self._jwt.decode(token, self._key, algorithms=[_ALGORITHM], audience=_NAME, issuer=_NAME)
            return Claims(
                user_id=str(UUID(claims["sub"])),
                family=str(UUID(claims["sid"])),
                expires_at=datetime.fromtimestamp(int(claims["exp"]), UTC),
            )
        except jwt.ExpiredSignatureError:
            raise ExpiredTokenError from None
        except (jwt.InvalidTokenError, ValueError, TypeError, AttributeError, OverflowError):
            raise InvalidTokenError from None


class RefreshTokens:
    """Makes refresh tokens.

    Each follows from the one before, so that whoever lost an answer can be given the same again although
    only digests are stored.
    """

    def __init__(self, key: bytes) -> None:
        self._key = derive(key, "refresh tokens")

    def first(self) -> str:
        """A token that follows from nothing."""
        return opaque(REFRESH_PREFIX)

    def successor(self, token: str) -> str:
        """The token that takes this one's place."""
        return _text(REFRESH_PREFIX, hmac.digest(self._key, _bytes(token), hashlib.sha256))


def opaque(prefix: str) -> str:
    """A token of 256 random bits."""
    return _text(prefix, secrets.token_bytes(32))


def digest(token: str) -> bytes:
    """What a token is stored and looked up by. It has too many bits to be guessed, so no salt is needed."""
    return hashlib.sha256(_bytes(token)).digest()


def _text(prefix: str, secret: bytes) -> str:
    return prefix + urlsafe_b64encode(secret).rstrip(b"=").decode()


def _bytes(token: str) -> bytes:
    """Of whatever text was sent: JSON can carry a lone surrogate, which UTF-8 proper can't."""
    return token.encode("utf-8", "surrogatepass")
