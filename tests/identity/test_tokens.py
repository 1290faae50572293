import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from graphql_api.identity.errors import ExpiredTokenError, InvalidTokenError
from graphql_api.identity.signing_keys import derive_key
from graphql_api.identity.tokens import AccessTokens, RefreshTokens, digest, random_token
from tests.identity.conftest import KEY

USER = "6f1f7a52-4c0e-4b6e-9d0a-0f6f3f0a9d11"
LOGIN = "b61b2a35-8f3b-4a53-9b1a-6c9b3a7f2d20"
FAR = datetime(2100, 1, 1, tzinfo=UTC)
SIGNED_WITH = derive_key(KEY, "access tokens")

tokens = AccessTokens(KEY, lifetime=900)


def claims(changes: dict[str, Any]) -> dict[str, Any]:
    """Those of a good token, with changes; None leaves one out."""
    now = int(time.time())
    good = {
        "iss": "graphql-api",
        "aud": "graphql-api",
        "sub": USER,
        "sid": LOGIN,
        "jti": "j",
        "iat": now,
        "exp": now + 900,
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def forged(
    changes: dict[str, Any] | None = None, *, key: bytes = SIGNED_WITH, algorithm: str = "HS256"
) -> str:
    return jwt.encode(claims(changes or {}), key, algorithm=algorithm)


def segment(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_a_token_says_whose_it_is() -> None:
    token, expires_at = tokens.issue(USER, LOGIN, until=FAR)
    read = tokens.verify(token)
    assert (read.user_id, read.login_id, read.expires_at) == (USER, LOGIN, expires_at)


def test_a_token_lasts_fifteen_minutes() -> None:
    token, _ = tokens.issue(USER, LOGIN, until=FAR)
    payload = jwt.decode(token, SIGNED_WITH, algorithms=["HS256"], audience="graphql-api")
    assert payload["exp"] - payload["iat"] == 900


def test_a_token_does_not_outlast_its_login() -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=60)
    assert tokens.issue(USER, LOGIN, until=until)[1] == until


def test_two_tokens_differ() -> None:
    assert tokens.issue(USER, LOGIN, until=FAR) != tokens.issue(USER, LOGIN, until=FAR)


def test_the_forger_of_these_tests_can_make_a_good_token() -> None:
    assert tokens.verify(forged()).user_id == USER


@pytest.mark.parametrize("ahead", [-59, -1, 1, 59])
def test_a_token_of_a_host_whose_clock_differs_by_less_than_a_minute_counts(ahead: int) -> None:
    now = int(time.time()) + ahead
    assert tokens.verify(forged({"iat": now, "nbf": now, "exp": now + 1})).user_id == USER


def test_a_token_counts_for_a_minute_after_its_expiry() -> None:
    now = int(time.time())
    assert tokens.verify(forged({"iat": now - 900, "exp": now - 59})).user_id == USER


def test_a_token_that_expired_more_than_a_minute_ago_is_expired_not_invalid() -> None:
    with pytest.raises(ExpiredTokenError):
        tokens.verify(forged({"exp": int(time.time()) - 61}))


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_from_more_than_a_minute_in_the_future_is_refused(
    claim: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidTokenError):
        tokens.verify(forged({claim: int(time.time()) + 65}))
    assert "the clocks of the hosts differ too much" in caplog.text


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "sid", "jti", "iat", "exp"])
def test_every_claim_is_required(name: str) -> None:
    with pytest.raises(InvalidTokenError):
        tokens.verify(forged({name: None}))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "another"},
        {"aud": "another"},
        {"aud": ["graphql-api", "another"]},
        {"sub": "not a uuid"},
        {"sid": "not a uuid"},
        {"sid": 1},
        {"jti": 1},
        {"iat": int(time.time()) + 3600},
        {"exp": "soon"},
        {"exp": 10**30},
        {"nbf": int(time.time()) + 3600},
    ],
    ids="".join,
)
def test_a_claim_that_is_not_ours_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidTokenError):
        tokens.verify(forged(changes))


def test_another_key_is_refused() -> None:
    with pytest.raises(InvalidTokenError):
        tokens.verify(forged(key=b"another key of thirty-two bytes!"))


def test_the_key_itself_signs_no_token() -> None:
    with pytest.raises(InvalidTokenError):
        tokens.verify(forged(key=KEY))


@pytest.mark.filterwarnings("ignore:The HMAC key is")
@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_is_refused(algorithm: str) -> None:
    with pytest.raises(InvalidTokenError):
        tokens.verify(forged(algorithm=algorithm))


@pytest.mark.parametrize("name", ["none", "None", "NONE", ""])
def test_no_algorithm_is_refused(name: str) -> None:
    with pytest.raises(InvalidTokenError):
        tokens.verify(f"{segment({'alg': name, 'typ': 'JWT'})}.{segment(claims({}))}.")


def test_a_changed_payload_is_refused() -> None:
    header, _, signature = tokens.issue(USER, LOGIN, until=FAR)[0].split(".")
    with pytest.raises(InvalidTokenError):
        tokens.verify(f"{header}.{segment(claims({'sub': LOGIN}))}.{signature}")


@pytest.mark.parametrize(
    "token", ["", ".", "..", "a.b.c", "\ud800", "\0", "x" * 100_000, "é.é.é", "[" * 2000]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidTokenError):
        tokens.verify(token)


def test_a_refresh_token_is_no_access_token() -> None:
    with pytest.raises(InvalidTokenError):
        tokens.verify(RefreshTokens(KEY).first())


def test_a_refresh_token_is_followed_by_one_token() -> None:
    refresh = RefreshTokens(KEY)
    first = refresh.first()
    assert refresh.successor(first) == refresh.successor(first) != first


def test_what_follows_a_refresh_token_hangs_on_the_key() -> None:
    first = RefreshTokens(KEY).first()
    assert RefreshTokens(KEY).successor(first) != RefreshTokens(KEY + b"!").successor(first)


def test_opaque_tokens_carry_256_bits() -> None:
    token = random_token("gas_")
    assert len(base64.urlsafe_b64decode(token.removeprefix("gas_") + "=")) == 32
    assert token != random_token("gas_")


def test_a_digest_does_not_show_its_token() -> None:
    token = random_token("gas_")
    assert len(digest(token)) == 32
    assert token.encode() not in digest(token)
