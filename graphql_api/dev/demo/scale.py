"""Demo data at size: many more traders beside the desk, with millions of trades."""

import random
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from graphql_api.dev.demo.bulk import Progress, without_indexes
from graphql_api.dev.demo.copying import copy_records, end_with_connection
from graphql_api.dev.demo.desk import TRADER, AccountProfile, profiles, user
from graphql_api.dev.demo.load import SEED
from graphql_api.dev.demo.rows import DAY, Session, Trade, User, chance
from graphql_api.dev.demo.sample import DAYS
from graphql_api.dev.demo.sessions import runs, shares
from graphql_api.dev.demo.stream import AccountPlan, Market, drawn
from graphql_api.postgres.address import Address

if TYPE_CHECKING:
    import asyncpg

_TRADES_PER_ACCOUNT = 10_000
_ACCOUNTS_PER_USER = 2


class SampleMissingError(Exception):
    """The desk isn't in this database: it has to be loaded before it can grow."""


def ignore_progress(what: str, done: int, of: int) -> None:
    """Ignores progress."""


async def scale(
    address: Address,
    *,
    trades: int,
    progress: Progress = ignore_progress,
    seed: int = SEED,
    now: datetime | None = None,
) -> int:
    """Adds traders to a loaded desk until the database holds `trades` trades; returns how many were added.

    The desk's own accounts keep their size. It is one transaction, during which nobody else can read the
    trades. Raises SampleMissingError, and asyncpg's errors.
    """
    connection = await address.connect_plain(application="graphql-api demo")
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
            count = trades - int(await connection.fetchval("SELECT count(*) FROM trades"))
            if count <= 0:
                return 0
            await _grow(connection, count, seed, int((now or datetime.now(UTC)).timestamp()), progress)
        progress("settling", 0, 1)
        await connection.execute("VACUUM (ANALYZE)")
        progress("settling", 1, 1)
        return count
    finally:
        await connection.close()


async def _grow(
    connection: "asyncpg.Connection", count: int, seed: int, now: int, progress: Progress
) -> None:
    password_hash = await connection.fetchval("SELECT password_hash FROM users WHERE email = $1", TRADER)
    if password_hash is None:
        raise SampleMissingError(f"{TRADER} isn't in this database: load the demo data first")
    known = int(await connection.fetchval("SELECT count(*) FROM users"))
    strategies = {
        row["name"]: row["id"] for row in await connection.fetch("SELECT name, id FROM ai_strategies")
    }
    first = now - DAYS * DAY
    rng = chance(seed, f"scale {known}")
    users, desk = _newcomers(rng, known, count, password_hash, strategies, first, now)
    await copy_records(connection, "users", users)
    await copy_records(connection, "tradelocker_accounts", [profile.account for profile in desk])
    async with without_indexes(connection, "trades", progress):
        # Trades have no foreign keys now, so they may be written before their sessions, whose totals they
        # set.
        plans = _plans(rng, desk, count, f"trades {known}", Market(seed, first, now))
        sessions: list[Session] = []
        async with aclosing(drawn(plans, count, sessions, progress)) as rows:
            copying = connection.copy_to_table("trades", columns=Trade._fields, source=rows, format="csv")
            await end_with_connection(connection, copying)
        await copy_records(connection, "trading_sessions", sessions)


def _newcomers(
    rng: random.Random,
    known: int,
    trades: int,
    password_hash: str,
    strategies: Mapping[str, UUID],
    first: int,
    now: int,
) -> tuple[list[User], list[AccountProfile]]:
    """Traders numbered from `known` on, and their accounts, enough for so many trades."""
    users: list[User] = []
    desk: list[AccountProfile] = []
    while len(desk) * _TRADES_PER_ACCOUNT < trades:
        number = known + len(users)
        owner = user(rng, f"desk-{number:06}@example.com", password_hash, first, now)
        users.append(owner)
        kinds = range(number, number + _ACCOUNTS_PER_USER)
        desk += profiles(rng, owner, kinds, strategies, first, now)
    return users, desk


def _plans(
    rng: random.Random, desk: Sequence[AccountProfile], trades: int, part: str, market: Market
) -> list[AccountPlan]:
    """Returns what the bots of these accounts are to run, with so many trades in all."""
    plans = [runs(rng, profile, market.last) for profile in desk]
    series = market.series()
    counts = iter(shares(trades, [run.weight(series) for plan in plans for run in plan]))
    return [
        AccountPlan(f"{part} {number}", plan, [next(counts) for _ in plan], market)
        for number, plan in enumerate(plans)
    ]
