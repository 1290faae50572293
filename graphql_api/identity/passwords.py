"""Hashes and verifies passwords, in threads, a few at a time."""

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Final, NamedTuple, TypeVar, TypeVarTuple

from pwdlib.hashers import HasherProtocol
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from graphql_api.identity.errors import AdministrationError, RateLimitedError

MIN_LENGTH: Final = 12
"""The least characters of a new password."""
MAX_LENGTH: Final = 1024
"""The most bytes of any password: a longer one is refused before it is hashed."""

_BCRYPT_MAX_BYTES = 72
_MAX_TIME = 1.5
"""Seconds within which a password is to be hashed, so that every attempt is answered within two."""
_DOUBTFUL = 0.5
"""The part of the waiting time that verifications after a failure may use."""
_MOST_THREADS = 4
_USUAL_TIME = 0.075
"""Seconds that one verification is assumed to take, until that has been measured."""
_NEWEST_PART = 0.2
"""The weight of the newest measurement in the running mean."""
_NICE = 5
"""By how much the threads' niceness is above that of the process, so that the event loop runs first."""

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Bcrypt(BcryptHasher):
    """bcrypt as other programs use it: only the first 72 bytes of a password count."""

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        """Hashes the first 72 bytes of a password."""
        return super().hash(_encoded(password)[:_BCRYPT_MAX_BYTES], salt=salt)

    def verify(self, password: str | bytes, hash: str | bytes) -> bool:  # noqa: A002 - the parent's word
        """Whether the hash is that of the password's first 72 bytes."""
        try:
            return super().verify(_encoded(password)[:_BCRYPT_MAX_BYTES], hash)
        except ValueError:  # an invalid hash that begins like bcrypt's: no password matches it
            return False


HASHERS: Final[Sequence[HasherProtocol]] = (Argon2Hasher(), Bcrypt())
"""The hashers whose hashes are accepted. New hashes are made by the first."""


class Verification(NamedTuple):
    """The result of verifying a password."""

    matches: bool
    upgrade: str | None = None
    """A better hash of the same password, to replace the stored one."""


class PasswordHasher:
    """Hashes in threads. One verification takes 64 MiB and 0.1 to 0.3 s of CPU."""

    def __init__(self, *, threads: int | None = None, hashers: Sequence[HasherProtocol] = HASHERS) -> None:
        """`threads` is by default one for each processor, but at most four."""
        threads = threads or min(_MOST_THREADS, os.cpu_count() or 1)
        self._hashers = hashers
        self._pool = ThreadPoolExecutor(threads, "passwords", _give_way)
        self._threads = threads
        self._waiting = 0
        """How many passwords are being hashed or wait for that."""
        self._takes = _USUAL_TIME

    async def hash(self, password: str) -> str:
        """Hashes a new password. Raises AdministrationError if it is too short or too long."""
        if len(password) < MIN_LENGTH:
            raise AdministrationError(f"a password needs {MIN_LENGTH} characters or more")
        if len(encoded := _encoded(password)) > MAX_LENGTH:
            raise AdministrationError(f"a password has {MAX_LENGTH} bytes at most")
        return await self._run(self._hashers[0].hash, encoded)

    async def verify(self, password: str, stored: str | None, *, doubtful: bool = False) -> Verification:
        """Compares a password with a stored hash; None stands for a user who doesn't exist.

        A mismatch takes the same time with and without a hash, and with every hasher. Raises RateLimitedError
        if too many verifications are waiting. A `doubtful` one follows a failed attempt: such verifications
        may use only a part of the queue, so that guesses don't keep out users who know their password.
        """
        encoded = _encoded(password)
        if len(encoded) > MAX_LENGTH:
            encoded, stored = encoded[:MAX_LENGTH], None
        return await self._run(self._verify, encoded, stored, part=_DOUBTFUL if doubtful else 1.0)

    def close(self) -> None:
        """Cancels waiting verifications, and ends the threads when they have finished."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password: bytes, stored: str | None) -> Verification:
        current = self._hashers[0]
        made_by = next((h for h in self._hashers if stored is not None and h.identify(stored)), None)
        if made_by is not None and stored is not None and made_by.verify(password, stored):
            fresh = made_by is current and not current.check_needs_rehash(stored)
            return Verification(matches=True, upgrade=None if fresh else current.hash(password))
        for hasher in self._hashers:
            if hasher is not made_by:
                hasher.hash(password)  # takes as long as a verification, so that the time reveals nothing
        return Verification(matches=False)

    async def _run(self, work: Callable[[*Arguments], T], *arguments: *Arguments, part: float = 1.0) -> T:
        """Runs `work` in a thread. It may wait for `part` of the longest waiting time."""
        max_wait = max(0.0, _MAX_TIME - self._takes) * part
        before = self._waiting + 1 - self._threads
        if before > 0 and before * self._takes / self._threads >= max_wait:
            raise RateLimitedError(retry_after=1)
        self._waiting += 1
        started = self._pool.submit(partial(_timed, work, *arguments))
        try:
            result = asyncio.wrap_future(started)
            # A verification that has a thread to itself waits for no others, however long they took.
            await asyncio.wait((result,), timeout=max_wait if before > 0 else None)
            if not result.done() and started.cancel():  # earlier verifications took longer than expected
                raise RateLimitedError(retry_after=1)
            done, took = await result
        finally:
            started.cancel()
            self._waiting -= 1
        self._takes += (took - self._takes) * _NEWEST_PART
        return done


def _timed(work: Callable[[*Arguments], T], *arguments: *Arguments) -> tuple[T, float]:
    began = monotonic()
    return work(*arguments), monotonic() - began


def _give_way() -> None:
    """Lowers this thread's priority, where the system has priorities of threads."""
    thread = threading.get_native_id()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICE)


def _encoded(password: str | bytes) -> bytes:
    """Encodes any text: JSON can carry a lone surrogate, which strict UTF-8 refuses."""
    return password if isinstance(password, bytes) else password.encode("utf-8", "surrogatepass")
