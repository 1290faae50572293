"""The simulated bot's reads and writes, in plain SQL like the real bot's."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from graphql_api.dev.demo.desk import EMAILS
from graphql_api.dev.demo.market import INSTRUMENTS, Instrument
from graphql_api.dev.demo.rows import money

if TYPE_CHECKING:
    import asyncpg

_ACCOUNTS = """
    SELECT a.id, a.account_number, u.email
    FROM tradelocker_accounts a JOIN users u ON u.id = a.user_id
    WHERE u.email = ANY ($1) AND a.is_active AND a.api_key IS NOT NULL
    ORDER BY a.account_number, a.id
"""
_PLAYS = """
    SELECT DISTINCT t.symbol, t.strategy_id
    FROM trades t JOIN trading_sessions s ON s.id = t.session_id JOIN ai_strategies x ON x.id = t.strategy_id
    WHERE s.account_id = $1 AND x.is_active AND t.symbol = ANY ($2)
    ORDER BY 1, 2
"""
_RUNNING = """
    SELECT id, coalesce(trades_count, 0) AS placed, coalesce(nullif(initial_balance, 'NaN'), 0) AS balance
    FROM trading_sessions WHERE account_id = $1 AND ended_at IS NULL
    ORDER BY started_at DESC NULLS LAST, id DESC LIMIT 1
"""
_START = """
    INSERT INTO trading_sessions (account_id, initial_balance, pnl)
    VALUES ($1, coalesce((
        SELECT final_balance FROM trading_sessions
        WHERE account_id = $1 AND ended_at IS NOT NULL AND final_balance <> 'NaN'
        ORDER BY ended_at DESC LIMIT 1
    ), 10000), 0)
    RETURNING id, trades_count AS placed, initial_balance AS balance
"""
_END = """
    UPDATE trading_sessions SET ended_at = now(), final_balance = initial_balance + pnl
    WHERE id = $1 RETURNING pnl, trades_count
"""
_CANCEL_ORDERS = """
    UPDATE trades SET status = 'cancelled'
    WHERE session_id = $1 AND lower(trim(status)) IN ('pending', 'new', 'unplaced')
"""
_POSITIONS = """
    SELECT id, symbol, lower(trim(direction)) IN ('buy', 'long', 'b') AS bought, entry_price, size
    FROM trades
    WHERE session_id = $1 AND exit_time IS NULL AND lower(trim(status)) IN ('open', 'active', 'filled')
      AND symbol = ANY ($2) AND 'NaN' NOT IN (entry_price, size)
    ORDER BY entry_time, id
"""
_LAST_PRICE = """
    SELECT coalesce(exit_price, entry_price) FROM trades
    WHERE symbol = $1 AND coalesce(exit_price, entry_price) <> 'NaN' ORDER BY entry_time DESC LIMIT 1
"""
_LIMITS = """
    SELECT nullif(max_position_size, 'NaN'), max_open_positions FROM risk_settings WHERE account_id = $1
    ORDER BY updated_at DESC NULLS LAST, id DESC LIMIT 1
"""
_OPEN = """
    INSERT INTO trades (
        session_id, symbol, direction, entry_price, size, entry_time, status, strategy_id, ai_confidence
    )
    VALUES ($1, $2, $3, $4, $5, now(), 'open', $6, $7) RETURNING id
"""
_COUNT = "UPDATE trading_sessions SET trades_count = coalesce(trades_count, 0) + 1 WHERE id = $1"
_CLOSE = """
    UPDATE trades SET exit_price = $2, exit_time = now(), pnl = $3, status = 'closed'
    WHERE id = $1 AND exit_time IS NULL RETURNING id
"""
_EARN = "UPDATE trading_sessions SET pnl = coalesce(nullif(pnl, 'NaN'), 0) + $2 WHERE id = $1"
_LOG = "INSERT INTO system_logs (level, component, message, details) VALUES ($1, $2, $3, $4)"


@dataclass(frozen=True, slots=True)
class Position:
    """An open trade."""

    id: UUID
    instrument: Instrument
    bought: bool
    entry_price: Decimal
    size: Decimal
    """Lots."""

    def profit(self, price: Decimal) -> Decimal:
        """Returns the profit if it is closed at a price."""
        change = price - self.entry_price
        earned = (change if self.bought else -change) * self.size * self.instrument.contract
        return earned.quantize(money(1))


@dataclass(slots=True)
class OpenSession:
    """A running session of one account."""

    id: UUID
    placed: int
    """The number of trades opened in it."""
    balance: Decimal
    """Its initial balance."""
    positions: list[Position]


@dataclass(slots=True)
class TradedAccount:
    """An account that the bot trades, with its session and its instruments."""

    account_id: UUID
    account_number: str
    email: str
    assignments: Sequence[tuple[Instrument, UUID]]
    """Instruments, each with the strategy that trades it."""
    session: OpenSession


@dataclass(frozen=True, slots=True)
class Limits:
    """What an account's risk settings allow; None where they set no limit."""

    size: Decimal | None
    """Lots of one position."""
    positions: int | None


class Ledger:
    """Reads and writes the bot's accounts, sessions, trades and log lines over one connection."""

    def __init__(self, connection: "asyncpg.Connection") -> None:
        self._connection = connection

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """A transaction around what is written in the block."""
        return self._connection.transaction()

    async def accounts(self) -> list[TradedAccount]:
        """Returns the desk's active accounts, each with its running session and the trades it left open.

        An account without a running session gets one.
        """
        return [
            TradedAccount(
                account["id"],
                account["account_number"],
                account["email"],
                await self._assignments(account["id"]),
                await self._running(account["id"]),
            )
            for account in await self._connection.fetch(_ACCOUNTS, list(EMAILS))
        ]

    async def _assignments(self, account_id: UUID) -> list[tuple[Instrument, UUID]]:
        rows = await self._connection.fetch(_PLAYS, account_id, list(INSTRUMENTS))
        return [(INSTRUMENTS[row["symbol"]], row["strategy_id"]) for row in rows]

    async def _running(self, account_id: UUID) -> OpenSession:
        row = await self._connection.fetchrow(_RUNNING, account_id)
        if row is None:
            return await self.start_session(account_id)
        rows = await self._connection.fetch(_POSITIONS, row["id"], list(INSTRUMENTS))
        positions = [
            Position(
                each["id"], INSTRUMENTS[each["symbol"]], each["bought"], each["entry_price"], each["size"]
            )
            for each in rows
        ]
        return OpenSession(row["id"], row["placed"], row["balance"], positions)

    async def start_session(self, account_id: UUID) -> OpenSession:
        """Begins a session with what the one before ended with."""
        [row] = await self._connection.fetch(_START, account_id)
        return OpenSession(row["id"], row["placed"], row["balance"], [])

    async def end_session(self, session: OpenSession) -> Decimal | None:
        """Withdraws the session's orders and ends it; returns its profit."""
        await self._connection.execute(_CANCEL_ORDERS, session.id)
        profit: Decimal | None = await self._connection.fetchval(_END, session.id)
        return profit

    async def last_price(self, instrument: Instrument) -> Decimal:
        """Returns the price of an instrument's latest trade."""
        price: Decimal | None = await self._connection.fetchval(_LAST_PRICE, instrument.symbol)
        return money(instrument.price) if price is None else price

    async def limits(self, account_id: UUID) -> Limits:
        """Returns the account's current risk settings."""
        row = await self._connection.fetchrow(_LIMITS, account_id)
        return Limits(None, None) if row is None else Limits(*row)

    async def open_trade(
        self,
        session: OpenSession,
        strategy_id: UUID,
        instrument: Instrument,
        *,
        bought: bool,
        price: Decimal,
        size: Decimal,
        confidence: Decimal,
    ) -> Position:
        """Writes an open trade, and counts it in its session."""
        trade_id = await self._connection.fetchval(
            _OPEN,
            session.id,
            instrument.symbol,
            "buy" if bought else "sell",
            price,
            size,
            strategy_id,
            confidence,
        )
        await self._connection.execute(_COUNT, session.id)
        return Position(trade_id, instrument, bought, price, size)

    async def close_trade(self, session: OpenSession, position: Position, price: Decimal) -> None:
        """Closes a trade and adds its profit to its session, unless someone else has closed it."""
        profit = position.profit(price)
        if await self._connection.fetchval(_CLOSE, position.id, price, profit) is not None:
            await self._connection.execute(_EARN, session.id, profit)

    async def log(
        self, level: str, component: str, message: str, details: Mapping[str, object] | None = None
    ) -> None:
        """Writes a line; ids and decimals in `details` become strings."""
        text = None if details is None else json.dumps(details, default=_text)
        await self._connection.execute(_LOG, level, component, message, text)


def _text(value: object) -> str:
    """Returns an id or a decimal as text; str would write zero as "0E-8"."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
