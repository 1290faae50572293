"""Events of a subscription are paid for as they come, by what they take."""

import asyncio
import time
from pathlib import Path

import asyncpg
import pytest

from graphql_api.gateway.gateway import SubscriptionUsage, points_of
from graphql_api.postgres.address import Address
from graphql_api.quotas import ConcurrencyQuota, Metered, create_own_task, current_usage
from tests import factories
from tests.activity.client import following, until_up_to_date
from tests.graph import opened, settings_for, trader
from tests.rate_limiter import unrefilled


def usage_with(
    points_per_minute: int, *, paid: int = 0, quota: ConcurrencyQuota | None = None
) -> SubscriptionUsage:
    return SubscriptionUsage("user ada", paid, quota or ConcurrencyQuota(1), unrefilled(points_per_minute))


async def work(seconds: float = 0.02) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


async def is_made_to_wait(usage: SubscriptionUsage) -> bool:
    try:
        async with asyncio.timeout(0.2):
            await usage.settle()
    except TimeoutError:
        return True
    return False


async def test_whoever_has_points_goes_on_at_once() -> None:
    with usage_with(1_000_000) as usage:
        await Metered(work())
        assert not await is_made_to_wait(usage)


async def test_whoever_has_spent_their_points_gets_their_events_later() -> None:
    with usage_with(1_000) as usage:
        await Metered(work())
        assert await is_made_to_wait(usage)


async def test_what_was_paid_at_the_beginning_counts() -> None:
    with usage_with(1_000, paid=1_000_000) as usage:
        await Metered(work())
        assert not await is_made_to_wait(usage)


async def test_what_a_subscription_has_used_is_paid_when_it_ends() -> None:
    limiter = unrefilled(1_000_000)
    usage = SubscriptionUsage("user ada", 100, ConcurrencyQuota(1), limiter)
    with usage:
        await Metered(work(0.002))
        await usage.pay_rest()
        await usage.pay_rest()
    assert 1_000_000 - await limiter.take("user ada", 1) == pytest.approx(points_of(usage) - 100, abs=200)


async def test_what_takes_long_needs_a_place_among_its_owners_operations() -> None:
    quota = ConcurrencyQuota(1, waiting=0)
    usage = usage_with(1_000_000, quota=quota)
    await quota.enter(usage.owner)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), usage.reserve():
            pass
    quota.leave(usage.owner)
    async with usage.reserve():
        assert quota.taken(usage.owner) == 1
    assert quota.taken(usage.owner) == 0


async def test_a_task_of_the_process_is_nobodys() -> None:
    async def owner() -> str:
        return current_usage().owner

    with usage_with(1_000):
        assert await create_own_task(owner(), "test") == ""
        assert await asyncio.create_task(owner()) == "user ada"


async def test_rows_that_are_read_for_events_count(
    address: Address, tmp_path: Path, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    async with opened(settings_for(address, tmp_path)) as anonymous:
        graph = anonymous.as_(trader(user))
        after = (await graph.ask("{ activityCursor }")).data["activityCursor"]
        session = await factories.session(connection, account)
        for _ in range(20):
            await factories.trade(connection, session)
        usage = usage_with(1_000_000)
        with usage:
            events = await until_up_to_date(graph, after=after)
    assert len(events) == 22
    # The entries, and the rows that they name.
    assert usage.rows >= 2 * 21
    assert points_of(usage) > 0


async def test_what_one_subscriber_has_had_read_others_who_wait_for_their_turn_share(
    address: Address, tmp_path: Path, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    quota = ConcurrencyQuota(1)
    usages = [usage_with(1_000_000, quota=quota) for _ in range(6)]
    live = asyncio.Barrier(len(usages) + 1)

    async with opened(settings_for(address, tmp_path)) as anonymous:
        graph = anonymous.as_(trader(user))

        async def follow(usage: SubscriptionUsage) -> str:
            with usage:
                async with following(graph) as batches:
                    await anext(batches), await anext(batches)  # progress, and UP_TO_DATE
                    await live.wait()
                    (event,) = await anext(batches)
                    return str(event["node"]["id"])

        followers = [asyncio.create_task(follow(usage)) for usage in usages]
        await live.wait()
        before = [usage.rows for usage in usages]
        trade = await factories.trade(connection, session)
        assert set(await asyncio.gather(*followers)) == {trade}
    assert sum(usage.rows > rows for usage, rows in zip(usages, before, strict=True)) == 1
