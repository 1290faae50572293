import asyncio
from functools import partial

import asyncpg
import pytest
from sqlalchemy import text

from graphql_api.gateway.idempotency import (
    AnswerLostError,
    Claim,
    ClaimLostError,
    IdempotencyKeys,
    KeyInUseError,
    KeyReusedError,
)
from graphql_api.postgres.database import Database, Transaction, beginning_with
from graphql_api.postgres.statement import compile_statement

REQUEST, OTHER = b"request", b"other"
HOUR = 3600.0
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
RENAME = compile_statement(text("UPDATE users SET email = 'renamed' WHERE email = :email RETURNING id"))
ADD = compile_statement(text("INSERT INTO users (email, password_hash) VALUES (:email, 'x')"))


@pytest.fixture
def keys(database: Database) -> IdempotencyKeys:
    return IdempotencyKeys(database, lifetime=HOUR, lease=HOUR)


@pytest.fixture
def hasty(database: Database) -> IdempotencyKeys:
    """Takes every attempt for dead at once."""
    return IdempotencyKeys(database, lifetime=HOUR, lease=0)


async def claimed(keys: IdempotencyKeys, viewer: str = "ada", key: str = "key") -> Claim:
    claim = await keys.claim(viewer, key, REQUEST)
    assert isinstance(claim, Claim)
    return claim


async def change(database: Database, keys: IdempotencyKeys, claim: Claim) -> None:
    """An effect under a claim."""

    async def work(transaction: Transaction) -> None:
        await keys.count_effect(claim, transaction)
        await transaction.fetch(ADD, email="changed")

    await database.run(work)


async def test_a_key_is_claimed_once(keys: IdempotencyKeys) -> None:
    await claimed(keys)
    with pytest.raises(KeyInUseError):
        await keys.claim("ada", "key", REQUEST)


async def test_the_same_key_of_another_viewer_is_another(keys: IdempotencyKeys) -> None:
    await claimed(keys)
    await claimed(keys, viewer="bob")


async def test_of_many_that_claim_at_once_one_does(keys: IdempotencyKeys) -> None:
    results = await asyncio.gather(*(claimed(keys) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(result, Claim) for result in results) == 1
    assert sum(isinstance(result, KeyInUseError) for result in results) == 7


async def test_whoever_asks_again_gets_the_answer(keys: IdempotencyKeys) -> None:
    await keys.store_answer(await claimed(keys), b"answer")
    assert await keys.claim("ada", "key", REQUEST) == b"answer"


async def test_another_request_under_the_key_is_refused(keys: IdempotencyKeys) -> None:
    claim = await claimed(keys)
    with pytest.raises(KeyReusedError):
        await keys.claim("ada", "key", OTHER)
    await keys.store_answer(claim, b"answer")
    with pytest.raises(KeyReusedError):
        await keys.claim("ada", "key", OTHER)


async def test_a_key_that_was_released_can_be_claimed(keys: IdempotencyKeys) -> None:
    assert await keys.release(await claimed(keys))
    assert isinstance(await keys.claim("ada", "key", OTHER), Claim)


async def test_a_key_under_which_something_changed_cant_be_released(
    database: Database, keys: IdempotencyKeys
) -> None:
    claim = await claimed(keys)
    await change(database, keys, claim)
    assert not await keys.release(claim)
    with pytest.raises(KeyInUseError):
        await keys.claim("ada", "key", REQUEST)


async def test_a_statement_that_found_nothing_to_change_is_no_change(
    database: Database, keys: IdempotencyKeys
) -> None:
    claim = await claimed(keys)
    with beginning_with(partial(keys.count_effect, claim)):
        assert await database.change(RENAME, email="nobody") == []
    assert await keys.release(claim)

    claim = await claimed(keys)
    with beginning_with(partial(keys.count_effect, claim)):
        await database.run(lambda transaction: transaction.fetch(ADD, email="somebody"))
        assert len(await database.change(RENAME, email="somebody")) == 1
    assert not await keys.release(claim)


async def test_releasing_waits_for_a_change_that_is_being_made(
    database: Database, keys: IdempotencyKeys, connection: "asyncpg.Connection"
) -> None:
    claim = await claimed(keys)
    async with database.transaction() as transaction:
        await keys.count_effect(claim, transaction)
        releasing = asyncio.create_task(keys.release(claim))
        while not await connection.fetchval(WAITING):
            assert not releasing.done()
    assert not await releasing


async def test_an_attempt_that_died_before_its_change_is_made_again(
    database: Database, hasty: IdempotencyKeys, connection: "asyncpg.Connection"
) -> None:
    dead = await claimed(hasty)
    await change(database, hasty, await claimed(hasty))

    with pytest.raises(ClaimLostError):
        await change(database, hasty, dead)
    assert await connection.fetchval("SELECT count(*) FROM users") == 1


async def test_an_attempt_that_died_after_its_change_is_not_made_again(
    database: Database, hasty: IdempotencyKeys
) -> None:
    await change(database, hasty, await claimed(hasty))
    with pytest.raises(AnswerLostError):
        await hasty.claim("ada", "key", REQUEST)


async def test_a_change_that_was_rolled_back_counts_for_none(
    database: Database, hasty: IdempotencyKeys
) -> None:
    claim = await claimed(hasty)

    async def work(transaction: Transaction) -> None:
        await hasty.count_effect(claim, transaction)
        raise PermissionError

    with pytest.raises(PermissionError):
        await database.run(work)
    assert await hasty.release(claim)


async def test_a_dead_attempt_stores_no_answer(hasty: IdempotencyKeys) -> None:
    dead = await claimed(hasty)
    await claimed(hasty)
    await hasty.store_answer(dead, b"answer")
    assert isinstance(await hasty.claim("ada", "key", REQUEST), Claim)


async def test_an_expired_key_can_be_claimed_for_anything(database: Database) -> None:
    keys = IdempotencyKeys(database, lifetime=0, lease=HOUR)
    await keys.store_answer(await claimed(keys), b"answer")
    assert isinstance(await keys.claim("ada", "key", OTHER), Claim)


async def test_expired_keys_are_removed_by_later_claims(
    database: Database, keys: IdempotencyKeys, connection: "asyncpg.Connection"
) -> None:
    expired = IdempotencyKeys(database, lifetime=0, lease=HOUR)
    for number in range(3):
        await claimed(expired, key=str(number))
    await claimed(keys)
    assert await connection.fetchval("SELECT array_agg(key) FROM graphql_api.idempotency_keys") == ["key"]
