"""The simulated bot: it writes trades and log lines over a connection of its own, as the real bot does."""

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Final
from uuid import UUID

import asyncpg

from graphql_api.dev.demo.desk import TRADER
from graphql_api.dev.demo.ledger import Ledger, Position, TradedAccount
from graphql_api.dev.demo.market import INSTRUMENTS, Instrument, step
from graphql_api.dev.demo.rows import ONE, chance, money
from graphql_api.dev.demo.trades import RISK, size
from graphql_api.postgres.address import Address

log = logging.getLogger(__name__)

COMPONENTS: Final = ("bot", "execution")
"""The components whose lines are about a trader's own sessions and trades."""

_ONE_BOT: Final = 0x62_6F_74  # the advisory lock that a database's only bot holds
_RETRY_SECONDS = 1.0
_TRADES_PER_SESSION = 100
_POSITIONS = 5  # open at once in a session whose account has no such limit
_LOTS = 100  # in one position, if the account has no such limit
_HOLD = 24  # bars that a position is expected to be held
_CALM = 8  # a tick moves a price an eighth as far as a bar of five minutes

_CHATTER: tuple[tuple[str, str, str, Mapping[str, object] | None], ...] = (
    *[("INFO", "bot", "Heartbeat", {"latency_ms": 18, "queue": 0})] * 12,
    *[("INFO", "tradelocker", "Balances in step with the broker", None)] * 3,
    *[("DEBUG", "market-data", "Snapshot of 7 instruments stored", {"instruments": 7, "gaps": 0})] * 3,
    ("WARNING", "market-data", "No quote for 4 seconds", {"symbol": "XAUUSD", "seconds": 4}),
    ("WARN", "tradelocker", "Slow answer from the broker", {"path": "/trade/orders", "took_ms": 2840}),
    ("ERROR", "market-data", "Feed lost, connecting again", {"attempt": 1, "error": "TimeoutError"}),
)


async def run(address: Address, *, seed: int = 0, pace: float = 1.0) -> None:
    """Trades and logs in the demo desk's accounts until cancelled, one event every `pace` seconds or so.

    It continues the sessions and trades that it finds open, at its start and after every failure of the
    database. A second bot on the same database waits until the first is gone.
    """
    rng = chance(seed, "bot")
    while True:
        try:
            await work(address, rng, pace)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            log.warning("the simulated bot starts again: %s: %s", type(error).__name__, error)
        await asyncio.sleep(_RETRY_SECONDS)


async def work(address: Address, rng: random.Random, pace: float) -> None:
    """Works over one connection, as long as it lasts; returns at once if another bot is at work."""
    connection = await address.connect_plain(application="simulated bot")
    try:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _ONE_BOT):
            return
        bot = await Bot.begin(Ledger(connection), rng)
        while True:
            await bot.tick(int(time.time()))
            await asyncio.sleep(pace * rng.uniform(0.5, 1.5))
    finally:
        connection.terminate()  # waits for nothing: the server may be gone, or this task cancelled


_Opening = tuple[TradedAccount, Instrument, UUID]
"""Where a trade may be opened: the account, the instrument, and the id of the strategy."""


class Bot:
    """The bot's accounts and the latest prices, and the trades that it makes of them."""

    def __init__(
        self, ledger: Ledger, rng: random.Random, accounts: list[TradedAccount], prices: dict[Instrument, int]
    ) -> None:
        self._ledger = ledger
        self._rng = rng
        self._accounts = accounts
        self._prices = prices

    @classmethod
    async def begin(cls, ledger: Ledger, rng: random.Random) -> "Bot":
        """Continues with the open sessions and trades, at the latest prices in the database."""
        async with ledger.transaction():
            accounts = await ledger.accounts()
            prices = {each: int((await ledger.last_price(each)).scaleb(8)) for each in INSTRUMENTS.values()}
            adopted = sum(len(account.session.positions) for account in accounts)
            await ledger.log(
                "INFO", "bot", "Bot started", {"accounts": len(accounts), "open_trades": adopted}
            )
        return cls(ledger, rng, accounts, prices)

    async def tick(self, now: int) -> None:
        """Closes or opens a trade, begins a session, or logs a line, at a time in seconds since 1970."""
        for instrument, price in self._prices.items():
            if instrument.is_open(now):
                self._prices[instrument] = step(instrument, price, self._rng, calm=_CALM)
        closable = [
            (account, position)
            for account in self._accounts
            for position in account.session.positions
            if position.instrument.is_open(now)
        ]
        ready = [
            (account, instrument, strategy_id)
            for account in self._accounts
            if account.session.placed < _TRADES_PER_SESSION
            for instrument, strategy_id in account.assignments
            if instrument.is_open(now)
        ]
        finished = [
            account
            for account in self._accounts
            if account.session.placed >= _TRADES_PER_SESSION and not account.session.positions
        ]
        async with self._ledger.transaction():
            if finished:
                await self._start_again(finished[0])
            elif self._rng.randrange(20) < len(closable):  # the more are open, the sooner one is closed
                await self._close(*self._rng.choice(closable))
            elif ready and self._rng.randrange(5) < 3:
                await self._open(*self._rng.choice(self._preferred(ready)))
            else:
                await self._ledger.log(*self._rng.choice(_CHATTER))

    def _preferred(self, ready: list[_Opening]) -> list[_Opening]:
        """Returns, half of the time, only the accounts that the demo login sees."""
        seen = [each for each in ready if each[0].email == TRADER]
        return seen if seen and self._rng.randrange(2) else ready

    async def _open(self, account: TradedAccount, instrument: Instrument, strategy_id: UUID) -> None:
        session = account.session
        limits = await self._ledger.limits(account.account_id)
        allowed = _POSITIONS if limits.positions is None else limits.positions
        if len(session.positions) >= allowed:
            held = {"account": account.account_number, "open": len(session.positions), "limit": allowed}
            await self._ledger.log("WARNING", "risk", "No more positions allowed", held)
            return
        price = self._prices[instrument]
        largest = _LOTS * 100 if limits.size is None else int(limits.size * 100)
        lots = size(instrument, price, _HOLD, max(int(session.balance.scaleb(8)), ONE), largest, RISK)
        if not lots:
            await self._ledger.log(
                "WARNING", "risk", "No position is small enough", {"account": account.account_number}
            )
            return
        position = await self._ledger.open_trade(
            session,
            strategy_id,
            instrument,
            bought=bool(self._rng.getrandbits(1)),
            price=money(price),
            size=Decimal(lots).scaleb(-2),
            confidence=Decimal(5_000 + self._rng.randrange(4_600)).scaleb(-4),
        )
        session.placed += 1
        session.positions.append(position)
        await self._report("Trade opened", account, position, money(price))

    async def _close(self, account: TradedAccount, position: Position) -> None:
        price = money(self._prices[position.instrument])
        await self._ledger.close_trade(account.session, position, price)
        account.session.positions.remove(position)
        await self._report("Trade closed", account, position, price, pnl=position.profit(price))

    async def _report(
        self, message: str, account: TradedAccount, position: Position, price: Decimal, **more: Decimal
    ) -> None:
        details = {
            "trade_id": position.id,
            "session_id": account.session.id,
            "account": account.account_number,
            "symbol": position.instrument.symbol,
            "direction": "buy" if position.bought else "sell",
            "size": position.size,
            "price": price,
            **more,
        }
        await self._ledger.log("INFO", "execution", message, details)

    async def _start_again(self, account: TradedAccount) -> None:
        ended = account.session
        profit = await self._ledger.end_session(ended)
        result = {"session_id": ended.id, "trades": ended.placed, "pnl": profit}
        await self._ledger.log("INFO", "bot", "Session ended", result)
        account.session = await self._ledger.start_session(account.account_id)
        begun = {"session_id": account.session.id, "account": account.account_number}
        await self._ledger.log("INFO", "bot", "Session started", begun)
