"""Passwords: hashed and verified beside the event loop, a few at a time."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar, TypeVarTuple

from pwdlib.hashers import HasherProtocol
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from graphql_api.identity.errors import AdministrationError, RateLimitedError

SHORTEST: Final = 12
"""Characters of a new password, at least."""
LONGEST: Final = 1024
"""Bytes of any password, at most: more is refused before it costs anything."""

_BCRYPT_READS = 72
_WAITING_PER_THREAD = 16

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Bcrypt(BcryptHasher):
    """bcrypt as other programs have long used it: it reads 72 bytes and ignores the rest."""

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        """Hash what bcrypt reads of a password."""
        return super().hash(_encoded(password)[:_BCRYPT_READS], salt=salt)

    def verify(self, password: str | bytes, hash: str | bytes) -> bool:  # noqa: A002 - the parent's word
        """Whether the hash is one of what bcrypt reads of the password."""
        try:
            return super().verify(_encoded(password)[:_BCRYPT_READS], hash)
        except ValueError:  # a hash that looks like bcrypt's and isn't: no password matches it
            return False


HASHERS: Final[Sequence[HasherProtocol]] = (Argon2Hasher(), Bcrypt())
"""What a stored hash may be made by. New ones are made by the first."""


class Verification(NamedTuple):
    """What became of one attempt."""

    matches: bool
    upgrade: str | None = None
    """A better hash of the same password, to store in place of the old one."""


class Passwords:
    """Hashing, in threads of its own. A verification takes 64 MiB and a tenth to a third of a second."""

    def __init__(self, *, threads: int = 4, hashers: Sequence[HasherProtocol] = HASHERS) -> None:
        self._hashers = hashers
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._room = threads * _WAITING_PER_THREAD

    async def hash(self, password: str) -> str:
        """Hash a new password. Raises AdministrationError if it is too short or too long."""
        if len(password) < SHORTEST:
            raise AdministrationError(f"a password needs {SHORTEST} characters or more")
        if len(encoded := _encoded(password)) > LONGEST:
            raise AdministrationError(f"a password has {LONGEST} bytes at most")
        return await self._run(self._hashers[0].hash, encoded)

    async def verify(self, password: str, stored: str | None) -> Verification:
        """Whether this is the password of which `stored` is the hash; None is a user who doesn't exist.

        A refusal costs the same whether there is a hash, and whichever hasher made it. Raises
        RateLimitedError when more wait for it than can be served soon.
        """
        encoded = _encoded(password)
        if len(encoded) > LONGEST:
            encoded, stored = encoded[:LONGEST], None
        return await self._run(self._verify, encoded, stored)

    def close(self) -> None:
        """Drop what waits, and let the threads end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password: bytes, stored: str | None) -> Verification:
        current = self._hashers[0]
        made_by = next((h for h in self._hashers if stored is not None and h.identify(stored)), None)
        if made_by is not None and stored is not None and made_by.verify(password, stored):
            fresh = made_by is current and not current.check_needs_rehash(stored)
            return Verification(matches=True, upgrade=None if fresh else current.hash(password))
        for hasher in self._hashers:
            if hasher is not made_by:
                hasher.hash(password)  # the work of a verification, so that the time tells nothing
        return Verification(matches=False)

    async def _run(self, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        if self._room == 0:
            raise RateLimitedError(retry_after=1)
        self._room -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        finally:
            self._room += 1


def _encoded(password: str | bytes) -> bytes:
    """The bytes that are hashed; JSON can carry a lone surrogate, which UTF-8 proper can't."""
    return password if isinstance(password, bytes) else password.encode("utf-8", "surrogatepass")
