"""Users who can log in, with hashes that take almost no time."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from pwdlib.hashers.argon2 import Argon2Hasher

from graphql_api.identity import users
from graphql_api.identity.authenticator import Authenticator
from graphql_api.identity.passwords import Bcrypt, PasswordHasher
from graphql_api.identity.tokens import IssuedTokens
from graphql_api.postgres.database import Database
from graphql_api.settings import Settings

KEY = b"a key that is only good for tests"
PASSWORD = "correct horse battery"
EMAIL = "trader@example.com"

CURRENT = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)
OLD = Bcrypt(rounds=4)


class CountingArgon2(Argon2Hasher):
    """Argon2 that counts how often it hashes."""

    work = 0

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.work += 1
        return super().hash(password, salt=salt)

    def verify(self, password: str | bytes, hash: str | bytes) -> bool:  # noqa: A002
        self.work += 1
        return super().verify(password, hash)


class CountingBcrypt(Bcrypt):
    """bcrypt that counts how often it hashes."""

    work = 0

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.work += 1
        return super().hash(password, salt=salt)

    def verify(self, password: str | bytes, hash: str | bytes) -> bool:  # noqa: A002
        self.work += 1
        return super().verify(password, hash)


@pytest.fixture
def passwords() -> Iterator[PasswordHasher]:
    passwords = PasswordHasher(hashers=(CURRENT, OLD))
    yield passwords
    passwords.close()


@pytest.fixture
def settings() -> Settings:
    """Settings without a cache of identities, so that every check of a token reads the database."""
    return Settings(identity_cache=0)


@pytest.fixture
async def authenticator(
    database: Database, settings: Settings, passwords: PasswordHasher
) -> AsyncIterator[Authenticator]:
    authenticator = Authenticator(database, settings, KEY, passwords=passwords)
    yield authenticator
    await authenticator.close()


MakeUser = Callable[..., Awaitable[str]]


@pytest.fixture
def make_user(database: Database, passwords: PasswordHasher) -> MakeUser:
    """Creates users, and returns their ids."""

    async def make(email: str = EMAIL, password: str = PASSWORD) -> str:
        return await users.create(database, passwords, email, password)

    return make


@pytest.fixture
async def trader(make_user: MakeUser) -> str:
    """The id of the user EMAIL, whose password is PASSWORD."""
    return await make_user()


async def log_in(authenticator: Authenticator, email: str = EMAIL, password: str = PASSWORD) -> IssuedTokens:
    """Logs in from an address on this machine."""
    return await authenticator.login(email, password, address="127.0.0.1")
