import asyncio
import os
import threading
import time
from collections.abc import Iterator

import bcrypt
import pytest
from pwdlib.hashers.argon2 import Argon2Hasher

from graphql_api.identity.errors import AdministrationError, RateLimitedError
from graphql_api.identity.passwords import PasswordHasher
from tests.identity.conftest import CURRENT, OLD, PASSWORD, CountingArgon2, CountingBcrypt


@pytest.fixture
def real() -> Iterator[PasswordHasher]:
    """With the hashers of production."""
    passwords = PasswordHasher()
    yield passwords
    passwords.close()


async def test_a_password_matches_its_hash(passwords: PasswordHasher) -> None:
    assert (await passwords.verify(PASSWORD, await passwords.hash(PASSWORD))).matches


async def test_another_password_does_not(passwords: PasswordHasher) -> None:
    assert not (await passwords.verify(PASSWORD + "!", await passwords.hash(PASSWORD))).matches


async def test_two_hashes_of_a_password_differ(passwords: PasswordHasher) -> None:
    assert await passwords.hash(PASSWORD) != await passwords.hash(PASSWORD)


async def test_new_hashes_are_argon2id(real: PasswordHasher) -> None:
    assert (await real.hash(PASSWORD)).startswith("$argon2id$")


async def test_a_current_hash_needs_no_upgrade(passwords: PasswordHasher) -> None:
    assert (await passwords.verify(PASSWORD, await passwords.hash(PASSWORD))).upgrade is None


@pytest.mark.parametrize(
    "old",
    [OLD.hash(PASSWORD), Argon2Hasher(time_cost=2, memory_cost=8, parallelism=1).hash(PASSWORD)],
    ids=["another scheme", "other costs"],
)
async def test_an_old_hash_is_upgraded_to_one_that_matches(passwords: PasswordHasher, old: str) -> None:
    upgrade = (await passwords.verify(PASSWORD, old)).upgrade
    assert upgrade is not None
    assert (await passwords.verify(PASSWORD, upgrade)) == (True, None)


async def test_a_wrong_password_upgrades_nothing(passwords: PasswordHasher) -> None:
    assert (await passwords.verify("wrong", OLD.hash(PASSWORD))).upgrade is None


@pytest.mark.parametrize(
    "stored",
    [None, CURRENT.hash(PASSWORD), OLD.hash(PASSWORD), "!", ""],
    ids=["nothing", "current", "old", "unreadable", "empty"],
)
async def test_a_refusal_costs_the_same_work_whatever_is_stored(stored: str | None) -> None:
    argon2 = CountingArgon2(time_cost=1, memory_cost=8, parallelism=1)
    old = CountingBcrypt(rounds=4)
    passwords = PasswordHasher(hashers=(argon2, old))
    assert not (await passwords.verify("wrong", stored)).matches
    assert (argon2.work, old.work) == (1, 1)
    passwords.close()


@pytest.mark.parametrize("stored", ["", "!", "plain text", "$2b$04$tooshort", "$argon2id$v=19$m=8,t=1,p=1$$"])
async def test_what_is_no_hash_matches_nothing(passwords: PasswordHasher, stored: str) -> None:
    assert not (await passwords.verify(stored, stored)).matches


async def test_a_hash_with_rounds_that_bcrypt_does_not_know_matches_nothing(real: PasswordHasher) -> None:
    assert not (await real.verify(PASSWORD, OLD.hash(PASSWORD).replace("$04$", "$99$"))).matches


async def test_a_long_password_matches_what_bcrypt_made_of_its_first_72_bytes(real: PasswordHasher) -> None:
    password = "x" * 100
    stored = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
    assert (await real.verify(password, stored)).matches


async def test_an_upgraded_long_password_counts_whole(real: PasswordHasher) -> None:
    stored = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()
    upgrade = (await real.verify("x" * 100, stored)).upgrade
    assert not (await real.verify("x" * 99, upgrade)).matches


@pytest.mark.parametrize("password", ["short", "eleven char"])
async def test_a_new_password_needs_twelve_characters(passwords: PasswordHasher, password: str) -> None:
    with pytest.raises(AdministrationError, match="12 characters or more"):
        await passwords.hash(password)


async def test_a_new_password_has_at_most_1024_bytes(passwords: PasswordHasher) -> None:
    await passwords.hash("ö" * 512)
    with pytest.raises(AdministrationError, match="1024 bytes at most"):
        await passwords.hash("ö" * 512 + "x")


async def test_a_password_too_long_to_be_one_does_not_match(passwords: PasswordHasher) -> None:
    assert not (await passwords.verify("x" * 1025, CURRENT.hash("x" * 1024))).matches


@pytest.mark.parametrize(
    "password", ["a lone \ud800 surrogate", "nul \0 in the middle", "ünïcödé pässwörd 🔑"]
)
async def test_any_text_can_be_a_password(passwords: PasswordHasher, password: str) -> None:
    assert (await passwords.verify(password, await passwords.hash(password))).matches


async def test_the_work_is_done_beside_the_event_loop() -> None:
    threads = set()

    class Noting(Argon2Hasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            threads.add(threading.current_thread())
            return super().hash(password, salt=salt)

    passwords = PasswordHasher(threads=2, hashers=(Noting(time_cost=1, memory_cost=8, parallelism=1),))
    await asyncio.gather(*(passwords.hash(PASSWORD) for _ in range(20)))
    assert threading.main_thread() not in threads
    assert len(threads) <= 2
    passwords.close()


def gated() -> tuple[threading.Event, PasswordHasher]:
    """A hasher with one thread, in which every password waits until the event is set."""
    gate = threading.Event()

    class Gated(Argon2Hasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            gate.wait(10)
            return super().hash(password, salt=salt)

    return gate, PasswordHasher(threads=1, hashers=(Gated(time_cost=1, memory_cost=8, parallelism=1),))


async def test_more_than_can_be_served_soon_are_sent_away() -> None:
    gate, passwords = gated()
    waiting = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(19)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimitedError):
        await passwords.hash(PASSWORD)
    gate.set()
    await asyncio.gather(*waiting)
    assert await passwords.hash(PASSWORD)
    passwords.close()


async def test_guesses_leave_room_for_those_after_whom_nothing_has_failed() -> None:
    gate, passwords = gated()
    guesses = [asyncio.create_task(passwords.verify(PASSWORD, None, doubtful=True)) for _ in range(19)]
    refused, let_in = await asyncio.wait(guesses, timeout=0.1)
    assert refused
    assert let_in
    assert {type(guess.exception()) for guess in refused} == {RateLimitedError}
    other = asyncio.create_task(passwords.verify(PASSWORD, None))
    await asyncio.sleep(0)
    gate.set()
    assert not (await other).matches
    passwords.close()


async def test_who_has_waited_too_long_is_sent_away_however_short_it_should_have_been(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("graphql_api.identity.passwords._MAX_TIME", 0.2)
    gate, passwords = gated()
    first, second = (asyncio.create_task(passwords.verify(PASSWORD, None)) for _ in range(2))
    with pytest.raises(RateLimitedError):
        await second
    assert not first.done()
    gate.set()
    assert not (await first).matches
    passwords.close()


async def test_who_has_a_thread_at_once_is_not_sent_away_for_what_others_took() -> None:
    passwords = PasswordHasher(threads=1)
    passwords._takes = 60.0
    assert (await passwords.verify(PASSWORD, CURRENT.hash(PASSWORD), doubtful=True)).matches
    assert passwords._takes < 60
    passwords.close()


async def test_a_cancelled_verification_makes_room_for_another() -> None:
    gate, passwords = gated()
    waiting = [asyncio.create_task(passwords.hash(PASSWORD)) for _ in range(19)]
    await asyncio.sleep(0)
    waiting[-1].cancel()
    await asyncio.wait(waiting[-1:])
    last = asyncio.create_task(passwords.hash(PASSWORD))
    await asyncio.sleep(0)
    gate.set()
    assert await last
    passwords.close()


async def test_the_longer_passwords_take_the_fewer_may_wait() -> None:
    class Slow(Argon2Hasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            time.sleep(0.4)
            return super().hash(password, salt=salt)

    passwords = PasswordHasher(threads=1, hashers=(Slow(time_cost=1, memory_cost=8, parallelism=1),))
    await passwords.hash(PASSWORD)
    both = await asyncio.gather(*(passwords.hash(PASSWORD) for _ in range(16)), return_exceptions=True)
    passwords.close()
    refused = [each for each in both if isinstance(each, RateLimitedError)]
    assert len(refused) > 4


async def test_threads_that_hash_give_way_to_the_event_loop() -> None:
    class Noting(Argon2Hasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().hash(password, salt=salt)

    niceness: list[int] = []
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    passwords = PasswordHasher(threads=1, hashers=(Noting(time_cost=1, memory_cost=8, parallelism=1),))
    await passwords.hash(PASSWORD)
    passwords.close()
    assert niceness[0] > own
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
