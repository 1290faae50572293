"""Programs that write accounts, sessions, trades and risk settings in every way PostgreSQL has."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Final

import asyncpg

from graphql_api.postgres.address import Address
from tests import factories

Change = Callable[["asyncpg.Connection"], Awaitable[None]]

_TRADE_COLUMNS = ("session_id", "symbol", "direction", "entry_price", "size", "entry_time", "status", "pnl")
_RACES = (
    asyncpg.DeadlockDetectedError,
    asyncpg.ForeignKeyViolationError,
    asyncpg.LockNotAvailableError,
    asyncpg.SerializationError,
)


# An account has one row of limits. At a stricter level, NOT EXISTS would overlook another transaction's.
_SEES_COMMITTED = "current_setting('transaction_isolation') LIKE 'read %'"
_ISOLATION: Final = (*(None,) * 30, "read_uncommitted", "repeatable_read", "serializable")


class Writer:
    """One program with one connection. It ignores rows that another writer has deleted."""

    def __init__(
        self, address: Address, accounts: list[str], seed: int, *, wait: bool = True, moves: int = 1
    ) -> None:
        """If `wait`, each commit waits for the disk. Rows move and leave `moves` times as often as usual."""
        self._wait = wait
        self._moves = moves
        self._address = address
        self._accounts = accounts
        self._random = random.Random(seed)
        self.committed = 0

    async def run(self, transactions: int) -> None:
        """Makes this number of transactions."""
        connection = await self._address.connect_plain(application="writer")
        try:
            await connection.execute("SET log_feed.notify = off")
            await connection.execute(f"SET synchronous_commit = {'on' if self._wait else 'off'}")
            for _ in range(transactions):
                try:
                    await self._transaction(connection)
                except _RACES:
                    continue
        finally:
            connection.terminate()

    async def _transaction(self, connection: "asyncpg.Connection") -> None:
        chance = self._random.random()
        if chance < 0.4:
            await self._change(connection)
            self.committed += 1
            return
        if chance < 0.5:
            await self._two_phase(connection)
            return
        transaction = connection.transaction(isolation=self._random.choice(_ISOLATION))
        await transaction.start()
        try:
            for _ in range(self._random.randint(1, 5)):
                if self._random.random() < 0.3:
                    savepoint = connection.transaction()
                    await savepoint.start()
                    await self._change(connection)
                    await (savepoint.rollback() if self._random.random() < 0.5 else savepoint.commit())
                else:
                    await self._change(connection)
                if self._random.random() < 0.5:
                    await asyncio.sleep(self._random.random() * 0.01)
        except BaseException:
            await transaction.rollback()
            raise
        if self._random.random() < 0.15:
            await transaction.rollback()
        else:
            await transaction.commit()
            self.committed += 1

    async def _two_phase(self, connection: "asyncpg.Connection") -> None:
        name = f"activity-{self._random.getrandbits(60)}"
        await connection.execute("BEGIN")
        try:
            await self._change(connection)
            await connection.execute(f"PREPARE TRANSACTION '{name}'")
        except BaseException:
            await connection.execute("ROLLBACK")
            raise
        await asyncio.sleep(self._random.random() * 0.02)
        verb = "ROLLBACK" if self._random.random() < 0.3 else "COMMIT"
        await connection.execute(f"{verb} PREPARED '{name}'")

    async def _change(self, connection: "asyncpg.Connection") -> None:
        ways: list[Change] = [
            *[self.open_trade] * 4,
            *[self.close_trade] * 6,
            *[self.update_session] * 4,
            *[self.start_session] * 2,
            *[self.change_limits] * 2,
            *(self.copy_trades, self.bulk_update, self.no_change, self.touch_account),
            *[self.move_trade, self.move_session, self.move_limits] * self._moves,
            *[self.delete_trades, self.delete_session] * self._moves,
            *(self.delete_limits, self.replace_trade),
            *(self.come_and_go, self.merge_trades, self.new_account),
        ]
        await self._random.choice(ways)(connection)

    def account(self) -> str:
        return self._random.choice(self._accounts)

    async def session(self, connection: "asyncpg.Connection") -> str:
        found = await connection.fetchval(
            "SELECT id::text FROM trading_sessions ORDER BY md5(id::text || $1) LIMIT 1",
            str(self._random.random()),
        )
        return found or await factories.session(connection, self.account())

    async def trade(self, connection: "asyncpg.Connection") -> str | None:
        found: str | None = await connection.fetchval(
            "SELECT id::text FROM trades ORDER BY md5(id::text || $1) LIMIT 1", str(self._random.random())
        )
        return found

    def money(self) -> Decimal:
        return Decimal(self._random.randint(-10_000, 10_000)) / 100

    async def open_trade(self, connection: "asyncpg.Connection") -> None:
        await factories.trade(connection, await self.session(connection), pnl=self.money())

    async def close_trade(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "UPDATE trades SET pnl = $1, status = 'closed' WHERE id = $2",
            self.money(),
            await self.trade(connection),
        )

    async def update_session(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "UPDATE trading_sessions SET pnl = $1, trades_count = trades_count + 1 WHERE id = $2",
            self.money(),
            await self.session(connection),
        )

    async def start_session(self, connection: "asyncpg.Connection") -> None:
        if await connection.fetchval("SELECT count(*) FROM trading_sessions") < 40:
            await factories.session(connection, self.account())

    async def change_limits(self, connection: "asyncpg.Connection") -> None:
        account = self.account()
        changed = await connection.execute(
            "UPDATE risk_settings SET max_daily_loss = $1 WHERE account_id = $2", abs(self.money()), account
        )
        if changed == "UPDATE 0":
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", account)
            await connection.execute(
                "INSERT INTO risk_settings (account_id, max_daily_loss) SELECT $1, 5"
                f" WHERE NOT EXISTS (SELECT FROM risk_settings WHERE account_id = $1) AND {_SEES_COMMITTED}",
                account,
            )

    async def copy_trades(self, connection: "asyncpg.Connection") -> None:
        session = await self.session(connection)
        rows = [
            (session, "COPIED", "buy", 1, 1, factories.NOW, "open", self.money())
            for _ in range(self._random.randint(1, 8))
        ]
        await connection.copy_records_to_table("trades", records=rows, columns=_TRADE_COLUMNS)

    async def bulk_update(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "UPDATE trades SET pnl = $1 WHERE id IN (SELECT id FROM trades WHERE session_id = $2"
            " ORDER BY id FOR UPDATE)",
            self.money(),
            await self.session(connection),
        )

    async def no_change(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "UPDATE trades SET pnl = pnl WHERE session_id = $1", await self.session(connection)
        )

    async def touch_account(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "UPDATE tradelocker_accounts SET server = $1 WHERE id = $2", f"S{self.money()}", self.account()
        )

    async def move_trade(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "UPDATE trades SET session_id = $1 WHERE id = $2",
            await self.session(connection),
            await self.trade(connection),
        )

    async def move_session(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "UPDATE trading_sessions SET account_id = $1 WHERE id = $2",
            self.account(),
            await self.session(connection),
        )

    async def move_limits(self, connection: "asyncpg.Connection") -> None:
        to = self.account()
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", to)
        await connection.execute(
            "UPDATE risk_settings SET account_id = $1 WHERE account_id = $2"
            f" AND NOT EXISTS (SELECT FROM risk_settings WHERE account_id = $1) AND {_SEES_COMMITTED}",
            to,
            self.account(),
        )

    async def delete_trades(self, connection: "asyncpg.Connection") -> None:
        await connection.execute("DELETE FROM trades WHERE id = $1", await self.trade(connection))

    async def delete_session(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "WITH below AS (DELETE FROM trades WHERE session_id = $1)"
            " DELETE FROM trading_sessions WHERE id = $1",
            await self.session(connection),
        )

    async def delete_limits(self, connection: "asyncpg.Connection") -> None:
        await connection.execute("DELETE FROM risk_settings WHERE account_id = $1", self.account())

    async def replace_trade(self, connection: "asyncpg.Connection") -> None:
        trade, session = await self.trade(connection), await self.session(connection)
        if (
            trade is not None
            and await connection.execute("DELETE FROM trades WHERE id = $1", trade) == "DELETE 1"
        ):
            await factories.trade(connection, session, id=trade, pnl=self.money())

    async def come_and_go(self, connection: "asyncpg.Connection") -> None:
        trade = await factories.trade(connection, await self.session(connection))
        await connection.execute("DELETE FROM trades WHERE id = $1", trade)

    async def merge_trades(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "MERGE INTO trades USING (SELECT $1::uuid AS id) AS given ON trades.id = given.id"
            " WHEN MATCHED THEN UPDATE SET pnl = $3 WHEN NOT MATCHED THEN INSERT"
            " (session_id, symbol, direction, entry_price, size, entry_time, status, pnl)"
            " VALUES ($2, 'MERGED', 'sell', 1, 1, now(), 'open', $3)",
            await self.trade(connection),
            await self.session(connection),
            self.money(),
        )

    async def new_account(self, connection: "asyncpg.Connection") -> None:
        """Adds an account for the user of another one, and usually deletes it at once."""
        user = await connection.fetchval(
            "SELECT user_id::text FROM tradelocker_accounts WHERE id = $1",
            self._random.choice(self._accounts[:4]),
        )
        account = await factories.account(connection, user)
        if self._random.random() < 0.8:
            await connection.execute("DELETE FROM tradelocker_accounts WHERE id = $1", account)
