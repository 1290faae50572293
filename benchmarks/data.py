"""The data set: the same rows in every run, shaped for the workloads.

Each of 32 traders has 3 accounts with 10 sessions of 20 trades each; a hundred other accounts hold 100,000
trades more. Each trader has a strategy that nobody else trades by, and the first trader's trades are the
newest, so that a server that knows no tenants finds the same rows as ours, which reads a trader's own only.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from benchmarks.postgres import Server
from graphql_api.dev.demo.rows import Account, Performance, RiskSettings, Session, Strategy, Trade, User
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import migrate

DATABASE = "workloads"
OPERATOR = "operator@benchmarks.example"
PASSWORD = "a password for benchmarks"

TRADERS, ACCOUNTS, SESSIONS, TRADES = 32, 3, 10, 20
STRATEGIES, PERFORMANCES = 50, 30
OTHERS, OTHER_ACCOUNTS, OTHER_SESSIONS, OTHER_TRADES = 50, 2, 10, 100

_SEED = 20261122
_BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
_TRADERS_BEGIN = datetime(2026, 9, 1, tzinfo=UTC)  # after everybody else's last trade
_FIRST_TRADER_BEGINS = datetime(2026, 10, 1, tzinfo=UTC)
_SYMBOLS = ("EURUSD", "GBPUSD", "XAUUSD", "BTCUSD", "NAS100")

_GRANT = (
    "INSERT INTO graphql_api.user_roles (user_id, role) SELECT id, 'operator' FROM users WHERE email = $1"
)


class Trader(NamedTuple):
    """One of those who ask, and ids of the rows that they ask for."""

    email: str
    user: str
    accounts: tuple[str, ...]
    strategy: str


class _Making:
    """Collects the rows, all drawn from one random generator."""

    def __init__(self, password_hash: str, others: int) -> None:
        self._others = others
        self._chance = random.Random(_SEED)
        self.users: list[User] = [self._user(email, password_hash) for email in self._emails()]
        self.strategies = [self._strategy(number) for number in range(STRATEGIES)]
        self.performances = [
            self._performance(strategy, number)
            for strategy in self.strategies
            for number in range(PERFORMANCES)
        ]
        self.accounts: list[Account] = []
        self.sessions: list[Session] = []
        self.trades: list[Trade] = []
        self.risks: list[RiskSettings] = []
        ids = [strategy.id for strategy in self.strategies]
        own, shared = ids[:TRADERS], ids[TRADERS:]
        begins = [_FIRST_TRADER_BEGINS, *[_TRADERS_BEGIN] * (TRADERS - 1)]
        for user, strategy, begin in zip(self.users, own, begins, strict=False):
            # Every second trade or so is by the trader's own strategy, so that a page of those is full.
            mixed = [*shared, *[strategy] * len(shared)]
            self._accounts_of(user, (ACCOUNTS, SESSIONS, TRADES), begin, mixed)
        for user in self.users[TRADERS + 1 :]:
            self._accounts_of(user, (OTHER_ACCOUNTS, OTHER_SESSIONS, OTHER_TRADES), _BEGIN, shared)

    def traders(self) -> Iterator[Trader]:
        for number, (user, strategy) in enumerate(zip(self.users[:TRADERS], self.strategies, strict=False)):
            accounts = self.accounts[number * ACCOUNTS : (number + 1) * ACCOUNTS]
            yield Trader(
                user.email, str(user.id), tuple(str(account.id) for account in accounts), str(strategy.id)
            )

    def tables(self) -> Iterator[tuple[str, Sequence[Any]]]:
        yield "users", self.users
        yield "ai_strategies", self.strategies
        yield "strategy_performance", self.performances
        yield "tradelocker_accounts", self.accounts
        yield "trading_sessions", self.sessions
        yield "trades", self.trades
        yield "risk_settings", self.risks

    def _emails(self) -> Iterator[str]:
        yield from (f"trader-{number:02}@benchmarks.example" for number in range(TRADERS))
        yield OPERATOR
        yield from (f"other-{number:02}@benchmarks.example" for number in range(self._others))

    def _id(self) -> UUID:
        return UUID(int=self._chance.getrandbits(128), version=4)

    def _amount(self, below: int) -> Decimal:
        return Decimal(self._chance.randrange(1, below * 10**8)).scaleb(-8)

    def _ratio(self) -> Decimal:
        return Decimal(self._chance.randrange(10_000)).scaleb(-4)

    def _user(self, email: str, password_hash: str) -> User:
        return User(
            self._id(),
            email,
            password_hash,
            _BEGIN,
            None,
            is_active=True,
            subscription_status="active",
            subscription_expires=None,
        )

    def _strategy(self, number: int) -> Strategy:
        return Strategy(
            self._id(),
            f"strategy {number:02}",
            "Trades the break-out of the first hour.",
            '{"lookback": 20, "threshold": 1.5}',
            _BEGIN + timedelta(hours=number),
            _TRADERS_BEGIN,
            self._ratio(),
            is_active=True,
        )

    def _performance(self, strategy: Strategy, number: int) -> Performance:
        end = _BEGIN + timedelta(days=number + 1, microseconds=123_456)
        return Performance(
            self._id(),
            strategy.id,
            end,
            self._ratio(),
            self._ratio() * 3,
            self._ratio() * 2,
            self._chance.randrange(500),
            end - timedelta(days=1),
            end,
        )

    def _accounts_of(
        self, user: User, sizes: tuple[int, int, int], begin: datetime, strategies: Sequence[UUID]
    ) -> None:
        """So many accounts for a user, of so many sessions a day apart, of so many trades."""
        accounts, sessions, trades = sizes
        for _ in range(accounts):
            number = f"L#{100_000 + len(self.accounts)}"
            account = Account(
                self._id(), user.id, number, "MERIDIAN-LIVE", "key", is_active=True, last_sync=_TRADERS_BEGIN
            )
            self.accounts.append(account)
            limits = (Decimal(1000), Decimal(2), 5, Decimal("0.0100"))
            self.risks.append(RiskSettings(self._id(), account.id, *limits, _BEGIN))
            for day in range(sessions):
                # Apart by seconds too, so that no two trades of a user have one time.
                start = begin + timedelta(days=day, seconds=len(self.accounts))
                self._session(account, start, trades, strategies)

    def _session(self, account: Account, begin: datetime, trades: int, strategies: Sequence[UUID]) -> None:
        end = begin + timedelta(minutes=10 * trades)
        balance, result = Decimal(10_000), self._amount(500)
        session = Session(self._id(), account.id, begin, end, balance, balance + result, result, trades)
        self.sessions.append(session)
        for number in range(trades):
            entry = begin + timedelta(minutes=10 * number, microseconds=self._chance.randrange(10**6))
            self.trades.append(
                Trade(
                    id=self._id(),
                    session_id=session.id,
                    symbol=_SYMBOLS[0] if self._chance.randrange(3) else self._chance.choice(_SYMBOLS),
                    direction=self._chance.choice(("buy", "sell")),
                    entry_price=self._amount(2),
                    exit_price=self._amount(2),
                    size=self._amount(3),
                    entry_time=entry,
                    exit_time=entry + timedelta(minutes=9),
                    pnl=self._amount(200) - 100,
                    status="closed",
                    strategy_id=self._chance.choice(strategies),
                    ai_confidence=self._ratio(),
                )
            )


async def prepare(
    server: Server, database: str = DATABASE, others: int = OTHERS
) -> tuple[Address, Sequence[Trader]]:
    """The data set in a fresh, migrated database, with so many users beside the traders."""
    address = await server.create(database)
    await migrate(address)
    traders = await fill(server, database, others)
    async with server.connection(database) as connection:
        await connection.execute(_GRANT, OPERATOR)
    return address, traders


async def fill(server: Server, database: str, others: int = OTHERS) -> Sequence[Trader]:
    """Put the data set into a migrated database; any build of ours may have migrated it."""
    passwords = PasswordHasher(threads=1)
    made = _Making(await passwords.hash(PASSWORD), others)
    passwords.close()
    async with server.connection(database) as connection:
        for table, rows in made.tables():
            await connection.copy_records_to_table(table, columns=rows[0]._fields, records=rows)
        await connection.execute("VACUUM (ANALYZE)")
        await connection.execute("CHECKPOINT")
    return list(made.traders())
