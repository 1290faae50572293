"""Demo users, accounts and risk limits: who trades at the desk, in which accounts."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from graphql_api.dev.demo.market import around_the_clock
from graphql_api.dev.demo.rows import DAY, ONE, Account, RiskSettings, User, identifier, moment, money
from graphql_api.dev.demo.strategies import (
    CARRY,
    CRYPTO,
    ENSEMBLE,
    GOLD,
    GRID,
    LONDON,
    NASDAQ,
    NEWS,
    REVERSION,
    Assignment,
    Mandate,
    assignments,
)

TRADER = "trader@example.com"
OPERATOR = "operator@example.com"
EMAILS = (
    TRADER,
    OPERATOR,
    "amara.okafor@example.com",
    "bruno.carvalho@example.com",
    "chloe.lindqvist@example.com",
    "daniel.reyes@example.com",
    "elena.petrova@example.com",
    "farid.haddad@example.com",
    "grace.tanaka@example.com",
    "henrik.vos@example.com",
    "ines.moreau@example.com",
    "jonas.weber@example.com",
)

_SERVERS = ("MERIDIAN-LIVE", "NORTHSEA-LIVE", "HALCYON-PRIME", "ATLAS-EDGE")
_SUBSCRIPTIONS = ("active", "active", "active", "trialing", "past_due", "canceled", "unpaid", None)
_BALANCES = (5_000, 10_000, 25_000, 50_000, 100_000, 250_000)  # as proprietary firms sell them
_MANDATES = (
    Mandate((LONDON, REVERSION, ENSEMBLE), ("EURUSD", "GBPUSD", "AUDUSD")),
    Mandate((CRYPTO, GRID), ("BTCUSD", "ETHUSD")),
    Mandate((GOLD, NASDAQ, NEWS), ("XAUUSD", "NAS100")),
    Mandate((LONDON, CRYPTO, ENSEMBLE), ("EURUSD", "XAUUSD", "BTCUSD")),
    Mandate((REVERSION, CARRY, NEWS), ("EURUSD", "AUDUSD", "XAUUSD")),
)


@dataclass(frozen=True, slots=True)
class AccountProfile:
    """An account, and how its bot trades it: the mandate, the balance it began with, the largest position."""

    account: Account
    balance: int
    """The initial balance, in 1e-8 dollars."""
    largest: int
    """The largest position, in hundredths of a lot."""
    assignments: tuple[Assignment, ...]
    opened: int
    running: bool
    """Whether its bot runs now."""

    @property
    def rests_at_weekends(self) -> bool:
        """Whether everything it trades closes for the weekend."""
        return not any(assignment.instrument.is_open is around_the_clock for assignment in self.assignments)


def user(rng: random.Random, email: str, password_hash: str, first: int, now: int) -> User:
    """Returns a user of the desk. The two demo logins are always active and paid."""
    known = email in (TRADER, OPERATOR)
    created = first - rng.randrange(1, 300) * DAY + rng.randrange(DAY)
    subscription = "active" if known else rng.choice(_SUBSCRIPTIONS)
    return User(
        identifier(rng),
        email,
        password_hash,
        moment(created),
        moment(now - rng.randrange(20 * DAY)) if known or rng.randrange(6) else None,
        known or rng.randrange(8) > 0,
        subscription,
        moment(now + rng.randrange(-30, 330) * DAY) if subscription else None,
    )


def profiles(
    rng: random.Random,
    owner: User,
    kinds: Sequence[int],
    strategies: Mapping[str, UUID],
    first: int,
    now: int,
) -> list[AccountProfile]:
    """Returns the accounts of one user, one for each kind of mandate. `strategies` are the ids by name."""
    numbers = rng.sample(range(200_000, 1_000_000), len(kinds))
    return [
        _book(rng, owner, number, assignments(_MANDATES[kind % len(_MANDATES)], strategies), first, now)
        for number, kind in zip(numbers, kinds, strict=True)
    ]


def _book(
    rng: random.Random, owner: User, number: int, trades: tuple[Assignment, ...], first: int, now: int
) -> AccountProfile:
    running = owner.email == TRADER or (owner.is_active and rng.randrange(3) > 0)
    balance = rng.choice(_BALANCES)
    account = Account(
        identifier(rng),
        owner.id,
        f"L#{number}",
        rng.choice(_SERVERS),
        f"demo-key-{rng.getrandbits(96):024x}" if running or rng.randrange(2) else None,
        running or rng.randrange(3) > 0,
        moment(now - rng.randrange(60 if running else 40 * DAY)),
    )
    opened = first + (rng.randrange(DAY) if owner.email == TRADER else rng.randrange(120 * DAY))
    return AccountProfile(account, balance * ONE, max(balance // 100, 100), trades, opened, running)


def risk_settings(rng: random.Random, desk: Sequence[AccountProfile], now: int) -> list[RiskSettings]:
    """Returns each account's limits: two rows of the first, one outdated, and none of the third."""
    first, second, _, *others = desk
    rows = [_limits(rng, profile, now - rng.randrange(1, 90) * DAY) for profile in (first, second, *others)]
    outdated = _limits(rng, first, now)._replace(updated_at=rows[0].updated_at - timedelta(days=30))
    return [*rows, outdated]


def _limits(rng: random.Random, profile: AccountProfile, updated: int) -> RiskSettings:
    return RiskSettings(
        identifier(rng),
        profile.account.id,
        money(profile.balance * rng.choice((3, 4, 5)) // 100),
        money(profile.largest * ONE // 100),
        rng.choice((3, 5, 10, None)),
        Decimal(rng.choice((40, 50, 75, 100))).scaleb(-4),
        moment(updated, rng.randrange(1_000_000)),
    )
