import asyncio
from functools import partial

import asyncpg
import pytest
from sqlalchemy import text

from graphql_api.gateway.idempotency import (
    AnswerLostError,
    Attempt,
    IdempotencyKeys,
    KeyInUseError,
    KeyReusedError,
    KeyTakenError,
)
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database, Transaction, beginning_with
from graphql_api.postgres.statement import compile_statement

REQUEST, OTHER = b"request", b"other"
HOUR = 3600.0
RENAME = compile_statement(text("UPDATE users SET email = 'renamed' WHERE email = :email RETURNING id"))
ADD = compile_statement(text("INSERT INTO users (email, password_hash) VALUES (:email, 'x')"))


@pytest.fixture
def keys(database: Database) -> IdempotencyKeys:
    return IdempotencyKeys(database, lifetime=HOUR, lease=HOUR)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check again for a missing answer without a pause."""
    monkeypatch.setattr("graphql_api.gateway.idempotency._CHECKED_AGAIN", 0)


def attempt(viewer: str = "ada", key: str = "key", request: bytes = REQUEST) -> Attempt:
    return Attempt(viewer, key, request)


async def change(database: Database, keys: IdempotencyKeys, made: Attempt) -> None:
    """An effect under a key."""

    async def work(transaction: Transaction) -> None:
        await keys.count_effect(made, transaction)
        await transaction.fetch(ADD, email="changed")

    await database.run(work)


async def users(connection: "asyncpg.Connection") -> int:
    return int(await connection.fetchval("SELECT count(*) FROM users"))


async def test_a_key_is_free_until_something_is_changed(database: Database, keys: IdempotencyKeys) -> None:
    assert await keys.find_answer(attempt()) is None
    assert await keys.find_answer(attempt()) is None
    await change(database, keys, attempt())
    with pytest.raises(KeyInUseError):
        await keys.find_answer(attempt())


async def test_the_same_key_of_another_viewer_is_another(database: Database, keys: IdempotencyKeys) -> None:
    await change(database, keys, attempt())
    assert await keys.find_answer(attempt(viewer="bob")) is None
    await keys.store_answer(attempt(viewer="bob", request=OTHER), b"answer")
    assert await keys.find_answer(attempt(viewer="bob", request=OTHER)) == b"answer"


async def test_of_many_that_change_at_once_one_does(
    database: Database, keys: IdempotencyKeys, connection: "asyncpg.Connection"
) -> None:
    attempts = [attempt() for _ in range(8)]
    results = await asyncio.gather(
        *(change(database, keys, each) for each in attempts), return_exceptions=True
    )
    assert [type(result) for result in results if result is not None] == [KeyTakenError] * 7
    assert sum(each.is_refused for each in attempts) == 7
    assert await users(connection) == 1


async def test_a_change_waits_for_no_other_under_its_key(database: Database, keys: IdempotencyKeys) -> None:
    second = attempt()
    async with database.transaction() as transaction:
        await keys.count_effect(attempt(), transaction)
        with pytest.raises(KeyTakenError):  # while the first one is being made
            await change(database, keys, second)
    assert second.is_refused


async def test_a_key_is_free_at_once_if_its_change_was_rolled_back(
    database: Database, keys: IdempotencyKeys, connection: "asyncpg.Connection"
) -> None:
    async def work(transaction: Transaction) -> None:
        await keys.count_effect(attempt(), transaction)
        raise PermissionError

    with pytest.raises(PermissionError):
        await database.run(work)
    assert await keys.find_answer(attempt(request=OTHER)) is None
    await change(database, keys, attempt(request=OTHER))
    assert await users(connection) == 1


async def test_an_attempt_may_make_several_changes(
    database: Database, keys: IdempotencyKeys, connection: "asyncpg.Connection"
) -> None:
    made = attempt()
    await change(database, keys, made)
    async with connection.transaction():  # of an attempt that is about to be refused
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('ada key', 0))")
        with pytest.raises(asyncpg.UniqueViolationError):
            await change(database, keys, made)  # the second row has the first one's address
    with pytest.raises(KeyTakenError):
        await change(database, keys, attempt())


async def test_whoever_asks_again_gets_the_answer(database: Database, keys: IdempotencyKeys) -> None:
    made = attempt()
    await change(database, keys, made)
    await keys.store_answer(made, b"answer")
    assert await keys.find_answer(attempt()) == b"answer"


async def test_an_answer_of_no_change_is_stored_too(keys: IdempotencyKeys) -> None:
    await keys.store_answer(attempt(), b"answer")
    assert await keys.find_answer(attempt()) == b"answer"


async def test_what_failed_and_changed_nothing_leaves_its_key_free(
    database: Database, keys: IdempotencyKeys
) -> None:
    made = attempt()
    await keys.store_answer(made, b"failed", only_of_effects=True)
    assert await keys.find_answer(attempt(request=OTHER)) is None
    await change(database, keys, made)
    await keys.store_answer(made, b"failed in part", only_of_effects=True)
    assert await keys.find_answer(attempt()) == b"failed in part"


async def test_another_request_under_the_key_is_refused(database: Database, keys: IdempotencyKeys) -> None:
    made = attempt()
    await change(database, keys, made)
    with pytest.raises(KeyReusedError):
        await keys.find_answer(attempt(request=OTHER))
    await keys.store_answer(made, b"answer")
    with pytest.raises(KeyReusedError):
        await keys.find_answer(attempt(request=OTHER))


async def test_a_statement_that_found_nothing_to_change_is_no_change(
    database: Database, keys: IdempotencyKeys
) -> None:
    with beginning_with(partial(keys.count_effect, attempt())):
        assert await database.change(RENAME, email="nobody") == []
    assert await keys.find_answer(attempt()) is None

    with beginning_with(partial(keys.count_effect, attempt())):
        await database.run(lambda transaction: transaction.fetch(ADD, email="somebody"))
    with pytest.raises(KeyInUseError):
        await keys.find_answer(attempt())


async def test_an_answer_is_lost_once_the_lease_has_ended(database: Database) -> None:
    keys = IdempotencyKeys(database, lifetime=HOUR, lease=0)
    await change(database, keys, attempt())
    with pytest.raises(AnswerLostError):
        await keys.find_answer(attempt())


async def test_an_answer_is_lost_once_its_attempt_says_so(database: Database, keys: IdempotencyKeys) -> None:
    made = attempt()
    await keys.give_up_answer(made)  # nothing was changed
    assert await keys.find_answer(attempt()) is None
    await change(database, keys, made)
    await keys.give_up_answer(made)
    with pytest.raises(AnswerLostError):
        await keys.find_answer(attempt())


async def test_an_answer_is_lost_once_the_connection_of_its_change_has_ended(
    database: Database, address: Address, keys: IdempotencyKeys
) -> None:
    other = Database(address)
    await change(other, IdempotencyKeys(other, lifetime=HOUR, lease=HOUR), attempt())
    with pytest.raises(KeyInUseError):
        await keys.find_answer(attempt())
    await other.close()
    with pytest.raises(AnswerLostError):
        await keys.find_answer(attempt())


async def test_an_answer_is_lost_with_the_server_that_the_change_was_made_on(
    database: Database, keys: IdempotencyKeys, connection: "asyncpg.Connection"
) -> None:
    await change(database, keys, attempt())
    await connection.execute(
        "UPDATE graphql_api.idempotency_keys SET server_started = server_started - interval '1 s'"
    )
    with pytest.raises(AnswerLostError):
        await keys.find_answer(attempt())


async def test_an_answer_that_is_stored_over_another_connection_is_found_at_the_second_check(
    database: Database,
    address: Address,
    keys: IdempotencyKeys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("graphql_api.gateway.idempotency._CHECKED_AGAIN", 1.5)
    other, made = Database(address), attempt()
    await change(other, IdempotencyKeys(other, lifetime=HOUR, lease=HOUR), made)
    await other.close()
    looking = asyncio.create_task(keys.find_answer(attempt()))
    await asyncio.sleep(0.1)
    assert not looking.done()
    await keys.store_answer(made, b"answer")
    assert await looking == b"answer"


async def test_an_attempt_that_was_refused_stores_no_answer(
    database: Database, keys: IdempotencyKeys
) -> None:
    await change(database, keys, attempt())
    await keys.store_answer(attempt(), b"answer")
    await keys.store_answer(attempt(), b"answer", only_of_effects=True)
    with pytest.raises(KeyInUseError):
        await keys.find_answer(attempt())


async def test_an_expired_key_is_free_for_anything(
    database: Database, keys: IdempotencyKeys, connection: "asyncpg.Connection"
) -> None:
    await IdempotencyKeys(database, lifetime=0, lease=HOUR).store_answer(attempt(), b"answer")
    other = attempt(request=OTHER)
    assert await keys.find_answer(other) is None
    await change(database, keys, other)
    rows = await connection.fetch("SELECT request, answer, effects FROM graphql_api.idempotency_keys")
    assert [tuple(row) for row in rows] == [(OTHER, None, 1)]


async def test_a_claim_of_a_former_version_holds_its_key_for_its_lease(
    database: Database, keys: IdempotencyKeys, connection: "asyncpg.Connection"
) -> None:
    await connection.execute(
        "INSERT INTO graphql_api.idempotency_keys (viewer, key, request, leased_until, expires_at)"
        " VALUES ('ada', 'key', $1, now() + interval '1 h', now() + interval '1 h')",
        REQUEST,
    )
    with pytest.raises(KeyInUseError):
        await keys.find_answer(attempt())
    with pytest.raises(KeyTakenError):
        await change(database, keys, attempt())

    await connection.execute("UPDATE graphql_api.idempotency_keys SET leased_until = now()")
    assert await keys.find_answer(attempt()) is None
    await change(database, keys, attempt())


async def test_expired_keys_are_removed_with_later_answers(
    database: Database, keys: IdempotencyKeys, connection: "asyncpg.Connection"
) -> None:
    expired = IdempotencyKeys(database, lifetime=0, lease=HOUR)
    for number in range(3):
        await change_nothing(expired, str(number))
    await change_nothing(keys, "key")
    assert await connection.fetchval("SELECT array_agg(key) FROM graphql_api.idempotency_keys") == ["key"]


async def change_nothing(keys: IdempotencyKeys, key: str) -> None:
    await keys.store_answer(attempt(key=key), b"answer")
