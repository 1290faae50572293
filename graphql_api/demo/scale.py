"""The desk at size: many more traders beside it, with millions of trades."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from graphql_api.db.address import Address
from graphql_api.demo.bulk import Progress, without_indexes
from graphql_api.demo.desk import TRADER, Book, books, user
from graphql_api.demo.load import SEED
from graphql_api.demo.market import quotes
from graphql_api.demo.rows import DAY, Account, Session, User, chance, identifier, money
from graphql_api.demo.sample import DAYS
from graphql_api.demo.server_side import add_up, make_trades, prepare
from graphql_api.demo.sessions import Run, runs, shares

if TYPE_CHECKING:
    import asyncpg

_TRADES_PER_ACCOUNT = 10_000
_ACCOUNTS_PER_USER = 2


class SampleMissingError(Exception):
    """The desk isn't in this database: it has to be loaded before it can grow."""


def unseen(what: str, done: int, of: int) -> None:
    """Progress that nobody watches."""


async def scale(
    address: Address,
    *,
    trades: int,
    progress: Progress = unseen,
    seed: int = SEED,
    now: datetime | None = None,
) -> int:
    """Add traders to a loaded desk until the database holds `trades` trades; return how many were added.

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
    market = quotes(seed, now - DAYS * DAY, now)
    newcomers = _newcomers(seed, known, count, password_hash, strategies, now)
    counts = shares(count, [run.weight(market) for run in newcomers.runs])
    for table, records in newcomers.tables():
        await connection.copy_records_to_table(table, columns=records[0]._fields, records=records)
    await prepare(connection, market, newcomers.runs, newcomers.sessions, counts)
    async with without_indexes(connection, "trades", progress):
        await make_trades(connection, counts, chance(seed, f"salt {known}").getrandbits(62), progress)
    await add_up(connection)


@dataclass(frozen=True, slots=True)
class _Newcomers:
    """The traders to add, their accounts, and what their bots have run."""

    users: list[User]
    accounts: list[Account]
    runs: list[Run]
    sessions: list[Session]

    def tables(self) -> tuple[tuple[str, list[User] | list[Account] | list[Session]], ...]:
        return (
            ("users", self.users),
            ("tradelocker_accounts", self.accounts),
            ("trading_sessions", self.sessions),
        )


def _newcomers(
    seed: int, known: int, trades: int, password_hash: str, strategies: Mapping[str, UUID], now: int
) -> _Newcomers:
    """Traders numbered from `known` on, enough for so many trades."""
    rng = chance(seed, f"scale {known}")
    first = now - DAYS * DAY
    users: list[User] = []
    desk: list[Book] = []
    while len(desk) * _TRADES_PER_ACCOUNT < trades:
        number = known + len(users)
        owner = user(rng, f"desk-{number:06}@example.com", password_hash, first, now)
        users.append(owner)
        kinds = range(number, number + _ACCOUNTS_PER_USER)
        desk += books(rng, owner, kinds, strategies, first, now)
    every_run = [run for book in desk for run in runs(rng, book, now)]
    sessions = [
        run.session(identifier(rng), run.book.account.id, money(run.book.balance), ()) for run in every_run
    ]
    return _Newcomers(users, [book.account for book in desk], every_run, sessions)
